"""A recorded day: passages decided by the real policy, with their receipts, as the daemon records them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from gated.domain import Credential, CredentialKind, Direction, Holder, Pass, Passage, Read
from gated.ids import event_id
from gated.passbook import Passbook, Seen
from gated.store import PassageRecord
from rules import Policy, Situation, decide


def villagers(count: int, now: datetime) -> list[Pass]:
    """Passes: one in ten has expired, one in twenty is for the west entrance only."""
    return [
        Pass(
            id=f"{number:026}",
            kind=("resident", "tenant", "worker")[number % 3],
            holder=Holder(f"王{number}"),
            credentials=(Credential(CredentialKind.PLATE, f"津A{number:05}"),),
            entrances=("west",) if number % 20 == 7 else None,
            valid_from=now - timedelta(days=400),
            valid_until=now - timedelta(days=40) if number % 10 == 3 else now + timedelta(days=400),
            created_at=now,
            updated_at=now,
        )
        for number in range(count)
    ]


def book_of(passes: list[Pass]) -> Passbook:
    """A passbook with these."""
    book = Passbook()
    for number, one in enumerate(passes, 1):
        book.apply(replace(one, change=number))
    return book


def day(
    policy: Policy, book: Passbook, count: int, start: datetime, *, step: timedelta, receipts: bool = True
) -> Iterator[PassageRecord]:
    """So many passages, decided one after the other; one in twelve vehicles is a stranger's."""
    rng = random.Random(count)
    known = max(1, len(book))
    for number in range(count):
        at = start + step * number
        entrance = ("east", "west")[number % 2]
        plate = f"冀B{rng.randrange(100_000):05}" if number % 12 == 5 else f"津A{rng.randrange(known):05}"
        credential = Credential(CredentialKind.PLATE, plate)
        details = {"vehicle_class": "van"} if number % 4 == 0 else {}
        read = Read(
            device=f"cam-{entrance}",
            received_at=at,
            device_time=at,
            key=str(number),
            credential=credential,
            raw=plate,
            confidence=0.95,
            details=details,
        )
        situation = Situation(
            f"{entrance}-in",
            entrance,
            Direction.IN,
            credential,
            0.95,
            book.match(credential),
            near=lambda credential=credential: book.near([Seen(credential, 0.95)]),  # type: ignore[misc]
            details=details,
        )
        decision = decide(policy, situation, at)
        if not receipts:
            decision = replace(decision, receipt=None)
        passage = Passage(
            id=event_id(read.device, str(number), at),
            lane=situation.lane,
            entrance=entrance,
            direction=Direction.IN,
            read=read,
            at=at,
        )
        yield PassageRecord(passage=passage, decision=decision, decided_at=at, change=book.change)
