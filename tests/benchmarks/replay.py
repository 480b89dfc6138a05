"""A policy over recorded passages: how many a second, and with how much memory.

Passages are decided by the village policy and stored with their receipts in a SQLite database; then the same
policy, and one with other limits, is replayed over them as `gated rules replay` does, in this process. The
same one must find no difference.

`replay.passages`: passages a second on one core, the reading of the store included; beside reading the rows
alone, which is the limit that no replay passes. `replay.memory`: what the process grew by.

    python -m tests.benchmarks.replay [--passages 100000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection

from gated.passbook import Passbook
from gated.policy import default_text, load
from gated.policy.replay import Replay, rows
from gated.store import Store
from gated.store import passes as stored
from rules import Policy
from rules.build import SiteNames
from tests.benchmarks.report import emit, fault, finish, note_if_busy, say
from tests.policy.day import book_of, day, villagers
from tests.rules.policies import SHANGHAI

START = datetime(2026, 11, 1, tzinfo=SHANGHAI)
STEP = timedelta(seconds=2)
PASSES = 12_000
WAITING = 500


async def _fill(store: Store, policy: Policy, count: int) -> None:
    people = villagers(PASSES, START)
    for begin in range(0, len(people), 1000):
        await store.write(partial(stored.insert_many, given=people[begin : begin + 1000]))
    waiting: list[Any] = []
    for number, record in enumerate(day(policy, book_of(people), count, START, step=STEP), 1):
        waiting.append(store.record(record))
        if len(waiting) == WAITING:
            await asyncio.gather(*waiting)
            waiting.clear()
        if number % 100_000 == 0:
            say(f"  recorded {number}")
    await asyncio.gather(*waiting)


def _replayed(policy: Policy, conn: Connection, end: datetime) -> tuple[float, Replay]:
    book = Passbook()
    book.load(stored.facts(conn), stored.last_change(conn))
    run = Replay(policy, book)
    started = time.perf_counter()
    for row in rows(conn, START, end):
        run.judge(row)
    return time.perf_counter() - started, run


def _read(conn: Connection, end: datetime) -> float:
    started = time.perf_counter()
    for row in rows(conn, START, end):
        orjson.loads(row.details)
    return time.perf_counter() - started


def _rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _run(count: int, folder: Path) -> None:
    site = SiteNames(zone=SHANGHAI, checked=False)
    policy = load(default_text(), site)
    other = policy.with_limits({"grace_days": 90})
    say(f"recording {count} passages, decided by the village policy")
    store = await Store.open(f"sqlite:///{folder}/gated.db")
    try:
        await _fill(store, policy, count)
        end = START + STEP * (count + 1)
        before = _rss()
        reading = await store.read(lambda conn: _read(conn, end))
        look: Callable[[Policy], Any] = lambda one: store.read(lambda conn: _replayed(one, conn, end))  # noqa: E731
        seconds, run = await look(policy)
        changed, differing = await look(other)
    finally:
        await store.close()
    if run.tally.passages != count or run.tally.different or run.tally.reasons:
        fault(f"the same policy: {run.tally.passages} of {count}, {run.tally.different} different")
    if not differing.tally.different:
        fault("the other policy found nothing")
    emit("replay.passages", count / seconds, "passages/s", n=count)
    emit("replay.other_policy", count / changed, "passages/s", n=count)
    emit("replay.reading_alone", count / reading, "passages/s", n=count)
    emit("replay.differences", differing.tally.different, "passages", n=count)
    emit("replay.memory", _rss() - before, "MiB", n=count)


def main() -> int:
    """Fills, replays, reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument(
        "--folder", type=Path, help="where the database is made; a temporary folder unless given"
    )
    options = parser.parse_args()
    note_if_busy()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        asyncio.run(_run(options.passages, Path(folder)))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
