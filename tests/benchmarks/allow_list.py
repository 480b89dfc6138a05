"""How long a device's own list of 12,000 takes: first filled, then looked at again, then a few changes.

Against a simulated Hikvision camera over real HTTP with digest, and a real SQLite store, whose writes every
batch waits for. A real camera is slower by whatever it takes itself: the double answers at once.

    python -m tests.benchmarks.allow_list [--entries N]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapters.hikvision import Config, create
from adapters.simulator.hikvision import HikvisionCamera
from gated.allowlist import AllowLists, Version
from gated.clocks import BoxClock
from gated.domain import Credential, CredentialKind, Holder, Pass, PassState
from gated.passbook import Passbook
from gated.ports import DeviceContext, Secret
from gated.store import Store, passes
from tests.benchmarks.report import emit, fault, finish, note_if_busy


class _Quiet:
    def raised(self, *_: object) -> None: ...
    def ended(self, *_: object) -> None: ...


def _pass(number: int) -> Pass:
    now = datetime.now(UTC)
    plate = Credential(CredentialKind.PLATE, f"津{chr(65 + number // 100_000)}{number % 100_000:05d}")
    return Pass(
        id=f"{number:026d}", kind="resident", holder=Holder("王芳"), credentials=(plate,), entrances=None,
        valid_from=now - timedelta(days=1), valid_until=now + timedelta(days=365), created_at=now,
        updated_at=now,
    )  # fmt: skip


async def measure(entries: int, folder: Path) -> None:
    (folder / "pw").write_text("right")
    store = await Store.open(f"sqlite:///{folder}/gated.db")
    made = []
    for start in range(0, entries, 1000):
        some = [_pass(number) for number in range(start, min(entries, start + 1000))]
        made += await store.write(lambda conn, some=some: [passes.insert(conn, one) for one in some])  # type: ignore[misc]
    async with HikvisionCamera() as camera:
        camera.listed_most = entries + 10
        config = Config(
            id="cam", type="hikvision", host="127.0.0.1", port=camera.server.port,
            password=Secret(file=folder / "pw"), list_capacity=entries + 10,
        )  # fmt: skip
        context = DeviceContext(id="cam", now=lambda: datetime.now(UTC), unparsed=lambda *_: None)
        async with create(config, context) as device:
            book = Passbook()
            for one in made:
                book.apply(one)
            lists = AllowLists(
                store, BoxClock(), _Quiet(), lambda _: device, passes.facts, passes.changed_since,
                match=lambda credential: [one.facts for one in book.match(credential)],
                blocked=lambda: (),
                version=lambda: Version(book.change, 0),
            )  # fmt: skip
            lists.configure({"cam": {"east"}})

            async def timed(name: str, work: Callable[[str], Awaitable[bool]]) -> None:
                before, began = len(camera.server.requests), time.perf_counter()
                if not await work("cam"):
                    fault(f"{name}: {lists.reports['cam'].error}")
                took, asked = time.perf_counter() - began, len(camera.server.requests) - before
                emit(f"allow_list: {name}", took, "s", n=entries)
                emit(f"allow_list: {name}, requests", asked, "requests", n=entries)

            await lists._look_for_changes()
            await timed("filled", lists.sync)
            await timed("gone through, nothing changed", lists.sync)
            revoked = [
                replace(one, state=PassState.REVOKED, revoked_at=datetime.now(UTC)) for one in made[:10]
            ]
            after = await store.write(
                lambda conn: [passes.update(conn, one, expected_version=one.version) for one in revoked]
            )
            for changed in after:
                book.apply(changed)
            await lists._look_for_changes()
            await timed("ten revoked", lists.touch)
            if len(camera.list) != entries - 10:
                fault(f"the camera holds {len(camera.list)}, not {entries - 10}")
    await store.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=12_000)
    note_if_busy()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(parser.parse_args().entries, Path(folder)))
    return finish()


if __name__ == "__main__":
    raise SystemExit(main())
