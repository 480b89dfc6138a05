"""Readers that send text: lines, bodies, card numbers, repeats; what is refused and how it is said."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
from collections.abc import Iterable
from typing import Any

import pytest
import serial  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters._repeats import Repeats
from adapters.reader import Config, codec, create
from adapters.reader.codec import Cut, Lines, Style
from adapters.reader.device import PushReader
from adapters.simulator.reader import SerialReader
from gated.domain import Credential, CredentialKind, DeviceEvent, Read
from gated.ports import BadPush, ConfigError, Device, DeviceRefused, DeviceUnavailable, Handled, NotRecorded
from tests.adapters.contract import CLOCK, Unparsed, context
from tests.adapters.rig import push

CODE = Style(CredentialKind.CODE)
SERIAL: dict[str, Any] = {"transport": "serial", "port": "/dev/ttyUSB0"}
HTTP: dict[str, Any] = {"transport": "http", "token": {"file": "unused"}}
MQTT: dict[str, Any] = {"transport": "mqtt", "topic": "readers/1"}


def config(**settings: Any) -> Config:
    return Config.model_validate({"id": "r-1", "type": "reader", "reads": "code"} | settings)


# --- lines ------------------------------------------------------------------------------------------------

LONG = b"x" * 513
LINES: list[tuple[codec.Ending, list[bytes], list[bytes | str]]] = [
    ("any", [b"a\r\nb\nc\rd"], [b"a", b"b", b"c"]),
    ("any", [b"\r\n\r\n"], []),
    ("any", [b"\x02a\x03b\x03"], [b"\x02a", b"b"]),
    ("crlf", [b"a\r", b"\nb\n\r", b"\n"], [b"a", b"b\n"]),
    ("cr", [b"a\nb\r"], [b"a\nb"]),
    ("lf", [b"a\r\n"], [b"a\r"]),
    ("etx", [b"\x02a\x03\x02b"], [b"\x02a"]),
    ("none", [b"a", b"b\r\n"], []),
    ("any", [b"x" * 512 + b"\n"], [b"x" * 512]),
    ("any", [LONG + b"\nb\n"], ["more than 512", b"b"]),
    ("any", [LONG, LONG, LONG + b"\nb\n"], ["more than 512", b"b"]),
    ("crlf", [LONG + b"xx", b"\r", b"\nb\r\n"], ["more than 512", b"b"]),
    ("none", [LONG * 2, b"yy"], ["more than 512"]),
]


def told(found: Iterable[bytes | Cut], expected: list[bytes | str]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(
        isinstance(each, Cut) and want in each.why if isinstance(want, str) else each == want
        for each, want in pairs
    )


@pytest.mark.parametrize(("ending", "chunks", "expected"), LINES)
def test_lines(ending: codec.Ending, chunks: list[bytes], expected: list[bytes | str]) -> None:
    lines = Lines(ending, 1.0)
    found = [each for place, chunk in enumerate(chunks) for each in lines.feed(chunk, place * 0.01)]
    assert told(found, expected), found


def test_a_pause_ends_a_line_or_drops_it() -> None:
    for ending, expected in (("none", [b"ab"]), ("any", ["without an end"])):
        lines = Lines(ending, 0.1)  # type: ignore[arg-type]
        assert [*lines.feed(b"a", 0.0), *lines.feed(b"b", 0.05)] == []
        assert lines.begun
        assert told(lines.pause(0.15), expected)  # type: ignore[arg-type]
        assert not lines.begun


def test_what_was_not_ended_spoils_no_later_line() -> None:
    lines = Lines("any", 1.0)
    assert lines.feed(b"noise", 0.0) == []
    assert told(lines.feed(b"GP1:X\r", 5.0), ["without an end", b"GP1:X"])


@given(
    st.lists(st.binary(max_size=700), max_size=8), st.sampled_from(sorted(codec._ENDINGS)), st.integers(1, 7)
)
def test_lines_are_bounded_and_do_not_depend_on_chunks(chunks: list[bytes], ending: Any, size: int) -> None:
    data = b"".join(chunks)
    whole, parts = Lines(ending, 1.0), Lines(ending, 1.0)
    found = whole.feed(data, 0.0) + whole.pause(0.0)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    again: list[bytes | Cut] = []
    for piece in pieces:
        again += parts.feed(piece, 0.0)
        assert len(parts._held) <= codec.MAX_TEXT + 1
    again += parts.pause(0.0)

    def kept(lines: list[bytes | Cut]) -> list[bytes]:
        return [each for each in lines if isinstance(each, bytes)]

    assert kept(found) == kept(again)
    assert all(0 < len(each) <= codec.MAX_TEXT for each in kept(found))


# --- texts and cards --------------------------------------------------------------------------------------

TEXTS: list[tuple[bytes, Style, str | None]] = [
    (b"\x02 GP1:A B$\x03", CODE, "GP1:A B$"),
    (b"  \r", CODE, None),
    ("村民码".encode(), CODE, "村民码"),
    (b"]Q1GP1:A#", Style(CredentialKind.CODE, prefix="]Q1", suffix="#"), "GP1:A"),
    (b"GP1:A", Style(CredentialKind.CODE, prefix="]Q1", suffix="#"), "GP1:A"),
    (b"]Q1", Style(CredentialKind.CODE, prefix="]Q1"), None),
    (b"PING\r", Style(CredentialKind.CODE, heartbeat="PING"), None),
    (b"PING", CODE, "PING"),
]


@pytest.mark.parametrize(("raw", "style", "expected"), TEXTS)
def test_texts(raw: bytes, style: Style, expected: str | None) -> None:
    assert codec.text(raw, style) == expected


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a\x07b", b"a\x00b", LONG, "津".encode()[:2]])
def test_no_texts(raw: bytes) -> None:
    with pytest.raises(codec.Malformed):
        codec.text(raw, CODE)


CARDS: list[tuple[str, codec.CardForm, str]] = [
    ("0012345678", "decimal", "12345678"),
    ("123 456", "decimal", "123456"),
    ("00BC614E", "hex", "12345678"),
    ("0x00bc614e", "hex", "12345678"),
    ("00:BC:61:4E", "hex", "12345678"),
    ("4E61BC00", "hex_reversed", "12345678"),
    ("4e-61-bc-00", "hex_reversed", "12345678"),
    ("04A1B2C3D4E5F6", "hex", str(0x04A1B2C3D4E5F6)),
    ("04A1B2C3D4E5F6", "hex_reversed", str(0xF6E5D4C3B2A104)),
    ("F" * 20, "hex", str(16**20 - 1)),
]


@pytest.mark.parametrize(("found", "form", "expected"), CARDS)
def test_cards(found: str, form: codec.CardForm, expected: str) -> None:
    assert codec.card(found, form) == expected


@pytest.mark.parametrize(
    ("found", "form"),
    [("12A4", "decimal"), ("0", "decimal"), ("", "hex"), ("XYZ", "hex"), ("123", "hex_reversed"),
     ("F" * 21, "hex"), ("１２３", "decimal"), ("00000000", "hex"), ("9" * 26, "decimal"), ("+5", "hex")],
)  # fmt: skip
def test_no_cards(found: str, form: codec.CardForm) -> None:
    with pytest.raises(codec.Malformed):
        codec.card(found, form)


@given(st.binary(max_size=600), st.sampled_from(["decimal", "hex", "hex_reversed"]))
def test_garbage_is_a_text_a_card_or_malformed(raw: bytes, form: Any) -> None:
    for style in (CODE, Style(CredentialKind.CARD, form)):
        try:
            found = codec.text(raw, style)
            shown = codec.presented(found, style) if found is not None else "1"
        except codec.Malformed:
            continue
        assert shown.isprintable()
        assert len(shown) <= 512


# --- bodies -----------------------------------------------------------------------------------------------

BODIES: list[tuple[bytes, dict[str, Any], codec.Value]] = [
    (b"GP1:A", {"form": "text"}, codec.Value(b"GP1:A")),
    (b'{"code":"GP1:A"}', {"form": "json", "field": "code"}, codec.Value(b"GP1:A")),
    (b'{"data":{"code":12345678}}', {"form": "json", "field": "data.code"}, codec.Value(b"12345678")),
    (b'{"data.code":"x"}', {"form": "json", "field": "data.code"}, codec.Value(b"x")),
    (b'{"code":"x","sn":"R-1","id":7}',
     {"form": "json", "field": "code", "serial_field": "sn", "key_field": "id"},
     codec.Value(b"x", "R-1", "7")),
    (b"vgdecoderesult=GP1%3AA%2BB&&devicenumber=5", {"form": "form", "field": "vgdecoderesult",
     "serial_field": "devicenumber"}, codec.Value(b"GP1:A+B", "5")),
]  # fmt: skip


@pytest.mark.parametrize(("data", "how", "expected"), BODIES)
def test_bodies(data: bytes, how: dict[str, Any], expected: codec.Value) -> None:
    assert codec.body(data, **how) == expected


@pytest.mark.parametrize(
    ("data", "form"),
    [(b"", "json"), (b"[]", "json"), (b'{"code":null}', "json"), (b'{"code":true}', "json"),
     (b'{"code":{}}', "json"), (b"x=1", "form"), (b"&" * 100 + b"a=1&" * 100, "form"),
     (b"x" * 20_000, "text")],
)  # fmt: skip
def test_no_bodies(data: bytes, form: Any) -> None:
    with pytest.raises(codec.Malformed):
        codec.body(data, form, "code")


@given(st.binary(max_size=400) | st.from_regex(rb'\{"code": ?.{0,40}\}'), st.sampled_from(["json", "form"]))
def test_garbage_bodies(data: bytes, form: Any) -> None:
    try:
        value = codec.body(data, form, "code", "a.b", "id")
    except codec.Malformed:
        return
    assert isinstance(value.raw, bytes)


def test_samples_hold_no_credential() -> None:
    assert codec.sample(b"GP1:Y50L \xff" + b"9" * 100) == b"AA0:A00A \xff" + b"0" * 54


# --- repeats ----------------------------------------------------------------------------------------------


def test_a_text_held_in_front_is_one_read() -> None:
    repeats = Repeats(3.0)
    assert [repeats.repeated("a", at) for at in (0.0, 1.0, 3.5, 6.0, 9.1)] == [False, True, True, True, False]
    assert not repeats.repeated("b", 9.2)
    assert repeats.repeated("a", 9.3)
    repeats.forget("a")
    assert not repeats.repeated("a", 9.4)
    assert not Repeats(0.0).repeated("a", 1.0)


def test_repeats_are_bounded() -> None:
    repeats = Repeats(60.0)
    for number in range(1000):
        repeats.repeated(str(number), 0.0)
    assert len(repeats._last) == 64


# --- configuration ----------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"transport": "usb"}, "transport"),
    ({"transport": "serial"}, "give port"),
    ({"transport": "http"}, "give token"),
    ({"transport": "mqtt"}, "give topic"),
    (HTTP | {"baud": 9600}, "baud is for transport: serial"),
    (SERIAL | {"topic": "x"}, "topic is for transport: mqtt"),
    (SERIAL | {"body": "json", "field": "x"}, "body is for transport: http and mqtt"),
    (SERIAL | {"port": "ttyUSB0"}, "port"),
    (HTTP | {"body": "json"}, "give field"),
    (HTTP | {"field": "code"}, "give field"),
    (HTTP | {"body": "json", "field": "c", "serial": "1"}, "together"),
    (HTTP | {"key_field": "id"}, "body: json or form"),
    (SERIAL | {"card": "hex"}, "reads: card"),
    (MQTT | {"topic": "readers/#"}, "topic"),
    (HTTP | {"token": "literal"}, "not written here"),
]


@pytest.mark.parametrize(("settings", "why"), WRONG)
def test_wrong_configurations(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        config(**settings)


@pytest.mark.parametrize("settings", [SERIAL, HTTP, MQTT])
def test_smallest_configurations(settings: dict[str, Any]) -> None:
    assert isinstance(create(config(**settings), context("r-1")), Device)


# --- over HTTP --------------------------------------------------------------------------------------------


def reader(unparsed: Unparsed | None = None, **settings: Any) -> PushReader:
    device = create(config(**HTTP | settings), context("r-1", unparsed))
    assert isinstance(device, PushReader)
    return device


class Taken:
    """A `Handle` that keeps what it is given, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.events: list[DeviceEvent] = []
        self.failures = failures

    async def __call__(self, event: DeviceEvent) -> Handled:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise NotRecorded
        self.events.append(event)
        return Handled(granted=True)


