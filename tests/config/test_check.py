"""`gated check` against real peers on loopback: nobody there, somebody who says no, all well."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from adapters.simulator.modbus import ModbusRelayBoard
from adapters.simulator.onvif import OnvifCamera
from gated import logs
from gated.check import Result, State, check, machine, services
from gated.check.devices import devices
from gated.config import SiteConfig, loads
from gated.ports import DeviceConfig, DeviceContext, DeviceInfo
from gated.store.migrate import head, revisions
from gated.wiring import load_adapter as real_adapter
from tests.config.ports import free_port
from tests.config.texts import GOOD, changed, load_adapter, site
from tests.peers.mosquitto import Mosquitto, require

NOW = datetime(2026, 11, 21, 13, 16, 3, tzinfo=UTC)


def system_now() -> datetime:
    return datetime.now(UTC)


def states(results: list[Result]) -> list[tuple[str, str]]:
    return [(result.subject, result.state.value) for result in results]


# --- devices ----------------------------------------------------------------------------------------------

DEVICES = """\
x-onvif: &onvif {{type: onvif, host: 127.0.0.1, port: {camera}, username: gated, timeout_s: 1}}
devices:
  - {{<<: *onvif, id: cam, password: {{env: CAM}}}}
  - {{<<: *onvif, id: wrong, password: {{env: WRONG}}}}
  - {{<<: *onvif, id: unset, password: {{env: UNSET}}}}
  - {{<<: *onvif, id: gone, password: {{env: CAM}}, port: {nobody}}}
  - {{id: relay, type: modbus, host: 127.0.0.1, port: {board}}}
  - {{id: no-relay, type: modbus, host: 127.0.0.1, port: {nobody}}}
  - {{id: silent, type: modbus, host: 127.0.0.1, port: {silent}, timeout_ms: 5000}}
  - {{id: pushing, type: vzenith, token: {{env: CAM}}}}
"""


@asynccontextmanager
async def silent_peer() -> AsyncIterator[int]:
    """Takes every connection and never answers."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in held:
            writer.close()


async def test_every_state_of_a_device_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM", "simulated")
    monkeypatch.setenv("WRONG", "not that one")
    async with (
        OnvifCamera(clock=lambda: system_now() + timedelta(seconds=60)) as camera,
        ModbusRelayBoard() as board,
        silent_peer() as silent,
    ):
        text = GOOD[: GOOD.index("devices:")] + DEVICES.format(
            camera=camera.port, board=board.port, nobody=free_port(), silent=silent
        )
        config = loads(text, real_adapter)
        heard: list[Result] = []
        began = asyncio.get_running_loop().time()
        results = await devices(
            config, real_adapter, now=system_now, unparsed=logs.Unparsed(), timeout_s=2, done=heard.append
        )
        took = asyncio.get_running_loop().time() - began
    assert states(results) == [
        ("cam", "warning"),
        ("wrong", "refused"),
        ("unset", "misconfigured"),
        ("gone", "offline"),
        ("relay", "ok"),
        ("no-relay", "offline"),
        ("silent", "offline"),
        ("pushing", "waiting"),
    ]
    by_id = {result.subject: result for result in results}
    assert "s ahead" in by_id["cam"].message
    assert 55 < float(by_id["cam"].details["clock_drift_s"]) < 65
    assert "NTP" in by_id["cam"].hint
    assert "UNSET" in by_id["unset"].message
    assert "user and password" in by_id["wrong"].hint
    assert "/ingest/pushing" in by_id["pushing"].hint
    assert all(result.hint for result in results if result.problem)
    assert not any("simulated" in str(result.as_dict()) for result in results)
    assert sorted(map(id, heard)) == sorted(map(id, results))
    assert took < 6, "they are asked at once, not one after the other"


class Broken(DeviceConfig):
    """A device whose adapter breaks its promises."""

    type: Literal["relay"]
    host: str


