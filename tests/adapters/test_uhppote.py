"""The UHPPOTE adapter: packets, what events mean, entering, the log without gaps, openings, cards."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.simulator import uhppote as simulated
from adapters.simulator.uhppote import UhppoteController as Board
from adapters.uhppote import Config, UhppoteController, cards, codec, create, probe
from adapters.uhppote.entries import Entry
from adapters.uhppote.journal import Lost
from adapters.uhppote.link import Link, NoAnswer
from adapters.uhppote.meaning import Reading, instant
from gated.domain import CredentialKind, Direction, InputChanged, Observed, OpeningOutcome, Read
from gated.ports import (
    AllowEntry,
    ConfigError,
    DeviceError,
    DeviceRefused,
    DeviceUnavailable,
    Opened,
    Pulse,
)
from tests.adapters.contract import CLOCK, Session, Unparsed, context
from tests.adapters.test_uhppote_contract import UhppoteBench, free_port

SERIAL = 423187757
ZONE = ZoneInfo("Asia/Shanghai")
CARD = 9_764_210


@pytest.fixture
async def bench() -> AsyncIterator[UhppoteBench]:
    async with UhppoteBench() as bench:
        yield bench


@pytest.fixture
def board(bench: UhppoteBench) -> Board:
    return bench.double


def adapter(board: Board, **settings: Any) -> UhppoteController:
    values = {"id": "gate-1", "type": "uhppote", "host": "127.0.0.1", "port": board.port, "poll_ms": 20}
    values |= {"controller": board.serial, "timeout_ms": 200}
    return create(Config.model_validate(values | settings), context("gate-1"))


def order(output: str | None = "1") -> Pulse:
    return Pulse(id="01O", milliseconds=700, output=output)


def packet(function: int, body: str = "", serial: int = SERIAL) -> bytes:
    return (bytes([0x17, function, 0, 0]) + serial.to_bytes(4, "little") + bytes.fromhex(body)).ljust(
        64, b"\0"
    )


# --- codec ------------------------------------------------------------------------------------------------

HELD = codec.Card(CARD, date(2026, 11, 27), date(2026, 12, 3), {1: 1, 2: 29}, 0)


@pytest.mark.parametrize(
    ("request_", "function", "body"),
    [
        (codec.ask_identity(SERIAL), 0x94, ""),
        (codec.ask_clock(SERIAL), 0x32, ""),
        (codec.ask_status(SERIAL), 0x20, ""),
        (codec.ask_door(SERIAL, 2), 0x82, "02"),
        (codec.set_door(SERIAL, 2, 1), 0x80, "020301"),
        (codec.open_door(SERIAL, 4), 0x40, "04"),
        (codec.set_pc_control(SERIAL, True), 0xA0, "55aaaa5501"),
        (codec.set_pc_control(SERIAL, False), 0xA0, "55aaaa55"),
        (codec.ask_listener(SERIAL), 0x92, ""),
        (codec.ask_event(SERIAL, 258), 0xB0, "02010000"),
        (codec.ask_event_index(SERIAL), 0xB4, ""),
        (codec.set_event_index(SERIAL, 258), 0xB2, "0201000055aaaa55"),
        (codec.ask_profile(SERIAL, 29), 0x98, "1d"),
        (codec.ask_cards(SERIAL), 0x58, ""),
        (codec.ask_card(SERIAL, CARD), 0x5A, "72fd9400"),
        (codec.ask_card_at(SERIAL, 3), 0x5C, "03000000"),
        (codec.put_card(SERIAL, HELD), 0x50, "72fd94002026112720261203011d0000"),
        (codec.delete_card(SERIAL, CARD), 0x52, "72fd9400"),
    ],
)
def test_requests(request_: bytes, function: int, body: str) -> None:
    assert request_ == packet(function, body)


@pytest.mark.parametrize(
    ("decoder", "answer", "expected"),
    [
        (
            codec.identity,
            packet(0x94, "7f000001ff0000007f00000100661939aabb089220180820"),
            codec.Identity(SERIAL, "v8.92"),
        ),
        (codec.clock, packet(0x32, "20261127201305"), datetime(2026, 11, 27, 20, 13, 5)),
        (codec.clock, packet(0x32, "20261327201305"), None),
        (codec.door_control, packet(0x82, "020305"), codec.DoorControl(2, 3, 5)),
        (codec.door_set, packet(0x80, "020301"), codec.DoorControl(2, 3, 1)),
        (codec.event_index, packet(0xB4, "02010000"), 258),
        (codec.profile, packet(0x98, "1d"), 29),
        (codec.cards, packet(0x58, "10270000"), 10000),
        (codec.card, packet(0x5A), None),
        (codec.card, packet(0x5A, "72fd94002026112720261203011d0000"), CARD),
        (codec.card_at, packet(0x5C), False),
        (codec.card_at, packet(0x5C, "ffffffff"), True),
        (codec.card_at, packet(0x5C, "72fd9400"), CARD),
    ],
)
def test_answers(decoder: Callable[[bytes], Any], answer: bytes, expected: object) -> None:
    found = decoder(answer)
    assert (found.number if isinstance(found, codec.Card) else found) == expected


EVENT = "570000000100010272fd94002026112720130505"


def test_an_event_of_the_log() -> None:
    expected = Entry(0x57, 1, False, 1, 2, CARD, datetime(2026, 11, 27, 20, 13, 5), 5)
    assert codec.event(packet(0xB0, EVENT), 0x57) == expected
    assert codec.event(packet(0xB0), 0x57) is None
    with pytest.raises(codec.Overwritten):
        codec.event(packet(0xB0, "57000000ff"), 0x57)
    with pytest.raises(ValueError, match="was told of"):
        codec.event(packet(0xB0, EVENT), 0x58)


def test_a_status() -> None:
    body = EVENT + "0001000001000000002013070700000000000000000000261127"
    said = codec.status(packet(0x20, body))
    assert (said.last, said.clock) == (0x57, datetime(2026, 11, 27, 20, 13, 7))
    assert said.latest == codec.event(packet(0xB0, EVENT), 0x57)
    assert said.doors == {1: False, 2: True, 3: False, 4: False}
    assert said.buttons == {1: True, 2: False, 3: False, 4: False}
    empty = codec.status(packet(0x20))
    assert (empty.last, empty.latest, empty.clock) == (0, None, None)


@pytest.mark.parametrize(
    ("answer", "ours"),
    [
        (packet(0x40, "01"), True),
        (packet(0x40, "01")[:63], False),
        (packet(0x40, "01") + b"\0", False),
        (packet(0x20), False),
        (packet(0x40, serial=SERIAL + 1), False),
        (b"\x19" + packet(0x40)[1:], False),
        (b"", False),
    ],
)
def test_only_its_own_answer_counts(answer: bytes, ours: bool) -> None:
    request = codec.open_door(SERIAL, 1)
    assert codec.answers(answer, request) is ours
    if not ours:
        with pytest.raises(ValueError, match="something else"):
            codec.done(answer, request)


def test_old_firmware_begins_its_pushes_otherwise() -> None:
    assert codec.pushed_by(packet(0x20, EVENT)) == SERIAL
    assert codec.pushed_by(b"\x19" + packet(0x20, EVENT)[1:]) == SERIAL
    assert codec.pushed_by(packet(0x94)) is None


DECODERS: list[Callable[[bytes], Any]] = [
    codec.identity, codec.clock, codec.status, codec.door_control, codec.door_set, codec.event_index,
    codec.listener, codec.profile, codec.cards, codec.card, codec.card_at, codec.pushed_by,
    lambda data: codec.event(data, 7), lambda data: codec.done(data, codec.open_door(SERIAL, 1)),
]  # fmt: skip
FUNCTIONS = [0x94, 0x32, 0x20, 0x82, 0x80, 0xB4, 0x92, 0x98, 0x58, 0x5A, 0x5C, 0x20, 0xB0, 0x40]


@given(st.sampled_from(range(len(DECODERS))), st.binary(max_size=80), st.booleans())
def test_any_bytes(number: int, data: bytes, framed: bool) -> None:
    """Nothing escapes but ValueError; what could be read can be told."""
    if framed:
        data = packet(FUNCTIONS[number], data[:56].hex())
    try:
        found = DECODERS[number](data)
    except ValueError:
        return
    entry = found.latest if isinstance(found, codec.Status) else found
    if isinstance(entry, Entry):
        Reading("gate-1", ZONE, frozenset({1})).event(entry, CLOCK, past=False)
    if isinstance(found, codec.Card):
        assert str(cards.number(str(found.number))) == str(found.number)


# --- what events mean -------------------------------------------------------------------------------------


def entry(kind: int, reason: int, **more: Any) -> Entry:
    values: dict[str, Any] = {
        "index": 7,
        "kind": kind,
        "granted": False,
        "door": 1,
        "direction": 1,
        "card": CARD,
    }
    values |= {"at": datetime(2026, 11, 27, 20, 13, 5), "reason": reason}
    return Entry(**(values | more))


READING = Reading("gate-1", ZONE, frozenset({1, 3}))


@pytest.mark.parametrize(
    ("logged", "backlog", "alone"),
    [
        (entry(1, 5), False, False),  # the host decides
        (entry(1, 6), False, False),  # no rights: gated may know the card all the same
        (entry(1, 18), False, False),
        (entry(1, 99), False, False),
        (entry(1, 1, granted=True), True, True),  # the controller let it in: nothing is opened twice
        (entry(2, 1, granted=True), True, True),
    ],
)
def test_cards(logged: Entry, backlog: bool, alone: bool) -> None:
    read = READING.event(logged, CLOCK, past=False)
    assert isinstance(read, Read)
    assert read.credential is not None
    assert (read.credential.kind, read.credential.value) == (CredentialKind.CARD, "9764210")
    assert (read.key, read.channel, read.direction) == ("7", "1", None)
    assert read.device_time == datetime(2026, 11, 27, 12, 13, 5, tzinfo=UTC)
    assert read.backlog is backlog
    assert (read.details.get("opened_by") == "own_list") is alone
    past = READING.event(logged, CLOCK, past=True)
    assert isinstance(past, Read)
    assert past.backlog


@pytest.mark.parametrize(
    ("logged", "what", "active"),
    [
        (entry(2, 20, card=0), "button", True),
        (entry(2, 23, card=0), "door_open", True),
        (entry(2, 24, card=0), "door_open", False),
        (entry(2, 44, card=simulated.HOST_NUMBER, granted=True), "opened_remotely", True),
        (entry(1, 44), "opened_remotely", True),
        (entry(3, 38, card=0), "door_forced", True),
        (entry(3, 39, card=0, door=0), "fire", True),
        (entry(2, 28, card=0, door=0), "power_on", True),
        (entry(3, 99, card=0), "other", True),
        (entry(1, 1, card=0), "other", True),
        *[(entry(1, reason), "access_denied", True) for reason in (7, 8, 9, 12)],
    ],
)
def test_what_is_no_card(logged: Entry, what: str, active: bool) -> None:
    seen = READING.event(logged, CLOCK, past=False)
    assert isinstance(seen, Observed)
    assert (seen.what, seen.active, seen.initial) == (what, active, False)
    again = READING.event(logged, CLOCK, past=True)
    assert isinstance(again, Observed)
    assert again.initial


def test_a_wrong_pin_does_not_become_a_read() -> None:
    seen = READING.event(entry(1, 7), CLOCK, past=False)
    assert isinstance(seen, Observed)
    assert seen.details["card"] == "9764210"


def test_doors_of_others() -> None:
    assert READING.event(entry(1, 5, door=2), CLOCK, past=False) is None


@pytest.mark.parametrize(("direction", "channel"), [(1, "3-in"), (2, "3-out"), (0, "3")])
def test_two_readers_at_a_door(direction: int, channel: str) -> None:
    reading = Reading("gate-1", ZONE, frozenset({3}), "reader")
    read = reading.event(entry(1, 5, door=3, direction=direction), CLOCK, past=False)
    assert isinstance(read, Read)
    assert read.channel == channel
    assert read.direction == {1: Direction.IN, 2: Direction.OUT}.get(direction)


@pytest.mark.parametrize("local", [None, datetime(2000, 1, 1), datetime(1, 1, 1), datetime(9999, 12, 31)])
def test_no_time(local: datetime | None) -> None:
    assert instant(local, ZONE) is None


# --- configuration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"doors": [1, 1]}, "each door once"),
        ({"doors": [5]}, "less than or equal to 4"),
        ({"controller": 0}, "greater than or equal to 1"),
        ({"timezone": "Peking"}, "no time zone"),
        ({"listen": "0.0.0.0:60001"}, "an IPv4 address of this box"),
        ({"listen": "192.168.1.10"}, "an IPv4 address of this box"),
        ({"listen": "192.168.1.10:0"}, "an IPv4 address of this box"),
        ({"profile": 255}, "less than or equal to 254"),
    ],
)
def test_wrong_settings(wrong: dict[str, Any], says: str) -> None:
    right = {"id": "gate-1", "type": "uhppote", "host": "192.168.1.100", "controller": SERIAL}
    Config.model_validate(right | {"listen": "192.168.1.10:60001"})
    with pytest.raises(ValidationError, match=says):
        Config.model_validate(right | wrong)


# --- entering ---------------------------------------------------------------------------------------------


async def test_what_it_says_of_itself(board: Board) -> None:
    board.faults.clock_offset_s = 100
    async with adapter(board) as device:
        info = device.info
    assert (info.vendor, info.serial, info.firmware) == ("UHPPOTE", str(SERIAL), "v8.92")
    assert info.clock_drift is not None
    ahead = CLOCK + info.clock_drift - datetime.now(UTC)
    assert ahead.total_seconds() == pytest.approx(100, abs=2)


async def test_a_name_that_is_none(board: Board) -> None:
    with pytest.raises(DeviceUnavailable, match="no address is known"):
        await adapter(board, host="gate..east").__aenter__()
    assert await probe("gate..east", None, 1) is None


async def test_firmware_without_remote_control(bench: UhppoteBench, board: Board) -> None:
    board.unknown.add(0xA0)
    with pytest.raises(DeviceUnavailable, match="mode: local"):
        async with Session(bench, adapter(board, timeout_ms=50)) as session:
            await session.ended()
    async with Session(bench, adapter(board, timeout_ms=50, mode="local")) as session:
        board.swipe(CARD)
        await session.reports()


async def test_another_controller_is_named(board: Board) -> None:
    with pytest.raises(DeviceRefused, match=f"{SERIAL}, not {SERIAL + 1}"):
        await adapter(board, controller=SERIAL + 1, timeout_ms=50).__aenter__()


@pytest.mark.parametrize(
    ("mode", "delay", "says"),
    [(3, 5, "unlocked for 5 s"), (1, 1, "normally open"), (2, 1, "normally closed"), (9, 1, "mode 9")],
)
async def test_a_door_that_is_set_otherwise(board: Board, mode: int, delay: int, says: str) -> None:
    board.doors[2].mode, board.doors[2].delay = mode, delay
    with pytest.raises(ConfigError, match=says) as caught:
        await adapter(board, doors=[1, 2]).__aenter__()
    assert "set_doors" in str(caught.value)
    assert 0x80 not in board.requests
    async with adapter(board, doors=[1]):
        pass
    async with adapter(board, doors=[1, 2], set_doors=True):
        pass
    assert (board.doors[2].mode, board.doors[2].delay) == (3, 1)
    assert board.requests[0x80] == 1


async def test_a_profile_that_is_not_there(board: Board) -> None:
    with pytest.raises(ConfigError, match="no time profile 29"):
        await adapter(board, profile=29).__aenter__()
    board.profiles.add(29)
    async with adapter(board, profile=29):
        pass


async def test_entering_only_looks(board: Board) -> None:
    """As `gated check` and `gated devices probe` do, also while the daemon runs."""
    async with adapter(board, listen="127.0.0.1:60001"):
        pass
    assert set(board.requests) <= {0x94, 0x82, 0x32, 0x20, 0xB4}, "it asks, and tells nothing"


@pytest.mark.parametrize(("mode", "on"), [("remote", True), ("local", False)])
async def test_who_decides(bench: UhppoteBench, board: Board, mode: str, on: bool) -> None:
    board.pc_control = not on
    async with Session(bench, adapter(board, mode=mode)):
        await asyncio.sleep(0.05)
        assert board.pc_control is on
    assert board.pc_control is on, "leaving changes nothing: it falls back by itself"


async def test_it_falls_back_to_its_own_cards() -> None:
    async with Board(remote_s=0.3) as board:
        board.cards[CARD] = bytes.fromhex("2020010120991231") + bytes([1, 0, 0, 0]) + bytes(4)
        bench = UhppoteBench()
        device = adapter(board)
        async with Session(bench, device) as session:
            await asyncio.sleep(0.5)  # polling is enough for it
            board.swipe(CARD)
            first = (await session.reports())[0]
        assert isinstance(first, Read)
        assert (first.backlog, first.details["access"]) == (False, "denied")
        await asyncio.sleep(0.4)
        board.swipe(CARD)
        async with Session(bench, device) as session:
            alone = (await session.reports())[0]
        assert isinstance(alone, Read)
        assert (alone.backlog, alone.details["opened_by"]) == (True, "own_list")


async def test_a_restarted_controller_is_told_again(bench: UhppoteBench, board: Board) -> None:
    async with Session(bench, adapter(board)) as session:
        board.pc_control = False
        board.swipe(CARD)
        await session.reports()
        await asyncio.sleep(0.1)
        assert board.pc_control
        assert board.requests[0xA0] == 2, "told once, and not with every poll"


# --- the log ----------------------------------------------------------------------------------------------


def keys(session: Session) -> list[str | None]:
    return [event.key for event in session.said()]


async def test_what_happened_while_away_comes_in_order_and_once(bench: UhppoteBench, board: Board) -> None:
    device = adapter(board)
    async with Session(bench, device) as session:
        board.swipe(CARD)
        await session.reports()
    for _ in range(3):
        board.swipe(CARD)
    async with Session(bench, device) as session:
        await session.reports(3)
        board.swipe(CARD)
        reports = await session.reports(4)
    assert keys(session) == ["2", "3", "4", "5"]
    assert [event.backlog for event in reports if isinstance(event, Read)] == [True, True, True, False]


async def test_a_new_daemon_goes_on_from_the_register(bench: UhppoteBench, board: Board) -> None:
    async with Session(bench, adapter(board)) as session:
        board.swipe(CARD)
        await session.reports()
        await asyncio.sleep(0.1)
        assert board.register == 1
    board.swipe(CARD)
    async with Session(bench, adapter(board)) as session:
        await session.reports()
        assert keys(session) == ["2"]


async def test_the_register_waits_until_the_daemon_has_the_event(board: Board) -> None:
    device = adapter(board)
    async with device:
        board.swipe(CARD)
        events = device.events()
        async for event in events:
            if isinstance(event, Read):
                break
        await asyncio.sleep(0.05)
        assert board.register == 0
        await events.aclose()  # type: ignore[attr-defined]
    async with device:
        async for event in device.events():
            if isinstance(event, Read):
                assert event.key == "1", "it was not taken over, and comes again"
                break


async def test_a_log_that_nobody_has_read_begins_now(bench: UhppoteBench, board: Board) -> None:
    for _ in range(5):
        board.swipe(CARD)
    async with Session(bench, adapter(board)) as session:
        await asyncio.sleep(0.1)
        assert session.said() == []
        assert board.register == 5
        board.swipe(CARD)
        await session.reports()
        assert keys(session) == ["6"]


async def test_overwritten_events_are_reported(bench: UhppoteBench, board: Board) -> None:
    for _ in range(40):
        board.swipe(CARD)
    board.register = 3
    board.forget(before=31)
    async with Session(bench, adapter(board)) as session:
        reports = await session.reports(11)
    assert isinstance(reports[0], Observed)
    assert (reports[0].what, reports[0].details) == ("events_lost", {"first": "4", "last": "30"})
    assert [event.key for event in reports[1:]] == [str(index) for index in range(31, 41)]
    assert board.requests[0xB0] < 20, "it does not go through them one by one"


async def test_a_log_that_was_cleared_is_read_anew(bench: UhppoteBench, board: Board) -> None:
    async with Session(bench, adapter(board)) as session:
        for _ in range(4):
            board.swipe(CARD)
        await session.reports(4)
        board.clear()
        board.swipe(CARD)
        last = (await session.reports(5))[-1]
        assert isinstance(last, Read)
        assert (last.key, last.backlog) == ("1", True)
        board.swipe(CARD)
        last = (await session.reports(6))[-1]
        assert isinstance(last, Read)
        assert (last.key, last.backlog) == ("2", False)
        await asyncio.sleep(0.1)
        assert board.register == 2


async def test_an_event_that_is_not_to_be_found_is_reported(bench: UhppoteBench, board: Board) -> None:
    async with Session(bench, adapter(board)) as session:
        await asyncio.sleep(0.05)
        board.log(0, False, 1, 0, 0, quiet=True)
        board.swipe(CARD)
        reports = await session.reports(2)
    assert [event.key for event in reports] == ["lost-1", "2"]


async def test_pushes_that_are_lost_are_polled(bench: UhppoteBench, board: Board) -> None:
    board.faults.lost = 1.0
    async with Session(bench, adapter(board, listen=f"127.0.0.1:{free_port()}")) as session:
        for _ in range(5):
            board.swipe(CARD)
        await session.reports(5)
        assert keys(session) == ["1", "2", "3", "4", "5"]


async def test_nobody_can_push_an_event_but_the_controller(bench: UhppoteBench, board: Board) -> None:
    port = free_port()
    async with Session(bench, adapter(board, listen=f"127.0.0.1:{port}")) as session:
        await asyncio.sleep(0.05)
        assert board.listener == ("127.0.0.1", port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in (packet(0x20, EVENT), packet(0x20, EVENT, SERIAL + 1), b"x", bytes(2000), b""):
                stranger.sendto(data, ("127.0.0.1", port))
        await asyncio.sleep(0.1)
        assert session.said() == [], "a push only rings"


async def test_two_cannot_listen_at_one_port(bench: UhppoteBench, board: Board) -> None:
    listen = f"127.0.0.1:{free_port()}"
    async with Session(bench, adapter(board, listen=listen)):
        await asyncio.sleep(0.05)
        async with Session(bench, adapter(board, listen=listen)) as other:
            board.swipe(CARD)
            await other.reports()  # it is polled all the same
    async with Session(bench, adapter(board, listen=listen, poll_ms=5000)) as session:
        await asyncio.sleep(0.05)
        board.swipe(CARD)
        await session.reports(within=1)


async def test_answers_that_are_lost_are_asked_for_again(bench: UhppoteBench, board: Board) -> None:
    async with Session(bench, adapter(board, timeout_ms=60)) as session:
        board.deaf = 2
        board.swipe(CARD)
        await session.reports()
        board.deaf = 3
        with pytest.raises(DeviceUnavailable):
            await session.ended()


async def test_inputs(bench: UhppoteBench, board: Board) -> None:
    board.doors[2].open = True
    async with Session(bench, adapter(board, doors=[1, 2])) as session:
        await asyncio.sleep(0.05)
        first = [event for event in session.events if isinstance(event, InputChanged)]
        assert [(each.input, each.active, each.initial) for each in first] == [
            ("door1", False, True), ("button1", False, True), ("door2", True, True), ("button2", False, True),
        ]  # fmt: skip
        board.contact(1, True)
        board.doors[1].pressed = True
        board.doors[3].open = True
        await asyncio.sleep(0.1)
        changed = [event for event in session.said() if isinstance(event, InputChanged)]
    assert [(each.input, each.active) for each in changed] == [("door1", True), ("button1", True)]
    assert any(isinstance(event, Observed) and event.what == "door_open" for event in session.said())


async def test_a_clock_that_is_set_is_told_at_once(bench: UhppoteBench, board: Board) -> None:
    async with Session(bench, adapter(board)) as session:
        await asyncio.sleep(0.05)
        before = len(session.events)
        board.faults.clock_offset_s = 3600
        await asyncio.sleep(0.1)
        hearts = session.events[before:]
    assert len(hearts) == 1
    assert hearts[0].device_time is not None


# --- opening ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doors", "output", "outcome"),
    [
        ([1], None, OpeningOutcome.ACCEPTED),
        ([2], None, OpeningOutcome.ACCEPTED),
        ([1, 2], "2", OpeningOutcome.ACCEPTED),
        ([1, 2], None, OpeningOutcome.REJECTED),
        ([1, 2], "3", OpeningOutcome.REJECTED),
        ([1], "one", OpeningOutcome.REJECTED),
    ],
)
async def test_the_door_of_an_output(
    board: Board, doors: list[int], output: str | None, outcome: OpeningOutcome
) -> None:
    async with adapter(board, doors=doors) as device:
        opened = await device.open(order(output))
    assert opened.outcome is outcome, opened
    accepted = outcome is OpeningOutcome.ACCEPTED
    assert [number for number, door in board.doors.items() if door.boom.openings] == (
        [int(output or doors[0])] if accepted else []
    )


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_an_opening_is_sent_once(board: Board, protocol: str) -> None:
    async with adapter(board, protocol=protocol) as device:
        board.faults.hang = True
        opened = await device.open(order())
        assert opened.outcome is OpeningOutcome.UNCERTAIN
        assert "not sent again" in opened.detail
        assert board.requests[0x40] == 1
        board.faults.hang = False
        await board.stop()
        gone = await device.open(order())
        assert gone.outcome is OpeningOutcome.UNREACHABLE
        await board.start()
    assert board.requests[0x40] == 1
    assert (await device.open(order())).outcome is OpeningOutcome.UNREACHABLE


async def test_an_opening_that_was_refused(board: Board) -> None:
    board.faults.refuse = True
    async with adapter(board) as device:
        opened = await device.open(order())
    assert (opened.outcome, board.pulses) == (OpeningOutcome.REJECTED, [])


async def test_ours_is_seen_in_the_log_and_is_no_card(bench: UhppoteBench, board: Board) -> None:
    device = adapter(board)
    async with Session(bench, device) as session:
        await device.open(order())
        seen = (await session.reports())[0]
    assert isinstance(seen, Observed)
    assert seen.what == "opened_remotely"


async def test_a_stranger_answers_first() -> None:
    """What is not the answer is passed over, and the answer is still taken."""
    loop = asyncio.get_running_loop()

    class Crowd(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            junk = [b"", b"x", bytes(64), packet(0x20), packet(0x40, "00", SERIAL + 1), bytes(9000)]
            for each in [*junk, packet(0x40, "01"), packet(0x40, "00")]:
                self.transport.sendto(each, addr)  # type: ignore[attr-defined]

    transport, _ = await loop.create_datagram_endpoint(Crowd, local_addr=("127.0.0.1", 0))
    try:
        link = Link("127.0.0.1", transport.get_extra_info("sockname")[1], "udp", 0.5)
        await link.resolve()
        request = codec.open_door(SERIAL, 1)
        assert codec.done(await link.once(request), request)
        with pytest.raises(NoAnswer):
            await link.once(codec.open_door(SERIAL + 2, 1))
    finally:
        transport.close()


async def test_what_cannot_be_read_is_shown_once_and_ends_the_session(board: Board) -> None:
    unparsed = Unparsed()
    values = {"id": "gate-1", "type": "uhppote", "host": "127.0.0.1", "port": board.port}
    config = Config.model_validate(values | {"controller": board.serial, "poll_ms": 20, "timeout_ms": 200})
    device = create(config, context("gate-1", unparsed))
    async with Session(UhppoteBench(), device) as session:
        board.swipe(CARD)
        await session.reports()
        board.swipe(CARD)
        board.events[1] = board.events[0]  # it answers with another event than it was asked for
        board.swipe(CARD)
        with pytest.raises(DeviceUnavailable, match="cannot be read"):
            await session.ended()
    assert unparsed.calls[0][1] == "uhppote: function b0"


class Mad(Board):
    """Its packets are in form, and say anything."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(seed)

    def _serve(self, function: int, body: bytes) -> bytes | None:
        sane = super()._serve(function, body)
        return sane if self.rng.random() < 0.7 else self.rng.randbytes(56)


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_it_says_only_device_errors_come_out(seed: int) -> None:
    async with Mad(seed) as board:
        for number in range(5):
            board.swipe(CARD + number)
        device = adapter(board, timeout_ms=50)
        for _ in range(4):
            with contextlib.suppress(DeviceError):
                async with Session(UhppoteBench(), device) as session:
                    board.swipe(CARD)
                    assert isinstance(await device.open(order()), Opened)
                    await device.put([listed("9764210")])
                    await device.held()
                    await device.drop(["9764210"])
                    await asyncio.sleep(0.02)
                    if session._task is not None and session._task.done():
                        await session._task


