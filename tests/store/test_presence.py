"""Presence in the store: a projection that a restart, a crash and another database do not change."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from gated.domain import Direction, Outcome
from gated.remembered import Remembered
from gated.store import Store, passages, passes, presence
from rules.memory import Memory, Passed
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
    from dataclasses import replace

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


def state(memory: Memory, now: datetime) -> object:
    return (
        {one: memory.presence(one) for one in ("P1", "P2")},
        memory.occupancy(now),
        [memory.refusals(make.plate(number), now) for number in range(6)],
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
    assert state(again.memory, now) == state(lived, now)
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
    """The day, decided on the two passes that there are."""
    from dataclasses import replace

    for number, pass_id in enumerate(("P1", "P2")):
        record = make.record(number, credential=make.plate(number), change=2)
        await store.record(replace(record, decision=replace(record.decision, pass_id=pass_id)))


moves = st.lists(
    st.tuples(
        st.sampled_from(["in", "out"]),
        st.integers(0, 5000),
        st.integers(1, 3),
        st.sampled_from(["P1", "P2", None]),
        st.sampled_from(list(Outcome)),
    ),
    max_size=30,
)


def told(moves_: list[tuple[str, int, int, str | None, Outcome]]) -> list[Passed]:
    return [
        Passed(
            str(number), f"east-{way}", Direction(way), make.NOW + timedelta(minutes=minute),
            make.plate(plate), outcome, pass_id if outcome is Outcome.GRANT else None,
        )
        for number, (way, minute, plate, pass_id, outcome) in enumerate(moves_)
    ]  # fmt: skip


@given(moves_=moves)
def test_memory_counts_as_one_would_by_hand(moves_: list[tuple[str, int, int, str | None, Outcome]]) -> None:
    memory = Memory(ZONE)
    for passed in told(moves_):
        memory.passed(passed)
        memory.passed(passed)  # told twice in a row: counted once, where it is of a pass
    now = make.NOW + timedelta(minutes=5000)
    inside = [memory.inside(pass_id, now) for pass_id in ("P1", "P2")]
    assert memory.occupancy(now) == sum(map(len, inside))
    for pass_id in ("P1", "P2"):
        mine = [one for one in told(moves_) if one.pass_id == pass_id]
        known = memory.presence(pass_id)
        assert (known is None) == (not mine)
        if known is not None:
            assert known.entries == sum(one.direction is Direction.IN for one in mine)
            assert 0 <= known.today <= known.entries
            assert set(known.inside) <= {one.credential.value for one in mine if one.credential}


@given(moves_=moves, hours=st.integers(0, 200))
def test_nobody_is_inside_for_ever(
    moves_: list[tuple[str, int, int, str | None, Outcome]], hours: int
) -> None:
    memory = Memory(ZONE)
    for passed in told(moves_):
        memory.passed(passed)
    now = make.NOW + timedelta(hours=hours)
    for pass_id in ("P1", "P2"):
        assert all(now - since <= memory.forget for since in memory.inside(pass_id, now).values())