async def test_an_adapters_own_fault_hides_no_other_device() -> None:
    class Device:
        id = "relay"
        info = DeviceInfo()

        async def __aenter__(self) -> Device:
            raise KeyError("vendor")

        async def __aexit__(self, *_: object) -> None: ...

        def events(self) -> AsyncIterator[Any]:
            raise NotImplementedError

        async def open(self, pulse: object) -> None: ...

    class Plain(Device):
        id = "cam"
        open = None  # type: ignore[assignment]

        async def __aenter__(self) -> Plain:
            return self

    def load(type_: str) -> Any:
        built: Callable[[Any, DeviceContext], object] = lambda *_: Device() if type_ == "relay" else Plain()  # noqa: E731
        return SimpleNamespace(Config=load_adapter(type_).Config, create=built)

    results = await devices(site(), load, now=system_now, unparsed=logs.Unparsed(), timeout_s=1)
    assert states(results) == [("cam", "ok"), ("relay", "failed"), ("pusher", "ok")]
    assert "KeyError" in results[1].message
    assert "report it" in results[1].hint


async def test_a_barrier_that_cannot_open_is_misconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera:
        id = "relay"

    module = SimpleNamespace(Config=Broken, create=lambda *_: Camera())
    text = changed("  - {id: cam, type: camera, host: 10.0.0.1, password: {env: CAM}}\n", "")
    text = changed("  - {id: pusher, type: pusher, token: {env: TOKEN}}\n", "", text)
    text = changed("cameras: [cam]", "cameras: [relay]", text)
    config = loads(text, lambda _: module)
    (result,) = await devices(
        config,
        lambda _: module,
        now=system_now,
        unparsed=logs.Unparsed(),
        timeout_s=1,
    )
    assert result.state is State.MISCONFIGURED
    assert result.message == "lane 'gate-in' names it as its barrier, but it cannot open one"


# --- the store --------------------------------------------------------------------------------------------


def with_store(path: Path) -> SiteConfig:
    return site(changed("/var/lib/gated/gated.db", str(path)))


def exists(path: Path) -> bool:
    return path.exists()


def make_database(path: Path, version: str | None) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        if version is not None:
            connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))
    connection.close()


async def of_store(path: Path) -> Result:
    """The result for the database itself; the disk of a test has room."""
    results = await services.store(with_store(path), 2)
    return next(result for result in results if result.subject != "disk")


@pytest.mark.parametrize(
    ("version", "state", "message"),
    [
        (head(), State.OK, f"can be written, version {head()}"),
        (None, State.OK, "is empty: its tables will be created at the first start"),
        ("9999", State.MISCONFIGURED, "is of the unknown version 9999"),
    ],
)
async def test_a_database(tmp_path: Path, version: str | None, state: State, message: str) -> None:
    make_database(tmp_path / "g.db", version)
    found = await of_store(tmp_path / "g.db")
    assert (found.state, found.message) == (state, message)
    assert head() == revisions()[-1]


async def test_a_database_that_is_not_there_yet(tmp_path: Path) -> None:
    found = await of_store(tmp_path / "g.db")
    assert found.state is State.OK
    assert not exists(tmp_path / "g.db")


async def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    found = await of_store(tmp_path / "none/g.db")
    assert found.state is State.MISCONFIGURED
    assert "mkdir" in found.hint


async def test_a_damaged_database(tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / "g.db").write_bytes, b"this is not a database" * 1000)
    found = await of_store(tmp_path / "g.db")
    assert found.state is State.FAILED
    assert "restore" in found.hint


async def test_a_locked_database(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    make_database(path, head())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        found = await of_store(path)
    finally:
        holder.close()
    assert found.state is State.FAILED
    assert "locked" in found.message


async def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # tests may run as root, who may write everywhere
    monkeypatch.setattr("gated.check.services.os.access", lambda *_: False)
    assert (await of_store(tmp_path / "g.db")).state is State.REFUSED


async def test_a_full_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=100 * 1024**2)
    monkeypatch.setattr("gated.check.services.shutil.disk_usage", lambda _: usage)
    results = await services.store(with_store(tmp_path / "g.db"), 2)
    assert ("disk", "failed") in states(results)
    usage.free = 1024**3
    assert ("disk", "warning") in states(await services.store(with_store(tmp_path / "g.db"), 2))