# --- its own cards ----------------------------------------------------------------------------------------


def listed(value: str, days: int = 7, kind: CredentialKind = CredentialKind.CARD) -> AllowEntry:
    since = datetime(2026, 11, 26, 20, 0, tzinfo=UTC)  # the 27th in Shanghai
    return AllowEntry(kind, value, since, since.replace(hour=16) + timedelta(days=days))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("9764210", CARD), ("1", 1), (str(codec.MOST), codec.MOST), ("0", None), ("09764210", None),
        (str(codec.MOST + 1), None), ("04A1B2", None), ("", None), ("9" * 30, None), ("９", None),
    ],
)  # fmt: skip
def test_cards_it_can_hold(value: str, number: int | None) -> None:
    assert cards.number(value) == number


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        ((2026, 11, 26, 20), (2026, 12, 3, 16), date(2026, 11, 27), date(2026, 12, 3)),
        ((2026, 11, 27, 0), (2026, 12, 3, 17), date(2026, 11, 27), date(2026, 12, 4)),
        ((2026, 11, 27, 0), (2026, 11, 27, 1), date(2026, 11, 27), date(2026, 11, 27)),
    ],
)
def test_days(since: tuple[int, ...], until: tuple[int, ...], first: date, last: date) -> None:
    one, other = (datetime(*each, tzinfo=UTC) for each in (since, until))  # type: ignore[arg-type,misc]
    assert cards.days(AllowEntry(CredentialKind.CARD, "1", one, other), ZONE) == (first, last)


