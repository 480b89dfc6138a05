"""Keeps devices' own lists in step: at a device's return, after a change of passes, and every hour.

One task; a device at a time. A batch that was put is written down before the next is sent, so that a crash in
between leaves nothing unknown: at worst a batch is put twice, which changes nothing. Whatever fails, the list
stays as it is and is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

import structlog
from sqlalchemy import Connection

from gated.alerts import allow_list_behind
from gated.allowlist.plan import Plan, Wanted, changes, wanted
from gated.clocks import BoxClock
from gated.domain import AlertDraft, Credential, PassFacts, Text
from gated.ports import AllowEntry, AllowList, DeviceError, NotRecorded
from gated.store import device_lists

log = structlog.get_logger()
T = TypeVar("T")

QUIET_S = 5.0
"""How often changes of passes are looked for."""
EVERY_S = 3600.0
AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class ListReport:
    """How a device's list stands. `wanted`: passes that it should hold; `listed`: those of them that it was
    given. `done` of `total`: entries of the sync that is under way. `added`, `removed`, `failed`: of the last
    one. `left_out`: did not fit. `not_expressible`: passes with hours or limits, which such a list cannot
    keep. `foreign`: held, and not put there by gated. `held_back`: removals that wait for a person."""

    device: str
    wanted: int = 0
    listed: int = 0
    running: bool = False
    done: int = 0
    total: int = 0
    added: int = 0
    removed: int = 0
    failed: tuple[str, ...] = ()
    left_out: int = 0
    not_expressible: int = 0
    foreign: int = 0
    held_back: int = 0
    synced_at: datetime | None = None
    error: str | None = None


class ListStore(Protocol):
    """The part of the store that is needed."""

    async def read(self, work: Callable[[Connection], T]) -> T: ...
    async def write(self, work: Callable[[Connection], T]) -> T: ...


class Alarm(Protocol):
    """Raises and ends alerts about a device."""

    def raised(self, draft: AlertDraft, device: str) -> None: ...
    def ended(self, fold_key: str, why: Text | None = None) -> None: ...


Passes = Callable[[Connection], Iterable[tuple[Credential, PassFacts]]]


@dataclass(slots=True)
class AllowLists:
    """The lists of all devices that lanes rely on. `entrances`: device to the entrances of these lanes.
    `find`: a device that is connected now. `passes`: all credentials with their passes. `blocked`:
    credentials that no list may hold. `version`: differs after any change of the two."""

    store: ListStore
    clock: BoxClock
    alarm: Alarm
    find: Callable[[str], object | None]
    passes: Passes
    blocked: Callable[[], Collection[Credential]]
    version: Callable[[], object]
    entrances: Mapping[str, Collection[str]] = field(default_factory=dict)
    reports: dict[str, ListReport] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _forced: set[str] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: object = None
    _syncing: set[str] = field(default_factory=set)

    def configure(self, entrances: Mapping[str, Collection[str]]) -> None:
        """Takes the devices of a (new) configuration. What was put on the others stays there until it ends by
        its own dates."""
        self.entrances = entrances
        self.reports = {device: self.reports.get(device, ListReport(device)) for device in entrances}
        self._due = {device: self._due.get(device, 0.0) for device in entrances}
        self._news.set()

    def report(self, device: str) -> ListReport | None:
        """How a device's list stands; None if no lane relies on one."""
        return self.reports.get(device)

    def device_online(self, device: str) -> None:
        """It is (again) connected: what it holds may be anything."""
        self._soon(device, 0.0)

    def sync_now(self, device: str, *, force: bool) -> bool:
        """For a person who asked; `force`: also if most of the list goes. False if no lane relies on it."""
        if device not in self._due:
            return False
        if force:
            self._forced.add(device)
        self._soon(device, 0.0)
        return True

    def _soon(self, device: str, in_s: float) -> None:
        if device in self._due:
            self._due[device] = min(self._due[device], self.clock.monotonic() + in_s)
            self._news.set()

    async def run(self) -> None:
        """Syncs what is due, until cancelled; devices do not wait for each other. Changes of passes come in
        crowds: they are looked for every few seconds."""
        async with asyncio.TaskGroup() as syncs:
            while True:
                self._news.clear()
                if self._due and (version := self.version()) != self._seen:
                    self._seen = version
                    self._due = dict.fromkeys(self._due, 0.0)
                now = self.clock.monotonic()
                for device in [device for device, at in self._due.items() if at <= now]:
                    if device not in self._syncing:
                        self._syncing.add(device)
                        self._due[device] = now + EVERY_S
                        syncs.create_task(self._in_turn(device), name=f"list of {device}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(QUIET_S):
                        await self._news.wait()

    async def _in_turn(self, device: str) -> None:
        try:
            if not await self.sync(device):
                self._soon(device, AGAIN_S)
        except Exception:  # a defect of an adapter must not keep the other lists from it
            log.exception("list_failed", device=device)
            self._soon(device, AGAIN_S)
        finally:
            self._syncing.discard(device)

    async def sync(self, device: str) -> bool:
        """Brings one device's list in step. False if it could not be, or not wholly."""
        found = self.find(device)
        report = self.reports.get(device, ListReport(device))
        if found is None:
            self.reports[device] = replace(report, error="the device is offline")
            return True  # it is told when it returns
        if not isinstance(found, AllowList):
            self.reports[device] = replace(report, error="this kind of device holds no list")
            return True
        force = device in self._forced
        self._forced.discard(device)
        try:
            return await self._sync(device, found, force)
        except (DeviceError, NotRecorded, TimeoutError) as error:
            why = str(error) or type(error).__name__
            log.warning("list_not_synced", device=device, why=why)
            self.reports[device] = replace(self.reports[device], running=False, error=why)
            self.alarm.raised(allow_list_behind(device, why), device)
            return False

    async def _sync(self, device: str, found: AllowList, force: bool) -> bool:
        now = self.clock.now()
        work = partial(self._looked_up, device, found, frozenset(self.blocked()), now)
        target, ours = await self.store.read(work)
        held = await found.held()
        plan = changes(target, ours, held, now, force=force)
        self.reports[device] = report = ListReport(
            device, wanted=len(target.entries), listed=len(ours), running=True,
            total=len(plan.put) + len(plan.drop), left_out=target.left_out,
            not_expressible=target.not_expressible, foreign=plan.foreign, held_back=plan.held_back,
        )  # fmt: skip
        # who may no longer enter goes first, also when ten thousand others are still to be put
        failed = await self._drop(device, found, plan)
        failed += await self._put(device, found, plan)
        done = self.reports[device]
        self.reports[device] = replace(
            done, running=False, failed=tuple(failed), synced_at=self.clock.now(),
            listed=len(await self.store.read(partial(device_lists.of, device=device))),
        )  # fmt: skip
        log.info(
            "list_synced", device=device, wanted=report.wanted, added=done.added, removed=done.removed,
            failed=len(failed), left_out=report.left_out, held_back=report.held_back,
        )  # fmt: skip
        self._tell(device, self.reports[device])
        return not failed

    def _looked_up(
        self,
        device: str,
        found: AllowList,
        blocked: Collection[Credential],
        now: datetime,
        conn: Connection,
    ) -> tuple[Wanted, dict[str, datetime]]:
        target = wanted(
            self.passes(conn),
            kinds=found.list_kinds,
            entrances=self.entrances.get(device, ()),
            blocked=blocked,
            capacity=found.list_capacity,
            now=now,
        )
        return target, device_lists.of(conn, device)

    async def _put(self, device: str, found: AllowList, plan: Plan) -> list[str]:
        failed: list[str] = []
        version = self.version()
        for batch in _batches(plan.put, found.list_batch):
            if self.version() != version:  # it is planned anew: somebody may have been revoked meanwhile
                self._soon(device, 0.0)
                break
            refused = set(await found.put(batch))
            taken: list[AllowEntry] = [entry for entry in batch if entry.value not in refused]
            failed += sorted(refused)
            await self.store.write(partial(device_lists.put, device=device, entries=taken))
            self._progress(device, added=len(taken), done=len(batch))
        return failed

    async def _drop(self, device: str, found: AllowList, plan: Plan) -> list[str]:
        failed: list[str] = []
        for batch in _batches(plan.drop, found.list_batch):
            stayed = set(await found.drop(batch))
            gone = [value for value in batch if value not in stayed]
            failed += sorted(stayed)
            await self.store.write(partial(device_lists.dropped, device=device, values=gone))
            self._progress(device, removed=len(gone), done=len(batch))
        return failed

    def _progress(self, device: str, *, added: int = 0, removed: int = 0, done: int = 0) -> None:
        report = self.reports[device]
        self.reports[device] = replace(
            report, added=report.added + added, removed=report.removed + removed, done=report.done + done
        )

    def _tell(self, device: str, report: ListReport) -> None:
        why = ""
        if report.left_out:
            why = f"{report.left_out} passes do not fit into it"
        elif report.held_back:
            why = f"{report.held_back} of its {report.listed} entries would have to go: say so by hand"
        elif report.failed:
            why = f"{len(report.failed)} entries were refused"
        if why:
            self.alarm.raised(allow_list_behind(device, why), device)
        else:
            self.alarm.ended(allow_list_behind(device, "").fold_key)


def _batches(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
