"""Decisions by the policy that gated ships with: what a pass is, where and when it is shown, what comes out.

The table of its own cases is `rules/default/policy.cases.yaml`; here is what holds for every case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated.domain import (
    Candidate,
    Credential,
    CredentialKind,
    Direction,
    HourWindow,
    LaneMode,
    Outcome,
    PassFacts,
    PassState,
)
from rules import Situation, decide
from rules.windows import within_hours
from tests.rules.policies import SHANGHAI, default_policy

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=SHANGHAI)  # a Wednesday
PLATE = Credential(CredentialKind.PLATE, "津A12345")
VALID = PassFacts(
    pass_id="P1",
    kind="resident",
    state=PassState.ACTIVE,
    valid_from=NOON - timedelta(days=10),
    valid_until=NOON + timedelta(days=10),
    entrances=None,
    hours=(),
)
DAYTIME = HourWindow(frozenset(range(7)), time(6), time(22))


def facts(*passes: PassFacts, **changes: object) -> Situation:
    base = Situation(
        lane="east-in",
        entrance="east",
        direction=Direction.IN,
        credential=PLATE,
        confidence=0.9,
        candidates=[Candidate(p) for p in passes],
    )
    return base._replace(**changes)  # type: ignore[arg-type]


CASES = {
    "a valid pass": (facts(VALID), NOON, Outcome.GRANT, "pass_valid"),
    "no pass": (facts(), NOON, Outcome.REFER, "no_pass"),
    "nothing readable": (facts(credential=None), NOON, Outcome.REFER, "unreadable"),
    "expired": (facts(VALID), NOON + timedelta(days=13), Outcome.REFER, "pass_expired"),
    "expired this very moment": (facts(VALID), VALID.valid_until, Outcome.REFER, "pass_expired"),
    "the last microsecond": (
        facts(VALID),
        VALID.valid_until - timedelta(microseconds=1),
        Outcome.GRANT,
        "pass_valid",
    ),
    "valid from this very moment": (facts(VALID), VALID.valid_from, Outcome.GRANT, "pass_valid"),
    "too early": (facts(VALID), NOON - timedelta(days=11), Outcome.REFER, "pass_not_yet_valid"),
    "revoked": (
        facts(replace(VALID, state=PassState.REVOKED, revoked_at=NOON)),
        NOON,
        Outcome.DENY,
        "pass_revoked",
    ),
    "revoked and expired": (
        facts(replace(VALID, state=PassState.REVOKED, revoked_at=NOON)),
        NOON + timedelta(days=20),
        Outcome.DENY,
        "pass_revoked",
    ),
    "another entrance": (
        facts(replace(VALID, entrances=("west", "north"))),
        NOON,
        Outcome.REFER,
        "other_entrance",
    ),
    "one of several entrances": (
        facts(replace(VALID, entrances=("west", "east"))),
        NOON,
        Outcome.GRANT,
        "pass_valid",
    ),
    "within hours": (facts(replace(VALID, hours=(DAYTIME,))), NOON, Outcome.GRANT, "pass_valid"),
    "outside hours": (
        facts(replace(VALID, hours=(DAYTIME,))),
        NOON.replace(hour=23),
        Outcome.REFER,
        "outside_hours",
    ),
    "hours are the site's, not UTC": (
        facts(replace(VALID, hours=(DAYTIME,))),
        datetime(2026, 11, 18, 22, 30, tzinfo=UTC),  # 06:30 at the site
        Outcome.GRANT,
        "pass_valid",
    ),
    "one of two passes is good": (
        facts(replace(VALID, pass_id="P0", valid_until=NOON - timedelta(days=1)), VALID),
        NOON,
        Outcome.GRANT,
        "pass_valid",
    ),
    "the nearest miss of two is told": (
        facts(
            replace(VALID, pass_id="P0", state=PassState.REVOKED),
            replace(VALID, valid_until=NOON - timedelta(days=1)),
        ),
        NOON,
        Outcome.REFER,
        "pass_expired",
    ),
    "a near match that is far": (
        facts(near=lambda: [Candidate(VALID, distance=1.0, value="津A1234X")]),
        NOON,
        Outcome.REFER,
        "near_match",
    ),
    "a closed lane": (facts(VALID, lane_mode=LaneMode.CLOSED), NOON, Outcome.DENY, "lane_closed"),
    "a lane in fault still decides": (
        facts(VALID, lane_mode=LaneMode.FAULT),
        NOON,
        Outcome.GRANT,
        "pass_valid",
    ),
}


@pytest.mark.parametrize(("given_facts", "now", "outcome", "reason"), CASES.values(), ids=[*CASES])
def test_decides(given_facts: Situation, now: datetime, outcome: Outcome, reason: str) -> None:
    decision = decide(default_policy(), given_facts, now)
    assert (decision.outcome, decision.reason) == (outcome, reason)
    assert decision.explanation.zh
    assert decision.explanation.en
    assert bool(decision.alerts) is (outcome is not Outcome.GRANT)


def test_other_entrances_are_told_by_name() -> None:
    text = decide(default_policy(), facts(replace(VALID, entrances=("west", "north"))), NOON).explanation
    assert text.zh == (
        "津A12345的出入证不适用于本出入口，请走：西大门、north。给出入证加上本出入口后即可放行。"
    )
    assert text.en == (
        "The pass of 津A12345 is for other entrances: West Gate, north. "
        "Adding this entrance to the pass lets it through."
    )


def test_says_how_long_ago_and_what_helps() -> None:
    expired = replace(VALID, valid_until=datetime(2026, 11, 15, 6, 0, tzinfo=SHANGHAI))
    text = decide(default_policy(), facts(expired), NOON).explanation
    assert text.zh == "津A12345的出入证已于3天前（11月15日06:00）到期。续期后即可放行。"
    assert text.en == (
        "The pass of 津A12345 expired 3 days ago (15 Nov 06:00). Renewing the pass lets it through."
    )


def test_limits_are_the_policy_s() -> None:
    two_days_late = NOON + timedelta(days=12)
    assert decide(default_policy(), facts(VALID), two_days_late).outcome is Outcome.REFER
    waved = decide(default_policy(grace_days=3), facts(VALID), two_days_late)
    assert (waved.outcome, waved.reason) == (Outcome.GRANT, "pass_in_grace")
    assert decide(default_policy(min_confidence=0.95), facts(VALID), NOON).reason == "low_confidence"
    leaving = facts(direction=Direction.OUT)
    assert decide(default_policy(), leaving, NOON).reason == "no_pass"
    assert decide(default_policy(free_exit=True), leaving, NOON).outcome is Outcome.GRANT
    closed = facts(direction=Direction.OUT, lane_mode=LaneMode.CLOSED)
    assert decide(default_policy(free_exit=True), closed, NOON).outcome is Outcome.DENY


NIGHT = HourWindow(frozenset({4}), time(22), time(6))  # Friday night


@pytest.mark.parametrize(
    ("when", "inside"),
    [
        (datetime(2026, 11, 20, 21, 59, tzinfo=SHANGHAI), False),
        (datetime(2026, 11, 20, 22, 0, tzinfo=SHANGHAI), True),
        (datetime(2026, 11, 21, 5, 59, tzinfo=SHANGHAI), True),
        (datetime(2026, 11, 21, 6, 0, tzinfo=SHANGHAI), False),
        (datetime(2026, 11, 21, 22, 30, tzinfo=SHANGHAI), False),
        (datetime(2026, 11, 20, 3, 0, tzinfo=SHANGHAI), False),
    ],
)
def test_a_window_past_midnight_belongs_to_its_first_day(when: datetime, inside: bool) -> None:
    assert within_hours((NIGHT,), when) is inside


whole_day = HourWindow(frozenset({2}), time(0), time(0))


def test_a_window_from_midnight_to_midnight_is_the_whole_day() -> None:
    assert within_hours((whole_day,), datetime(2026, 11, 18, 0, 0, tzinfo=SHANGHAI))
    assert within_hours((whole_day,), datetime(2026, 11, 18, 23, 59, tzinfo=SHANGHAI))
    assert not within_hours((whole_day,), datetime(2026, 11, 19, 0, 0, tzinfo=SHANGHAI))


moments = st.datetimes(
    min_value=datetime(2026, 1, 1), max_value=datetime(2027, 12, 31), timezones=st.just(UTC)
)


@given(
    now=moments,
    since=moments,
    until=moments,
    state=st.sampled_from(PassState),
    entrances=st.none() | st.lists(st.sampled_from(["east", "west"])).map(tuple),
    direction=st.sampled_from(Direction),
    mode=st.sampled_from(LaneMode),
)
def test_a_grant_always_has_a_pass_that_holds(
    now: datetime,
    since: datetime,
    until: datetime,
    state: PassState,
    entrances: tuple[str, ...] | None,
    direction: Direction,
    mode: LaneMode,
) -> None:
    held = replace(VALID, valid_from=since, valid_until=until, state=state, entrances=entrances)
    given_facts = facts(held, direction=direction, lane_mode=mode)
    first, second = decide(default_policy(), given_facts, now), decide(default_policy(), given_facts, now)
    assert first == second
    if first.outcome is Outcome.GRANT:
        assert state is PassState.ACTIVE
        assert since <= now < until
        assert entrances is None or "east" in entrances
        assert mode is not LaneMode.CLOSED