async def test_a_push_becomes_a_read() -> None:
    taken = Taken()
    device = reader(
        reads="card", card="hex_reversed", body="json", field="uid", key_field="n", reply="code=0000"
    )
    answer = await device.receive(push(b'{"uid":"4E61BC00","n":17}'), taken)
    assert (answer.status, answer.body, answer.content_type) == (
        200,
        b"code=0000",
        "text/plain; charset=utf-8",
    )
    assert taken.events == [
        Read(device="r-1", received_at=CLOCK, key="17", raw="4E61BC00",
             credential=Credential(CredentialKind.CARD, "12345678"))
    ]  # fmt: skip


async def test_a_repeated_push_is_answered_and_is_one_read() -> None:
    taken, device = Taken(), reader()
    answers = await asyncio.gather(*(device.receive(push(b"GP1:A"), taken) for _ in range(3)))
    assert {answer.status for answer in answers} == {200}
    assert len(taken.events) == 1


async def test_what_was_not_recorded_is_no_repeat() -> None:
    taken, device = Taken(failures=1), reader()
    with pytest.raises(NotRecorded):
        await device.receive(push(b"GP1:A"), taken)
    await device.receive(push(b"GP1:A"), taken)
    assert len(taken.events) == 1


async def test_bad_pushes_are_told_without_credentials() -> None:
    unparsed = Unparsed()
    device = reader(unparsed, reads="card", body="json", field="uid")
    for data in (b"no json 4711", b'{"uid":"SECRET4711"}', b'{"other":1}'):
        with pytest.raises(BadPush):
            await device.receive(push(data), Taken())
    assert len(unparsed.calls) == 3
    assert "4711" not in repr(unparsed.calls)


