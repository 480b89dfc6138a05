"""`gated rules explain`: why a passage was decided so, made again from its receipt; or what would be decided
now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from gated.cli import output, setting
from gated.cli.rules import in_store, loaded, moment
from gated.domain import BarrierPosition, Candidate, CredentialKind, Decision, Text
from gated.lane.surroundings import SiteSurroundings
from gated.passbook import Passbook, Seen
from gated.plates import credential as normalised
from gated.policy import default_text, load
from gated.policy.live import opened
from gated.remembered import Remembered
from gated.store import Store, device_events, passages, passes, policies, presence
from gated.store.passages import PassageRow
from gated.times import iso
from gated.watched import KEPT
from gated.wiring import site_names
from rules import Situation, decide
from rules.build import SiteNames
from rules.facts import TABLE
from rules.memory import Memory
from rules.reproduce import Reproduced, reproduced


@dataclass(frozen=True, slots=True)
class _Found:
    row: PassageRow
    text: str | None
    again: Reproduced | None


def passage(config: Path, passage_id: str, *, as_json: bool) -> int:
    """Explains a recorded passage and decides it again; the exit code."""
    site = setting.site(config)
    zone = site_names(site).zone

    async def work(store: Store) -> _Found | None:
        def look(conn: Connection) -> _Found | None:
            row = passages.get(conn, passage_id)
            if row is None:
                return None
            receipt = row.decision.receipt
            text = None if receipt is None else policies.text(conn, str(receipt.get("policy", "")))
            if receipt is None or text is None:
                return _Found(row, text, None)
            policy = load(text, SiteNames(zone=zone, checked=False))
            place = row.passage
            return _Found(row, text, reproduced(policy, receipt, place.lane, place.entrance, place.direction))

        return await store.read(look)

    found = in_store(config, work)
    if found is None:
        output.fail(
            f"no passage has the id {passage_id!r} 没有此通行记录",
            "find it: GET /api/v1/passages?credential=",
        )
    same = _same(found)
    output.data(_facts(found, same), "\n".join(_lines(found, same, zone)), as_json=as_json)
    return 0 if same is not False else 1


def _same(found: _Found) -> bool | None:
    """Whether it comes out again; None if that cannot be said."""
    if found.again is None or found.again.outcome is None:
        return None
    decision = found.row.decision
    return (found.again.outcome, found.again.reason) == (decision.outcome, decision.reason)


def _facts(found: _Found, same: bool | None) -> dict[str, object]:
    row = found.row
    decision, read = row.decision, row.passage.read
    return {
        "passage": row.passage.id,
        "lane": row.passage.lane,
        "credential": None if read.credential is None else read.credential.value,
        "device": read.device,
        "at": iso(row.passage.at),
        "received_at": iso(read.received_at),
        "decided_at": iso(row.decided_at),
        "outcome": decision.outcome.value,
        "reason": decision.reason,
        "rule": decision.rule_id,
        "explanation": decision.explanation.as_dict(),
        "receipt": decision.receipt,
        "reproduced": None
        if found.again is None or found.again.outcome is None
        else {
            "same": same,
            "outcome": found.again.outcome.value,
            "reason": found.again.reason,
            "rule": found.again.rule,
        },
    }


def _lines(found: _Found, same: bool | None, zone: Any) -> Iterator[str]:
    row, decision, read = found.row, found.row.decision, found.row.passage.read
    shown = "-" if read.credential is None else read.credential.value
    yield f"通行 passage {row.passage.id}: {shown} at {row.passage.lane}, {_local(row.passage.at, zone)}"
    received, decided = _local(read.received_at, zone), _local(row.decided_at, zone)
    yield f"  device {read.device}; received {received}, decided {decided}"
    yield f"判定 {decision.outcome.value}, by the rule {decision.rule_id} ({decision.reason})"
    yield f"  {decision.explanation.zh}"
    yield f"  {decision.explanation.en}"
    receipt = decision.receipt
    if receipt is None:
        yield "It has no receipt: it was decided before gated 0.2. 没有凭据"
        return
    yield from _receipt(receipt)
    if found.text is None:
        yield "The text of its policy is not in the store: it cannot be decided again. 政策原文缺失，无法复核"
    elif same is None:
        missing = found.again.missing if found.again is not None else ""
        yield f"It cannot be decided again: the receipt does not hold {missing}. 凭据不全，无法复核"
    elif same:
        yield "Decided again from the receipt alone: the same. 按凭据复核：一致"
    elif found.again is not None and found.again.outcome is not None:
        yield (
            f"Decided again from the receipt alone: {found.again.outcome.value} by {found.again.rule}, "
            "NOT the same. 按凭据复核：不一致"
        )


def _receipt(receipt: Mapping[str, Any]) -> Iterator[str]:
    miss = receipt.get("nearest_miss")
    if miss is not None:
        yield f"最接近放行 nearest miss: {miss['zh']} {miss['en']}"
    failed = receipt.get("failed")
    if failed is not None:
        yield f"规则出错 the rule {failed['rule']} could not be evaluated: {failed['error']}"
    yield f"政策 policy {str(receipt.get('policy', ''))[:12]}"
    for one in receipt.get("candidates", ()):
        how = f"near {one['distance']} ({one.get('edits', '')})" if one.get("distance") else "exact"
        end = str(one["until"])[:16] + (", revoked" if one.get("revoked") else "")
        yield f"出入证 pass {one['pass']}: {one.get('value', '')} {how}, {one['kind']}, until {end}"
    yield "依据的事实 facts that were asked:"
    rows = []
    for name, value in receipt.get("facts", {}).items():
        fact = TABLE.get(name)
        shown = value["zh"] if isinstance(value, dict) else value
        rows.append({"name": f"  {name}", "value": _value(shown), "meaning": fact.zh if fact else ""})
    yield output.table(["name", "value", "meaning"], rows)


def _value(value: object) -> str:
    if isinstance(value, Text):
        return value.zh
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value) if value != "" else '""'


def _local(at: datetime, zone: Any) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


# --- what would be decided --------------------------------------------------------------------------------


def dry_run(
    config: Path,
    lane_id: str,
    shown: str,
    *,
    kind: CredentialKind,
    confidence: float | None,
    at: str | None,
    vehicle: str | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """What would be decided of a credential at a lane; records nothing."""
    site = setting.site(config)
    named = site_names(site)
    lane = named.lanes.get(lane_id)
    if lane is None:
        output.fail(
            f"no lane is called {lane_id!r} 没有此通道", f"there are: {', '.join(sorted(named.lanes))}", 2
        )
    now = datetime.now(UTC)
    when = now if at is None else _moment(at, now, named.zone)
    try:
        presented = normalised(kind, shown)
    except ValueError as error:
        output.fail(str(error), "", 2)
    policy = None if file is None else loaded(file, named)

    async def work(store: Store) -> tuple[Decision, list[Candidate]]:
        known = Remembered(Memory(named.zone), lambda: now)
        await known.follow(store)

        def look(conn: Connection) -> tuple[Decision, list[Candidate]]:
            known.memory.load(presence.load(conn))
            known.watched.load(device_events.since(conn, when - KEPT, when))
            for passed in presence.since_cursor(conn):
                known.memory.passed(passed)
            book = Passbook()
            book.load(passes.facts(conn), passes.last_change(conn))
            used = policy
            if used is None:
                current = policies.current(conn, "live")
                text = default_text() if current is None or current.text is None else current.text
                used, _ = opened(text, named, "the policy in force")
            exact = book.match(presented)
            near = (
                book.near([Seen(presented, confidence)])
                if not exact and presented.kind is CredentialKind.PLATE
                else []
            )
            surroundings = SiteSurroundings(
                known.memory, known.lists, known.dwellings, lambda _: BarrierPosition.UNKNOWN, known.watched
            )
            situation = Situation(
                lane_id,
                lane.entrance,
                lane.direction,
                presented,
                confidence,
                exact,
                near=lambda: near,
                details={} if vehicle is None else {"vehicle_class": vehicle},
                site=surroundings,
            )
            return decide(used, situation, when), exact or near

        return await store.read(look)

    decision, _ = in_store(config, work)
    receipt = decision.receipt or {}
    facts = {
        "outcome": decision.outcome.value,
        "reason": decision.reason,
        "rule": decision.rule_id,
        "pass_id": decision.pass_id,
        "explanation": decision.explanation.as_dict(),
        "alerts": [one.reason for one in decision.alerts],
        "nearest_miss": receipt.get("nearest_miss"),
        "policy": receipt.get("policy"),
        "facts": {name: _value(value) for name, value in receipt.get("facts", {}).items()},
    }
    decided = f"判定 {decision.outcome.value}, by the rule {decision.rule_id} ({decision.reason})"
    lines = [
        f"{decided}, at {_local(when, named.zone)}; nothing was recorded",
        f"  {decision.explanation.zh}",
        f"  {decision.explanation.en}",
        *(f"告警 alert: {one.reason} ({one.severity.value})" for one in decision.alerts),
        *_receipt({**receipt, "candidates": [_shown(one) for one in receipt.get("candidates", ())]}),
    ]
    output.data(facts, "\n".join(lines), as_json=as_json)


def _moment(text: str, now: datetime, zone: tzinfo) -> datetime:
    """As `moment`; a time without a zone is the site's."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return moment(text, now)
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def _shown(candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {**candidate, "until": iso(candidate["until"])}
