"""Presence in the store: a projection that a restart, a crash and another database do not change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, event, select

from gated.domain import Direction, Outcome
from gated.remembered import Remembered
from gated.store import Store, passages, passes, presence, retention
from gated.store.tables import counters, metadata
from gated.store.tables import passages as passages_table
from gated.times import to_us
from rules.memory import LaneMemory, Memory, Passed, Presence
from tests.store import make

ZONE = ZoneInfo("Asia/Shanghai")
DAY = [  # lane, minute, plate, outcome, pass
    ("east-in", 0, 1, Outcome.GRANT, "P1"),
    ("east-in", 1, 2, Outcome.GRANT, "P1"),
    ("east-in", 2, 3, Outcome.REFER, None),
    ("east-out", 30, 1, Outcome.GRANT, "P1"),
    ("west-in", 40, 4, Outcome.GRANT, "P2"),
    ("west-in", 45, 3, Outcome.DENY, None),
    ("west-in", 60 * 20, 4, Outcome.GRANT, "P2"),
    ("west-in", 60 * 20 + 1, 5, Outcome.GRANT, None),
]


async def play(store: Store, since: int = 0, until: int = len(DAY)) -> list[Passed]:
    """Records some passages of the day; what memory is told of them."""
    told = []
    for number, (lane, minute, plate, outcome, pass_id) in enumerate(DAY[since:until], since):
        at = make.NOW + timedelta(minutes=minute)
        record = make.record(number, lane=lane, outcome=outcome, credential=make.plate(plate), at=at)
        direction = Direction.OUT if lane.endswith("out") else Direction.IN
        passage = replace(record.passage, direction=direction)
        await store.record(
            replace(record, passage=passage, decision=replace(record.decision, pass_id=pass_id))
        )
        told.append(Passed(passage.id, lane, direction, at, passage.read.credential, outcome, pass_id))
    return told


def state(memory: Memory, now: datetime) -> tuple[object, ...]:
    return (
        {one: memory.presence(one) for one in ("P1", "P2")},
        memory.occupancy(now),
        [memory.refusals(make.plate(number), now) for number in range(6)],
        [memory.lane(lane) for lane in ("east-in", "east-out", "west-in")],
    )


async def advance(store: Store, limit: int = 2000) -> int:
    return await store.write(lambda conn: presence.advance(conn, ZONE, limit))


async def test_a_restart_remembers_what_was_known(store: Store) -> None:
    now = make.NOW + timedelta(minutes=60)
    lived = Memory(ZONE)
    for passed in await play(store):
        lived.passed(passed)
    again = Remembered(Memory(ZONE), lambda: now)
    await again.open(store)
    assert state(again.memory, now)[:3] == state(lived, now)[:3]
    assert again.memory.lane("east-in") is None  # nobody is followed through the barrier after so long
    known = again.memory.presence("P1")
    assert known is not None
    assert (known.entries, list(known.inside)) == (2, [make.plate(2).value])
    visits = again.memory.presence("P2")
    assert visits is not None
    assert (visits.entries, visits.today) == (2, 1)  # the second was after midnight at the site


async def test_a_crash_between_passages_and_the_table_loses_nothing(store: Store) -> None:
    await play(store, 0, 3)
    assert await advance(store, limit=2) == 2
    await play(store, 3)
    now = make.NOW + timedelta(minutes=60)
    again = Remembered(Memory(ZONE), lambda: now)
    await again.open(store)
    whole = Memory(ZONE)
    whole.load(await store.read(lambda conn: list(presence.load(conn))))
    assert await advance(store) == 0
    assert again.memory.presence("P1") == whole.presence("P1")
    known = whole.presence("P1")
    assert known is not None
    assert known.entries == 2


async def test_what_is_not_in_the_table_yet_is_not_pruned(store: Store) -> None:
    await play(store)
    later = make.NOW + timedelta(days=400)
    assert await store.write(lambda conn: passages.prune(conn, later)) == 0
    await advance(store)
    assert await store.write(lambda conn: passages.prune(conn, later)) == len(DAY)


async def test_presence_on_passes_that_ended_is_forgotten(store: Store) -> None:
    def issue(conn: Connection) -> None:
        passes.insert(conn, make.a_pass(1, id="P1", valid_until=make.NOW + timedelta(days=1)))
        passes.insert(conn, make.a_pass(2, id="P2"))

    await store.write(issue)
    await play_known(store)
    await advance(store)
    prune = make.NOW + timedelta(days=30)
    assert await store.write(lambda conn: presence.prune(conn, prune)) == 1
    left = await store.read(lambda conn: [pass_id for pass_id, _ in presence.load(conn)])
    assert left == ["P2"]


async def play_known(store: Store) -> None:
    """Two passages, decided on the two passes that there are."""
    for number, pass_id in enumerate(("P1", "P2")):
        record = make.record(number, credential=make.plate(number), change=2)
        await store.record(replace(record, decision=replace(record.decision, pass_id=pass_id)))


async def test_passes_that_are_over_are_forgotten_in_memory_too(store: Store) -> None:
    def issue(conn: Connection) -> None:
        passes.insert(conn, make.a_pass(1, id="P1", valid_until=make.NOW + timedelta(days=1)))
        passes.insert(conn, make.a_pass(2, id="P2", valid_until=make.NOW + timedelta(days=900)))

    await store.write(issue)
    await play_known(store)
    now = make.NOW
    remembered = Remembered(Memory(ZONE), lambda: now)
    await remembered.open(store)
    for days, gone in [(1, 0), (89, 0), (92, 1), (100, 0)]:
        now = make.NOW + timedelta(days=days)
        assert await remembered.tidy(store) == gone
    assert remembered.memory.presence("P1") is None
    assert remembered.memory.presence("P2") is not None
    assert [one for one, _ in await store.read(lambda conn: list(presence.load(conn)))] == ["P2"]


async def test_a_pass_that_was_used_late_is_kept(store: Store) -> None:
    issued = make.a_pass(1, id="P1", valid_until=make.NOW - timedelta(days=200))
    await store.write(lambda conn: passes.insert(conn, issued) and None)
    record = make.record(0, change=1)
    await store.record(replace(record, decision=replace(record.decision, pass_id="P1")))  # in days of grace
    await advance(store)
    before = make.NOW - timedelta(days=100)
    assert await retention.prune(store, presence.prune, before) == 0
    assert await store.write(partial(presence.forget, pass_ids=["P1"], before=before)) == 0
    assert await retention.prune(store, presence.prune, make.NOW + timedelta(days=1)) == 1


async def test_deleted_passages_take_nothing_with_them(store: Store) -> None:
    """Visits are counted on when the passages that they were counted from are gone, and their numbers, on
    SQLite, were given again."""
    await play(store)
    await advance(store)
    later = make.NOW + timedelta(days=400)
    assert await retention.prune(store, passages.prune, later) == len(DAY)
    record = make.record(100, credential=make.plate(1), at=later)
    await store.record(replace(record, decision=replace(record.decision, pass_id="P1")))
    assert await advance(store) == 1
    known = dict(await store.read(lambda conn: list(presence.load(conn))))
    assert known["P1"].entries == 3
    numbers = select(counters.c.value).where(counters.c.name.in_(["presence", "settled"]))
    last = await store.read(
        lambda conn: conn.execute(select(passages_table.c.n).order_by(passages_table.c.n)).scalars().all()
    )
    assert all(value <= last[-1] for value in await store.read(lambda conn: conn.execute(numbers).scalars()))


async def test_a_fold_that_another_overtook_is_not_written(store: Store) -> None:
    await play(store)
    first = await store.read(partial(presence.folded, zone=ZONE, limit=3))
    second = await store.read(partial(presence.folded, zone=ZONE, limit=5))
    assert await store.write(partial(presence.keep, found=first)) == 3
    assert await store.write(partial(presence.keep, found=second)) == 0
    assert await advance(store) == len(DAY) - 3
    known = dict(await store.read(lambda conn: list(presence.load(conn))))
    assert {pass_id: one.entries for pass_id, one in known.items()} == {"P1": 2, "P2": 2}


async def test_a_start_knows_who_was_just_let_through(store: Store) -> None:
    told = await play(store)
    now = make.NOW + timedelta(minutes=32)
    remembered = Remembered(Memory(ZONE), lambda: now)
    await remembered.open(store)
    assert remembered.memory.lane("east-out") == LaneMemory(told[3].at, told[3].credential, "P1")
    assert remembered.memory.lane("east-in") is None


async def test_only_the_latest_refusals_are_read(store: Store) -> None:
    for number in range(4):
        await store.record(make.record(number, outcome=(Outcome.REFER, Outcome.DENY)[number % 2]))
    await store.record(make.record(4))

    for since, limit, expected in [(0, 9, [0, 1, 2, 3]), (2, 9, [2, 3]), (0, 2, [2, 3]), (5, 9, [])]:
        found = await store.read(
            lambda conn, since=since, limit=limit: list(
                presence.refused_since(conn, make.moment(since), limit)
            )
        )
        assert [one.credential for one in found] == [make.plate(number) for number in expected]


# --- one fold, in memory and in the table ------------------------------------------------------------------


@contextmanager
def tables() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as conn:
        metadata.create_all(conn)
        conn.execute(counters.insert(), [{"name": "presence", "value": 0}])
        yield conn
    engine.dispose()


def row(passed: Passed) -> dict[str, object]:
    """As it is recorded."""
    at, credential = to_us(passed.at), passed.credential
    return {
        "id": passed.passage_id, "lane": passed.lane, "entrance": "east", "direction": passed.direction.value,
        "at": at, "decided_at": at, "received_at": at, "device": "cam", "raw": "",
        "credential_kind": credential and credential.kind.value,
        "credential": credential and credential.value,
        "outcome": passed.outcome.value, "reason": "", "rule_id": "", "pass_id": passed.pass_id, "change": 0,
        "continues": passed.continues, "details": "{}",
    }  # fmt: skip


def known_of(memory: Memory) -> dict[str, Presence]:
    found = {pass_id: memory.presence(pass_id) for pass_id in ("P1", "P2")}
    return {pass_id: known for pass_id, known in found.items() if known is not None}


moves = st.lists(
    st.tuples(
        st.sampled_from(list(Direction)),
        st.integers(0, 30) | st.integers(-4000, 4000),
        st.sampled_from([1, 2, 11111, 99999, None]),
        st.sampled_from(["P1", "P2", None]),
        st.sampled_from([Outcome.GRANT, Outcome.GRANT, Outcome.DENY]),
        st.none() | st.integers(1, 2),
    ),
    max_size=30,
)


def told(found: list[tuple[Direction, int, int | None, str | None, Outcome, int | None]]) -> list[Passed]:
    return [
        Passed(
            f"p{n}", f"east-{way}", way, make.NOW + timedelta(minutes=minute),
            None if plate is None else make.plate(plate), outcome, pass_id,
            None if back is None else f"p{n - back}",
        )
        for n, (way, minute, plate, pass_id, outcome, back) in enumerate(found)
    ]  # fmt: skip


@given(found=moves.map(told), limits=st.lists(st.integers(1, 9), min_size=1), loaded=st.integers(0, 30))
def test_the_table_is_what_memory_would_be(found: list[Passed], limits: list[int], loaded: int) -> None:
    """Whatever a batch takes, and wherever a daemon ended and another began."""
    lived = Memory(ZONE)
    for passed in found:
        lived.passed(passed)
    with tables() as conn:
        for passed in found:
            conn.execute(passages_table.insert(), [row(passed)])
        read, steps = 0, 0
        begun: dict[str, Presence] = {}
        rest: list[Passed] = []
        while got := presence.advance(conn, ZONE, limits[steps % len(limits)]):
            read, steps = read + got, steps + 1
            if steps == loaded:
                begun, rest = dict(presence.load(conn)), list(presence.since_cursor(conn))
        kept = dict(presence.load(conn))
    assert read == len(found)
    expected = known_of(lived)
    assert kept == expected
    again = Memory(ZONE)
    again.load((begun if rest or begun else kept).items())
    for passed in rest:
        again.passed(passed)
    assert known_of(again) == expected
    now = make.NOW + timedelta(minutes=60)
    assert again.occupancy(now) == lived.occupancy(now)


def test_refusals_and_lanes_are_found_by_an_index() -> None:
    """Years of passages are not looked through at a start."""
    asked: list[tuple[str, object]] = []
    with tables() as conn:
        conn.execute(
            passages_table.insert(), [row(told([(Direction.IN, 0, 1, "P1", Outcome.GRANT, None)])[0])]
        )
        event.listen(conn, "before_cursor_execute", lambda *args: asked.append(args[2:4]))
        list(presence.refused_since(conn, make.NOW, 10))
        list(presence.latest_of_lanes(conn, make.NOW))
        plans = [
            str(step[3])
            for statement, values in list(asked)
            for step in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)  # type: ignore[arg-type]
        ]
    assert not [step for step in plans if step.startswith("SCAN passages") and "INDEX" not in step], plans
    assert [step for step in plans if "ix_passages_outcome_at" in step and "SEARCH" in step], plans
