"""The sample village as an operator tries it: simulated devices, the daemon and the check, each a process."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.config.ports import free_port

SITE = Path(__file__).parents[2] / "deploy/sites/liuanzhuang"
GATED = [sys.executable, "-c", "from gated.cli import main; main()"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the sample site on ports of its own."""
    folder = tmp_path / "site"
    shutil.copytree(SITE, folder, ignore=shutil.ignore_patterns("*.db*"))
    file = folder / "gated.yaml"
    ports: dict[str, int] = {}

    def moved(found: re.Match[str]) -> str:
        if found[1] not in ports:
            ports[found[1]] = free_port()
        return f"port: {ports[found[1]]}"

    file.write_text(re.sub(r"port: (\d+)", moved, file.read_text()))
    assert len(set(ports.values())) == len(ports)
    return file


@contextmanager
def started(config: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A command that runs until the block ends, and what it writes."""
    log = config.with_name(f"{arguments[0]}.log")
    with log.open("wb") as output:
        process = subprocess.Popen([*GATED, *arguments, "-c", str(config)], stdout=output, stderr=output)
        try:
            yield process, log
        finally:
            process.kill()
            process.wait()


def wait(
    process: subprocess.Popen[bytes], log: Path, enough: Callable[[str], bool], seconds: float = 60
) -> None:
    """Until a command has written enough; fails at once when it has ended."""
    until = time.monotonic() + seconds
    while not enough(log.read_text()):
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.1)


def granted(config: Path) -> int:
    """How many passages were let through, as the store has them."""
    connection = sqlite3.connect(f"file:{config.with_name('state')}/gated.db?mode=ro", uri=True, timeout=10)
    try:
        row = connection.execute("SELECT count(*) FROM passages WHERE outcome = 'grant'").fetchone()
    finally:
        connection.close()
    return int(row[0])


@pytest.mark.slow
def test_the_sample_village_runs_against_the_simulator(config: Path) -> None:
    simulate = ("simulate", "--passes", "--no-troubles", "--speed", "40")
    with started(config, *simulate) as (devices, said):
        wait(devices, said, lambda text: "43 simulated devices" in text)
        with started(config, "run") as (daemon, log):
            # 24 ONVIF cameras and 5 boards are called; the others are known once vehicles drive past them
            wait(daemon, log, lambda text: text.count('"event":"device_online"') >= 29)
            wait(daemon, log, lambda _: granted(config) >= 20)
            report = json.loads(
                subprocess.run(
                    [*GATED, "check", "-c", str(config), "--json"], stdout=subprocess.PIPE, check=False
                ).stdout
            )
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(10) == 0
        devices.send_signal(signal.SIGINT)
        assert devices.wait(10) == 130 or devices.returncode == 0
    problems = [(result["part"], result["state"]) for result in report["results"] if result["problem"]]
    assert problems == [("broker", "offline")]
    states = [result["state"] for result in report["results"] if result["part"] == "device"]
    assert (states.count("ok"), states.count("waiting")) == (29, 14)
    assert not [line for line in log.read_text().splitlines() if '"level":"error"' in line]
    assert "simulated-" not in log.read_text()
    assert not re.search("[京津冀][A-Z][A-Z0-9]{5}", log.read_text()), "a plate in clear"
