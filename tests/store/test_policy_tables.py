"""Policies and their activations, lists, dwellings, attestations, receipts: in both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import Connection

from gated.domain import (
    Attestation,
    Credential,
    CredentialKind,
    Dwelling,
    ListName,
    Text,
)
from gated.lists import Dwellings, Lists
from gated.store import Store, audit, dwellings, lists, passages, passes, policies
from tests.store import make

WHO = "王工 (t1)"


def activated(conn: Connection, text: str | None, role: policies.Part = "live") -> policies.Activation:
    return policies.activate(conn, make.NOW, WHO, role, text, "note")


async def test_activations_and_taking_them_back(store: Store) -> None:
    def play(conn: Connection) -> list[str | None]:
        assert policies.current(conn, "live") is None
        assert policies.last(conn) == 0
        for text in ("a", "b", "c", "b"):
            activated(conn, text)
        seen = [policies.take_back(conn, make.NOW, WHO, "live").text for _ in range(3)]
        with pytest.raises(policies.NothingBefore):
            policies.take_back(conn, make.NOW, WHO, "live")
        return seen

    assert await store.write(play) == ["c", "b", "a"]
    now = await store.read(lambda conn: policies.current(conn, "live"))
    assert now is not None
    assert (now.text, now.who, now.hash) == ("a", WHO, policies.hash_of("a"))
    found = await store.read(policies.history)
    assert [one.text for one in found] == ["a", "b", "c", "b", "c", "b", "a"]
    assert await store.read(policies.last) == found[0].n
    acts = await store.read(lambda conn: audit.page(conn, limit=10))
    assert {act.action for act in acts} == {"policy.live"}
    assert len(acts) == 7


async def test_what_is_activated_after_taking_back_comes_back_to_that(store: Store) -> None:
    def play(conn: Connection) -> str | None:
        activated(conn, "a")
        activated(conn, "b")
        policies.take_back(conn, make.NOW, WHO, "live")
        activated(conn, "c")
        return policies.take_back(conn, make.NOW, WHO, "live").text

    assert await store.write(play) == "a"


async def test_the_shadow_is_apart(store: Store) -> None:
    def play(conn: Connection) -> None:
        activated(conn, "live")
        activated(conn, "shadow", "shadow")
        activated(conn, None, "shadow")

    await store.write(play)
    live = await store.read(lambda conn: policies.current(conn, "live"))
    shadow = await store.read(lambda conn: policies.current(conn, "shadow"))
    assert live is not None
    assert shadow is not None
    assert (live.text, shadow.text, shadow.hash) == ("live", None, None)


async def test_a_text_is_found_by_its_hash_or_a_unique_beginning(store: Store) -> None:
    await store.write(lambda conn: [activated(conn, text) for text in ("a", "b", "a")])
    whole = policies.hash_of("a")
    for version, text in ((whole, "a"), (whole[:12], "a"), ("", None), ("zz", None), ("%", None)):
        assert await store.read(lambda conn, version=version: policies.text(conn, version)) == text


async def test_lists(store: Store) -> None:
    plate = Credential(CredentialKind.PLATE, "津A00001")
    first = await store.read(lists.last_change)
    assert await store.write(lambda conn: lists.put(conn, make.listed("津A00001"))) is None
    changed = make.listed("津A00001", note="已处理", until=make.moment(60))
    assert await store.write(lambda conn: lists.put(conn, changed)) == make.listed("津A00001")
    await store.write(lambda conn: lists.put(conn, make.listed("津A00001", ListName.WATCH)))
    await store.write(lambda conn: lists.put(conn, make.listed("津A00002")))
    assert await store.read(lambda conn: lists.get(conn, ListName.BLOCK, plate)) == changed
    page = await store.read(lambda conn: lists.page(conn, ListName.BLOCK, limit=1))
    assert page == [changed]
    rest = await store.read(
        lambda conn: lists.page(conn, ListName.BLOCK, after=("plate", "津A00001"), limit=9)
    )
    assert [one.credential.value for one in rest] == ["津A00002"]
    memory = Lists()
    await store.read(lambda conn: memory.load(lists.entries(conn)))
    assert memory.on(plate, make.moment(59)) == {ListName.BLOCK, ListName.WATCH}
    assert memory.on(plate, make.moment(60)) == {ListName.WATCH}
    assert memory.on(Credential(CredentialKind.CARD, "津A00001"), make.NOW) == frozenset()
    assert await store.write(lambda conn: lists.take_off(conn, ListName.BLOCK, plate)) == changed
    assert await store.write(lambda conn: lists.take_off(conn, ListName.BLOCK, plate)) is None
    memory.remove(ListName.BLOCK, plate)
    memory.remove(ListName.WATCH, plate)
    memory.remove(ListName.WATCH, plate)
    assert memory.on(plate, make.NOW) == frozenset()
    assert await store.read(lists.last_change) > first


async def test_dwellings(store: Store) -> None:
    home = Dwelling(id="d1", grid="g1", tenure="rented", lease_until=date(2027, 5, 31), name="东街12号")
    moved = replace(home, grid="g2", lease_until=None)
    assert await store.write(lambda conn: dwellings.put(conn, make.NOW, home)) is None
    assert await store.write(lambda conn: dwellings.put(conn, make.NOW, moved)) == home
    await store.write(lambda conn: dwellings.put(conn, make.NOW, Dwelling(id="d2", grid="g1")))
    assert await store.read(lambda conn: dwellings.get(conn, "d1")) == moved
    assert [one.id for one in await store.read(lambda conn: dwellings.page(conn, limit=9))] == ["d1", "d2"]
    assert [one.id for one in await store.read(lambda conn: dwellings.page(conn, grid="g1", limit=9))] == [
        "d2"
    ]
    memory = Dwellings()
    await store.read(lambda conn: memory.load(dwellings.every(conn)))
    assert memory.get("d1") == moved
    assert await store.write(lambda conn: dwellings.remove(conn, "d1")) == moved
    assert await store.read(lambda conn: dwellings.get(conn, "d1")) is None


async def test_attestations_and_limits_are_part_of_what_decides(store: Store) -> None:
    proofs = (
        Attestation("tenancy", date(2026, 6, 1), date(2027, 5, 31)),
        Attestation("work", date(2026, 1, 1)),
    )
    given = make.a_pass(1, attestations=proofs, limits={"visits": 3, "stay_hours": 2})
    made = await store.write(lambda conn: passes.insert(conn, given))
    assert (await store.read(lambda conn: passes.get(conn, made.id))) == made
    [(_, facts)] = await store.read(lambda conn: list(passes.facts(conn)))
    assert facts.attestations == proofs
    assert facts.limits == (("stay_hours", 2), ("visits", 3))
    assert facts.dwelling_id == "d1"


async def test_a_receipt_is_kept_with_its_passage(store: Store) -> None:
    given = make.record(1)
    receipt = {"policy": "abc", "facts": {"time.now": make.NOW, "subject": Text("津", "J")}, "at": make.NOW}
    await store.record(replace(given, decision=replace(given.decision, receipt=receipt)))
    found = await store.read(lambda conn: passages.get(conn, given.passage.id))
    assert found is not None
    assert found.decision.receipt == {
        "policy": "abc",
        "facts": {"time.now": "2026-11-21T06:00:00+00:00", "subject": {"zh": "津", "en": "J"}},
        "at": "2026-11-21T06:00:00+00:00",
    }


async def test_a_receipt_with_half_a_surrogate_pair_is_kept_all_the_same(store: Store) -> None:
    given = make.record(1)
    receipt = {
        "facts": {"passage.credential": "津\ud800A", "subject": Text("\ud800", "x"), "list": ["\ud800"]}
    }
    await store.record(replace(given, decision=replace(given.decision, receipt=receipt)))
    found = await store.read(lambda conn: passages.get(conn, given.passage.id))
    assert found is not None
    assert found.decision.receipt == {
        "facts": {"passage.credential": "津?A", "subject": {"zh": "?", "en": "x"}, "list": ["?"]}
    }
