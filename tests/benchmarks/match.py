"""Looking up what was read among so many passes: plates that are nearly it, and exactly.

Half of the reads are one edit from a plate that has a pass, half are of vehicles that have none.
`match.near`: look-ups a second of near plates, with distance and edits; at 12,000 beside 50 times rapidfuzz's
cdist of one read against all plates, which gives bare distances and knows no look-alikes.
`match.candidates`: the same with the passes that the plates are on, as a decision asks for them.
`match.exact`: of plates that have a pass. `match.memory`: of the whole passbook, and of what near matches
need of it, a pass; `match.load_of_near`: the time that they need at the start. Each number of passes has a
process of its own.

    python -m tests.benchmarks.match [--passes 12000,100000,1000000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from gated.domain import Credential, CredentialKind, PassFacts, PassState
from gated.nearplates import NearPlates
from gated.passbook import Passbook, Seen
from tests.benchmarks.report import emit, finish, note_if_busy, percentile, say, turns

Ask = TypeVar("Ask")

PEER_AT = 12_000
TIMES = 50
READS = 10_000
PEER_READS = 400
DIGITS = "0123456789"
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
FACTS = PassFacts(
    pass_id="",
    kind="resident",
    state=PassState.ACTIVE,
    valid_from=NOW,
    valid_until=NOW,
    entrances=None,
    hours=(),
)


def plate(rng: random.Random) -> str:
    """A vehicle as they come to a village in Tianjin: three of four from there, one of four new-energy."""
    head = "津" if rng.random() < 0.75 else rng.choice("冀冀冀京鲁豫晋辽吉黑皖苏")
    head += rng.choice("ABCDEFGHJKLMNPQRST")
    serial = rng.choices(DIGITS, k=5)
    if rng.random() < 0.25:
        return head + rng.choice("DDDDFA") + rng.choice(DIGITS + LETTERS) + "".join(serial[:4])
    for at in rng.sample(range(5), rng.choice((0, 1, 1, 2, 2))):
        serial[at] = rng.choice(LETTERS)
    return head + "".join(serial)


def misread(value: str, rng: random.Random) -> str:
    """One edit away: mostly another character, sometimes one too few or too many."""
    at, kind, char = rng.randrange(2, len(value)), rng.random(), rng.choice(DIGITS + LETTERS)
    return value[:at] + ("" if kind < 0.1 else char) + value[at + (kind < 0.9) :]


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured with so many passes. Rates a second, one for each round; times of single look-ups of
    candidates in seconds, and how many they found; memory in bytes."""

    near: list[float]
    candidates: list[float]
    exact: list[float]
    peer: list[float]
    times: list[float]
    found: float
    load_s: float
    book: int
    index: int


def measure(count: int, rounds: int) -> Found:
    """Runs in a process of its own, which knows nothing but these passes."""
    rng = random.Random(count)
    distinct: dict[str, None] = {}
    while len(distinct) < count:
        distinct[plate(rng)] = None
    plates, reads = list(distinct), list[str]()
    while len(reads) < READS:
        read = misread(rng.choice(plates), rng) if len(reads) % 2 else plate(rng)
        if read not in distinct:
            reads.append(read)
    del distinct
    names = [value.encode() for value in plates]
    gc.collect()

    before, book = _memory(), Passbook()
    book.load(_facts(plates, rng), 1)
    book_size = _memory() - before
    # the book has such a one; this one is for its size
    before, started, index = _memory(), time.perf_counter(), NearPlates()
    index.load(names, count)
    load_s, index_size = time.perf_counter() - started, _memory() - before
    gc.collect()
    gc.freeze()  # as the daemon does once it has started

    seen = [[Seen(Credential(CredentialKind.PLATE, read), 0.95)] for read in reads]
    exact = [Credential(CredentialKind.PLATE, value) for value in rng.choices(plates, k=READS)]
    works: dict[str, Callable[[], int]] = {
        "near": lambda: _all(index.near, reads),
        "candidates": lambda: _all(book.near, seen),
        "exact": lambda: _all(book.match, exact),
    }
    if count == PEER_AT:
        works["peer"] = lambda: _cdist(reads[:PEER_READS], plates)
    rates: dict[str, list[float]] = {name: [] for name in (*works, "peer")}
    for number, name in turns(rounds + 1, list(works)):
        started = time.perf_counter()
        done = works[name]()
        if number:  # the first is to warm up
            rates[name].append(done / (time.perf_counter() - started))
    times, found = [], 0
    for one in seen:
        started = time.perf_counter()
        candidates = book.near(one)
        times.append(time.perf_counter() - started)
        found += len(candidates)
    return Found(
        near=rates["near"],
        candidates=rates["candidates"],
        exact=rates["exact"],
        peer=rates["peer"],
        times=times,
        found=found / len(seen),
        load_s=load_s,
        book=book_size,
        index=index_size,
    )


def _facts(plates: Sequence[str], rng: random.Random) -> Iterator[tuple[Credential, PassFacts]]:
    """A pass for each plate, from some time of the last year on for a year."""
    for number, value in enumerate(plates):
        since = NOW - timedelta(minutes=rng.randrange(500_000))
        facts = replace(
            FACTS, pass_id=f"01JD{number:022d}", valid_from=since, valid_until=since + timedelta(days=365)
        )
        yield Credential(CredentialKind.PLATE, value), facts


def _all(look_up: Callable[[Ask], object], asked: Sequence[Ask]) -> int:
    for one in asked:
        look_up(one)
    return len(asked)


def _cdist(reads: Sequence[str], plates: list[str]) -> int:
    for read in reads:
        cdist([read], plates, scorer=Levenshtein.distance, score_cutoff=1)
    return len(reads)


def _memory() -> int:
    """What of this process is in memory, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def report(count: int, found: Found) -> None:
    """Prints what was found with so many passes."""
    n = len(found.near) * READS
    limit: float | None = None
    limit_name: str | None = None
    if found.peer:
        peer = statistics.median(found.peer)
        emit("match.cdist@12000", peer, "lookups/s", n=len(found.peer) * PEER_READS)
        limit, limit_name = TIMES * peer, f"{TIMES} x rapidfuzz cdist, one read against all plates"
    emit(
        f"match.near@{count}", statistics.median(found.near), "lookups/s", n=n, at_most=False,
        limit_name=limit_name, limit=limit,
    )  # fmt: skip
    emit(f"match.candidates@{count}", statistics.median(found.candidates), "lookups/s", n=n)
    for share in (50, 99):
        ms = percentile(found.times, share / 100) * 1000
        emit(f"match.candidates_p{share}@{count}", ms, "ms", n=READS)
    emit(f"match.found@{count}", found.found, "candidates/lookup", n=READS)
    emit(f"match.exact@{count}", statistics.median(found.exact), "lookups/s", n=n)
    emit(f"match.load_of_near@{count}", found.load_s, "s", n=1)
    emit(f"match.memory@{count}", found.book / count, "bytes/pass", n=count)
    emit(f"match.memory_of_near@{count}", found.index / count, "bytes/pass", n=count)


def main() -> int:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passes", default="12000,100000,1000000", help="how many, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    note_if_busy()
    for count in map(int, options.passes.split(",")):
        say(f"{count:,} passes")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            report(count, pool.submit(measure, count, options.rounds).result())
    return finish()


if __name__ == "__main__":
    sys.exit(main())