async def test_another_reader_is_turned_away() -> None:
    device, taken = reader(body="form", field="code", serial="7", serial_field="sn"), Taken()
    for data in (b"code=A&sn=8", b"code=A"):
        assert (await device.receive(push(data), taken)).status == 403
    assert (await device.receive(push(b"code=A&sn=7"), taken)).status == 200
    assert len(taken.events) == 1


@given(st.binary(max_size=300))
def test_garbage_pushes_are_bad_pushes(data: bytes) -> None:
    async def go() -> None:
        forms: list[dict[str, Any]] = [{}, {"body": "json", "field": "a.b"}, {"body": "form", "field": "a"}]
        for settings in forms:
            with contextlib.suppress(BadPush):
                await reader(**settings).receive(push(data), Taken())

    asyncio.run(go())


# --- on a serial line -------------------------------------------------------------------------------------


async def reads(device: Device, count: int) -> list[DeviceEvent]:
    found: list[DeviceEvent] = []
    async with asyncio.timeout(5):
        async for event in device.events():
            found.append(event)
            if len(found) == count:
                break
    return found


def serial_reader(double: SerialReader, unparsed: Unparsed | None = None, **settings: Any) -> Device:
    return create(config(**SERIAL | {"port": double.path} | settings), context("r-1", unparsed))


