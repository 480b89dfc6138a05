"""Messages to events: tables of what devices send, and recordings that were composed for this project."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.onvif import topics
from adapters.onvif.codec import Pulled, Reader
from adapters.onvif.envelope import Fault, NotSoap
from adapters.onvif.topics import PlateTopic
from adapters.simulator import onvif_soap as soap
from gated.domain import (
    BarrierPosition,
    Credential,
    CredentialKind,
    DeviceEvent,
    Direction,
    InputChanged,
    Observed,
    PositionChanged,
    Read,
)

RECORDINGS = Path(__file__).parent / "recordings"
NOW = datetime(2026, 11, 21, 8, 0, 5, tzinfo=UTC)
UTC_TIME = "2026-11-21T08:00:04Z"


def reading(*messages: str, reader: Reader | None = None) -> Pulled:
    body = soap.envelope(soap.messages("2026-11-21T08:00:05Z", "2026-11-21T08:10:00Z", list(messages)))
    found = (reader or Reader("cam")).read(body, NOW)
    assert isinstance(found, Pulled)
    assert found.messages == len(found.events) + len(found.ignored) + len(found.unparsed)
    return found


def event(*messages: str, reader: Reader | None = None) -> DeviceEvent:
    found = reading(*messages, reader=reader)
    assert len(found.events) == 1, found
    made = found.events[0]
    assert (made.device, made.received_at) == ("cam", NOW)
    return made


def recording(name: str) -> Pulled:
    found = Reader("cam").read((RECORDINGS / name).read_bytes(), NOW)
    assert isinstance(found, Pulled)
    assert found.messages == len(found.events) + len(found.ignored) + len(found.unparsed)
    assert not found.unparsed
    return found


# --- plates -----------------------------------------------------------------------------------------------


def test_profile_m() -> None:
    [read] = recording("profile_m.xml").events
    assert isinstance(read, Read)
    assert read.raw == "津A·D1234"
    assert read.credential == Credential(CredentialKind.PLATE, "津AD1234")
    assert read.confidence == 0.93  # the plate's own, rather than the event's 0.81
    assert read.channel == "VideoSource_2"
    assert read.device_time == datetime(2026, 11, 21, 8, 0, 4, 512000, tzinfo=UTC)
    assert read.key == "2026-11-21T08:00:04.512Z|gate|津A·D1234"
    assert read.details["VehicleInfo.Type"] == "Car"
    assert read.details["Speed"] == "3.5"
    assert not read.backlog


def test_hikvision_vehicle() -> None:
    found = recording("hikvision_vehicle.xml")
    read, unreadable = found.events
    assert isinstance(read, Read)
    assert (read.raw, read.confidence, read.channel, read.direction) == ("津C00002", 0.71, "2", None)
    assert read.details["VehicleDirection"] == "forward"
    assert isinstance(unreadable, Read)
    assert unreadable.credential is None
    assert unreadable.raw == "unknown"
    assert unreadable.device_time is None
    assert unreadable.key is None
    # the replayed state of the last vehicle is nobody at the gate
    assert [each.why for each in found.ignored] == ["a replayed state is never a vehicle"]


def test_axis_repeats_have_one_key() -> None:
    found = recording("axis_alpv.xml")
    reads = [each for each in found.events if isinstance(each, Read)]
    assert [each.details["carState"] for each in reads] == ["new", "update", "lost"]
    assert {each.key for each in reads} == {"car-4711"}
    assert [each.direction for each in reads] == [None, Direction.IN, Direction.IN]
    assert reads[0].confidence is None
    assert len(found.ignored) == 1  # ALPV.New says it again


@pytest.mark.parametrize(
    ("style", "text", "value"),
    [
        ("profile_m", "津A12345", "津A12345"),
        ("profile_m", " 津ａ·12345 ", "津A12345"),
        ("hikvision", "津AOI234", "津A01234"),
        ("axis", "PP7069", "PP7069"),
        ("profile_m", "津A12345学", "津A12345学"),
        ("profile_m", "_无_", None),
        ("hikvision", "无车牌", None),
        ("hikvision", "", None),
        ("hikvision", "--", None),
        ("hikvision", "<script>", None),
    ],
)
def test_plates(style: str, text: str, value: str | None) -> None:
    read = event(soap.plate(style, text, 0.9, UTC_TIME, "", 7)) if text or style == "hikvision" else None
    assert isinstance(read, Read)
    assert read.raw == text.strip()
    assert (None if read.credential is None else read.credential.value) == value


@pytest.mark.parametrize(
    ("likelihood", "confidence"),
    [
        ("71", 0.71),
        ("100", 1.0),
        ("0", 0.0),
        ("250", 1.0),
        ("nan", None),
        ("inf", None),
        ("-3", None),
        ("", None),
    ],
)
def test_likelihood_of_hikvision(likelihood: str, confidence: float | None) -> None:
    message = soap.notification(
        "tns1:RuleEngine/VehicleDetector/tnshik:Vehicle",
        UTC_TIME,
        data={"PlateNumber": "津A12345", "Likelihood": likelihood},
    )
    read = event(message)
    assert isinstance(read, Read)
    assert read.confidence == confidence


def test_configured_topic() -> None:
    reader = Reader(
        "cam",
        [PlateTopic("Vendor/ANPR", "Licence", "Score", 1000, "Id", "Lane", "Way")],
    )
    message = soap.notification(
        "tnsx:Vendor/tnsx:ANPR",
        UTC_TIME,
        data={"licence": "津A12345", "score": "950", "id": "9", "lane": "3", "way": "OUT"},
    )
    read = event(message, reader=reader)
    assert isinstance(read, Read)
    assert (read.key, read.channel, read.direction, read.confidence) == ("car-9", "3", Direction.OUT, 0.95)


def test_same_message_has_the_same_key_and_another_vehicle_has_not() -> None:
    first = soap.plate("profile_m", "津A12345", 0.9, UTC_TIME, "", 1)
    second = soap.plate("profile_m", "津A12345", 0.9, "2026-11-21T08:00:09Z", "", 2)
    keys = [each.key for each in reading(first, first, second).events]
    assert keys[0] == keys[1] != keys[2]


# --- everything else --------------------------------------------------------------------------------------

OBSERVED: list[tuple[str, dict[str, str], dict[str, str], str, bool]] = [
    ("tns1:RuleEngine/LineDetector/Crossed", {"Rule": "line"}, {"ObjectId": "17"}, "crossed", True),
    (
        "tns1:RuleEngine/LineCrossDetector/LineCross",
        {"Rule": "r"},
        {"IsLineCross": "false"},
        "crossed",
        False,
    ),
    (
        "tns1:RuleEngine/FieldDetector/ObjectsInside",
        {"Rule": "Vehicle"},
        {"IsInside": "true"},
        "inside",
        True,
    ),
    ("tns1:RuleEngine/FieldDetector/ObjectsInside", {"RuleName": "f"}, {"State": "false"}, "inside", False),
    ("tns1:RuleEngine/CellMotionDetector/Motion", {"Rule": "m"}, {"IsMotion": "1"}, "motion", True),
    ("tns1:VideoSource/MotionAlarm", {"Source": "1"}, {"State": "0"}, "motion", False),
    ("tns1:VideoSource/MotionAlarm/.", {"Source": "1"}, {"State": "true"}, "motion", True),
    ("tns1:VideoSource/ImageTooDark/ImagingService", {"Source": "1"}, {"State": "true"}, "dark", True),
    (
        "tns1:VideoSource/GlobalSceneChange/AnalyticsService",
        {"Source": "1"},
        {"State": "true"},
        "scene_change",
        True,
    ),
    ("tns1:VideoSource/tnsaxis:Tampering", {"channel": "1"}, {"tampering": "1"}, "tamper", True),
    ("tns1:RuleEngine/TamperDetector/Tamper", {"Rule": "t"}, {"IsTamper": "true"}, "tamper", True),
    ("tns1:UserAlarm/IVA/HumanShapeDetect", {"Source": "1"}, {"State": "true"}, "person", True),
    ("tns1:Device/HardwareFailure/StorageFailure", {"Token": "1"}, {"Failed": "true"}, "fault", True),
    ("tns1:Door/State/DoorAlarm", {"DoorToken": "d"}, {"State": "DoorForcedOpen"}, "door_forced", True),
    (
        "tns1:Door/State/DoorAlarm",
        {"DoorToken": "d"},
        {"State": "DoorOpenTooLong"},
        "door_open_too_long",
        True,
    ),
    ("tns1:Door/State/DoorAlarm", {"DoorToken": "d"}, {"State": "Normal"}, "door_alarm", False),
    ("tns1:Door/State/DoorTamper", {"DoorToken": "d"}, {"State": "TamperDetected"}, "door_tamper", True),
    ("tns1:Door/State/DoorFault", {"DoorToken": "d"}, {"State": "FaultDetected"}, "door_fault", True),
    ("tns1:Door/State/DoorMode", {"DoorToken": "d"}, {"State": "Locked"}, "door_mode", True),
    (
        "tns1:AccessControl/AccessGranted/Credential",
        {"AccessPointToken": "a"},
        {"CredentialToken": "c", "External": "true"},
        "access_granted",
        True,
    ),
    (
        "tns1:AccessControl/AccessTaken/Credential",
        {"AccessPointToken": "a"},
        {"CredentialToken": "c"},
        "access_taken",
        True,
    ),
    (
        "tns1:AccessControl/Denied/Credential",
        {"AccessPointToken": "a"},
        {"Reason": "CredentialNotFound"},
        "access_denied",
        True,
    ),
    ("tns1:AccessControl/Duress", {"AccessPointToken": "a"}, {"CredentialToken": "c"}, "duress", True),
    ("tns9:Vendor/Something/New", {"Source": "1"}, {"State": "true"}, "other", True),
    ("tns9:Vendor/Counted", {"Source": "1"}, {"Count": "17"}, "other", True),
]


@pytest.mark.parametrize(("topic", "source", "data", "what", "active"), OBSERVED)
def test_observed(
    topic: str, source: Mapping[str, str], data: Mapping[str, str], what: str, active: bool
) -> None:
    seen = event(soap.notification(topic, UTC_TIME, operation="Changed", source=source, data=data))
    assert isinstance(seen, Observed)
    assert (seen.what, seen.active, seen.initial) == (what, active, False)
    assert dict(seen.details).items() >= {**source, **data}.items()
    assert seen.device_time == datetime(2026, 11, 21, 8, 0, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("topic", "source", "data", "name", "active"),
    [
        ("tns1:Device/Trigger/DigitalInput", {"InputToken": "1"}, {"LogicalState": "true"}, "1", True),
        ("tns1:Device/Trigger/DigitalInput", {"InputToken": "1"}, {"State": "false"}, "1", False),
        (
            "tns1:Device/Trigger/tnshik:AlarmIn",
            {"AlarmInToken": "AlarmIn_1"},
            {"State": "true"},
            "AlarmIn_1",
            True,
        ),
        ("tns1:Device/tnsaxis:IO/Port", {"port": "0"}, {"state": "1"}, "0", True),
        ("tns1:Device/tnsaxis:IO/VirtualPort", {"port": "5"}, {"state": "0"}, "virtual:5", False),
        ("tns1:Device/Trigger/Relay", {"RelayToken": "r"}, {"LogicalState": "active"}, "relay:r", True),
        ("tns1:Device/Trigger/Relay", {"RelayToken": "r"}, {"LogicalState": "inactive"}, "relay:r", False),
    ],
)
def test_inputs(
    topic: str, source: Mapping[str, str], data: Mapping[str, str], name: str, active: bool
) -> None:
    for operation, initial in (("Changed", False), ("Initialized", True)):
        change = event(soap.notification(topic, UTC_TIME, operation=operation, source=source, data=data))
        assert isinstance(change, InputChanged)
        assert (change.input, change.active, change.initial) == (name, active, initial)


@pytest.mark.parametrize(
    ("state", "position"),
    [
        ("Open", BarrierPosition.OPEN),
        ("Closed", BarrierPosition.CLOSED),
        ("Unknown", BarrierPosition.UNKNOWN),
        ("Fault", BarrierPosition.UNKNOWN),
    ],
)
def test_door_position(state: str, position: BarrierPosition) -> None:
    change = event(
        soap.notification(
            "tns1:Door/State/DoorPhysicalState",
            UTC_TIME,
            operation="Changed",
            source={"DoorToken": "d1"},
            data={"State": state},
        )
    )
    assert isinstance(change, PositionChanged)
    assert (change.position, change.output) == (position, "door:d1")


@pytest.mark.parametrize(
    ("step", "access"), [("AccessGranted", "granted"), ("Denied", "denied"), ("Request", "request")]
)
def test_a_card_is_a_read(step: str, access: str) -> None:
    card = event(
        soap.notification(
            f"tns1:AccessControl/{step}/Credential",
            UTC_TIME,
            source={"AccessPointToken": "gate"},
            data={"IdentifierType": "pt:Card", "FormatType": "WIEGAND26", "IdentifierValue": "00a1b2c3"},
        )
    )
    assert isinstance(card, Read)
    assert card.credential == Credential(CredentialKind.CARD, "00A1B2C3")
    assert (card.channel, card.details["access"]) == ("gate", access)


@pytest.mark.parametrize(
    "topic",
    [
        "tns1:Monitoring/ProcessorUsage",
        "tns1:Monitoring/OperatingTime/LastReboot",
        "tns1:Configuration/Profile",
        "tns1:RecordingConfig/JobState",
        "tns1:Media/ProfileChanged",
        "tnsaxis:CameraApplicationPlatform/ALPV.New",
        "",
    ],
)
def test_ignored(topic: str) -> None:
    found = reading(soap.notification(topic, UTC_TIME, data={"Value": "1"}))
    assert len(found.ignored) == 1
    assert found.ignored[0].why


def test_state_replay() -> None:
    found = recording("state_replay.xml")
    assert [type(each).__name__ for each in found.events] == [
        "Observed",
        "Observed",
        "InputChanged",
        "InputChanged",
    ]
    assert all(getattr(each, "initial", False) for each in found.events)
    assert len(found.ignored) == 3
    # an input and a relay that share a token are two inputs
    assert [each.input for each in found.events if isinstance(each, InputChanged)] == ["00000", "relay:00000"]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (
            soap.notification("tns1:Device/Trigger/DigitalInput", UTC_TIME, data={"LogicalState": "true"}),
            "token",
        ),
        (
            soap.notification(
                "tns1:Device/Trigger/DigitalInput",
                UTC_TIME,
                source={"InputToken": "1"},
                data={"LogicalState": "?"},
            ),
            "state",
        ),
        (
            soap.notification("tns1:RuleEngine/Recognition/LicensePlate", UTC_TIME, data={"Speed": "3"}),
            "PlateNumber",
        ),
        (soap.plate("hikvision", "京" * 200, 0.9, UTC_TIME, "", 1), "hundred"),
        (
            "<wsnt:NotificationMessage><wsnt:Topic>tns1:A/B</wsnt:Topic></wsnt:NotificationMessage>",
            "tt:Message",
        ),
        (
            soap.notification(
                "tns1:Door/State/DoorAlarm", UTC_TIME, source={"DoorToken": "d"}, data={"State": "x"}
            ),
            "DoorAlarm",
        ),
    ],
)
def test_unparsed_keeps_a_sample(message: str, why: str) -> None:
    found = reading(message)
    [unparsed] = found.unparsed
    assert why in unparsed.why
    assert unparsed.sample.startswith(b"<wsnt:NotificationMessage")


def test_unknown_topics_are_events_and_reported() -> None:
    found = reading(soap.notification("tns9:Vendor/New", UTC_TIME, data={"a": "b"}))
    [unknown] = found.unknown
    assert unknown.kind == "topic tns9:Vendor/New"
    assert b"Vendor/New" in unknown.sample


def test_only_what_was_asked_for() -> None:
    reader = Reader("cam", asked=("tns1:RuleEngine//.|tns1:Device/Trigger/DigitalInput",))
    found = reading(
        soap.plate("profile_m", "津A12345", 0.9, UTC_TIME, "", 1),
        soap.notification("tns1:VideoSource/MotionAlarm", UTC_TIME, data={"State": "true"}),
        soap.notification(
            "tns1:Device/Trigger/DigitalInput", UTC_TIME, source={"InputToken": "1"}, data={"State": "true"}
        ),
        reader=reader,
    )
    assert [type(each).__name__ for each in found.events] == ["Read", "InputChanged"]
    assert [each.why for each in found.ignored] == ["it was not asked for"]


def test_a_message_of_thousands_of_items_stays_small() -> None:
    data = {f"n{number}": "x" * 10_000 for number in range(2000)}
    seen = event(soap.notification("tns9:Vendor/Big", UTC_TIME, data=data))
    assert isinstance(seen, Observed)
    assert len(seen.details) <= 41
    assert max(len(value) for value in seen.details.values()) <= 256


# --- replies that are none --------------------------------------------------------------------------------


def test_a_fault_is_returned() -> None:
    found = Reader("cam").read(soap.fault("ResourceUnknown", "gone"), NOW)
    assert found == Fault(("Sender", "ResourceUnknown"), "gone")
    assert not found.refused


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (soap.WEB_PAGE, "web page"),
        (soap.BOMB, "document type"),
        (soap.envelope("<x/>").replace(b"?>", b"?><!DOCTYPE x>", 1), "document type"),
        (soap.envelope("<a>&lol;</a>"), "well-formed"),
        (soap.envelope("<x/>")[:-30], "well-formed"),
        ('<?xml version="1.0" encoding="UTF-16"?><a/>'.encode("utf-16"), "encoding"),
        (b"<a/>", "<a>"),
        (soap.envelope(""), "PullMessagesResponse"),
        (soap.envelope("<tev:Other/>"), "<Other>"),
        (b"\x89PNG\r\n\x1a\n", "well-formed"),
        (soap.envelope("<a>" * 400 + "</a>" * 400), "well-formed"),
    ],
)
def test_no_reply(body: bytes, why: str) -> None:
    with pytest.raises(NotSoap, match=why):
        Reader("cam").read(body, NOW)


def test_a_hidden_document_type_is_found() -> None:
    text = soap.BOMB.decode().replace('<?xml version="1.0"?>', '<?xml version="1.0" encoding="UTF-7"?>')
    hidden = text.replace("<!DOCTYPE", "+ADwAIQ-DOCTYPE").replace("<!ENTITY", "+ADwAIQ-ENTITY")
    with pytest.raises(NotSoap):
        Reader("cam").read(hidden.encode(), NOW)


def test_plates_in_gb18030_under_a_declaration_of_utf8() -> None:
    message = soap.plate("hikvision", "津A12345", 0.9, UTC_TIME, "", 1)
    body = soap.envelope(soap.messages(UTC_TIME, UTC_TIME, [message])).decode().encode("gb18030")
    found = Reader("cam").read(body, NOW)
    assert isinstance(found, Pulled)
    [read] = found.events
    assert isinstance(read, Read)
    assert read.raw == "津A12345"


def test_every_topic_is_in_the_operators_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "devices" / "onvif.md").read_text(encoding="utf-8")
    listed = [
        *(each.topic for each in topics.PLATES),
        *topics.OBSERVED,
        *topics.OBSERVED_UNDER,
        *topics.INPUTS,
        *topics.ACCESS,
        *topics.DOOR,
        *topics.DOOR_STATES,
        *topics.IGNORED,
    ]
    assert [topic for topic in listed if topic not in page] == []
