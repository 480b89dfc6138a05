"""The recordings of others (`../shared/fixtures/hikvision`), where they are present: all parse, none is
forgotten. Their plates stay there."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from adapters import _multipart, _xml
from adapters.hikvision import codec
from gated.domain import Heartbeat, InputChanged, Observed, Read
from tests.adapters.contract import CLOCK

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "hikvision"

pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no recordings of others at {FIXTURES}: they are not part of the project"
)

ALERTS = {
    "alert_fielddetection_vehicle.xml": Observed,
    "alert_io_DS-2CD2T46G2.xml": InputChanged,
    "anpr_DS-TCG405-E_2024_trimmed.xml": Read,
    "anpr_license_plate_saxster.xml": Read,
    "anpr_old_stdcgi_ver10.xml": Read,
}
MULTIPART = {
    "alertStream_heartbeat_then_anpr.mime": [Heartbeat, Read, Heartbeat],
    "httpHost_push_multipart.mime": [Read],
}
COMMANDS = {"put_barrierGate_open.xml": "barrierGate", "put_barrierGateCtrl_ITC_on.xml": "barrierGateCtrl"}
OTHERS = {
    "ResponseStatus_notSupport.xml",
    "ResponseStatus_ok.xml",
    "plates_after_multi_from_mock.xml",
    "put_licensePlateAuditData_record.json",
    "IOOutputPortList.xml",  # of set-up, which is the operator's
    "httpHosts_ipc_list.xml",
    "httpHosts_set_alarm_server_payload.xml",
}


def test_every_recording_is_accounted_for() -> None:
    assert {path.name for path in FIXTURES.iterdir()} == {*ALERTS, *MULTIPART, *COMMANDS} | OTHERS


@pytest.mark.parametrize(("name", "kind"), ALERTS.items())
def test_alerts(name: str, kind: type) -> None:
    body = (FIXTURES / name).read_bytes()
    alert = codec.alert(body, "cam", CLOCK, codec.Reading())
    assert type(alert.event) is kind
    root = _xml.parse(body)
    assert alert.event is not None
    assert alert.event.device_time is not None
    assert alert.event.device_time.isoformat()[:19] == _xml.text(root, "dateTime")[:19]
    if isinstance(alert.event, Read):
        assert alert.event.raw == _xml.text(root, "ANPR", "licensePlate")
        confidence = float(_xml.text(root, "ANPR", "confidenceLevel"))
        assert alert.event.confidence == pytest.approx(confidence / 100)
        assert alert.event.details["moves"] == _xml.text(root, "ANPR", "direction")
        assert not alert.event.backlog


@pytest.mark.parametrize(("name", "kinds"), MULTIPART.items())
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_multipart(name: str, kinds: list[type], size: int) -> None:
    body = (FIXTURES / name).read_bytes()
    parts = _multipart.Parts(body.split(b"\r\n")[0].strip(b"- ").decode(), keep=0)
    found = [part for start in range(0, len(body), size) for part in parts.feed(body[start : start + size])]
    found += parts.end()
    texts = [part for part in found if not part.content_type.startswith("image/")]
    events = [codec.alert(part.body, "cam", CLOCK, codec.Reading()).event for part in texts]
    assert [type(event) for event in events] == kinds


@pytest.mark.parametrize(("name", "route"), COMMANDS.items())
def test_commands_are_those_recorded(name: str, route: str) -> None:
    ours = next(each for each in codec.routes(1, 1) if each.name == route)

    def plain(body: bytes) -> list[tuple[str, str]]:
        return [(_xml.name(each), (each.text or "").strip()) for each in _xml.parse(body).iter(etree.Element)]

    assert plain(ours.body) == plain((FIXTURES / name).read_bytes())


def test_statuses() -> None:
    assert codec.status(200, (FIXTURES / "ResponseStatus_ok.xml").read_bytes()).code == 1
    assert codec.status(200, (FIXTURES / "ResponseStatus_notSupport.xml").read_bytes()).unsupported


def test_plates_of_a_poll() -> None:
    body = (FIXTURES / "plates_after_multi_from_mock.xml").read_bytes()
    reads = codec.plates(body, "cam", CLOCK, codec.Reading())
    assert len(reads) == body.count(b"<Plate>")
    assert sorted(read.key or "" for read in reads) == [read.key for read in reads]
    assert all(read.device_time is not None for read in reads)
