"""The demo's table on terminals of several sizes."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len
from rich.console import Console

from gated.demo.show import Delivery, Screen, Tally
from gated.demo.village import ENTRANCES
from gated.domain import (
    BarrierPosition,
    Credential,
    CredentialKind,
    Decision,
    Direction,
    LaneMode,
    Outcome,
    Passage,
    Read,
    Text,
)
from gated.status import LaneStatus

NOON = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
LANES = [(f"{entrance}-{way}", entrance) for entrance, _, _ in ENTRANCES for way in ("in", "out")]
WHY = Text("津AD12345的出入证已于3天前（11月19日04:52）到期，续期后即可放行。", "The pass expired.")


def status(lane: str, entrance: str) -> LaneStatus:
    mode = LaneMode.HELD_OPEN if entrance == "ring" else LaneMode.NORMAL
    return LaneStatus(lane, entrance, Direction.IN, mode, BarrierPosition.CLOSED)


def shown(width: int, height: int, *, away: bool = True) -> list[str]:
    tally = Tally()
    for lane, entrance in LANES:
        read = Read(
            device="cam",
            received_at=NOON,
            credential=Credential(CredentialKind.PLATE, "津AD12345"),
            raw="津AD12345",
        )
        passage = Passage(id=lane, lane=lane, entrance=entrance, direction=Direction.IN, read=read, at=NOON)
        decision = Decision(
            outcome=Outcome.REFER, reason="pass_not_yet_valid", explanation=WHY, rule_id="rule"
        )
        for _ in range(40):
            tally.passage(passage, decision, 0.0123)
    names = {entrance: zh for entrance, zh, _ in ENTRANCES}
    console = Console(file=io.StringIO(), width=width, height=height, record=True)
    delivery = Delivery(passages=901, alerts=12_345, away=away)
    console.print(Screen(tally, lambda: [status(*lane) for lane in LANES], names, lambda: delivery))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (113, 40), (114, 40), (200, 60)])
def test_fits_and_cuts_nothing_off(width: int, height: int) -> None:
    lines = shown(width, height)
    text = "\n".join(lines)
    assert len(lines) < height
    assert max(cell_len(line.rstrip()) for line in lines) <= width
    assert "…" not in text
    assert text.count("津AD12345") >= len(LANES)
    assert text.count("常开") == 2
    assert WHY.zh in text
    assert ("常开 held" in text) is (width >= 114)
    assert lines[1].rstrip().endswith("59"), "what waits while the broker is away"


@pytest.mark.parametrize("away", [False, True])
def test_a_broker_that_is_away_is_seen(away: bool) -> None:
    text = "\n".join(shown(80, 24, away=away))
    assert ("消息中断" in text) is away