async def test_cards_are_put_and_dropped(board: Board) -> None:
    async with adapter(board, doors=[1, 3]) as device:
        assert await device.held() == frozenset()
        wanted = [listed("9764210"), listed("9764211"), listed("04A1B2"), listed("津A12345")]
        assert await device.put(wanted) == ["04A1B2", "津A12345"]
        assert await device.put([listed("1", kind=CredentialKind.CODE)]) == ["1"]
        assert board.cards[CARD].hex() == "20261127202612030100010000000000"
        assert await device.held() == frozenset({"9764210", "9764211"})
        assert await device.put([listed("9764210", days=2)]) == []
        assert board.cards[CARD].hex()[:16] == "2026112720261128"
        assert await device.drop(["9764210", "9764210", "77", "04A1B2"]) == []
        assert await device.held() == frozenset({"9764211"}), "the place of a deleted card is passed over"
    assert 0x54 not in board.requests, "a list is never emptied"


async def test_cards_of_others_are_left_alone(board: Board) -> None:
    theirs = bytes.fromhex("20260101203012310101000039300000")
    async with adapter(board) as device:
        board.cards[CARD], board.places = theirs, [CARD]
        assert await device.put([listed("9764210")]) == ["9764210"], "it opens door 2, which is not ours"
        assert board.cards[CARD] == theirs
        assert await device.drop(["9764210"]) == []
        assert board.cards[CARD].hex() == "20260101203012310001000039300000"
        assert await device.held() == frozenset()


