"""The recordings of others (`../shared/fixtures/dahua`), where they are present: all parse, none is
forgotten. Their plates stay there."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters import _multipart
from adapters.dahua import codec, itsapi
from adapters.dahua.fields import Told, flat
from gated.domain import CredentialKind, Heartbeat, Observed, Read
from tests.adapters.contract import CLOCK

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "dahua"
HOW = codec.Reading()

pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no recordings of others at {FIXTURES}: they are not part of the project"
)

KNOWN = {
    "eventManager_TrafficJunction.mime",
    "itsapi_KeepAlive.json",
    "itsapi_TollgateInfo.json",
    "itsapi_TollgateInfo_reply_open.json",
    "rpc2_notifyEventStream_TrafficJunction_nonmotor.js.txt",
    "snapmanager_TrafficParking.txt",
    "snapmanager_two_events.txt",
}


def body(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def rows(name: str) -> dict[str, str]:
    """What the recording says, read another way than by the codec."""
    return dict(
        line.partition("=")[::2] for line in body(name).decode().replace("\r", "").split("\n") if "=" in line
    )


def test_every_recording_is_accounted_for() -> None:
    assert {path.name for path in FIXTURES.iterdir()} == KNOWN


def test_snap_parking() -> None:
    told = {k.removeprefix("Events[0]."): v for k, v in rows("snapmanager_TrafficParking.txt").items()}
    (event,), why = codec.part(body("snapmanager_TrafficParking.txt"), "cam", CLOCK, HOW)
    assert why is None
    assert isinstance(event, Observed)
    assert (event.what, event.active) == ("vehicle_stays", told["EventBaseInfo.Action"] == "Start")
    assert event.details["plate"] == told["TrafficCar.PlateNumber"]
    assert event.details["plate_color"] == told["TrafficCar.PlateColor"].lower()
    assert event.details["lane"] == told["Lane"]
    stamp = int(told["UTC"]) + int(told["UTCMS"]) / 1000
    assert event.device_time is not None
    assert event.device_time.timestamp() == pytest.approx(stamp)


def test_snap_parking_as_a_read() -> None:
    """The same fields under the code of an entrance, so that a real vehicle is read whole."""
    words = body("snapmanager_TrafficParking.txt").replace(
        b"EventBaseInfo.Code=TrafficParking", b"EventBaseInfo.Code=TrafficJunction"
    )
    told = {k.removeprefix("Events[0]."): v for k, v in rows("snapmanager_TrafficParking.txt").items()}
    (event,), _ = codec.part(words, "cam", CLOCK, HOW)
    assert isinstance(event, Read)
    assert event.credential is not None
    assert event.credential.value == event.raw == told["TrafficCar.PlateNumber"]
    assert event.key == f"{told['GroupID']}:{told['UTC']}"
    assert event.channel == told["Lane"]
    assert event.details == {
        "plate_color": told["TrafficCar.PlateColor"].lower(),
        "moves": told["TrafficCar.DrivingDirection[0]"].lower(),
        "vehicle_color": told["TrafficCar.VehicleColor"].lower(),
        "plate_type": told["TrafficCar.PlateType"].lower(),
    }


def test_snap_several_events() -> None:
    told = rows("snapmanager_two_events.txt")
    events, why = codec.part(body("snapmanager_two_events.txt"), "cam", CLOCK, HOW)
    assert why is None
    assert [type(event) for event in events] == [Read, Read, Observed, Read]
    for number, event in enumerate(events):
        plate = told[f"Events[{number}].TrafficCar.PlateNumber"]
        if isinstance(event, Read):
            assert event.raw == plate
            assert (event.credential is None) == (plate == "Unknown")
            assert event.credential is None or event.credential.kind is CredentialKind.PLATE
    assert events[0].key == told["Events[0].GroupID"]


def test_event_stream() -> None:

    parser = _multipart.Parts("myboundary")
    parts = [*parser.feed(body("eventManager_TrafficJunction.mime")), *parser.end()]
    events = [event for part in parts for event in codec.part(part.body, "cam", CLOCK, HOW)[0]]
    assert [type(event) for event in events] == [Read, Heartbeat]
    read = events[0]
    assert isinstance(read, Read)
    found = re.search(r'"PlateNumber":"([^"]+)"', body("eventManager_TrafficJunction.mime").decode())
    assert found is not None
    assert read.raw == found[1]
    assert read.device_time is None, "1970 is no time"


def test_rpc2_non_motor() -> None:
    """It is no JSON as it was published: a comma is missing before "session"."""
    words = body("rpc2_notifyEventStream_TrafficJunction_nonmotor.js.txt").decode()
    content: Any = json.loads(re.sub(r'\}(\s*)"session"', r'},\1"session"', words))
    (told,) = content["params"]["eventList"]
    data = told["Data"]
    event = codec.event(Told(told["Code"], told["Action"], "", flat(data)), "cam", CLOCK, HOW)
    assert isinstance(event, Read)
    assert event.credential is None
    assert event.details["vehicle_class"] == "tricycle"
    assert event.details["category"] == "nonmotor"
    assert event.details["moves"] == data["TrafficCar"]["DrivingDirection"][0].lower()
    assert event.key == f"{data['GroupID']}:{data['UTC']}"
    assert event.device_time == datetime.fromtimestamp(data["RealUTC"] + data["UTCMS"] / 1000, UTC)


def message(name: str, path: str) -> itsapi.Message:
    return itsapi.parse(body(name), "application/json", path, "cam", CLOCK, HOW)


def test_push_of_a_plate() -> None:
    told = json.loads(body("itsapi_TollgateInfo.json"))["Picture"]
    for path in ("NotificationInfo/TollgateInfo", ""):
        found = message("itsapi_TollgateInfo.json", path)
        assert (found.kind, found.device, found.unparsed) == (
            "TollgateInfo", told["SnapInfo"]["DeviceID"], None,
        )  # fmt: skip
        event = found.event
        assert isinstance(event, Read)
        assert event.credential is not None
        assert event.credential.value == event.raw == told["Plate"]["PlateNumber"]
        assert event.confidence == pytest.approx(told["Plate"]["Confidence"] / 255)
        local = datetime.fromisoformat(told["SnapInfo"]["AccurateTime"] + "+08:00")
        assert event.device_time == local
        assert event.channel == str(told["SnapInfo"]["LanNo"])
        assert event.key is not None
        assert told["SnapInfo"]["AccurateTime"] in event.key
        assert event.details == {
            "plate_color": told["Plate"]["PlateColor"].lower(), "vehicle_class": "car",
            "moves": told["SnapInfo"]["Direction"].lower(),
            "plate_type": told["Plate"]["PlateType"].lower(), "country": told["Plate"]["Region"].lower(),
            "vehicle_color": told["Vehicle"]["VehicleColor"].lower(),
        }  # fmt: skip


def test_push_that_it_lives() -> None:
    found = message("itsapi_KeepAlive.json", "NotificationInfo/KeepAlive")
    assert found.kind == "KeepAlive"
    assert isinstance(found.event, Heartbeat)
    assert found.device == json.loads(body("itsapi_KeepAlive.json"))["DeviceID"]


def test_the_reply_that_opens_has_the_recorded_shape() -> None:
    found = message("itsapi_TollgateInfo.json", "NotificationInfo/TollgateInfo")
    assert json.loads(itsapi.reply(found, opens=True)) == json.loads(
        body("itsapi_TollgateInfo_reply_open.json")
    )
