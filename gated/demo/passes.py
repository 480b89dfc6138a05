"""Entry passes for simulated residents: what a register of the village would hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta
from functools import partial

from adapters.simulator.people import Resident, Standing, card_of, residents
from gated.domain import CredentialKind, Holder, HourWindow, Pass, PassState
from gated.ids import new_id
from gated.plates import credential
from gated.store import Store
from gated.store import passes as stored

PEOPLE = 12_000
_BATCH = 1000
_NIGHT = HourWindow(frozenset(range(7)), time(0, 0), time(0, 1))


def passes(people: Iterable[Resident], now: datetime, elsewhere: str) -> Iterator[Pass]:
    """A pass for each resident, in the state that the resident's standing says. `elsewhere`: the entrance
    that the few who may only use one entrance are bound to."""
    for one in people:
        since, until = now - timedelta(days=90), now + timedelta(days=275)
        if one.standing is Standing.EXPIRED:
            until = now - timedelta(days=3, hours=len(one.name))
        elif one.standing is Standing.NOT_YET:
            since = now + timedelta(days=2)
        revoked = one.standing is Standing.REVOKED
        yield Pass(
            id=new_id(now),
            kind=one.kind,
            holder=Holder(one.name, one.phone),
            credentials=(
                credential(CredentialKind.PLATE, one.plate),
                credential(CredentialKind.CARD, card_of(one.plate)),
            ),
            entrances=(elsewhere,) if one.standing is Standing.OTHER_ENTRANCE else None,
            valid_from=since,
            valid_until=until,
            hours=(_NIGHT,) if one.standing is Standing.NIGHT_ONLY else (),
            state=PassState.REVOKED if revoked else PassState.ACTIVE,
            revoked_at=now - timedelta(days=1) if revoked else None,
            revoked_reason="搬离" if revoked else None,
            created_at=now,
            updated_at=now,
        )


async def issue(store: Store, seed: int, now: datetime, elsewhere: str) -> int:
    """Issues a pass to each of the `PEOPLE` of `seed`; how many. See `passes` for the rest."""
    made = list(passes(residents(seed, PEOPLE), now, elsewhere))
    for start in range(0, len(made), _BATCH):
        await store.write(partial(stored.insert_many, given=made[start : start + _BATCH]))
    return len(made)
