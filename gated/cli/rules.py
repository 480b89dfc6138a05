"""`gated rules`: check, test, activate and take back policies; the work is in `gated.policy` and `rules`."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gated.cli import output, setting
from gated.config import ConfigErrors
from gated.policy import default_text, load, read
from gated.policy.cases import beside, load_cases
from gated.store import Store, policies
from gated.store.policies import Activation, NothingBefore, Part
from gated.times import iso, parse_iso
from gated.wiring import site_names
from rules import Policy
from rules.build import AFTER_DECISION, SiteNames
from rules.cases import Report, run
from rules.facts import TABLE

_T = TypeVar("_T")
_SINCE = re.compile(r"([0-9]{1,5})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
ANYWHERE = SiteNames(zone=ZoneInfo("Asia/Shanghai"), checked=False)


def names(config: Path | None) -> SiteNames:
    """What a policy may refer to: the site's names, or, without a configuration, anything."""
    return ANYWHERE if config is None else site_names(setting.site(config))


def loaded(path: Path, site: SiteNames) -> Policy:
    """The policy in a file; ends the command, with every problem, if it cannot be used."""
    try:
        return load(read(path), site, name=str(path))
    except ConfigErrors as errors:
        refused(errors, "nothing was changed: what is in force stays so. 现行政策不受影响")


def refused(errors: ConfigErrors, hint: str) -> NoReturn:
    """Ends the command with the problems of a file."""
    count = len(errors.problems)
    problems = "a problem" if count == 1 else f"{count} problems"
    output.fail(f"{problems} in the policy 政策有误\n{errors}", hint)


def moment(text: str, now: datetime) -> datetime:
    """`30d`, `12h`, or a time with its zone. Ends the command for anything else."""
    found = _SINCE.fullmatch(text)
    try:
        if found is not None:
            return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        return parse_iso(text)
    except (ValueError, OverflowError):
        output.fail(f"{text!r} is no time", "write 30d, 12h, or 2026-11-01T00:00:00+08:00", 2)


def local(text: str, zone: tzinfo) -> str:
    """A time of a record, on the site's clock."""
    return f"{parse_iso(text).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def in_store(config: Path, work: Callable[[Store], Awaitable[_T]]) -> _T:
    """Runs work on the site's store, beside the daemon."""
    site = setting.site(config)

    async def opened() -> _T:
        store = await Store.open(site.store.url, backups=site.store.backups, exclusive=False)
        try:
            return await work(store)
        finally:
            await store.close()

    return setting.stored(opened())


# --- check and test ---------------------------------------------------------------------------------------


def check(file: Path, config: Path | None, *, as_json: bool) -> None:
    """Says whether a policy file can be used."""
    try:
        policy = load(read(file), names(config), name=str(file))
    except ConfigErrors as errors:
        if as_json:
            output.data({"problems": [one.as_dict() for one in errors.problems]}, "", as_json=True)
            raise SystemExit(1) from errors
        refused(errors, "correct it and check again; nothing is in force by checking. 检查不会启用政策")
    facts = {
        "file": str(file),
        "hash": policy.hash,
        "rules": len(policy.rules),
        "limits": dict(policy.limits),
        "checked_against_site": config is not None,
    }
    against = "" if config is not None else " (entrances, lanes and grids not looked at: no configuration)"
    text = f"{file}: {len(policy.rules)} rules, version {policy.hash[:12]}; good 正确{against}"
    output.data(facts, text, as_json=as_json)


def test(
    file: Path | None, tables: Sequence[Path], config: Path | None, *, min_coverage: float, as_json: bool
) -> int:
    """Runs the cases of a policy; the exit code."""
    site = names(config)
    if file is None:
        with as_file(files("rules").joinpath("default/policy.yaml")) as path:
            return _tested(path, tables or [beside(path)], site, min_coverage, as_json)
    return _tested(file, tables or [beside(file)], site, min_coverage, as_json)