async def test_a_line_in_pieces_and_a_line_by_a_pause() -> None:
    async with SerialReader() as double:
        async with serial_reader(double, ending="crlf") as device:
            for piece in (b"GP1", b":A B$%\r", b"\n"):
                double.write(piece)
                await asyncio.sleep(0.01)
            (event,) = await reads(device, 1)
            assert isinstance(event, Read)
            assert event.raw == "GP1:A B$%"
        async with serial_reader(double, ending="none", gap_ms=30) as device:
            double.write(b"GP1:")
            double.write(b"C")
            (event,) = await reads(device, 1)
            assert isinstance(event, Read)
            assert event.raw == "GP1:C"


async def test_what_waited_in_the_line_is_thrown_away() -> None:
    async with SerialReader() as double:
        double.write(b"GP1:OLD\r\n")
        async with serial_reader(double) as device:
            double.write(b"GP1:NEW\r\n")
            (event,) = await reads(device, 1)
            assert isinstance(event, Read)
            assert event.raw == "GP1:NEW"


async def test_a_stuck_reader_fills_nothing() -> None:
    unparsed = Unparsed()
    async with SerialReader() as double:
        async with serial_reader(double, unparsed, ending="lf") as device:
            for number in range(70):
                double.write(b"%d\n" % number)
            double.write(b"x" * 3000 + b"\n")
            await asyncio.sleep(0.05)
            assert len(await reads(device, 64)) == 64
    assert any("this one was dropped" in why for *_, why in unparsed.calls)
    assert any("more than 512" in why for *_, why in unparsed.calls)


async def test_a_silent_reader_is_noticed_if_it_has_a_heartbeat() -> None:
    async with SerialReader(heartbeat="PING", heartbeat_s=0.05) as double:
        async with serial_reader(double, heartbeat="PING", silent_after_s=0.3) as device:
            ending = asyncio.create_task(reads(device, 1))
            await asyncio.sleep(0.5)
            assert not ending.done()
            double.faults.hang = True
            with pytest.raises(DeviceUnavailable, match=r"0\.3 s"):
                await ending


ERRORS: list[tuple[Exception, type[Exception], str]] = [
    (serial.SerialException(errno.EACCES, "x"), DeviceRefused, "dialout"),
    (serial.SerialException(errno.EAGAIN, "x"), DeviceUnavailable, "another program"),
    (serial.SerialException(errno.ENOENT, "x"), DeviceUnavailable, "not plugged in"),
    (serial.SerialException("Could not configure port: (25, 'x')"), ConfigError, "no serial line"),
    (ValueError("Invalid baud rate"), ConfigError, "no serial line"),
    (serial.SerialException(errno.EIO, "x"), DeviceUnavailable, "cannot be opened"),
]


@pytest.mark.parametrize(("error", "kind", "why"), ERRORS)
async def test_what_an_error_of_opening_means(
    error: Exception, kind: type[Exception], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: Any, **_named: Any) -> None:
        raise error

    monkeypatch.setattr(serial, "Serial", fails)
    with pytest.raises(kind, match=why):
        async with create(config(**SERIAL), context("r-1")):
            pass


def test_a_json_number_is_a_text() -> None:
    assert codec.body(json.dumps({"n": 5}).encode(), "json", "n").raw == b"5"
