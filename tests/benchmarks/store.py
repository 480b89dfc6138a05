"""The store beside what the disk and SQLite can do at best: durable passages a second, and one caller's wait.

`store.waiting256`: 256 callers, each waiting for its passage before it hands in the next; beside raw sqlite3
that writes the same rows (a passage and its outbox row, same tables and indexes, WAL, synchronous=FULL) in
transactions of 100 from one thread with everything made beforehand. `store.single`: one caller alone; beside
fdatasync after an 8 KB append on the same disk. The sides take turns, each round on new files.

    python -m tests.benchmarks.store [--rounds 7] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
from gated.store.tables import outbox
from tests.benchmarks.report import emit, finish, note_if_busy, percentile, say, turns

PASSAGES = 20_000
CALLERS = 256
PEER_BATCH = 100
SINGLES = 400
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
    topics = {topic: number for number, topic in enumerate(sorted({e.messages[0].topic for e in encoded}), 1)}
    seqs = dict.fromkeys(topics, 0)
    passage_rows, outbox_rows = [], []
    for number, one in enumerate(encoded, 1):
        message = one.messages[0]
        seqs[message.topic] += 1
        passage_rows.append(one.passage)
        outbox_rows.append((number, topics[message.topic], seqs[message.topic], 0, False, message.payload))
    columns = ", ".join(f'"{name}"' for name in encode.PASSAGE_COLUMNS)
    passage_sql = f"INSERT INTO passages ({columns}) VALUES ({', '.join('?' * len(encode.PASSAGE_COLUMNS))})"  # noqa: S608
    outbox_sql = f"INSERT INTO outbox VALUES ({', '.join('?' * len(outbox.columns))})"  # noqa: S608
    with closing(sqlite3.connect(folder / "gated.db", isolation_level=None)) as raw:
        raw.execute("PRAGMA synchronous = FULL")
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        raw.executemany("INSERT INTO topics (topic, id) VALUES (?, ?)", topics.items())
        started = time.perf_counter()
        for first in range(0, len(given), PEER_BATCH):
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(passage_sql, passage_rows[first : first + PEER_BATCH])
            raw.executemany(outbox_sql, outbox_rows[first : first + PEER_BATCH])
            raw.execute("COMMIT")
        return len(given) / (time.perf_counter() - started)


async def single(folder: Path, given: list[PassageRecord]) -> list[float]:
    """Seconds until each of a few passages was acknowledged, one after the other."""
    store = await Store.open(f"sqlite:///{folder}/gated.db")
    waits = []
    for record in given:
        started = time.perf_counter()
        await store.record(record)
        waits.append(time.perf_counter() - started)
    await store.close()
    return waits


async def append(folder: Path, given: list[PassageRecord]) -> list[float]:
    """Seconds for as many appends of 8 KB, each synced."""
    block, waits = os.urandom(8192), []
    with (folder / "append").open("wb", buffering=0) as file:
        for _ in given:
            started = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            waits.append(time.perf_counter() - started)
    return waits


def measure(rounds: int, parent: Path | None) -> None:
    """Runs both comparisons and prints their results."""
    given = records(PASSAGES, 1)
    rates: dict[object, list[float]] = {waiting: [], raw_sqlite: []}
    for number, side in turns(rounds, [raw_sqlite, waiting]):
        with tempfile.TemporaryDirectory(dir=parent, prefix="gated-bench-") as folder:
            rates[side].append(asyncio.run(side(Path(folder), given)))
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
    waits: dict[object, list[float]] = {single: [], append: []}
    for number, one in turns(4 * rounds, [append, single]):
        with tempfile.TemporaryDirectory(dir=parent, prefix="gated-bench-") as folder:
            waits[one] += asyncio.run(one(Path(folder), given[number * SINGLES : (number + 1) * SINGLES]))
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        emit(
            f"store.single.{name}",
            1000 * percentile(waits[single], share),
            "ms",
            n=len(waits[single]),
            limit_name="1.5 x fdatasync of an 8 KB append" if name == "p50" else None,
            limit=1500 * percentile(waits[append], share) if name == "p50" else None,
        )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the temporary folder")
    options = parser.parse_args()
    note_if_busy()
    measure(options.rounds, options.folder)
    return finish()


if __name__ == "__main__":
    raise SystemExit(main())
