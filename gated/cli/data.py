"""`gated backup` and `gated restore`: the store's own functions, with words for the operator."""

from __future__ import annotations

import sys
from pathlib import Path

from gated.cli import output, setting
from gated.store import Store
from gated.store import restore as restore_store


def backup(config: Path, file: Path, *, as_json: bool) -> None:
    """Writes `file`; the daemon may run."""
    site = setting.site(config)
    if file.exists():
        output.fail(f"{file} exists already", "choose another name: a backup is never overwritten")
    if not file.absolute().parent.is_dir():
        output.fail(f"there is no folder {file.absolute().parent}", "make it, or mount the disk it is on")

    async def work() -> None:
        store = await Store.open(site.store.url, backups=site.store.backups, exclusive=False)
        try:
            await store.backup(file)
        finally:
            await store.close()

    setting.stored(work())
    size = file.stat().st_size
    facts = {"file": str(file.resolve()), "bytes": size}
    output.data(facts, f"{file}: {size / 1024**2:.1f} MiB. Copy it to another machine.", as_json=as_json)


def restore(config: Path, file: Path, *, yes: bool, as_json: bool) -> None:
    """Puts `file` in the database's place, after a question."""
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
    aside = setting.stored(restore_store(site.store.url, file))
    facts = {
        "file": str(file.resolve()),
        "url": site.store.url,
        "before": None if aside is None else str(aside),
    }
    kept = "" if aside is None else f" What was there before is kept as {aside}."
    output.data(facts, f"Restored.{kept} Start the daemon: systemctl start gated", as_json=as_json)
