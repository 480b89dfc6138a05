"""What every benchmark shares: the machine in words, percentiles, turns, and the lines it prints.

A benchmark is a module of this package, run as `python -m tests.benchmarks.NAME`. Results go to standard
output, one JSON object a line; everything that a person should read meanwhile goes to standard error.
"""

from __future__ import annotations

import functools
import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

Side = TypeVar("Side")
_missed: list[str] = []


@functools.cache
def machine() -> str:
    """Cores, processor, memory, kernel and Python, in one line."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} cores {model}, {memory:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def say(text: str) -> None:
    """A line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `share` (0..1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def emit(
    name: str,
    value: float,
    unit: str,
    *,
    n: int,
    limit_name: str | None = None,
    limit: float | None = None,
    at_most: bool = True,
) -> None:
    """Prints one result. `limit` is what was measured or asked for beside it, in the same unit; `ratio` is
    value / limit. With `at_most` the value is to stay at or below its limit, else at or above it; a limit
    that is missed is remembered for `finish`."""
    ratio = value / limit if limit else None
    if ratio is not None and (ratio > 1 if at_most else ratio < 1):
        _missed.append(f"{name}: {value:.4g} {unit}, {'at most' if at_most else 'at least'} {limit:.4g}")
    line = {
        "name": name,
        "value": _short(value),
        "unit": unit,
        "limit_name": limit_name,
        "limit": _short(limit),
        "ratio": _short(ratio),
        "n": n,
        "machine": machine(),
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)


def fault(text: str) -> None:
    """Remembers something that went wrong apart from a limit: a count that does not agree, for instance."""
    _missed.append(text)


def finish() -> int:
    """The exit code: 1 if a limit was missed or a fault noted; says which on standard error."""
    for line in _missed:
        say(f"MISSED {line}")
    return 1 if _missed else 0


def turns(rounds: int, sides: Sequence[Side]) -> Iterator[tuple[int, Side]]:
    """The sides of a comparison in turn, the order reversed every other round, so that a machine that slows
    down meanwhile slows all of them."""
    for number in range(rounds):
        for side in sides if number % 2 == 0 else list(reversed(sides)):
            yield number, side


def note_if_busy() -> None:
    """Says so if the machine is already busy: the figures of a busy machine are not worth keeping."""
    load = os.getloadavg()[0]
    if load > 0.5 * len(os.sched_getaffinity(0)):
        say(f"note: load average {load:.1f} before the start; something else is running here")


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
