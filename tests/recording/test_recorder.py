"""Devices are recorded as the daemon does it, on real wires; nothing of the site is left in the file, and it
plays."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from adapters.simulator.doubles import Around as Wiring
from adapters.simulator.doubles import simulated
from adapters.simulator.faults import Faults
from adapters.simulator.hikvision import HikvisionCamera
from gated.api.ingest import hash_secret
from gated.api.services import DeviceAuth
from gated.clocks import BoxClock
from gated.devices import Around, Devices
from gated.domain import AlertDraft, DeviceEvent, Text
from gated.ports import DeviceConfig, DeviceInfo, Handle, Handled, Push, Receiver
from gated.recording.recorder import Recorder
from gated.wiring import load_adapter
from tests.acceptance.daemon import free_port, until
from tests.adapters.rig import Ingest
from tests.adapters.tape import load, play
from tests.peers.mosquitto import Mosquitto, require

PLATES = ("津A12345", "京B8D888", "津AD12345")
SECRET = "the-secret-of-this-site"


class Site:
    """Takes events and alarms."""

    def __init__(self) -> None:
        self.events: list[DeviceEvent] = []
        self.online = asyncio.Event()

    async def handle(self, event: DeviceEvent, at: datetime) -> Handled:
        self.events.append(event)
        return Handled()

    def device_online(self, device: str) -> None:
        self.online.set()

    def device_offline(self, device: str, why: str) -> None: ...
    def raised(self, draft: AlertDraft, device: str) -> None: ...
    def ended(self, fold_key: str, why: Text | None = None) -> None: ...


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    require()
    with Mosquitto(tmp_path / "site-broker") as running:
        yield running


def _section(name: str, folder: Path, broker: Mosquitto) -> dict[str, Any]:
    login = {"username": "the-user", "password": {"env": "SITE_SECRET"}}
    at = {"host": "127.0.0.1", "port": free_port()}
    sections: dict[str, dict[str, Any]] = {
        "hikvision": {**at, **login, "serial": "DS-TCG405-123456"},
        "dahua": {**at, **login},
        "onvif": {**at, **login},
        "vzenith-mqtt": {"serial": "aabbccdd-11223344", "broker": {"port": broker.port}},
        "reader": {"transport": "serial", "reads": "card", "port": str(folder / "line")},
    }
    section = {"id": "one", "type": name.partition("-")[0], **sections[name]}
    return {**section, "record": {"folder": str(folder / "recordings"), "minutes": 5}}


async def _recorded(section: dict[str, Any], folder: Path) -> Path:
    config: DeviceConfig = load_adapter(section["type"]).Config.model_validate(section)
    site = Site()
    devices = Devices(load_adapter, BoxClock())
    double = simulated(config, Wiring("http://127.0.0.1:1", Faults()))
    await double.double.start()
    devices.start(config, Around(site, site, lambda _id, _on: None), max_body=10**6, drift_limit=timedelta(1))
    await asyncio.wait_for(site.online.wait(), 10)
    await asyncio.sleep(0.3)
    assert double.see is not None
    for number, plate in enumerate(PLATES, 1):
        told = double.see(plate)
        if asyncio.iscoroutine(told):
            await told
        await until(lambda count=number: len(_reads(site)) >= count, 5)
    await devices.stop_all()
    await double.double.stop()
    (file,) = (folder / "recordings").iterdir()
    return file


def _pushing(section: dict[str, Any]) -> tuple[Devices, Receiver, Handle, DeviceAuth]:
    """A recorded device that pushes, started; how a push of it is taken."""
    config = load_adapter(section["type"]).Config.model_validate(section)
    site = Site()
    devices = Devices(load_adapter, BoxClock())
    devices.start(config, Around(site, site, lambda _id, _on: None), max_body=10**6, drift_limit=timedelta(1))
    found = devices.receiver("one")
    assert found is not None
    return devices, *found


def _reads(site: Site) -> list[DeviceEvent]:
    return [event for event in site.events if type(event).__name__ == "Read"]


@pytest.mark.mosquitto
@pytest.mark.parametrize("name", ["hikvision", "dahua", "onvif", "vzenith-mqtt", "reader"])
async def test_a_device_is_recorded_disguised_and_played(
    name: str, tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_SECRET", SECRET)
    section = _section(name, tmp_path, broker)
    file = await _recorded(section, tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text(encoding="utf-8")
    for known in (*PLATES, SECRET, "the-user", section.get("serial", SECRET), "SITE_SECRET"):
        for form in (known, quote(known), json.dumps(known)[1:-1], base64.b64encode(known.encode()).decode()):
            assert form not in text, f"{form} is in the recording"
    found = load(file)
    assert sum(event["event"] == "read" for event in found.events) == len(PLATES)
    assert found.wire
    recorded, made = await play(file, tmp_path)
    assert made == recorded


async def test_pushes_are_recorded_with_their_replies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_SECRET", SECRET)
    section = {
        "id": "one", "type": "vzenith", "token": {"env": "SITE_SECRET"}, "serial": "aabbccdd-11223344",
        "record": {"folder": str(tmp_path / "recordings")},
    }  # fmt: skip
    devices, receiver, handle, auth = _pushing(section)
    assert auth.secret_hash == hash_secret(SECRET)
    result = {"license": PLATES[0], "confidence": 90, "plateid": 7, "type": 1, "colorType": 1}
    alarm = {"serialno": "aabbccdd-11223344", "ipaddr": "10.1.2.3", "result": {"PlateResult": result}}
    body = json.dumps({"AlarmInfoPlate": alarm}, ensure_ascii=False).encode("gb18030")
    await receiver.receive(
        Push("POST", "", {"content-type": "application/json"}, body, datetime.now(UTC)), handle
    )
    await devices.stop_all()
    (file,) = (tmp_path / "recordings").iterdir()
    text = file.read_text(encoding="utf-8")
    assert PLATES[0] not in text
    assert "10.1.2.3" not in text
    assert "aabbccdd" not in text
    assert load(file).wire[0].data is not None
    recorded, made = await play(file, tmp_path)
    assert made == recorded
    assert made[0]["credential"]["value"] == "京A00001"


async def test_it_ends_by_itself(tmp_path: Path, broker: Mosquitto) -> None:
    section = _section("reader", tmp_path, broker)
    section["record"]["minutes"] = 0.002
    file = await _recorded(section, tmp_path)
    found = load(file)
    assert json.loads(file.read_text(encoding="utf-8").splitlines()[0])["seconds"] < 2
    assert found.events == [], "they came later"


async def test_one_that_is_too_long_says_that_it_is_not_complete(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gated.recording.recorder._MOST_ENTRIES", 3)
    file = await _recorded(_section("reader", tmp_path, broker), tmp_path)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["complete"] is False
    assert len(lines) == 1 + 3


async def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, broker: Mosquitto) -> None:
    section = _section("reader", tmp_path, broker)
    section["record"]["folder"] = "/proc/nowhere"
    with pytest.raises(FileNotFoundError):  # of looking for it
        await _recorded(section, tmp_path)


async def test_what_a_receiver_drops_unread_is_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_SECRET", SECRET)
    section = {
        "id": "one", "type": "gat1400", "token": {"env": "SITE_SECRET"}, "number": "31011500001190000001",
        "record": {"folder": str(tmp_path / "recordings")},
    }  # fmt: skip
    devices, receiver, handle, _ = _pushing(section)
    face = json.dumps(
        {"FaceListObject": {"FaceObject": [{"Name": "张三", "IDNumber": "120101199001011234"}]}}
    )
    for path in ("VIID/Faces", "VIID/SubscribeNotifications"):
        await receiver.receive(Push("POST", path, {}, face.encode(), datetime.now(UTC)), handle)
    await devices.stop_all()
    (file,) = (tmp_path / "recordings").iterdir()
    assert len(file.read_text(encoding="utf-8").splitlines()) == 1


async def test_pushes_with_pictures_play_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_SECRET", SECRET)
    section = {
        "id": "one", "type": "hikvision", "host": "127.0.0.1", "port": 1, "events": "push",
        "password": {"env": "SITE_SECRET"}, "token": {"env": "SITE_SECRET"},
        "record": {"folder": str(tmp_path / "recordings")},
    }  # fmt: skip
    devices, receiver, handle, _ = _pushing(section)
    async with Ingest() as ingest:
        ingest.route("one", receiver, handle)
        async with HikvisionCamera(push_to=ingest.url("one")) as camera:
            await camera.see(PLATES[0])
    await devices.stop_all()
    (file,) = (tmp_path / "recordings").iterdir()
    assert PLATES[0] not in file.read_text(encoding="utf-8")
    recorded, made = await play(file, tmp_path)
    assert made == recorded
    assert made[0]["event"] == "read"


@pytest.mark.parametrize("said", ["Authorization: x", 'application/json; key="abc"'])
def test_what_is_masked_over_the_end_of_a_string_loses_one_entry_alone(said: str) -> None:
    config = load_adapter("webhook").Config.model_validate(
        {"id": "cam-1", "type": "webhook", "token": {"env": "NONE"}}
    )
    recorder = Recorder(config, (), lambda: 0.0)
    recorder.wire("in", said, b"{}")
    recorder.wire("in", "POST /", b"{}")
    assert [json.loads(line)["way"] for line in recorder.lines(DeviceInfo())[1:]] == ["in", "in"]