async def test_a_card_with_another_profile_is_not_what_is_wanted(board: Board) -> None:
    board.profiles.add(29)
    async with adapter(board) as device:
        await device.put([listed("9764210")])
    async with adapter(board, profile=29) as device:
        assert await device.held() == frozenset()
        await device.put([listed("9764210")])
        assert await device.held() == frozenset({"9764210"})
    assert board.cards[CARD][8] == 29


async def test_a_list_that_ends_too_soon_is_not_taken_for_the_whole(board: Board) -> None:
    async with adapter(board) as device:
        await device.put([listed("9764210"), listed("9764211")])
        board.places.pop()
        with pytest.raises(DeviceUnavailable, match="ends at 1 of 2"):
            await device.held()
        board.faults.mute = True
        with pytest.raises(DeviceUnavailable):
            await device.put([listed("5")])


async def test_a_device_that_is_not_entered(board: Board) -> None:
    device = adapter(board)
    for call in (device.held(), device.put([]), device.drop([])):
        with pytest.raises(DeviceUnavailable, match="not connected"):
            await call
    with pytest.raises(DeviceUnavailable, match="not connected"):
        await anext(aiter(device.events()))


# --- finding it -------------------------------------------------------------------------------------------


async def test_probe(board: Board) -> None:
    found = await probe("127.0.0.1", board.port, 1)
    assert found is not None
    assert found.settings == {"host": "127.0.0.1", "port": board.port, "controller": SERIAL}
    assert str(SERIAL) in found.said
    assert set(board.requests) == {0x94}
    assert await probe("127.0.0.1", free_port(), 0.2) is None
    board.faults.mute = True
    assert await probe("127.0.0.1", board.port, 0.1) is None


def test_a_gap_has_a_key_of_its_own() -> None:
    assert READING.lost(Lost(4, 30), CLOCK).key == "lost-4"
