"""`gated check` on the terminal: a line for each thing as it comes, what to do, and the sum; or JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gated import logs
from gated.check import Result, State, check
from gated.config.models import LogSettings
from gated.wiring import load_adapter

_STYLES = {
    State.OK: ("green", "ok 正常"),
    State.WARNING: ("yellow", "warning 注意"),
    State.WAITING: ("cyan", "waiting 等待"),
    State.OFFLINE: ("red", "offline 离线"),
    State.REFUSED: ("red", "refused 拒绝"),
    State.MISCONFIGURED: ("red", "misconfigured 配置错误"),
    State.FAILED: ("red", "failed 故障"),
}


def run(path: Path, *, as_json: bool, timeout_s: float, with_devices: bool) -> int:
    """Checks, prints, and gives the exit code: 1 if there is a problem."""
    logs.configure(LogSettings(level="error", format="console"))
    terminal = Console(stderr=True)

    def progress(result: Result) -> None:
        if terminal.is_terminal and not as_json:
            terminal.print(f"  {result.part} {result.subject} ...", end="\r", markup=False, highlight=False)

    results = asyncio.run(
        check(
            path,
            load_adapter,
            now=lambda: datetime.now(UTC),
            unparsed=logs.Unparsed(),
            timeout_s=timeout_s,
            with_devices=with_devices,
            done=progress,
        )
    )
    problems = [result for result in results if result.problem]
    if as_json:
        counts = Counter(result.state.value for result in results)
        report = {
            "ok": not problems,
            "counts": dict(counts),
            "results": [result.as_dict() for result in results],
        }
        sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n")
    else:
        _print(results, problems)
    return 1 if problems else 0


def _print(results: list[Result], problems: list[Result]) -> None:
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = 160  # a log or a file has no edge
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("part", "what", "state", "found"):
        table.add_column(column, overflow="fold", no_wrap=column == "part")
    for result in results:
        style, word = _STYLES[result.state]
        found = Text(result.message)
        if chinese := result.details.get("zh"):
            found.append(f"\n{chinese}")
        if result.hint and result.state not in {State.OK, State.WAITING}:
            found.append(f"\n-> {result.hint}", style="bold" if result.problem else "")
        table.add_row(Text(result.part), Text(result.subject), Text(word, style=style), found)
    out.print(table)
    warnings = sum(result.state is State.WARNING for result in results)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        out.print(f"\n{count}, {warnings} warnings. 有问题需要处理。", style="red")
    else:
        out.print(f"\nNo problem, {warnings} warnings. 检查通过。", style="green")
