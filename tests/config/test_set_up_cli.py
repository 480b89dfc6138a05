"""`gated devices probe` and `gated devices test`, as an operator runs them, against a simulated camera."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from adapters import mqtt_relay
from adapters.simulator._http import HttpServer, Request, Response
from adapters.simulator.hikvision import HikvisionCamera
from adapters.simulator.modbus import ModbusRelayBoard
from adapters.simulator.onvif import OnvifCamera

SITE = """\
site: {{id: v, name: V}}
store: {{url: "sqlite:///{folder}/gated.db"}}
grids: [{{id: g, name: G}}]
entrances: [{{id: east, name: East, grid: g}}]
lanes: [{{id: east-in, entrance: east, direction: in, cameras: [cam], barrier: {{device: cam}}}}]
devices:
  - id: cam
    type: hikvision
    host: 127.0.0.1
    port: {port}
    username: admin
    password: {{file: {folder}/pw}}
  - {{id: pusher, type: webhook, token: {{file: {folder}/pw}}}}
"""


@pytest.fixture
async def camera(tmp_path: Path) -> AsyncIterator[HikvisionCamera]:
    (tmp_path / "pw").write_text("right")
    async with HikvisionCamera() as camera:
        (tmp_path / "gated.yaml").write_text(SITE.format(folder=tmp_path, port=camera.server.port))
        yield camera


async def gated(*words: object) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from gated.cli import main; main()", *map(str, words),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


async def test_probe_without_a_password_tries_none(camera: HikvisionCamera) -> None:
    code, out, _ = await gated("devices", "probe", f"127.0.0.1:{camera.server.port}")
    assert code == 0
    assert "海康威视" in out
    section = yaml.safe_load(out[out.index("devices:") :])["devices"][0]
    assert section["type"] == "hikvision"
    assert section["port"] == camera.server.port
    assert camera.server.logins_failed == 0


async def test_probe_with_a_login_asks_for_everything(camera: HikvisionCamera, tmp_path: Path) -> None:
    where = f"127.0.0.1:{camera.server.port}"
    login = ("--username", "admin", "--password-file", tmp_path / "pw")
    code, out, _ = await gated("devices", "probe", where, *login, "--json")
    assert code == 0
    [found] = json.loads(out)
    assert (found["model"], found["serial"]) == ("DS-TCG000", camera.serial)
    assert abs(found["clock_drift_s"]) < 5
    assert "opens" in found["powers"]
    (tmp_path / "pw").write_text("wrong")
    code, out, _ = await gated("devices", "probe", where, *login)
    assert "wrong user or password" in out
    assert camera.server.logins_failed == 1


async def test_probe_of_an_onvif_camera_logs_in_nowhere(tmp_path: Path) -> None:
    async with OnvifCamera(username="gated", password="right") as camera:
        where = f"127.0.0.1:{camera.port}"
        code, out, _ = await gated("devices", "probe", where, "--json")
        assert code == 0
        (found,) = json.loads(out)
        assert (found["type"], found["section"]["port"]) == ("onvif", camera.port)
        assert set(camera.requests) == {"GetSystemDateAndTime"}
        (tmp_path / "pw").write_text("right")
        login = ("--username", "gated", "--password-file", tmp_path / "pw")
        code, out, _ = await gated("devices", "probe", where, *login, "--json")
        (found,) = json.loads(out)
        assert abs(found["clock_drift_s"]) < 5
        assert "opens" in found["powers"]


SHELLY = {
    "id": "shellyplus1-a8032ab12345",
    "gen": 2,
    "model": "SNSW-001X16EU",
    "ver": "1.4.4",
    "app": "Plus1",
}


@pytest.mark.parametrize(
    ("paths", "section"),
    [
        ({"/shelly": SHELLY}, {"firmware": "shelly", "topic": SHELLY["id"]}),
        ({"/shelly": {"type": "SHSW-1", "mac": "A8032AB12345"}}, None),  # first generation: another wire
        ({"/cm?cmnd=Status": {"Status": {"Topic": "tasmota_12AB34"}}},
         {"firmware": "tasmota", "topic": "tasmota_12AB34"}),
        ({"/cm?cmnd=Status": {"WARNING": "Need user=<username>&password=<password>"}}, None),
        ({"/cm?cmnd=Status": {"Status": {"Topic": "a/#"}}}, None),
        ({"/shelly": ["gen", 2]}, None),
    ],
)  # fmt: skip
async def test_probe_of_a_relay_on_mqtt(paths: dict[str, object], section: dict[str, str] | None) -> None:
    async def answer(request: Request) -> tuple[Response, None]:
        told = paths.get(request.target)
        return (Response(404) if told is None else Response(200, json.dumps(told).encode())), None

    async with HttpServer(answer) as server:
        found = await mqtt_relay.probe("127.0.0.1", server.port, 2)
        assert (None if found is None else found.settings) == section


async def test_probe_of_a_board_and_of_nothing() -> None:
    async with ModbusRelayBoard() as board:
        code, out, _ = await gated("devices", "probe", f"127.0.0.1:{board.port}", "--timeout", "1")
        assert (code, "Modbus TCP" in out) == (0, True)
        assert board.pulses == []
        assert not any(board.coils)
    code, _, error = await gated("devices", "probe", "127.0.0.1:1", "--timeout", "1")
    assert code == 1
    assert "nothing answers that is known" in error


async def test_test_shows_what_it_reports(camera: HikvisionCamera, tmp_path: Path) -> None:
    picture = tmp_path / "now.jpg"
    running = asyncio.create_task(
        gated("devices", "test", "cam", "-c", tmp_path / "gated.yaml", "--seconds", 2, "--picture", picture)
    )
    await camera.asked.wait()
    await camera.see("津A12345")
    code, out, error = await running
    assert code == 0, error
    assert "DS-TCG000" in out
    assert "read 识读 津A12345" in out
    assert picture.read_bytes().startswith(b"\xff\xd8")
    assert camera.boom.openings == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nobody",), "no device is called"),
        (("pusher",), "only the running daemon hears it"),
        (("cam", "--pulse"), "asked for twice, at a terminal"),
    ],
)
async def test_test_says_why_not(
    camera: HikvisionCamera, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    code, _, error = await gated("devices", "test", *words, "-c", tmp_path / "gated.yaml")
    assert code == 1
    assert says in error
    assert camera.boom.openings == []
