"""Packets that others recorded (`../shared/fixtures/uhppote`), where they are beside the checkout: all parse,
none is forgotten. Their cards stay there."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from adapters.uhppote import codec
from adapters.uhppote.meaning import Reading
from gated.domain import Observed, Read
from tests.adapters.contract import CLOCK

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "uhppote"
SERIAL = 405419896
OTHERS = {  # of the simulator that the packets were recorded from
    "events.log",
    "simulator-api.yaml",
    "simulator_device_405419896.json",
}
READING = Reading("gate-1", ZoneInfo("Asia/Shanghai"), frozenset(codec.DOORS))

pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no recordings of others at {FIXTURES}: they are not part of the project"
)

ANSWERS: dict[int, Callable[[bytes], Any]] = {
    0x94: codec.identity, 0x32: codec.clock, 0x20: codec.status, 0x82: codec.door_control,
    0x92: codec.listener, 0xB4: codec.event_index, 0x5A: codec.card, 0x5C: codec.card_at,
    0xB0: lambda packet: codec.event(packet, int.from_bytes(packet[8:12], "little")),
}  # fmt: skip
NOT_ASKED = {0xC8, 0x84, 0xAA}  # restore defaults, anti-passback, first card


def packets(name: str) -> Any:
    return json.loads((FIXTURES / name).read_bytes())


def test_none_is_forgotten() -> None:
    used = {path.name for path in FIXTURES.iterdir()} - OTHERS
    assert used == {
        "listen_events_from_simulator.json",
        "packets_decode.json",
        "packets_encode.json",
        "request_reply_pairs_from_simulator.json",
    }


def test_answers() -> None:
    read = 0
    for name, text in packets("packets_decode.json").items():
        packet = bytes.fromhex(text)
        if packet[1] in NOT_ASKED:
            continue
        found = ANSWERS[packet[1]](packet)
        read += 1
        if name == "test_get_status_response_with_no_event":
            assert found.latest is None
        elif "invalid_event_timestamp" in name:
            assert found.latest.at is None
        elif "invalid_timestamp" in name:
            assert found.at is None
        elif "invalid_datetime" in name:
            assert found is None
        elif "invalid_dates" in name:
            assert (found.first, found.last) == (None, None)
    assert read == 9


def test_requests() -> None:
    recorded = {name: bytes.fromhex(text) for name, text in packets("packets_encode.json").items()}
    address = IPv4Address("192.168.1.100")
    assert (
        codec.set_listener(SERIAL, address, 60001) == recorded["test_set_listener_request_without_interval"]
    )
    put = recorded["test_put_card_record_request"]
    number = int.from_bytes(put[8:12], "little")
    rights = dict(zip(codec.DOORS, put[20:24], strict=True))
    openers = {door: bool(put[27] >> door - 1 & 1) for door in codec.DOORS}
    days = date(2025, 1, 1), date(2025, 12, 31)
    card = codec.Card(number, *days, rights, int.from_bytes(put[24:27], "little"), openers)
    assert codec.put_card(SERIAL, card) == put


def test_every_answer_answers_its_request_and_no_other() -> None:
    pairs = [tuple(map(bytes.fromhex, pair)) for pair in packets("request_reply_pairs_from_simulator.json")]
    for request, answer in pairs:
        assert codec.answers(answer, request)
        assert all(not codec.answers(answer, other) for other, _ in pairs if other[1] != request[1]), (
            "by its function"
        )
        if request[1] == 0x40:
            assert codec.done(answer, request)
        else:
            ANSWERS[request[1]](answer)


def test_pushed_events() -> None:
    meant = []
    for text in packets("listen_events_from_simulator.json"):
        packet = bytes.fromhex(text)
        assert codec.pushed_by(packet) == SERIAL
        latest = codec.status(packet).latest  # the same layout
        assert latest is not None
        meant.append(READING.event(latest, CLOCK, past=False))
    reads, others = meant[:3], meant[3:]
    assert all(isinstance(each, Read) and not each.backlog for each in reads)
    assert [(each.what, each.active) for each in others if isinstance(each, Observed)] == [
        ("button", True),
        ("door_open", True),
        ("door_open", False),
    ]
