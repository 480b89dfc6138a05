"""`gated rules replay`, and what the shadow would have done: tables, CSV and JSON of differences."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Connection, select

from gated.cli import output, setting
from gated.cli.rules import in_store, loaded, local, moment
from gated.lists import Dwellings, Lists
from gated.passbook import Passbook
from gated.policy import default_text
from gated.policy.live import opened
from gated.policy.replay import Difference, Replay, Tally, count, rows
from gated.store import Store, device_events, dwellings, lists, passes, policies
from gated.store.tables import passages
from gated.times import from_us, iso, to_us
from gated.watched import KEPT, Watched
from gated.wiring import site_names
from rules.build import SiteNames

COLUMNS = (
    "at",
    "passage",
    "lane",
    "credential",
    "was",
    "was_reason",
    "now",
    "now_reason",
    "rule",
    "zh",
    "en",
)
_EVERY = 500


def replay(
    config: Path,
    file: Path,
    *,
    since: str,
    until: str | None,
    lane: str | None,
    against_live: bool,
    form: str,
    limit: int,
) -> None:
    """Runs a policy over what was recorded, and prints who would have been treated otherwise."""
    now = datetime.now(UTC)
    begin, end = moment(since, now), now if until is None else moment(until, now)
    site = site_names(setting.site(config))
    policy = loaded(file, site)
    if lane is not None and lane not in site.lanes:
        output.fail(
            f"no lane is called {lane!r} 没有此通道", f"there are: {', '.join(sorted(site.lanes))}", 2
        )
    kept: list[Difference] = []

    async def work(store: Store) -> Replay:
        def look(conn: Connection) -> Replay:
            run = _prepared(conn, policy, site, begin, end, against_live=against_live)
            with _progress(count(conn, begin, end, lane=lane)) as advance:
                for number, row in enumerate(rows(conn, begin, end, lane=lane), 1):
                    found = run.judge(row)
                    if found is not None and (form != "table" or len(kept) < limit):
                        kept.append(found)
                    if number % _EVERY == 0:
                        advance(_EVERY)
            return run

        return await store.read(look)

    tally = in_store(config, work).tally
    facts = [_facts(one) for one in kept]
    if form == "json":
        output.data({"summary": _summary(tally), "differences": facts}, "", as_json=True)
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, COLUMNS)
        writer.writeheader()
        writer.writerows(facts)
        sys.stderr.write(_told(tally) + "\n")
    else:
        output.data(facts, "\n".join(_table(tally, facts, site.zone)), as_json=False)


def _prepared(
    conn: Connection, policy: Any, site: SiteNames, since: datetime, until: datetime, *, against_live: bool
) -> Replay:
    """A replay with what the store knows now."""
    book, listed, homes = Passbook(), Lists(), Dwellings()
    book.load(passes.facts(conn), passes.last_change(conn))
    listed.load(lists.entries(conn))
    homes.load(dwellings.every(conn))
    against = None
    if against_live:
        found = policies.current(conn, "live")
        text = default_text() if found is None or found.text is None else found.text
        against, _ = opened(text, site, "the policy in force")
    watched = Watched(kept=None)
    watched.load(device_events.since(conn, since - KEPT, until))
    return Replay(policy, book, listed, homes, watched, against=against)


class _progress:  # noqa: N801 - used as a function that gives a context
    """A bar on a terminal; nothing elsewhere. Gives what tells of progress."""

    def __init__(self, total: int) -> None:
        self._bar = Progress(
            TextColumn("回放 replaying"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("replay", total=total)

    def __enter__(self) -> Any:
        self._bar.start()
        return lambda amount: self._bar.advance(self._task, amount)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _facts(one: Difference) -> dict[str, str]:
    return {
        "at": iso(one.at),
        "passage": one.passage_id,
        "lane": one.lane,
        "credential": one.credential,
        "was": one.was.value,
        "was_reason": one.was_reason,
        "now": one.now.value,
        "now_reason": one.now_reason,
        "rule": one.rule,
        "zh": one.text.zh,
        "en": one.text.en,
    }


def _summary(tally: Tally) -> dict[str, object]:
    return {
        "passages": tally.passages,
        "same": tally.same,
        "different": tally.different,
        "other_reason": tally.reasons,
        "approximate": tally.approximate,
        "rule_failed": tally.failed,
        "changes": [
            {"was": was, "now": now, "rule": rule, "passages": number}
            for (was, now, rule), number in tally.changes.most_common()
        ],
    }


def _told(tally: Tally) -> str:
    same = f"{tally.same} the same 相同 ({tally.reasons} of them for another reason)"
    seen = f"{tally.passages} passages looked at 已回放"
    lines = [f"{seen}; {tally.different} would have ended otherwise 结果不同, {same}."]
    lines += [
        f"  {was} -> {now}: {number} (rule {rule})"
        for (was, now, rule), number in tally.changes.most_common()
    ]
    if tally.approximate:
        lines.append(
            f"{tally.approximate} passages have no receipt: judged by the passes of now. 无凭据，按现状近似"
        )
    if tally.failed:
        lines.append(f"At {tally.failed} passages a rule could not be evaluated. 规则计算出错")
    return "\n".join(lines)


def _table(tally: Tally, facts: list[dict[str, str]], zone: tzinfo) -> Iterator[str]:
    yield _told(tally)
    if facts:
        shown = [
            {**one, "at": local(one["at"], zone), "was": f"{one['was']} {one['was_reason']}"} for one in facts
        ]
        shown = [{**one, "now": f"{one['now']} {one['now_reason']}"} for one in shown]
        yield ""
        yield output.table(["at", "lane", "credential", "was", "now", "zh"], shown)
    if tally.different > len(facts):
        yield f"... and {tally.different - len(facts)} more: --limit, or --format csv for all of them"


# --- the shadow -------------------------------------------------------------------------------------------


def shadow_report(config: Path, *, since: str, as_json: bool, limit: int) -> None:
    """What the shadow policy said otherwise, as receipts have it."""
    begin = moment(since, datetime.now(UTC))

    async def work(store: Store) -> tuple[int, list[dict[str, str]]]:
        def look(conn: Connection) -> tuple[int, list[dict[str, str]]]:
            found: list[dict[str, str]] = []
            seen = 0
            columns = (
                passages.c.id,
                passages.c.at,
                passages.c.lane,
                passages.c.credential,
                passages.c.outcome,
                passages.c.reason,
                passages.c.details,
            )
            query = select(*columns).where(passages.c.at >= to_us(begin)).order_by(passages.c.n)
            for row in conn.execute(query.execution_options(stream_results=True, yield_per=1000)):
                seen += 1
                if '"shadow":' not in row.details:
                    continue
                said = (orjson.loads(row.details).get("receipt") or {}).get("shadow")
                if said is not None:
                    found.append(
                        {
                            "at": iso(from_us(row.at)),
                            "passage": row.id,
                            "lane": row.lane,
                            "credential": row.credential or "",
                            "was": row.outcome,
                            "was_reason": row.reason,
                            "now": said["outcome"],
                            "now_reason": said["reason"],
                            "rule": said["rule"],
                            "zh": said["text"]["zh"],
                            "en": said["text"]["en"],
                        }
                    )
            return seen, found

        return await store.read(look)

    seen, found = in_store(config, work)
    zone = site_names(setting.site(config)).zone
    shown = [
        {**one, "at": local(one["at"], zone), "live": f"{one['was']} {one['was_reason']}"}
        for one in found[:limit]
    ]
    shown = [{**one, "shadow": f"{one['now']} {one['now_reason']}"} for one in shown]
    text = f"{len(found)} of {seen} passages: the shadow says otherwise 影子政策结果不同"
    if shown:
        text += "\n\n" + output.table(["at", "lane", "credential", "live", "shadow", "zh"], shown)
    if len(found) > limit:
        text += f"\n... and {len(found) - limit} more: --limit, or --json for all of them"
    output.data({"passages": seen, "differences": found}, text, as_json=as_json)