def _tested(file: Path, tables: Sequence[Path], site: SiteNames, min_coverage: float, as_json: bool) -> int:
    policy = loaded(file, site)
    report = cases_of(policy, tables, site)
    covered = round(100 * report.coverage, 1)
    short = covered < min_coverage
    facts = {
        "policy": policy.hash,
        "cases": len(report.results),
        "failed": [
            {
                "case": one.case,
                "differences": list(one.differences),
                "text": one.decision.explanation.as_dict(),
            }
            for one in report.failed
        ],
        "rules": report.rules,
        "coverage": covered,
        "uncovered": list(report.uncovered),
    }
    lines = []
    for one in report.failed:
        text = one.decision.explanation
        lines += [f"FAILED 未通过: {one.case}", *(f"  {said}" for said in one.differences)]
        lines.append(f"  {text.zh}\n  {text.en}")
    passed = len(report.results) - len(report.failed)
    lines.append(
        f"{passed} of {len(report.results)} cases pass 通过; {covered} % of {report.rules} rules reached 覆盖"
    )
    if report.uncovered:
        lines.append(f"reached by no case 未覆盖: {', '.join(report.uncovered)}")
    if short:
        lines.append(f"less than the {min_coverage:g} % asked for")
    output.data(facts, "\n".join(lines), as_json=as_json)
    return 1 if report.failed or short else 0


def cases_of(policy: Policy, tables: Sequence[Path], site: SiteNames) -> Report:
    """Tables of cases, run; ends the command if one cannot be read."""
    try:
        return run(policy, [load_cases(one) for one in tables], site)
    except ConfigErrors as errors:
        output.fail(f"the cases cannot be read 用例有误\n{errors}", "see docs/policy.md")
    except ValueError as error:
        output.fail(f"a case cannot be read: {error}", "see docs/policy.md")


# --- what is in force -------------------------------------------------------------------------------------


def activate(config: Path, file: Path, *, note: str, with_cases: bool, as_json: bool) -> None:
    """Puts a policy in force, if it is right and its cases pass."""
    site = setting.site(config)
    policy = loaded(file, site_names(site))
    table = beside(file)
    ran = 0
    if with_cases and table.exists():
        report = cases_of(policy, [table], site_names(site))
        ran = len(report.results)
        if report.failed:
            told = "\n".join(f"  {one.case}: {'; '.join(one.differences)}" for one in report.failed)
            output.fail(
                f"{len(report.failed)} of {ran} cases do not pass 用例未通过\n{told}",
                "nothing was changed; mend the policy or the cases, or say --without-cases",
            )

    async def work(store: Store) -> tuple[Activation | None, Activation]:
        def both(conn: Connection) -> tuple[Activation | None, Activation]:
            before = policies.current(conn, "live")
            if before is not None and before.hash == policy.hash:
                return before, before  # nothing to take back by it
            return before, policies.activate(conn, datetime.now(UTC), who(), "live", policy.text, note)

        return await store.write(both)

    before, now = in_store(config, work)
    if before is not None and before.n == now.n:
        text = f"Already in force 已在使用: version {policy.hash[:12]}. Nothing was changed."
        output.data({**_facts(now), "cases": ran, "changes": []}, text, as_json=as_json)
        return
    changes = compared_rules(None if before is None else before.text, policy)
    facts = {**_facts(now), "cases": ran, "changes": changes}
    told = "\n".join(f"  {line}" for line in changes) or "  the same rules as before"
    text = (
        f"In force 已启用: version {policy.hash[:12]}, {len(policy.rules)} rules"
        f"{f', {ran} cases passed' if ran else ', no cases were run 未运行用例'}.\n{told}\n"
        "The daemon takes it over within seconds. To go back 撤回: gated rules take-back"
    )
    output.data(facts, text, as_json=as_json)


