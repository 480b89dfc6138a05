"""Records to rows: tuples in the order of the columns, ready for the driver. Pure.

Done by the caller, before a record waits for the writer, so that the writer's thread only moves rows.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from gated.domain import Alert, Read, Text
from gated.store.records import OpeningRecord, OutboxMessage, PassageRecord, ReadRecord
from gated.store.tables import alerts, openings, passages, reads
from gated.times import to_us

Row = tuple[object, ...]
Message = tuple[str, bytes, bool]
"""An outbox message before it has its place: topic, payload, whether it is retained."""
HOUR_US = 3_600_000_000

PASSAGE_COLUMNS = tuple(column.name for column in passages.columns if column.name != "n")
READ_COLUMNS = tuple(column.name for column in reads.columns if column.name != "n")
OPENING_COLUMNS = tuple(column.name for column in openings.columns)
ALERT_COLUMNS = tuple(column.name for column in alerts.columns)


@dataclass(slots=True)
class Encoded:
    """What one record writes. `id` and `decided_at` tell a passage that a broken commit had written after
    all from somebody else's."""

    passage: Row | None = None
    read: Row | None = None
    opening: Row | None = None
    id: str = ""
    decided_at: int = 0
    change: int = 0
    alerts: Sequence[Row] = ()
    messages: Sequence[Message] = ()


def clean(text: str) -> str:
    """Text that every store takes: no NUL, no half of a surrogate pair. Devices send either."""
    if text.isprintable():  # neither of them is
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def message(given: OutboxMessage) -> Message:
    """Raises TypeError for a payload that is no JSON object, or has a `seq` of its own."""
    if "seq" in given.payload:
        raise TypeError(f"the payload for {given.topic} has a seq: the store assigns it")
    payload = orjson.dumps(given.payload)
    if payload[:1] != b"{":
        raise TypeError(f"the payload for {given.topic} is no JSON object")
    return given.topic, payload, given.retain


def passage(record: PassageRecord) -> Encoded:
    """A passage, its decision, alerts and messages."""
    found, decision, read = record.passage, record.decision, record.passage.read
    credential = read.credential
    decided_at = to_us(record.decided_at)
    received_at = to_us(read.received_at)
    raw = clean(read.raw)
    value = None
    if credential is not None:
        value = raw if credential.value == read.raw else clean(credential.value)
    row = (
        found.id,
        found.lane,
        found.entrance,
        found.direction._value_,
        to_us(found.at),
        decided_at,
        received_at,
        None if read.device_time is None else to_us(read.device_time),
        read.device,
        None if read.key is None else clean(read.key),
        None if read.channel is None else clean(read.channel),
        None if credential is None else credential.kind._value_,
        value,
        raw,
        read.confidence,
        decision.outcome._value_,
        decision.reason,
        decision.rule_id,
        decision.pass_id,
        record.change,
        found.continues,
        _explained(decision.explanation.zh, decision.explanation.en)
        if decision.receipt is None and read.direction is None and not read.details and not read.backlog
        else _details(read, {"zh": decision.explanation.zh, "en": decision.explanation.en}, decision.receipt),
    )
    encoded = Encoded(passage=row, id=found.id, decided_at=decided_at, change=record.change)
    if record.messages:
        encoded.messages = [message(one) for one in record.messages]
    if record.alerts:
        drafts = decision.alerts
        keys = [draft.fold_key for draft in drafts] if len(drafts) == len(record.alerts) else None
        encoded.alerts = [
            alert(one, keys[index] if keys else one.reason) for index, one in enumerate(record.alerts)
        ]
    return encoded


def read(record: ReadRecord) -> Encoded:
    """A read that made no passage of its own."""
    seen = record.read
    credential = seen.credential
    at = to_us(record.at)
    row = (
        seen.device,
        None if seen.key is None else clean(seen.key),
        at - at % HOUR_US if seen.device_time is None else to_us(seen.device_time),
        record.disposition._value_,
        record.lane,
        record.passage_id,
        at,
        to_us(seen.received_at),
        to_us(seen.received_at),
        1,
        None if credential is None else credential.kind._value_,
        None if credential is None else clean(credential.value),
        clean(seen.raw),
        seen.confidence,
        _details(seen, None, None),
    )
    return Encoded(read=row)


def opening(record: OpeningRecord) -> Encoded:
    """An opening as it stands now."""
    row = (
        record.id,
        record.lane,
        record.cause,
        record.outcome._value_,
        to_us(record.requested_at),
        None if record.finished_at is None else to_us(record.finished_at),
        record.passage_id,
        None if record.person is None else clean(record.person),
        None if record.reason is None else clean(record.reason),
        clean(record.detail),
    )
    return Encoded(opening=row, messages=[message(one) for one in record.messages])


def alert(given: Alert, fold_key: str) -> Row:
    """An alert as it stands now."""
    return (
        given.id,
        clean(fold_key),
        given.grid,
        given.severity._value_,
        given.reason,
        clean(given.text.zh),
        clean(given.text.en),
        given.state,
        to_us(given.raised_at),
        to_us(given.updated_at),
        given.count,
        given.lane,
        given.device,
        given.passage_id,
    )


@functools.lru_cache(1024)
def _explained(zh: str, en: str) -> str:
    """The usual case: a read that said nothing more, and one of a few sentences."""
    return orjson.dumps({"text": {"zh": zh, "en": en}}).decode()


def _details(read: Read, text: dict[str, str] | None, receipt: Mapping[str, object] | None) -> str:
    """The small rest of a read, the explanation and the receipt, as JSON; only what is there."""
    rest: dict[str, object] = {} if text is None else {"text": text}
    if read.details:
        rest["read"] = _cleaned(read.details)
    if read.direction is not None:
        rest["seen"] = read.direction._value_
    if read.backlog:
        rest["backlog"] = True
    if receipt is not None:
        rest["receipt"] = receipt
    try:
        return orjson.dumps(rest).decode()
    except TypeError:  # half of a surrogate pair, which some device sent for a plate
        return orjson.dumps(_cleaned_deeply(rest)).decode()


def _cleaned_deeply(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Text):
        return {"zh": clean(value.zh), "en": clean(value.en)}
    if isinstance(value, Mapping):
        return {clean(str(name)): _cleaned_deeply(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned_deeply(one) for one in value]
    return value


def _cleaned(details: Mapping[str, str]) -> dict[str, str]:
    """One look at all words together instead of one at each: there is hardly ever anything to clean."""
    if "".join([*details, *details.values()]).isprintable():
        return dict(details)
    return {clean(name): clean(value) for name, value in details.items()}
