"""Openings that a device made by itself come back as backlog: matched, marked, told, and open nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from gated.domain import Disposition
from tests.lane.rig import Rig, site

PLATE = "津A12345"
ALONE = {"backlog": True, "details": {"opened_by": "own_list"}, "age_s": 3600}


async def marked(rig: Rig) -> str:
    [row] = await rig.store.read(lambda conn: conn.execute(text("SELECT details FROM reads")).all())
    return str(row.details)


async def test_on_a_pass(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        made = await rig.issue(PLATE)
        handled = await rig.pass_(PLATE, **ALONE)
        assert not handled.granted
        assert rig.seen.reads == [Disposition.BACKLOG]
        assert rig.barrier.pulses == []  # type: ignore[union-attr]
        assert made.id in await marked(rig)
        assert rig.alerts == []


async def test_revoked_since_is_still_covered(tmp_path: Path) -> None:
    async with site(tmp_path) as rig:
        made = await rig.issue(PLATE)
        rig.hands.go(7200)
        await rig.revoke(made)
        rig.hands.go(60)
        await rig.pass_(PLATE, **ALONE)
        assert rig.alerts == []
        assert made.id in await marked(rig)


@pytest.mark.parametrize(
    "more",
    [
        None,  # no pass at all
        {"entrances": ("west",)},
        {"valid_until_h": -2},
    ],
)
async def test_on_nothing(tmp_path: Path, more: dict[str, object] | None) -> None:
    async with site(tmp_path) as rig:
        if more is not None:
            hours = more.pop("valid_until_h", None)
            if isinstance(hours, int):
                more["valid_until"] = rig.clock.now() + timedelta(hours=hours)
            await rig.issue(PLATE, **more)
        await rig.pass_(PLATE, **ALONE)
        assert [draft.reason for draft in rig.alerts] == ["opened_alone"]
        assert PLATE in rig.alerts[0].text.zh
        assert "nothing" in await marked(rig)
        assert rig.barrier.pulses == []  # type: ignore[union-attr]
