"""`gated backup` and `gated restore`: the store's own functions, with words for the operator."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from gated.cli import output, setting
from gated.store import Store
from gated.store import restore as restore_store
from gated.store.records import StoreError


def backup(config: Path, file: Path, *, as_json: bool) -> None:
    """Writes `file`; the daemon may run."""
    site = setting.site(config)
    if file.exists():
        output.fail(f"{file} exists already", "choose another name; backups are never overwritten")

    async def work() -> None:
        store = await Store.open(site.store.url, backups=site.store.backups, exclusive=False)
        try:
            await store.backup(file)
        finally:
            await store.close()

    _run(work())
    size = file.stat().st_size
    facts = {"file": str(file.resolve()), "bytes": size}
    output.data(facts, f"{file}: {size / 1024**2:.1f} MiB. Copy it to another machine.", as_json=as_json)


def restore(config: Path, file: Path, *, yes: bool, as_json: bool) -> None:
    """Replaces the database by `file`, after a question."""
    site = setting.site(config)
    if not yes:
        if not sys.stdin.isatty():
            output.fail("this replaces the database", "say --yes if that is meant", 2)
        sys.stderr.write(
            f"This replaces {site.store.url} by {file}: what came after the backup is lost.\n"
            "将用备份覆盖现有数据库，备份之后的记录会丢失。\nType yes to go on: "
        )
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() != "yes":
            output.fail("nothing was changed")
    _run(restore_store(site.store.url, file))
    facts = {"file": str(file.resolve()), "url": site.store.url}
    output.data(facts, "Restored. Start the daemon: systemctl start gated", as_json=as_json)


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except StoreError as error:
        output.fail(str(error), "see docs/operations.md", output.STORE)
    except OSError as error:
        output.fail(f"{error.filename or ''} {error.strerror or error}".strip(), "", output.STORE)
