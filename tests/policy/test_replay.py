"""Replay and reproduction on what the store holds: nothing differs where nothing changed, receipts
suffice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from sqlalchemy import Connection

from gated.domain import PassState
from gated.policy import default_text, load
from gated.policy.replay import Difference, Replay, rows
from gated.store import Store, policies
from gated.store import passages as stored_passages
from gated.store import passes as stored
from rules import decide
from rules.build import SiteNames
from rules.receipt import candidates_of
from rules.reproduce import reproduced
from tests.policy.day import book_of, day, villagers
from tests.rules.policies import SHANGHAI, default_policy
from tests.rules.test_decide import NOON
from tests.rules.test_properties import situations

ANYWHERE = SiteNames(zone=SHANGHAI, checked=False)
START = datetime(2026, 11, 1, tzinfo=SHANGHAI)
COUNT = 200


async def filled(folder: Path, *, receipts: bool = True) -> Store:
    store = await Store.open(f"sqlite:///{folder}/gated.db")
    people = villagers(60, START)
    await store.write(partial(stored.insert_many, given=people))
    policy = load(default_text(), ANYWHERE)
    await store.write(lambda conn: policies.activate(conn, START, "test", "live", policy.text))
    records = day(policy, book_of(people), COUNT, START, step=timedelta(minutes=9), receipts=receipts)
    await asyncio.gather(*(store.record(one) for one in records))
    return store


async def replayed(store: Store, text: str) -> tuple[Replay, list[Difference]]:
    def look(conn: Connection) -> tuple[Replay, list[Difference]]:
        book = book_of([])
        book.load(stored.facts(conn), stored.last_change(conn))
        run = Replay(load(text, ANYWHERE), book)
        found = [run.judge(row) for row in rows(conn, START, START + timedelta(days=9))]
        return run, [one for one in found if one is not None]

    return await store.read(look)


@pytest.mark.parametrize("receipts", [True, False], ids=["receipts", "without"])
async def test_the_same_policy_decides_the_same(tmp_path: Path, receipts: bool) -> None:
    store = await filled(tmp_path, receipts=receipts)
    run, differences = await replayed(store, default_text())
    await store.close()
    assert differences == []
    assert (run.tally.passages, run.tally.same, run.tally.reasons) == (COUNT, COUNT, 0)
    assert run.tally.approximate == (0 if receipts else COUNT)


async def test_passes_are_judged_as_they_were(tmp_path: Path) -> None:
    """All passes are revoked afterwards: what happened before does not change by that."""
    store = await filled(tmp_path)

    def revoke(conn: Connection) -> None:
        for one in stored.page(conn, limit=100):
            gone = replace(one, state=PassState.REVOKED, revoked_at=START)
            stored.update(conn, gone, expected_version=one.version)

    await store.write(revoke)
    _, differences = await replayed(store, default_text())
    await store.close()
    assert differences == []


async def test_a_changed_policy_says_who_and_why(tmp_path: Path) -> None:
    store = await filled(tmp_path)
    grace = default_text().replace("grace_days: 0", "grace_days: 90")
    run, differences = await replayed(store, grace)
    await store.close()
    assert {(one.was.value, one.was_reason, one.now.value, one.rule) for one in differences} == {
        ("refer", "pass_expired", "grant", "pass_in_grace")
    }
    assert run.tally.different == len(differences) > 5
    assert all("宽限期" in one.text.zh for one in differences)


async def test_what_the_receipt_lacks_is_counted_from_the_passages_themselves(tmp_path: Path) -> None:
    """The policy of then asked nothing of entries: they are counted on the way."""
    store = await filled(tmp_path)
    rule = (
        "  - {id: often, when: presence.entries_today >= 3, then: refer, say: often}\n  - id: pass_in_grace"
    )
    run, differences = await replayed(store, default_text().replace("  - id: pass_in_grace", rule))
    await store.close()
    entries: dict[tuple[str, Any], int] = {}
    for one in differences:
        key = (one.credential, one.at.astimezone(SHANGHAI).date())
        entries[key] = entries.get(key, 0) + 1
    assert differences
    assert all(one.rule == "often" for one in differences)
    assert run.tally.approximate == 0


async def test_every_stored_receipt_gives_its_decision_again(tmp_path: Path) -> None:
    store = await filled(tmp_path)

    def look(conn: Connection) -> int:
        same = 0
        for row in stored_passages.page(conn, limit=COUNT):
            receipt = row.decision.receipt
            assert receipt is not None
            text = policies.text(conn, receipt["policy"])
            assert text is not None
            place = row.passage
            again = reproduced(default_again(text), receipt, place.lane, place.entrance, place.direction)
            assert (again.outcome, again.reason) == (row.decision.outcome, row.decision.reason)
            same += 1
        return same

    assert await store.read(look) == COUNT
    await store.close()


_again: dict[str, Any] = {}


def default_again(text: str) -> Any:
    if text not in _again:
        _again[text] = load(text, ANYWHERE)
    return _again[text]


@given(situation=situations())
def test_any_receipt_gives_its_decision_again_through_json(situation: Any) -> None:
    policy = default_policy()
    decision = decide(policy, situation, NOON)
    receipt = orjson.loads(orjson.dumps(decision.receipt))
    again = reproduced(policy, receipt, situation.lane, situation.entrance, situation.direction)
    assert (again.outcome, again.reason, again.rule) == (decision.outcome, decision.reason, decision.rule_id)
    then = candidates_of(receipt)
    assert {one.facts.pass_id for one in then} <= {"P1", "P2", "P3"}
    for one in then:
        [was] = [
            other
            for other in (*situation.candidates, *situation.near())
            if other.facts.pass_id == one.facts.pass_id and other.distance == one.distance
        ][:1]
        assert (one.facts.valid_from, one.facts.valid_until) == (was.facts.valid_from, was.facts.valid_until)
        assert (one.facts.entrances, one.facts.state, one.edits) == (
            was.facts.entrances,
            was.facts.state,
            was.edits,
        )
