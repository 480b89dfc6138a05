"""A private mosquitto on a loopback port: started, stopped, killed and started again by a test.

Found in PATH or /usr/sbin. Where it is missing, tests are skipped with the reason printed, or fail if
GATED_REQUIRE_PEERS=1 (as in scripts/test, which installs it).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

ANONYMOUS = """\
allow_anonymous true
persistence false
max_queued_messages 0
"""


def find(program: str = "mosquitto") -> str | None:
    """Where `program` of mosquitto is; /usr/sbin is not in everybody's PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def require(program: str = "mosquitto") -> str:
    """The path of `program`; skips or fails the test where it is missing."""
    found = find(program)
    if found is not None:
        return found
    reason = f"{program} is not installed: apt-get install mosquitto mosquitto-clients"
    if os.environ.get("GATED_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker in `folder`, on `port`. `config`: lines beside the listener, which is written here unless
    `listener` gives its own lines (with `{port}`)."""

    def __init__(
        self, folder: Path, config: str = ANONYMOUS, *, listener: str = "listener {port} 127.0.0.1\n"
    ) -> None:
        self.port = free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._program = require()
        self._file = folder / "mosquitto.conf"
        # started by root it would change to the user mosquitto, who may not read a test's folder
        self._file.write_text(f"user root\n{listener.format(port=self.port)}{config}")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it listens."""
        assert self._process is None
        with (self.folder / "mosquitto.log").open("ab") as output:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._file)], stdout=output, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.kill()
        raise AssertionError(f"mosquitto did not start: {self.log}")

    def stop(self) -> None:
        """SIGTERM, and waits for the end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            for _ in range(15):  # it listens a little before its loop begins, which forgets an earlier signal
                process.send_signal(how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(2)
                    return
            raise AssertionError(f"mosquitto did not end: {self.log}")
