"""What a device opened for by itself, from its own list, while gated was away. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from gated.domain import Candidate, PassState, Text

OPENED_BY = "opened_by"
OWN_LIST = "own_list"
"""`Read.details` of a read that its device let in by itself: `opened_by: own_list`."""

NOT_COVERED = Text("当时没有有效的出入证", "no pass was in force at that time")


def covering(candidates: Iterable[Candidate], entrance: str, at: datetime) -> str | None:
    """The pass that was in force at this entrance then, by its id. Hours and limits are not asked: the list
    could not keep them."""
    for candidate in candidates:
        facts = candidate.facts
        if candidate.distance or not facts.valid_from <= at < facts.valid_until:
            continue
        if facts.entrances is not None and entrance not in facts.entrances:
            continue
        revoked = facts.state is PassState.REVOKED
        if not revoked or (facts.revoked_at is not None and at < facts.revoked_at):
            return facts.pass_id
    return None
