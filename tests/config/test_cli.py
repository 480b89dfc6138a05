"""The commands: what they print, where, with which exit code; and the daemon between its signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from gated import __version__
from gated.api.tokens import digest
from gated.cli import output
from gated.store import Store
from tests.config.conftest import Run
from tests.config.ports import free_port

SITE = """\
site: {{id: village, name: {{zh: 村, en: Village}}}}
store: {{url: "sqlite:///gated.db"}}
api: {{port: {port}}}
mqtt: {{port: {nobody}}}
grids: [{{id: all, name: all}}]
entrances: [{{id: gate, name: gate, grid: all}}]
lanes:
  - {{id: gate-in, entrance: gate, direction: in, cameras: [reader], barrier: {{device: reader}}}}
devices:
  - {{id: reader, type: webhook, token: {{file: reader.secret}}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A site with one device that pushes; its broker is away."""
    (tmp_path / "reader.secret").write_text("long enough to be one\n")
    (tmp_path / "reader.secret").chmod(0o600)
    file = tmp_path / "gated.yaml"
    file.write_text(SITE.format(port=free_port(), nobody=free_port()))
    return file


# --- quick, and clear about mistakes ------------------------------------------------------------------------


def test_version(gated: Run) -> None:
    code, out, _ = gated("version")
    assert (code, out.split()[:2]) == (0, ["gated", __version__])
    assert json.loads(gated("version", "--json")[1])["version"] == __version__


def test_the_list_of_commands_is_in_both_languages_and_fits(gated: Run) -> None:
    out = gated("--help")[1]
    listed = out.partition("Commands:\n")[2].splitlines()
    words = ["运行", "检查", "查找", "演示", "模拟", "备份", "恢复", "版本", "令牌", "政策", "设备"]
    assert [line.split()[1] for line in listed if line] == words
    assert not any(line.endswith("...") for line in listed)
    assert max(map(cell_len, out.splitlines())) <= 80


def test_the_command_line_starts_without_heavy_imports() -> None:
    heavy = {"sqlalchemy", "fastapi", "pydantic", "yaml", "structlog", "paho", "zeep", "cv2", "rich"}
    program = f"import sys, gated.cli; print(*({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["token"], ["token", "create"], ["token", "create", "--role", "king", "--name", "x"],
     ["check", "--timeout", "0"], ["restore", "/no/such/file"], ["run", "--fast"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(gated: Run, arguments: list[str]) -> None:
    assert gated(*arguments)[0] == 2


@pytest.mark.parametrize("command", [["run"], ["token", "list"], ["backup", "b"], ["simulate"]], ids=" ".join)
def test_a_configuration_that_cannot_be_used(gated: Run, config: Path, command: list[str]) -> None:
    config.write_text(config.read_text().replace("grid: all", "grid: al"))
    code, out, err = gated(*command, "-c", config)
    assert (code, out) == (output.CONFIG, "")
    assert f"{config}:6:36: entrances[0].grid: no grid has the id 'al'" in err
    assert "did you mean 'all'?" in err


def test_a_configuration_that_is_not_there(gated: Run, tmp_path: Path) -> None:
    code, _, err = gated("token", "list", "-c", tmp_path / "none.yaml")
    assert code == output.CONFIG
    assert "cannot be read: No such file" in err


def test_the_configuration_may_be_named_by_the_environment(
    gated: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATED_CONFIG", str(config))
    assert gated("token", "list", "--json")[:2] == (0, "[]\n")


# --- tokens -----------------------------------------------------------------------------------------------


def test_a_token_is_made_shown_once_listed_and_revoked(gated: Run, config: Path) -> None:
    code, out, _ = gated("token", "create", "--role", "staff", "--name", "张三", "-c", config, "--json")
    made = json.loads(out)
    assert code == 0
    assert (made["role"], made["name"], made["state"]) == ("staff", "张三", "active")
    with sqlite3.connect(config.with_name("gated.db")) as database:
        (row,) = database.execute("SELECT hash FROM tokens").fetchall()
    database.close()
    assert row[0] == digest(made["token"])
    (listed,) = json.loads(gated("token", "list", "-c", config, "--json")[1])
    assert listed == {key: value for key, value in made.items() if key != "token"}
    assert "张三" in gated("token", "list", "-c", config)[1]
    assert gated("token", "revoke", made["id"], "-c", config)[0] == 0
    (listed,) = json.loads(gated("token", "list", "-c", config, "--json")[1])
    assert listed["state"] == "revoked"
    code, _, err = gated("token", "revoke", made["id"], "-c", config)
    assert code == 1
    assert "gated token list" in err


@pytest.mark.parametrize("expires", ["90d", "2099-01-31T00:00:00+08:00"])
def test_a_token_may_end_by_itself(gated: Run, config: Path, expires: str) -> None:
    out = gated(
        "token", "create", "--role", "worker", "--name", "x", "--expires", expires, "-c", config, "--json"
    )[1]
    assert json.loads(out)["expires_at"] is not None


@pytest.mark.parametrize("expires", ["soon", "2020-01-31T00:00:00+08:00", "2099-01-31T00:00:00", "0d"])
def test_an_expiry_that_makes_no_sense(gated: Run, config: Path, expires: str) -> None:
    code, _, err = gated(
        "token", "create", "--role", "worker", "--name", "x", "--expires", expires, "-c", config
    )
    assert code == 2
    assert err.startswith("gated: ")


# --- backup and restore -----------------------------------------------------------------------------------


def test_a_backup_is_made_and_restored(gated: Run, config: Path, tmp_path: Path) -> None:
    gated("token", "create", "--role", "staff", "--name", "before", "-c", config)
    file = tmp_path / "b.backup"
    code, out, _ = gated("backup", file, "-c", config, "--json")
    assert (code, json.loads(out)["bytes"]) == (0, file.stat().st_size)
    gated("token", "create", "--role", "staff", "--name", "after", "-c", config)
    code, out, _ = gated("restore", file, "--yes", "-c", config, "--json")
    assert code == 0
    assert Path(json.loads(out)["before"]).exists()
    names = [row["name"] for row in json.loads(gated("token", "list", "-c", config, "--json")[1])]
    assert names == ["before"]


def test_a_backup_is_never_overwritten(gated: Run, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.backup"
    file.write_text("precious")
    code, _, err = gated("backup", file, "-c", config)
    assert (code, file.read_text()) == (1, "precious")
    assert "exists already" in err


def test_a_restore_asks_first(
    gated: Run, config: Path, tmp_path: Path, terminal: Callable[[str], None]
) -> None:
    gated("backup", tmp_path / "b.backup", "-c", config)

    for answer, code in (("", 2), ("no\n", 1), ("yes\n", 0)):
        terminal(answer)
        found, _, err = gated("restore", tmp_path / "b.backup", "-c", config)
        assert found == code, err
        assert ("备份之后的记录会丢失" in err) == bool(answer)


def test_a_restore_of_something_else_changes_nothing(gated: Run, config: Path, tmp_path: Path) -> None:
    gated("token", "create", "--role", "staff", "--name", "x", "-c", config)
    (tmp_path / "b.backup").write_text("not a backup")
    code, _, err = gated("restore", tmp_path / "b.backup", "--yes", "-c", config)
    assert code == output.STORE
    assert err.startswith("gated: ")
    assert len(json.loads(gated("token", "list", "-c", config, "--json")[1])) == 1


def test_a_restore_under_a_running_daemon_is_refused(gated: Run, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.backup"
    gated("backup", file, "-c", config)
    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(Store.open(f"sqlite:///{tmp_path}/gated.db"))
    try:
        code, _, err = gated("restore", file, "--yes", "-c", config)
    finally:
        loop.run_until_complete(store.close())
        loop.close()
    assert code == output.STORE
    assert "->" in err


# --- check ------------------------------------------------------------------------------------------------


def test_check_prints_a_report_and_fails_while_there_is_a_problem(gated: Run, config: Path) -> None:
    code, out, _ = gated("check", "-c", config, "--json", "--timeout", "2")
    report = json.loads(out)
    assert (code, report["ok"]) == (1, False)
    by_part = {result["part"]: result for result in report["results"]}
    assert [part for part, result in by_part.items() if result["problem"]] == ["broker"]
    assert (by_part["broker"]["state"], by_part["device"]["state"]) == ("offline", "waiting")
    assert by_part["broker"]["hint"]
    code, out, _ = gated("check", "-c", config, "--timeout", "2", "--no-devices")
    assert code == 1
    assert "offline 离线" in out
    assert "1 problem" in out
    assert "reader" not in out


def test_check_is_content_when_all_is_well(gated: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def accepts(*_: object) -> str:
        return "5"

    monkeypatch.setattr("gated.mqtt.client.probe", accepts)
    code, out, _ = gated("check", "-c", config)
    assert code == 0, out
    assert "检查通过" in out


# --- simulate ---------------------------------------------------------------------------------------------


def test_nothing_is_simulated_beside_real_devices(gated: Run, config: Path) -> None:
    text = config.read_text() + "  - {id: relay, type: modbus, host: 192.168.1.30}\n"
    config.write_text(text)
    code, _, err = gated("simulate", "-c", config)
    assert code == 1
    assert "relay is at 192.168.1.30, not on this machine" in err


# --- run --------------------------------------------------------------------------------------------------


class Daemon:
    """`gated run` as systemd runs it: with a socket for its words."""

    def __init__(self, config: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = config.with_name("notify")
        self._socket.bind(str(address))
        self._socket.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "400000"}
        self._log = config.with_name("log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from gated.cli import main; main()", "run", "-c", str(config)],
            stderr=self._log,
            env=environment,
        )

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._socket.close()
        self._log.close()

    def says(self, word: str) -> None:
        """Waits until it has told systemd `word`."""
        while self._socket.recv(100).decode() != word:
            pass

    def logged(self, event: str) -> dict[str, Any]:
        """Waits for the first log line of an event."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            self._log.seek(0)
            for line in self._log:
                if line.endswith("\n") and f'"event":"{event}"' in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
            time.sleep(0.02)
        self._log.seek(0)
        raise AssertionError(f"no {event} in: {self._log.read()}")


def test_the_daemon_starts_reloads_and_stops(config: Path, gated: Run) -> None:
    with Daemon(config) as daemon:
        daemon.says("READY=1")
        daemon.says("WATCHDOG=1")
        assert daemon.logged("started")["devices"] == 1

        code, _, err = gated("run", "-c", config)
        assert code == output.STORE, "a second daemon on the same database"
        assert "gated: " in err

        good = config.read_text()
        config.write_text(good.replace("type: webhook", "type: webhok"))
        daemon.process.send_signal(signal.SIGHUP)
        refused = daemon.logged("reload_refused")
        assert refused["place"] == f"{config}:10"
        assert refused["problem"] == "no adapter is called 'webhok'"

        config.write_text(good + "  - {id: second, type: webhook, token: {file: reader.secret}}\n")
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.logged("reloaded")["devices_added"] == ["second"]

        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        daemon.says("STOPPING=1")
        assert daemon.process.wait(10) == 0
        assert time.monotonic() - began < 5


def test_a_second_signal_ends_the_daemon_at_once(config: Path) -> None:
    with Daemon(config) as daemon:
        daemon.says("READY=1")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.says("STOPPING=1")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(10) in {0, 1}