def compared_rules(before: str | None, policy: Policy) -> list[str]:
    """What is different from the text that was in force: rules added, gone, changed or moved."""
    if before is None:
        return []
    try:
        old = load(before, ANYWHERE)
    except ConfigErrors:
        return ["the policy before it cannot be read any more"]
    was = {one.id: one for one in old.rules}
    now = {one.id: one for one in policy.rules}
    found = [f"+ {name}" for name in now if name not in was] + [
        f"- {name}" for name in was if name not in now
    ]
    for name, rule in now.items():
        other = was.get(name)
        if other is not None and (
            (rule.condition.text, rule.outcome, rule.reason, rule.say, rule.tell, rule.scope)
            != (other.condition.text, other.outcome, other.reason, other.say, other.tell, other.scope)
        ):
            found.append(f"~ {name}")
    kept_before = [name for name in was if name in now]
    if kept_before != [name for name in now if name in was]:
        found.append("the order of the rules")
    if dict(old.limits) != dict(policy.limits):
        found.append("limits")
    return found


def take_back(config: Path, *, note: str, as_json: bool) -> None:
    """Puts in force again what was before."""

    async def work(store: Store) -> Activation:
        return await store.write(
            lambda conn: policies.take_back(conn, datetime.now(UTC), who(), "live", note)
        )

    try:
        now = in_store(config, work)
    except NothingBefore:
        output.fail("there is no earlier policy to go back to 没有更早的政策", "see gated rules history")
    text = f"In force again 已撤回到: version {(now.hash or '')[:12]}. See: gated rules history"
    output.data(_facts(now), text, as_json=as_json)


def history(config: Path, *, as_json: bool) -> None:
    """Lists what was put in force, by whom and when."""
    rows = [_facts(one) for one in in_store(config, lambda store: store.read(policies.history))]
    zone = site_names(setting.site(config)).zone
    shown = [
        {
            **row,
            "hash": "-" if row["hash"] is None else str(row["hash"])[:12],
            "at": local(str(row["at"]), zone),
        }
        for row in rows
    ]
    text = output.table(["n", "at", "role", "hash", "who", "note"], shown)
    output.data(rows, text, as_json=as_json)


def show(config: Path, version: str | None, *, shadow: bool) -> None:
    """Prints the text of a policy, and nothing else."""
    role: Part = "shadow" if shadow else "live"

    async def work(store: Store) -> str | None:
        def look(conn: Connection) -> str | None:
            if version is not None:
                return policies.text(conn, version)
            found = policies.current(conn, role)
            return None if found is None else found.text

        return await store.read(look)

    text = in_store(config, work)
    if text is None and version is None and not shadow:
        first = setting.site(config).policy.file
        text = (
            default_text() if first is None else read(first)
        )  # the daemon never ran: it would begin with it
    if text is None:
        output.fail("there is no such policy 没有此政策", "see gated rules history")
    os.write(1, text.encode())


def shadow(config: Path, file: Path | None, *, note: str, as_json: bool) -> None:
    """Lets a policy run beside the one in force, or ends that."""
    site = setting.site(config)
    policy = None if file is None else loaded(file, site_names(site))
    text = None if policy is None else policy.text

    async def work(store: Store) -> Activation:
        return await store.write(
            lambda conn: policies.activate(conn, datetime.now(UTC), who(), "shadow", text, note)
        )

    now = in_store(config, work)
    told = (
        "The shadow has ended 影子已停用."
        if policy is None
        else f"In the shadow 影子运行: version {policy.hash[:12]}. It opens and refuses nothing.\n"
        "What it would have done otherwise: gated rules shadow --report"
    )
    output.data(_facts(now), told, as_json=as_json)


def who() -> str:
    """Who runs the command, for the audit."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user} (command line)"


def _facts(one: Activation) -> dict[str, object]:
    return {
        "n": one.n,
        "at": iso(one.at),
        "role": one.role,
        "hash": one.hash,
        "who": one.who,
        "note": one.note,
        "replaces": one.replaces,
    }


# --- facts ------------------------------------------------------------------------------------------------


def facts(*, as_json: bool) -> None:
    """Lists what a rule may ask."""
    rows: list[dict[str, Any]] = [
        {"name": one.name, "type": one.type.value, "en": one.en, "zh": one.zh, "values": list(one.values)}
        for one in TABLE.values()
    ]
    rows += [
        {"name": name, "type": type_.value, "en": en, "zh": zh, "values": []}
        for name, (type_, zh, en) in AFTER_DECISION.items()
    ]
    output.data(rows, output.table(["name", "type", "zh", "en"], rows), as_json=as_json)
