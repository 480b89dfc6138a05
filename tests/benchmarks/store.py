"""The store beside what the disk and SQLite can do at best: durable passages a second, and one caller's wait.

`store.waiting256`: 256 callers, each waiting for its passage before it hands in the next; beside raw sqlite3
that writes the same rows (a passage and its outbox row, same tables and indexes, WAL, synchronous=FULL, all
else as it is by default) in transactions of 100 from one thread with everything made beforehand.
`store.single`: one caller alone; beside fdatasync after an 8 KB append on the same disk. The sides take
turns, each round on new files.

    python -m tests.benchmarks.store [--rounds 7] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Coroutine
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import structlog
import uvloop

from gated.domain import (
    Credential,
    CredentialKind,
    Decision,
    Direction,
    Outcome,
    Passage,
    Read,
    Text,
)
from gated.ids import event_id
from gated.outbox import passage_message
from gated.store import PassageRecord, Store, encode
from gated.store.sequence import Sequence
from gated.store.tables import outbox
from tests.benchmarks.report import emit, finish, note_if_busy, percentile, say, turns

T = TypeVar("T")

PASSAGES = 20_000
CALLERS = 256
PEER_BATCH = 100
SINGLES = 2000
IN_TURN = 40
WARM_UP = 200
START = datetime(2026, 11, 21, 6, tzinfo=UTC)
GRANTED = Text("出入证有效，请通行", "A valid pass; go ahead")


def records(count: int, seed: int) -> list[PassageRecord]:
    """A busy morning: 24 lanes, 12,000 plates."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        at = START + timedelta(milliseconds=30 * number, microseconds=rng.randrange(1000))
        lane, plate = f"lane-{rng.randrange(24):02d}", f"津A{rng.randrange(12_000):05d}"
        device = f"cam-{lane}"
        passage = Passage(
            id=event_id(device, str(number), at),
            lane=lane,
            entrance=lane[:7],
            direction=Direction.IN,
            at=at,
            read=Read(
                device=device,
                received_at=at,
                device_time=at,
                key=str(number),
                credential=Credential(CredentialKind.PLATE, plate),
                raw=plate,
                confidence=0.97,
            ),
        )
        decision = Decision(
            outcome=Outcome.GRANT,
            reason="valid_pass",
            explanation=GRANTED,
            rule_id="valid-pass",
            pass_id=f"01JD{number % 12_000:022d}",
        )
        made.append(PassageRecord(passage, decision, at, 0, (), (passage_message(passage, decision),)))
    return made


async def waiting(folder: Path, given: list[PassageRecord]) -> float:
    """Passages a second of the store with `CALLERS` callers."""
    store = await Store.open(f"sqlite:///{folder}/gated.db")
    left = iter(given)

    async def caller() -> None:
        for record in left:
            await store.record(record)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    seconds = time.perf_counter() - started
    await store.close()
    with closing(sqlite3.connect(folder / "gated.db")) as raw:
        kept = raw.execute("SELECT (SELECT count(*) FROM passages), (SELECT count(*) FROM outbox)").fetchone()
    assert kept == (len(given), len(given)), kept
    return len(given) / seconds


async def raw_sqlite(folder: Path, given: list[PassageRecord]) -> float:
    """Passages a second of sqlite3 alone."""
    store = await Store.open(f"sqlite:///{folder}/gated.db")
    await store.close()
    encoded = [encode.passage(record) for record in given]
    sequence = Sequence((0, 1))
    sequence.last = 0
    outbox_rows = sequence.assign([one.messages[0] for one in encoded])
    passage_rows = [one.passage for one in encoded]
    columns = ", ".join(f'"{name}"' for name in encode.PASSAGE_COLUMNS)
    passage_sql = f"INSERT INTO passages ({columns}) VALUES ({', '.join('?' * len(encode.PASSAGE_COLUMNS))})"  # noqa: S608
    outbox_sql = f"INSERT INTO outbox VALUES ({', '.join('?' * len(outbox.columns))})"  # noqa: S608
    with closing(sqlite3.connect(folder / "gated.db", isolation_level=None)) as raw:
        raw.execute("PRAGMA synchronous = FULL")
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        raw.executemany("INSERT INTO topics VALUES (?, ?)", sequence.new_topics)
        started = time.perf_counter()
        for first in range(0, len(given), PEER_BATCH):
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(passage_sql, passage_rows[first : first + PEER_BATCH])
            raw.executemany(outbox_sql, outbox_rows[first : first + PEER_BATCH])
            raw.execute("COMMIT")
        return len(given) / (time.perf_counter() - started)


async def single(folder: Path, given: list[PassageRecord]) -> tuple[list[float], list[float]]:
    """Seconds until each passage was acknowledged, one after the other; and for as many appends of 8 KB, each
    synced. A few of each in turn, so that both see the same machine."""
    store = await Store.open(f"sqlite:///{folder}/gated.db")
    block = os.urandom(8192)
    acknowledged: list[float] = []
    synced: list[float] = []
    with (folder / "append").open("wb", buffering=0) as file:
        for first in range(0, len(given), IN_TURN):
            for record in given[first : first + IN_TURN]:
                started = time.perf_counter()
                await store.record(record)
                acknowledged.append(time.perf_counter() - started)
            for _ in range(IN_TURN):
                started = time.perf_counter()
                file.write(block)
                os.fdatasync(file.fileno())
                synced.append(time.perf_counter() - started)
    await store.close()
    return acknowledged[WARM_UP:], synced[WARM_UP:]


def measure(rounds: int, parent: Path | None) -> None:
    """Runs both comparisons and prints their results."""
    given = records(PASSAGES, 1)
    gc.collect()
    gc.freeze()  # as the daemon does once it has started
    rates: dict[object, list[float]] = {waiting: [], raw_sqlite: []}
    for number, side in turns(rounds, [raw_sqlite, waiting]):
        with tempfile.TemporaryDirectory(dir=parent, prefix="gated-bench-") as folder:
            rates[side].append(_run(side(Path(folder), given)))
        say(f"round {number + 1}: {side.__name__} {rates[side][-1]:,.0f} passages/s")
    emit(
        "store.waiting256",
        statistics.median(rates[waiting]),
        "passages/s",
        n=rounds * PASSAGES,
        limit_name="0.8 of raw sqlite3, FULL, 100 a transaction",
        limit=0.8 * statistics.median(rates[raw_sqlite]),
        at_most=False,
    )
    acknowledged: list[float] = []
    synced: list[float] = []
    for number in range(rounds):
        some = given[number * SINGLES : (number + 1) * SINGLES]
        with tempfile.TemporaryDirectory(dir=parent, prefix="gated-bench-") as folder:
            one, other = _run(single(Path(folder), some))
        acknowledged += one
        synced += other
    emit(
        "store.single.p50",
        1000 * percentile(acknowledged, 0.5),
        "ms",
        n=len(acknowledged),
        limit_name="1.5 x p50 of fdatasync of an 8 KB append",
        limit=1500 * percentile(synced, 0.5),
    )
    for name, waits in (("store.single.p99", acknowledged), ("store.fdatasync.p99", synced)):
        emit(name, 1000 * percentile(waits, 0.99), "ms", n=len(waits))


def _run(work: Coroutine[object, object, T]) -> T:
    """On the event loop that the daemon runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the temporary folder")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    note_if_busy()
    measure(options.rounds, options.folder)
    return finish()


if __name__ == "__main__":
    raise SystemExit(main())
