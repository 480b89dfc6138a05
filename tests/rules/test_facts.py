"""The facts: each of its type, for every situation; the reference is the code's."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated.domain import (
    Attestation,
    Candidate,
    Credential,
    CredentialKind,
    Direction,
    Dwelling,
    ListName,
    PassState,
    Text,
)
from rules.facts import TABLE, Case, Facts, FactType
from rules.facts.plates import PLATE_KINDS, plate_kind
from rules.ground import Duty, Ground, Proof
from rules.memory import LaneMemory
from rules.policy import table_of
from rules.reference import markdown
from rules.situation import NOTHING, Nothing, Situation
from rules.windows import Window, hours_of
from tests.rules.policies import SHANGHAI
from tests.rules.test_decide import NOON, VALID, facts

PYTHON: dict[FactType, type] = {
    FactType.BOOL: bool,
    FactType.INT: int,
    FactType.DOUBLE: float,
    FactType.STRING: str,
    FactType.STRINGS: list,
    FactType.TIME: datetime,
    FactType.TEXT: Text,
}


def asked(situation: Situation, *, now: datetime = NOON, ground: Ground | None = None) -> Facts:
    ground = ground or Ground(zone=SHANGHAI)
    subject = situation.candidates[0] if situation.candidates else None
    return Facts(Case(situation, now, ground, subject), table_of(ground))


def test_the_reference_is_the_code_s() -> None:
    page = Path(__file__).parents[2] / "docs" / "policy-facts.md"
    assert page.read_text(encoding="utf-8") == markdown(), "python -m rules.reference > docs/policy-facts.md"


situations = st.builds(
    Situation,
    lane=st.just("east-in"),
    entrance=st.sampled_from(["east", "west"]),
    direction=st.sampled_from(Direction),
    credential=st.none()
    | st.builds(Credential, st.sampled_from(CredentialKind), st.text(min_size=1, max_size=10)),
    confidence=st.none() | st.floats(0, 1),
    candidates=st.sampled_from(
        [[], [Candidate(VALID)], [Candidate(replace(VALID, state=PassState.REVOKED))]]
    ),
    near=st.sampled_from([list, lambda: [Candidate(VALID, 0.5, "5:8→B", "津A12B45")]]),
    details=st.dictionaries(
        st.sampled_from(["plate_color", "vehicle_class", "fake_plate"]), st.text(max_size=8)
    ),
    site=st.just(NOTHING),
)


@given(situation=situations, away=st.integers(-10_000_000, 10_000_000))
def test_every_fact_is_of_its_type(situation: Situation, away: int) -> None:
    found = asked(situation, now=NOON + timedelta(seconds=away))
    for name, fact in TABLE.items():
        value = found[name]
        assert type(value) is PYTHON[fact.type], name
        if fact.values:
            assert value in fact.values, (name, value)


@pytest.mark.parametrize("name", [name for name in TABLE if name.startswith(("pass.", "match.", "holder."))])
def test_without_a_pass_nothing_speaks_for_anybody(name: str) -> None:
    value = asked(facts())[name]
    if isinstance(value, bool):
        assert value is False


PLATES = {
    "津A12345": "ordinary",
    "津AD12345": "new_energy",
    "津A12345D": "new_energy",
    "津A1234警": "police",
    "津A1234学": "learner",
    "粤Z1234港": "hong_kong",
    "粤Z1234澳": "macau",
    "津A1234挂": "trailer",
    "224578使": "embassy",
    "沪A0023领": "embassy",
    "京X0123急": "rescue",
    "WJ京1234X": "armed_police",
    "VA12345": "military",
    "ABC": "other",
    "": "other",
}


@pytest.mark.parametrize(("plate", "kind"), PLATES.items())
def test_kinds_of_plates(plate: str, kind: str) -> None:
    assert plate_kind(plate) == kind
    assert kind in PLATE_KINDS


TENANCY = Proof(
    "tenancy",
    Text("租赁登记", "tenancy"),
    frozenset({"tenant"}),
    frozenset({"east"}),
    date(2026, 11, 1),
    date(2026, 11, 30),
    365,
)
TENANT = replace(VALID, kind="tenant")
GOOD = Attestation("tenancy", date(2026, 6, 1))


def with_proof(issued: date, until: date | None = None) -> Any:
    return replace(TENANT, attestations=(Attestation("tenancy", issued, until),))


PROOFS: dict[str, tuple[Any, str, datetime, list[str], list[str]]] = {
    "missing": (TENANT, "east", NOON, ["tenancy"], []),
    "there": (replace(TENANT, attestations=(GOOD,)), "east", NOON, [], []),
    "too old": (with_proof(date(2025, 11, 17)), "east", NOON, [], ["tenancy"]),
    "its last day": (with_proof(date(2025, 11, 18)), "east", NOON, [], []),
    "expired": (with_proof(date(2026, 6, 1), date(2026, 11, 17)), "east", NOON, [], ["tenancy"]),
    "valid through today": (with_proof(date(2026, 6, 1), date(2026, 11, 18)), "east", NOON, [], []),
    "not issued yet": (with_proof(date(2026, 12, 1)), "east", NOON, [], ["tenancy"]),
    "of two the good one counts": (
        replace(TENANT, attestations=(Attestation("tenancy", date(2020, 1, 1)), GOOD)), "east", NOON, [], []
    ),
    "another kind of pass": (VALID, "east", NOON, [], []),
    "another entrance": (TENANT, "west", NOON, [], []),
    "before its days": (TENANT, "east", datetime(2026, 10, 31, 12, tzinfo=SHANGHAI), [], []),
    "after its days": (TENANT, "east", datetime(2026, 12, 1, 0, 0, tzinfo=SHANGHAI), [], []),
}  # fmt: skip


@pytest.mark.parametrize(("held", "entrance", "now", "missing", "outdated"), PROOFS.values(), ids=[*PROOFS])
def test_demanded_proofs(
    held: Any, entrance: str, now: datetime, missing: list[str], outdated: list[str]
) -> None:
    held = replace(held, valid_until=NOON + timedelta(days=400))
    found = asked(facts(held, entrance=entrance), now=now, ground=Ground(zone=SHANGHAI, proofs=(TENANCY,)))
    assert (found["proof.missing"], found["proof.outdated"]) == (missing, outdated)
    assert found["proof.ok"] is (not missing and not outdated)


class Village(Nothing):
    """A site that knows a dwelling, lists and a boom that is up."""

    def dwelling(self, dwelling_id: str) -> Dwelling | None:
        return Dwelling(id=dwelling_id, grid="g1", tenure="rented", lease_until=date(2026, 11, 17))

    def lists(self, credential: Credential, now: datetime) -> frozenset[ListName]:
        return frozenset({ListName.WATCH})

    def refusals(self, credential: Credential, now: datetime) -> int:
        return 4

    def seen(self, now: datetime, length: timedelta) -> list[str]:
        return [f"crossed cam-{length // timedelta(minutes=1)}"]


def test_what_the_site_knows() -> None:
    found = asked(facts(replace(VALID, dwelling_id="D1"), site=Village()))
    assert (found["holder.grid"], found["holder.tenure"], found["holder.lease_ended"]) == (
        "g1",
        "rented",
        True,
    )
    assert found["holder.lease_days_left"] == 0
    earlier = asked(facts(replace(VALID, dwelling_id="D1"), site=Village()), now=NOON - timedelta(days=3))
    assert (earlier["holder.lease_days_left"], earlier["holder.lease_ended"]) == (3, False)
    dated = asked(
        facts(replace(VALID, attestations=(GOOD, Attestation("work", GOOD.issued_on, NOON.date()))))
    )
    assert dated["pass.attestation_dates"] == ["tenancy 2026-06-01..", "work 2026-06-01..2026-11-18"]
    assert (found["lists.watch"], found["lists.block"], found["history.refusals"]) == (True, False, 4)
    assert [found[f"seen.last_{span}"] for span in ("minute", "10_minutes", "hour")] == [
        ["crossed cam-1"], ["crossed cam-10"], ["crossed cam-60"],
    ]  # fmt: skip


class Gate(Nothing):
    """A lane with a boom that is where it is, and a vehicle that was let through a while ago."""

    def __init__(self, is_open: bool | None, seconds: float, plate: str = "津B00001") -> None:
        self.is_open = is_open
        self.last = LaneMemory(
            NOON - timedelta(seconds=seconds), Credential(CredentialKind.PLATE, plate), "P"
        )

    def boom_is_open(self, lane: str) -> bool | None:
        return self.is_open

    def last_granted(self, lane: str) -> LaneMemory:
        return self.last


@pytest.mark.parametrize(
    ("gate", "follows"),
    [
        (Gate(True, 3), True),
        (Gate(True, 31), False),
        (Gate(False, 3), False),
        (Gate(None, 3), False),
        (Gate(True, 3, "津A12345"), False),
        (Gate(True, -3), False),
    ],
)
def test_who_follows_through(gate: Gate, follows: bool) -> None:
    assert asked(facts(site=gate))["lane.open_for_other"] is follows


def test_volunteers_on_duty() -> None:
    duties = (
        Duty(Window(Text("", ""), (hours_of("06:00-22:00"),)), 2, frozenset({"east"})),
        Duty(Window(Text("", ""), (hours_of("22:00-06:00"),)), 5),
        Duty(Window(Text("", "")), 1, None),
    )
    ground = Ground(zone=SHANGHAI, duties=duties)
    assert asked(facts(), ground=ground)["lane.volunteers"] == 3
    assert asked(facts(entrance="west"), ground=ground)["lane.volunteers"] == 1


def test_what_was_not_asked_is_not_computed() -> None:
    called: list[int] = []

    def near() -> list[Candidate]:
        called.append(1)
        return []

    found = asked(facts(near=near))
    assert found["passage.lane"] == "east-in"
    assert (called, set(found)) == ([], {"passage.lane"})
    assert (found["pass.found"], found["match.kind"], called) == (False, "none", [1])
