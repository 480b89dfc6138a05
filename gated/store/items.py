"""What waits for the writer: one item a caller. Knows no database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from gated.store.encode import Encoded
from gated.store.records import StaleDecision

Work = Callable[[Connection], Any]


class Item:
    """One caller's record or work, and what became of it. `unsure`: a commit broke off while it was in it,
    so it may be on disk."""

    __slots__ = ("deadline", "encoded", "error", "future", "result", "unsure", "work")

    def __init__(
        self, future: asyncio.Future[Any], deadline: float, encoded: Encoded | None, work: Work | None
    ) -> None:
        self.future = future
        self.deadline = deadline
        self.encoded = encoded
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.unsure = False


def fresh(batch: list[Item], change: int) -> list[Encoded]:
    """The records to write; a passage that was decided before `change` gets its error instead."""
    records: list[Encoded] = []
    for item in batch:
        encoded = item.encoded
        if encoded is None:
            continue
        if encoded.passage is not None and encoded.change < change:
            item.error = StaleDecision(change)
        else:
            item.error = None
            records.append(encoded)
    return records


def first_line(error: BaseException) -> str:
    """What a person needs of an error: SQLAlchemy adds the statement and its values, which hold plates."""
    original = getattr(error, "orig", None) or error
    text = str(original).strip()
    return text.splitlines()[0] if text else type(original).__name__
