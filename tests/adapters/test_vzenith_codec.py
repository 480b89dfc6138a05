"""VZ and Alphadigi bodies, written for the project after the protocol; all plates are invented."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.vzenith import codec
from adapters.vzenith.codec import Reading
from adapters.vzenith.forms import Malformed
from gated.domain import CredentialKind, Direction, Heartbeat, InputChanged, Observed, Read
from gated.ports import Pulse
from tests.adapters.contract import CLOCK

TIME = datetime(2026, 11, 21, 7, 59, 59, 500000, tzinfo=UTC)
SERIAL = "51a7ed00-00000001"
FORM = "multipart/form-data; boundary=----b0"
HEARTBEAT = "".join(
    f'------b0\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
    for name, value in {
        "device_name": "IVS", "ipaddr": "192.0.2.7", "port": "80", "user_name": "admin",
        " pass_wd": "hunter2hunter2", "serialno": SERIAL, "channel_num": "1",
    }.items()
) + "------b0--\r\n"  # fmt: skip


def alarm(**changes: Any) -> bytes:
    result = {
        "license": "津A12345", "confidence": 96, "colorType": 1, "type": 1, "direction": 4, "triggerType": 8,
        "plateid": 17, "isoffline": 0, "is_fake_plate": 0, "gioouts": [{"ionum": "0", "ctrltype": 0}],
        "timeStamp": {"Timeval": {"sec": int(TIME.timestamp()), "usec": 500000}},
        "imageFile": "x" * 1000,
    }  # fmt: skip
    result = {key: value for key, value in (result | changes).items() if value is not ...}
    content = {"channel": 0, "deviceName": "R5", "serialno": SERIAL, "result": {"PlateResult": result}}
    return json.dumps({"AlarmInfoPlate": content}, ensure_ascii=False).encode()


def parse(body: bytes, content_type: str = "application/json", how: Reading | None = None) -> codec.Message:
    return codec.parse(body, content_type, "cam-1", CLOCK, how or Reading())


def read(body: bytes, how: Reading | None = None) -> Read:
    (event,) = parse(body, how=how).events
    assert isinstance(event, Read)
    return event


def test_plate_result_whole() -> None:
    message = parse(alarm())
    assert (message.serial, message.model, message.acts, message.backlog) == (SERIAL, "R5", True, False)
    event = message.events[0]
    assert event == Read(
        device="cam-1",
        received_at=CLOCK,
        device_time=TIME,
        key=f"{SERIAL}:17",
        credential=codec._credential(CredentialKind.PLATE, "津A12345"),
        raw="津A12345",
        confidence=0.96,
        channel="0",
        details={"plate_color": "blue", "plate_type": "1", "moves": "down", "trigger": "virtual_loop"},
    )


@pytest.mark.parametrize("raw", ["_无_", "", "无牌车", "No Plate", "unknown", "--", "!!!", "津" * 40])
def test_no_readable_plate_has_no_credential(raw: str) -> None:
    assert read(alarm(license=raw)).credential is None


@pytest.mark.parametrize(
    ("said", "meant"), [(96, 0.96), (100, 1.0), (1, 0.01), (0, None), (101, None), ("88", 0.88), ("x", None)]
)
def test_confidence(said: object, meant: float | None) -> None:
    assert read(alarm(confidence=said)).confidence == meant


@pytest.mark.parametrize(
    ("stamp", "meant"),
    [
        ({"Timeval": {"sec": int(TIME.timestamp()), "usec": 500000}}, TIME),
        ({"Timeval": {"sec": str(int(TIME.timestamp())), "usec": "500000"}}, TIME),
        ({"Timeval": {"sec": 0, "usec": 0}}, None),
        ({"Timeval": {"sec": 946684800, "usec": 0}}, None),
        ({"Timeval": {"sec": 1 << 60, "usec": 0}}, None),
        ({"Timeval": {"sec": int(TIME.timestamp()), "usec": 9999999}}, None),
        ({"Timeval": []}, None),
        ("yesterday", None),
        (..., None),
    ],
)
def test_device_time(stamp: object, meant: datetime | None) -> None:
    assert read(alarm(timeStamp=stamp)).device_time == meant


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, f"{SERIAL}:17"),
        ({"plateid": "18"}, f"{SERIAL}:18"),
        ({"plateid": ...}, f"{SERIAL}:{int(TIME.timestamp())}.500000:津A12345"),
        ({"plateid": ..., "timeStamp": ...}, None),
    ],
)
def test_key_is_the_same_for_a_resend(changes: dict[str, Any], key: str | None) -> None:
    assert read(alarm(**changes)).key == read(alarm(**changes)).key == key


def test_backlog_is_marked_and_its_reply_asks_for_more() -> None:
    message = parse(alarm(isoffline=1))
    assert message.backlog
    assert isinstance(message.events[0], Read)
    assert message.events[0].backlog
    assert message.backlog_id == 17


@pytest.mark.parametrize(("said", "meant"), [(3, Direction.OUT), (4, Direction.IN), (1, None), (0, None)])
def test_direction_means_what_the_lane_says(said: int, meant: Direction | None) -> None:
    how = Reading(directions={"down": Direction.IN, "up": Direction.OUT})
    assert read(alarm(direction=said), how).direction is meant


@pytest.mark.parametrize(
    ("trigger", "what", "active"),
    [(64, "vehicle_stays", True), (65, "vehicle_stays", False), (66, "vehicle_turned_back", True)],
)
def test_behaviour_is_no_read(trigger: int, what: str, active: bool) -> None:
    (event,) = parse(alarm(triggerType=trigger)).events
    assert isinstance(event, Observed)
    assert (event.what, event.active, event.key) == (what, active, f"{SERIAL}:17:{trigger}")


def test_facts_of_the_plate() -> None:
    facts = read(alarm(is_fake_plate=1, gioouts=[{"ionum": 0, "ctrltype": 2}], colorType=6)).details
    assert (facts["fake_plate"], facts["opened_by"], facts["plate_color"]) == (
        "true",
        "own_list",
        "yellow_green",
    )


def test_older_firmware_writes_gb18030() -> None:
    assert read(alarm().decode().encode("gb18030")).raw == "津A12345"


def test_trailing_nul_and_nul_in_a_plate() -> None:
    assert read(alarm(license="津A\x0012345") + b"\x00\x00").raw == "津A12345"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_picture_of_megabytes_is_left_aside(encoding: str) -> None:
    picture = base64.b64encode(bytes(range(256)) * 12_000).decode()
    assert (
        read(alarm(imageFile=picture, imageFragmentFile=picture).decode().encode(encoding)).raw == "津A12345"
    )


@pytest.mark.parametrize(
    "body",
    [b'{"a":[' + b"1," * 2_000_000 + b"1]}", b'{"a":[' + b'{"a":1},' * 500_000 + b"1]}", b"\x81" * 4_000_000],
)
def test_megabytes_of_anything_else_are_refused_at_once(body: bytes) -> None:
    began = time.perf_counter()
    with pytest.raises(Malformed):
        parse(body)
    codec.sample(body)
    assert time.perf_counter() - began < 0.05  # 2 ms; the machine may be busy


@pytest.mark.parametrize(("value", "active"), [(1, True), (0, False), ("1", True)])
def test_input(value: object, active: bool) -> None:
    body = {"AlarmGioIn": {"serialno": SERIAL, "result": {"TriggerResult": {"source": 3, "value": value}}}}
    message = parse(json.dumps(body).encode())
    assert message.events == (InputChanged(device="cam-1", received_at=CLOCK, input="3", active=active),)
    assert not message.acts


@pytest.mark.parametrize(
    ("how", "data", "kind"),
    [(None, b"GATED1:ABC\x17", None), (CredentialKind.CODE, b"GATED1:ABC\x17", "GATED1:ABC"),
     (CredentialKind.CARD, b"\x020a:1b:2c:3d\r\n", "0A1B2C3D")],
)  # fmt: skip
def test_serial_data(how: CredentialKind | None, data: bytes, kind: str | None) -> None:
    body = {"SerialData": {"serialno": SERIAL, "serialChannel": 1, "data": base64.b64encode(data).decode()}}
    (event,) = parse(json.dumps(body).encode(), how=Reading(serial_data=how)).events
    if how is None:
        assert isinstance(event, Observed)
        assert event.details == {"base64": base64.b64encode(data).decode(), "channel": "1"}
    else:
        assert isinstance(event, Read)
        assert event.credential is not None
        assert (event.credential.kind, event.credential.value) == (how, kind)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (HEARTBEAT.encode(), FORM),
        (HEARTBEAT.encode(), ""),
        (
            f"device_name=IVS&pass_wd=hunter2hunter2&serialno={SERIAL}".encode(),
            "application/x-www-form-urlencoded",
        ),
    ],
)
def test_heartbeat_keeps_no_password(body: bytes, content_type: str) -> None:
    message = parse(body, content_type)
    assert message.events == (Heartbeat(device="cam-1", received_at=CLOCK),)
    assert (message.serial, message.model, message.poll) == (SERIAL, "IVS", True)
    assert "hunter2" not in repr(message)


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", b"[]", b"3", b"{", b'{"AlarmInfoPlate":{}}', b'{"AlarmInfoPlate":{"result":[]}}',
     b'{"AlarmGioIn":{"result":{"TriggerResult":{}}}}', b'{"SerialData":{"data":"***"}}', b"[" * 100_000,
     b"\xff" * 99, b"--", b"----b0\r\n\r\n", b"--x\r\n" + b"a" * 70_000],
)  # fmt: skip
def test_malformed(body: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse(body)
    assert str(caught.value)


def test_a_broken_form_is_told_once_and_not_by_the_parser_too(caplog: pytest.LogCaptureFixture) -> None:
    for junk in (b"{", b"x"):
        with pytest.raises(Malformed):
            parse(junk + HEARTBEAT.encode(), FORM)
    assert caplog.records == []


def test_unknown_messages_are_named_for_the_log() -> None:
    message = parse(b'{"BrandNew":{"a":1}}')
    assert (message.kind, message.events, message.unparsed) == ("BrandNew", (), "not a message that is known")


@pytest.mark.parametrize(
    ("body", "absent"),
    [
        (b'{"New":{"pass_wd":"hunter2","x":{"token":"hunter2"}}}', "hunter2"),
        (HEARTBEAT.replace("------b0--", "").encode(), "hunter2"),
        (b'{"New":{"imageFile":"' + b"A" * 5000 + b'"}}', "A" * 100),
    ],
)
def test_samples_for_the_log_hold_no_secret_and_no_picture(body: bytes, absent: str) -> None:
    sample = codec.sample(body)
    assert absent not in (sample if isinstance(sample, str) else sample.decode("utf-8", "replace"))


def reply(pulse: Pulse | None, **how: Any) -> dict[str, Any]:
    answer = json.loads(codec.reply_plate(pulse, **({"opens_by_info": False} | how)))
    assert list(answer) == ["Response_AlarmInfoPlate"]
    content: dict[str, Any] = answer["Response_AlarmInfoPlate"]
    return content


PULSE = Pulse(id="01", milliseconds=700, output="1")


@pytest.mark.parametrize(
    ("pulse", "how", "content"),
    [
        (None, {}, {"content": "retransfer_stop", "info": "no"}),
        (None, {"opens_by_info": True}, {"content": "retransfer_stop", "info": "no"}),
        (PULSE, {}, {"content": "retransfer_stop", "ivs_ioctrl": {"io": 1, "value": 2, "delay": 700}}),
        (PULSE, {"opens_by_info": True}, {"content": "retransfer_stop", "info": "ok"}),
        (PULSE, {"backlog": True, "backlog_id": 5},
         {"content": "retransfer_stop", "info": "no", "ContinuePushOffline": {"plateid": 5, "continue": 1}}),
    ],
)  # fmt: skip
def test_replies(pulse: Pulse | None, how: dict[str, Any], content: dict[str, Any]) -> None:
    assert reply(pulse, **how) == content


@pytest.mark.parametrize("output", ["4", "-1", "x", "", "１"])
def test_outputs_that_no_camera_has(output: str) -> None:
    with pytest.raises(ValueError, match="outputs 0 to 3"):
        codec.output_number(output)


# --- whatever a device sends ------------------------------------------------------------------------------

# the machine may be busy: slowness is no finding here
fuzz = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
names = st.sampled_from(
    ["license", "confidence", "colorType", "direction", "triggerType", "plateid", "isoffline", "timeStamp",
     "gioouts", "type", "is_fake_plate"]
)  # fmt: skip


@fuzz
@given(
    st.binary(max_size=300),
    st.sampled_from(["", "application/json", FORM, "application/x-www-form-urlencoded"]),
)
def test_any_bytes(body: bytes, content_type: str) -> None:
    try:
        parse(body, content_type)
    except Malformed:
        codec.sample(body)


@fuzz
@given(st.dictionaries(names, json_values))
def test_any_values(changes: dict[str, Any]) -> None:
    message = parse(alarm(**changes))
    (event,) = message.events
    if isinstance(event, Read):
        assert event.confidence is None or 0 < event.confidence <= 1
        assert len(event.raw) <= 64


@fuzz
@given(
    st.sampled_from(["AlarmInfoPlate", "AlarmGioIn", "SerialData", "payload", "name", "x"]),
    json_values,
    json_values,
)
def test_any_object(name: str, value: object, other: object) -> None:
    body = json.dumps({name: value, "name": "ivs_result", "payload": other}).encode()
    with contextlib.suppress(Malformed):
        parse(body)
    codec.sample(body)


@fuzz
@given(st.integers(0, len(HEARTBEAT)), st.binary(max_size=8))
def test_damaged_heartbeats_never_tell_the_password(at: int, junk: bytes) -> None:
    body = HEARTBEAT.encode()
    damaged = body[:at] + junk + body[at + 1 :]
    try:
        told = repr(parse(damaged, FORM))
    except Malformed as error:
        told = str(error)
    assert "hunter2hunter2" not in told
