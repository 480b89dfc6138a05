"""Alerts: repeats fold, what is over ends, nothing is lost while the store is away."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gated.alerts import (
    AWAY,
    AlertDesk,
    AlertKeeper,
    Raised,
    device_clock,
    device_offline,
    lane_fault,
    lane_held_open,
    reads_late,
)
from gated.clocks import BoxClock
from gated.ports import NotRecorded

NOW = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def desk() -> AlertDesk:
    return AlertDesk({"east": "g01"}, "root")


def test_goes_to_the_grid_of_its_entrance_else_to_the_root() -> None:
    assert desk().raised(lane_fault("l", "uncertain", "x"), NOW, entrance="east").alert.grid == "g01"
    assert desk().raised(device_offline("cam", "x"), NOW).alert.grid == "root"


def test_repeats_fold_for_ten_minutes_since_the_last() -> None:
    one, draft = desk(), lane_fault("l", "uncertain", "x")
    first = one.raised(draft, NOW)
    one.keep(first)
    second = one.raised(draft, NOW + 9 * MINUTE)
    one.keep(second)
    third = one.raised(draft, NOW + 18 * MINUTE)
    one.keep(third)
    fourth = one.raised(draft, NOW + 29 * MINUTE)
    assert [r.message.payload["type"] for r in (first, second, third, fourth)] == [
        "new",
        "update",
        "update",
        "new",
    ]
    assert (third.alert.id, third.alert.count) == (first.alert.id, 3)
    assert fourth.alert.id != first.alert.id


def test_what_was_not_kept_did_not_happen() -> None:
    one, draft = desk(), lane_fault("l", "uncertain", "x")
    one.raised(draft, NOW)
    assert one.raised(draft, NOW).message.payload["type"] == "new"


def test_ends_once() -> None:
    one, draft = desk(), device_offline("cam", "x")
    assert one.ended(draft.fold_key, NOW) is None
    one.keep(one.raised(draft, NOW))
    over = one.ended(draft.fold_key, NOW + MINUTE)
    assert over is not None
    assert (over.alert.state, over.message.payload["type"]) == ("closed", "end")
    one.keep(over)
    assert one.ended(draft.fold_key, NOW + MINUTE) is None


def test_takes_up_open_alerts_after_a_restart() -> None:
    before, after, draft = desk(), desk(), device_offline("cam", "x")
    kept = before.raised(draft, NOW)
    after.restore([(draft.fold_key, kept.alert)])
    assert after.raised(draft, NOW + MINUTE).alert.id == kept.alert.id


async def test_the_keeper_tries_until_the_store_is_back() -> None:
    written: list[Raised] = []
    away = 2

    async def write(raised: Raised) -> None:
        nonlocal away
        if away:
            away -= 1
            raise NotRecorded("disk full")
        written.append(raised)

    keeper = AlertKeeper(desk(), BoxClock(), write, retry_s=0.01)
    task = asyncio.create_task(keeper.run())
    keeper(lane_fault("l", "uncertain", "x"), lane="l", entrance="east")
    keeper.raised(device_offline("cam", "x"), "cam")
    keeper.ended(device_offline("cam", "").fold_key)
    await keeper.drained(2.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [raised.message.payload["type"] for raised in written] == ["new", "new", "end"]
    assert written[0].alert.lane == "l"


async def test_nothing_stays_open_about_what_is_no_longer_configured() -> None:
    """Also what was raised just before, and waits to be written; not what tells of a passage."""
    here, written = desk(), []
    of_a_passage = here.raised(
        replace(device_offline("cam", "x"), fold_key="p"), NOW, device="gone", passage_id="01"
    )
    here.keep(of_a_passage)
    here.keep(here.raised(device_clock("gone", 90), NOW, device="gone"))

    async def write(raised: Raised) -> None:
        written.append(raised.alert)

    keeper = AlertKeeper(here, BoxClock(), write)
    keeper.raised(reads_late("gone", 60), "gone")
    keeper.raised(device_offline("stays", "x"), "stays")
    keeper(lane_held_open("shut"), lane="shut")
    keeper.configured(["stays"], ["lane-0"])
    task = asyncio.create_task(keeper.run())
    await keeper.drained(2.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    closed = [(alert.reason, alert.device or alert.lane) for alert in written if alert.state == "closed"]
    assert closed == [("device_clock", "gone"), ("reads_late", "gone"), ("held_open", "shut")]
    assert written[-1].text.en.endswith("Over: it is no longer configured.")


def test_an_end_says_why_where_nobody_settled_it() -> None:
    here, draft = desk(), device_clock("cam", 90)
    here.keep(here.raised(draft, NOW))
    over = here.ended(draft.fold_key, NOW, AWAY)
    assert over is not None
    assert over.alert.text.en.startswith(draft.text.en)
    assert over.alert.text.en.endswith("its clock cannot be measured any more.")
    assert over.alert.text.zh == f"{draft.text.zh}已结束：{AWAY.zh}。"


def test_what_lasts_is_one_alert_until_it_ends() -> None:
    """A device that is still away after a restart an hour later is not a second alert that nobody ends."""
    here, draft = desk(), device_offline("cam", "x")
    first = here.raised(draft, NOW)
    here.keep(first)
    again = here.raised(draft, NOW + 60 * MINUTE)
    assert again.alert.id == first.alert.id


async def test_an_alert_that_cannot_be_written_does_not_stop_the_next() -> None:
    written: list[Raised] = []

    async def write(raised: Raised) -> None:
        if raised.alert.device == "bad":
            raise ValueError("a defect")
        written.append(raised)

    keeper = AlertKeeper(desk(), BoxClock(), write)
    task = asyncio.create_task(keeper.run())
    keeper.raised(device_offline("bad", "x"), "bad")
    keeper.raised(device_offline("cam", "x"), "cam")
    await keeper.drained(2.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [raised.alert.device for raised in written] == ["cam"]