async def test_a_postgresql_that_is_away() -> None:
    url = f"postgresql://gated@127.0.0.1:{free_port()}/gated"
    (found,) = await services.store(site(changed("sqlite:////var/lib/gated/gated.db", url)), 2)
    assert found.state is State.OFFLINE
    assert "Connection refused" in found.message


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ('connection failed: FATAL:  password authentication failed for user "gated"', State.REFUSED),
        ("fe_sendauth: no password supplied", State.REFUSED),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.2"', State.REFUSED),
        ('FATAL:  database "gated" does not exist', State.MISCONFIGURED),
        ("failed to resolve host 'db': Name or service not known", State.MISCONFIGURED),
        ("connection timeout expired", State.OFFLINE),
    ],
)
def test_what_postgresql_says_is_understood(said: str, state: State) -> None:
    assert services._postgresql_error("db/gated", said).state is state


# --- the broker -------------------------------------------------------------------------------------------


def with_broker(port: int, more: str = "") -> SiteConfig:
    return site(GOOD + f"mqtt: {{port: {port}{more}}}\n")


async def test_a_broker_that_is_away() -> None:
    (found,) = await services.broker(with_broker(free_port()), 5)
    assert found.state is State.OFFLINE
    assert "outbox" in found.hint


async def test_a_name_that_nobody_knows() -> None:
    config = site(GOOD + "mqtt: {host: no-such-host.invalid}\n")
    (found,) = await services.broker(config, 5)
    assert found.state is State.MISCONFIGURED


async def test_a_broker_that_does_not_answer() -> None:
    async with silent_peer() as port:
        (found,) = await services.broker(with_broker(port), 1)
    assert (found.state, found.message) == (State.OFFLINE, "no answer within 1 s")


@pytest.mark.mosquitto
async def test_brokers_that_take_us_and_that_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = tmp_path / "users"
    subprocess.run([require("mosquitto_passwd"), "-b", "-c", str(users), "gated", "right-one"], check=True)
    monkeypatch.setenv("RIGHT", "right-one")
    monkeypatch.setenv("WRONG", "wrong-one")
    login = ", username: gated, password: {env: %s}"
    with Mosquitto(tmp_path / "m", f"allow_anonymous false\npassword_file {users}\n") as peer:
        results = {
            name: (await services.broker(with_broker(peer.port, more), 5))[0]
            for name, more in {
                "right": login % "RIGHT",
                "wrong": login % "WRONG",
                "nobody": "",
                "unset": login % "UNSET",
                "tls": f", tls: {{ca: {tmp_path}/none.pem}}",
            }.items()
        }
    assert {name: result.state.value for name, result in results.items()} == {
        "right": "ok", "wrong": "refused", "nobody": "refused",
        "unset": "misconfigured", "tls": "misconfigured",
    }  # fmt: skip
    assert results["right"].message == "accepts us, MQTT 5"
    assert not any("wrong-one" in str(result.as_dict()) for result in results.values())


# --- the port ---------------------------------------------------------------------------------------------


def with_port(port: int, host: str = "127.0.0.1") -> SiteConfig:
    return site(GOOD + f"api: {{host: {host}, port: {port}}}\n")


async def test_a_free_port() -> None:
    assert [result.message for result in await services.http(with_port(free_port()), 1)] == ["is free"]


async def test_a_port_open_to_the_network_is_worth_a_word() -> None:
    results = await services.http(with_port(free_port(), "0.0.0.0"), 1)  # noqa: S104
    assert [result.state for result in results] == [State.OK, State.WARNING]


async def test_an_address_of_another_machine() -> None:
    (found,) = await services.http(with_port(free_port(), "192.0.2.1"), 1)
    assert found.state is State.MISCONFIGURED


