"""Frames that others recorded (`../shared/fixtures/osdp`), where they are beside the checkout: who speaks to
whom in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.osdp import codec

FRAMES = Path(__file__).parents[3] / "shared" / "fixtures" / "osdp" / "frames.json"

pytestmark = pytest.mark.skipif(
    not FRAMES.is_file(), reason=f"no recordings of others at {FRAMES}: they are not part of the project"
)


def test_frames() -> None:
    recorded = json.loads(FRAMES.read_bytes())
    frames = [bytes.fromhex(each) for each in recorded["first"]]
    assert frames
    for frame in frames:
        assert codec.address(frame) == 101
        assert codec.answers(frame, 101) is not frame.startswith(b"\xff")
        assert not codec.challenge(frame)
