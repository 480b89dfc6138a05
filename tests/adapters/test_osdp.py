"""OSDP without a line: card numbers, keypads, states, keys, frames; what is refused in a configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.osdp import Config, codec, create, panel
from adapters.osdp.panel import Channel
from gated.ports import ConfigError, Device
from tests.adapters.contract import context

KEY = "00112233445566778899AABBCCDDEEFF"
LOCAL, INPUTS = 0, 1


def wiegand(bits: str, form: int = 1) -> dict[str, Any]:
    size = (len(bits) + 7) // 8
    return {"format": form, "length": len(bits), "data": int(bits.ljust(size * 8, "0"), 2).to_bytes(size)}


# facility 18, number 13398: 0x123456 between its parity bits
W26 = "0" + f"{0x123456:024b}" + "0"
W34 = "1" + f"{0x12345678:032b}" + "1"

CARDS: list[tuple[dict[str, Any], bool, str, str]] = [
    (wiegand(W26), False, str(0x123456), "cut off"),
    (wiegand(W26), True, str(0x563412), "cut off"),
    (wiegand(W34), False, str(0x12345678), "cut off"),
    (wiegand("1" + W26[1:]), False, str(int("1" + W26[1:], 2)), "none"),
    (wiegand(f"{0xDEADBEEF:032b}", 0), False, str(0xDEADBEEF), "none"),
    (wiegand(f"{0xDEADBEEF:032b}"), True, str(0xEFBEADDE), "none"),
    (wiegand(f"{0x04A1B2C3D4E5F6:056b}"), False, str(0x04A1B2C3D4E5F6), "none"),
    (wiegand("101"), True, "5", "none"),
]


@pytest.mark.parametrize(("event", "backwards", "number", "parity"), CARDS)
def test_cards(event: dict[str, Any], backwards: bool, number: str, parity: str) -> None:
    card = codec.card(event, backwards=backwards)
    assert (card.number, card.details["parity"]) == (number, parity)
    assert card.details["bits"] == str(event["length"])
    assert card.details["format"] == ("raw" if event["format"] == 0 else "wiegand")
    assert len(card.raw) == (event["length"] + 3) // 4


@pytest.mark.parametrize("at", range(26))
def test_any_wrong_bit_of_26_is_another_number(at: int) -> None:
    flipped = W26[:at] + ("1" if W26[at] == "0" else "0") + W26[at + 1 :]
    assert codec.card(wiegand(flipped)).details["parity"] == "none"


@pytest.mark.parametrize("number", [1, 0x7FFFFFFFF, 0x123456789])
def test_37_bits(number: int) -> None:
    middle = f"{number:035b}"
    bits = str(middle[:18].count("1") % 2) + middle + str(1 - middle[17:].count("1") % 2)
    assert codec.card(wiegand(bits)).number == str(number)


@pytest.mark.parametrize(
    "event",
    [{}, {"length": 26}, {"length": 26, "data": b"\1"}, {"length": 0, "data": b""},
     {"length": -1, "data": b"\1"}, {"length": 600, "data": bytes(75)}, wiegand("0" * 32),
     wiegand("1" * 200), {"length": 8, "data": "x"}],
)  # fmt: skip
def test_no_cards(event: dict[str, Any]) -> None:
    with pytest.raises(codec.Malformed):
        codec.card(event)


KEYS: list[tuple[list[tuple[bytes, float]], list[str]]] = [
    ([(b"1234\r", 0)], ["1234"]),
    ([(b"12", 0), (b"34", 3), (b"#", 6)], ["1234"]),
    ([(b"99*12#", 0)], ["12"]),
    ([(b"99\x7f12\r34\r", 0)], ["12", "34"]),
    ([(b"12", 0), (b"34#", 11)], ["34"]),
    ([(b"#", 0), (b"\r", 1)], []),
    ([(b"1" * 17 + b"#", 0), (b"5#", 1)], ["5"]),
    ([(b"1" * 5000, 0), (b"#", 1)], []),
]


@pytest.mark.parametrize(("pressed", "codes"), KEYS)
def test_keypads(pressed: list[tuple[bytes, float]], codes: list[str]) -> None:
    keypad = codec.Keypad()
    assert [code for keys, at in pressed for code in keypad.pressed({"data": keys}, at)] == codes


def test_states() -> None:
    assert codec.status({"type": LOCAL, "report": b"\1\0"}, LOCAL, INPUTS) == [
        codec.Status("tamper", True, False),
        codec.Status("power_failure", False, False),
    ]
    assert codec.status({"type": INPUTS, "report": b"\0\1"}, LOCAL, INPUTS) == [
        codec.Status("0", False, True),
        codec.Status("1", True, True),
    ]
    assert codec.status({"type": 7, "report": b"\1"}, LOCAL, INPUTS) == []


wild = st.none() | st.integers(-5, 700) | st.binary(max_size=80) | st.text(max_size=5)


@given(st.dictionaries(st.sampled_from(["data", "length", "format", "type", "report"]), wild))
def test_wild_events_are_malformed_at_worst(event: dict[str, Any]) -> None:
    keypad = codec.Keypad()
    calls: list[Any] = [
        lambda: codec.card(event),
        lambda: codec.card(event, backwards=True),
        lambda: keypad.pressed(event, 0.0),
        lambda: codec.status(event, LOCAL, INPUTS),
    ]
    for call in calls:
        try:
            call()
        except codec.Malformed:
            continue


@given(st.binary(max_size=40))
def test_wild_frames(data: bytes) -> None:
    codec.address(data)
    codec.challenge(data)
    codec.answers(data, 1)


def test_keys() -> None:
    assert codec.key(KEY, insecure=False) == bytes.fromhex(KEY)
    for weak in (codec.INSTALL_KEY.hex(), "00" * 16, "ff" * 16):
        with pytest.raises(ValueError, match="install mode"):
            codec.key(weak, insecure=False)
        assert codec.key(weak, insecure=True).hex() == weak
    for wrong in ("", KEY[:-1], KEY + "0", "x" * 32):
        with pytest.raises(ValueError, match="32 hexadecimal") as caught:
            codec.key(wrong, insecure=True)
        assert not wrong or wrong not in str(caught.value)


def config(**settings: Any) -> Config:
    readers = [{"address": 1, "key": {"env": "GATED_TEST_SCBK"}}]
    values = {"id": "osdp-1", "type": "osdp", "port": "/dev/ttyUSB0", "readers": readers}
    return Config.model_validate(values | settings)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"readers": []}, "readers"),
        ({"readers": [{"address": 127, "key": {"env": "X"}}]}, "126"),
        ({"readers": [{"address": 1, "key": {"env": "X"}}] * 2}, "same address"),
        ({"readers": [{"address": 1}]}, "insecure: true"),
        ({"readers": [{"address": 1, "key": KEY}]}, "not written here"),
        ({"baud": 1200}, "baud"),
        ({"port": "ttyUSB0"}, "port"),
    ],
)
def test_wrong_configurations(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        config(**settings)


def test_create_does_no_io() -> None:
    assert isinstance(create(config(), context("osdp-1")), Device)


async def test_a_key_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATED_TEST_SCBK", "swordfish")
    with pytest.raises(ConfigError, match="reader 1: a key") as caught:
        async with create(config(), context("osdp-1")):
            pass
    assert "swordfish" not in str(caught.value)


async def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setenv("GATED_TEST_SCBK", KEY)
    monkeypatch.setattr(panel, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install gated\[osdp\]"):
        async with create(config(), context("osdp-1")):
            pass


def test_the_channel_never_raises(tmp_path: Path) -> None:
    class Line:
        def fileno(self) -> int:
            return number

    number = os.open(tmp_path / "line", os.O_RDONLY | os.O_CREAT)
    channel = Channel(Line(), 1.0)
    assert channel.read(10) == b""
    quiet = channel.lost
    assert quiet is None
    assert channel.write(b"\xff\x53\x01") == 3
    lost = channel.lost
    assert lost
    os.close(number)
    channel = Channel(Line(), 1.0)
    assert channel.read(10) == b""
    assert channel.lost
    channel.flush()