@pytest.mark.parametrize(
    ("body", "state"), [('{"status":"alive"}', State.OK), ("<html>hello</html>", State.MISCONFIGURED)]
)
async def test_a_port_that_is_taken(body: str, state: State) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        (found,) = await services.http(with_port(server.sockets[0].getsockname()[1]), 1)
    assert found.state is state


# --- the machine ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "synchronised", "state"),
    [
        (NOW, True, State.OK),
        (NOW, None, State.OK),
        (NOW, False, State.WARNING),
        (datetime(1970, 1, 1, 0, 5, tzinfo=UTC), True, State.FAILED),
        (datetime(2023, 12, 31, tzinfo=UTC), False, State.FAILED),
    ],
)
def test_the_clock(now: datetime, synchronised: bool | None, state: State) -> None:
    (found,) = machine.clock(site(), now, lambda: synchronised)
    assert found.state is state
    assert "Asia/Shanghai" in found.message


def test_the_kernel_is_asked() -> None:
    assert machine.kernel_synchronised() in {True, False, None}


def test_secrets_are_read_and_their_modes_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM", "a good long one")
    monkeypatch.delenv("TOKEN", raising=False)
    config = site()
    assert states(list(machine.secrets(config))) == [("pusher.token", "misconfigured")]
    monkeypatch.setenv("TOKEN", "short")
    assert [(r.subject, r.message) for r in machine.secrets(config)] == [
        ("pusher.token", "is a short token: it can be guessed")
    ]
    monkeypatch.setenv("TOKEN", "long enough to be one")
    monkeypatch.setenv("CAM", "Admin")
    assert [r.message for r in machine.secrets(config)] == ["is a password that everybody knows"]
    file = tmp_path / "cam.secret"
    file.write_text("a good long one")
    config = site(changed("{env: CAM}", f"{{file: {file}}}"))
    for mode, state in ((0o640, State.OK), (0o600, State.OK), (0o644, State.WARNING), (0o660, State.WARNING)):
        file.chmod(mode)
        assert [r.state for r in machine.secrets(config)] == [state], stat.filemode(mode)
    file.unlink()
    (found,) = machine.secrets(config)
    assert found.state is State.MISCONFIGURED
    assert "create the file" in found.hint


def test_this_installation_shadows_nothing() -> None:
    assert [result.state for result in machine.install()] == [State.OK]


def test_another_distribution_with_our_names_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"gated": ["gated"], "adapters": ["gated", "hf-adapters"], "rules": ["gated"]}
    monkeypatch.setattr("gated.check.machine.metadata.packages_distributions", lambda: owners)
    (found,) = machine.install()
    assert (found.subject, found.state) == ("adapters", State.FAILED)
    assert "pip uninstall hf-adapters" in found.hint


# --- the whole --------------------------------------------------------------------------------------------


async def test_a_configuration_with_mistakes_is_all_that_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "gated.yaml"
    file.write_text(changed("grid: g1", "grid: g9"))
    results = await check(file, load_adapter, now=lambda: NOW, unparsed=logs.Unparsed())
    assert [(r.part, r.subject, r.problem) for r in results] == [("config", f"{file}:7", True)]


async def test_the_parts_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM", "a good long one")
    monkeypatch.setenv("TOKEN", "long enough to be one")
    file = tmp_path / "gated.yaml"
    text = changed("/var/lib/gated/gated.db", str(tmp_path / "g.db"))
    text += f"mqtt: {{port: {free_port()}}}\napi: {{port: {free_port()}}}\n"
    file.write_text(text + "policy: {file: policy.yaml}\n")
    file.chmod(0o666)
    results = await check(file, load_adapter, now=lambda: NOW, unparsed=logs.Unparsed(), with_devices=False)
    parts = [(result.part, result.state.value) for result in results]
    assert parts[:4] == [
        ("config", "ok"),
        ("config", "warning"),
        ("secrets", "ok"),
        ("policy", "misconfigured"),
    ]
    assert [part for part, _ in parts[4:]] == ["clock", "install", "store", "store", "broker", "http"]
    assert ("broker", "offline") in parts
