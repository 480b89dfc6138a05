"""`gated check`: runs it, shows what is being looked at, and prints the findings for a person or as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gated import logs
from gated.check import Result, check
from gated.cli.findings import Findings
from gated.config.models import LogSettings
from gated.wiring import load_adapter


def run(path: Path, *, as_json: bool, timeout_s: float, with_devices: bool) -> int:
    """Checks, prints, and gives the exit code: 1 if there is a problem."""
    logs.configure(LogSettings(level="error", format="console"))
    terminal = Console(stderr=True)

    watched = terminal.is_terminal and not as_json
    with terminal.status("checking 检查…") if watched else contextlib.nullcontext() as status:

        def progress(result: Result) -> None:
            if status is not None:
                status.update(Text(f"{result.part} {result.subject}", no_wrap=True))

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
        Findings(Console(highlight=False)).print(results)
    return 1 if problems else 0
