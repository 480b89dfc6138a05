"""A process that records in a loop until it is killed, and says what was acknowledged.

    python -m tests.store.recorder URL FIRST

Prints the number of each passage once the store has acknowledged it. Eight callers at a time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from gated.domain import OpeningOutcome
from gated.store import Store
from tests.store import make


async def main(url: str, first: int) -> None:
    """Never returns."""
    store = await Store.open(url)
    numbers = itertools.count(first)

    async def caller() -> None:
        for number in numbers:
            await store.record(make.record(number, messages=1 + number % 2))
            os.write(1, b"%d\n" % number)
            await store.record_opening(make.opening(number, OpeningOutcome.CONFIRMED))

    await asyncio.gather(*(caller() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
