"""What most commands begin and end with: the configuration, work on the store, or a clear end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from gated.cli import output
from gated.config import ConfigErrors, SiteConfig, load
from gated.config.models import LogSettings
from gated.ports import NotRecorded
from gated.store.records import StoreError
from gated.wiring import load_adapter

_T = TypeVar("_T")


def site(path: Path) -> SiteConfig:
    """The configuration in `path`; ends the command, with every problem, if it cannot be used."""
    try:
        return load(path, load_adapter)
    except ConfigErrors as errors:
        count = len(errors.problems)
        problems = "a problem" if count == 1 else f"{count} problems"
        output.fail(f"{problems} in the configuration\n{errors}", "correct it and try again", output.CONFIG)


def stored(work: Coroutine[Any, Any, _T]) -> _T:
    """Runs work on the store; ends the command with exit code 4 where the store cannot do it."""
    from gated import logs

    logs.configure(LogSettings(level="warning", format="auto"))
    try:
        return asyncio.run(work)
    except (StoreError, NotRecorded) as error:
        output.fail(str(error), "see docs/operations.md, or run `gated check`", output.STORE)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        output.fail(f"{place}{error.strerror or error}", "run `gated check`", output.STORE)
