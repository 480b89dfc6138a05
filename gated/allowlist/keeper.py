"""Keeps devices' own lists in step, in two ways.

A change of passes touches the plates of these passes, and costs no more than that. The whole list is gone
through when a device returns, when a block list or a pass's plates were changed, and every hour: it is
compared with all passes, and with what the device says that it holds.

A batch that was put is written down before the next is sent, so that a crash in between leaves nothing
unknown: at worst a batch is put twice, which changes nothing. Whatever fails, the list stays as it is and is
tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import structlog
from sqlalchemy import Connection

from gated.alerts import allow_list_behind
from gated.allowlist.plan import Plan, Wanted, changes, wanted
from gated.clocks import BoxClock
from gated.domain import AlertDraft, Credential, Pass, PassFacts, PassState, Text
from gated.ports import AllowEntry, AllowList, DeviceError, NotRecorded
from gated.store import device_lists
from gated.store.records import NotReadable

log = structlog.get_logger()
T = TypeVar("T")

QUIET_S = 5.0
"""How often changes of passes are looked for."""
EVERY_S = 3600.0
AGAIN_S = 60.0
"""How soon a list is gone through again that could not be brought in step, or of which a pass was amended."""
_AT_ONCE = 500


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
Changed = Callable[[Connection, int, int], Sequence[Pass]]


class Version(NamedTuple):
    """`passes`: the number of the last change of a pass that `AllowLists.match` knows. `blocked`: differs
    after any change of a block list."""

    passes: int
    blocked: int


@dataclass(slots=True)
class AllowLists:
    """The lists of all devices that lanes rely on. `entrances`: device to the entrances of these lanes.
    `find`: a device that is connected now. `passes`: all credentials with their passes; `changed`: those
    changed after a number, at most so many; `match`: the passes of a credential, in memory. `blocked`:
    credentials that no list may hold. `version`: of what `match` and `blocked` know."""

    store: ListStore
    clock: BoxClock
    alarm: Alarm
    find: Callable[[str], object | None]
    passes: Passes
    changed: Changed
    match: Callable[[Credential], Iterable[PassFacts]]
    blocked: Callable[[], Collection[Credential]]
    version: Callable[[], Version]
    entrances: Mapping[str, Collection[str]] = field(default_factory=dict)
    reports: dict[str, ListReport] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _forced: set[str] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: Version | None = None
    _syncing: set[str] = field(default_factory=set)
    _touched: dict[str, set[Credential]] = field(default_factory=dict)

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
                if self._due:
                    await self._look_for_changes()
                now = self.clock.monotonic()
                for device, at in list(self._due.items()):
                    whole = at <= now
                    if device in self._syncing or not (whole or self._touched.get(device)):
                        continue
                    self._syncing.add(device)
                    if whole:
                        self._due[device] = now + EVERY_S
                    work = self._in_turn(device, self.sync if whole else self.touch)
                    syncs.create_task(work, name=f"list of {device}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(QUIET_S):
                        await self._news.wait()

    async def _look_for_changes(self) -> None:
        seen, version = self._seen, self.version()
        if version == seen:
            return
        try:
            if seen is None or seen.blocked != version.blocked:
                found = None
            else:
                found = await self.store.read(lambda conn: self.changed(conn, seen.passes, _AT_ONCE))
        except NotReadable as why:
            log.warning("changes_of_passes_wait", why=str(why))
            return
        self._seen = version
        if found is None or len(found) == _AT_ONCE:
            self._due = dict.fromkeys(self._due, 0.0)
            return
        touched = {credential for one in found for credential in one.credentials}
        for device in self._due:
            self._touched.setdefault(device, set()).update(touched)
            if any(one.version > 1 and one.state is PassState.ACTIVE for one in found):
                self._soon(device, AGAIN_S)  # it may have had other plates before

    async def _in_turn(self, device: str, work: Callable[[str], Awaitable[bool]]) -> None:
        try:
            if not await work(device):
                self._soon(device, AGAIN_S)
        except Exception:  # a defect of an adapter must not keep the other lists from it
            log.exception("list_failed", device=device)
            self._soon(device, AGAIN_S)
        finally:
            self._syncing.discard(device)

    async def sync(self, device: str) -> bool:
        """Goes through one device's whole list. False if it could not be brought in step, or not wholly."""
        force = device in self._forced
        self._forced.discard(device)
        return await self._with(device, partial(self._sync, force=force))

    async def touch(self, device: str) -> bool:
        """Brings the plates of passes that were changed in step, alone."""
        return await self._with(device, self._touch)

    async def _with(self, device: str, work: Callable[[str, AllowList], Awaitable[bool]]) -> bool:
        found = self.find(device)
        report = self.reports.get(device, ListReport(device))
        if found is None or not isinstance(found, AllowList):
            why = "the device is offline" if found is None else "this kind of device holds no list"
            self.reports[device] = replace(report, error=why)
            self._touched.pop(device, None)  # it is gone through as a whole when it returns
            return True
        try:
            return await work(device, found)
        except (DeviceError, NotRecorded, NotReadable, TimeoutError) as error:
            why = str(error) or type(error).__name__
            log.warning("list_not_synced", device=device, why=why)
            self.reports[device] = replace(self.reports[device], running=False, error=why)
            self.alarm.raised(allow_list_behind(device, why), device)
            return False

    async def _sync(self, device: str, found: AllowList, *, force: bool) -> bool:
        now = self.clock.now()
        self._touched.pop(device, None)

        blocked = frozenset(self.blocked())  # here: the look-up is in a thread

        def look_up(conn: Connection) -> tuple[Wanted, dict[str, datetime]]:
            target = self._wanted(device, found, self.passes(conn), blocked, now)
            return target, device_lists.of(conn, device)

        target, ours = await self.store.read(look_up)
        held = await found.held()
        plan = changes(target, ours, held, now, force=force)
        self.reports[device] = ListReport(
            device, wanted=len(target.entries), listed=len(ours), running=True,
            total=len(plan.put) + len(plan.drop), left_out=target.left_out,
            not_expressible=target.not_expressible, foreign=plan.foreign, held_back=plan.held_back,
        )  # fmt: skip
        return await self._carry_out(device, found, plan)

    async def _touch(self, device: str, found: AllowList) -> bool:
        credentials = self._touched.pop(device, set())
        report = self.reports[device]

        def look_up(conn: Connection) -> tuple[dict[str, datetime], int]:
            values = [credential.value for credential in credentials]
            return device_lists.some(conn, device, values), device_lists.count(conn, device)

        ours, listed = await self.store.read(look_up)
        now = self.clock.now()
        plan = changes(self._match(device, found, credentials), ours, None, now, listed=listed)
        if plan.held_back or listed + len(plan.put) > found.list_capacity:
            self._soon(device, 0.0)  # what this needs is known to whoever sees the whole list
            return True
        grown = report.wanted + sum(one.value not in ours for one in plan.put) - len(plan.drop)
        self.reports[device] = replace(
            report, wanted=grown, running=True, done=0, total=len(plan.put) + len(plan.drop), added=0,
            removed=0, error=None,
        )  # fmt: skip
        return await self._carry_out(device, found, plan)

    def _wanted(
        self,
        device: str,
        found: AllowList,
        passes: Iterable[tuple[Credential, PassFacts]],
        blocked: Collection[Credential],
        now: datetime,
    ) -> Wanted:
        return wanted(
            passes,
            kinds=found.list_kinds,
            entrances=self.entrances.get(device, ()),
            blocked=blocked,
            capacity=found.list_capacity,
            now=now,
        )

    def _match(self, device: str, found: AllowList, credentials: Iterable[Credential]) -> Wanted:
        """What a list should hold of these credentials, as of this moment."""
        passes = ((credential, facts) for credential in credentials for facts in self.match(credential))
        return self._wanted(device, found, passes, self.blocked(), self.clock.now())

    async def _carry_out(self, device: str, found: AllowList, plan: Plan) -> bool:
        # who may no longer enter goes first, also when ten thousand others are still to be put
        failed = await self._drop(device, found, plan.drop)
        failed += await self._put(device, found, plan.put)
        listed = await self.store.read(partial(device_lists.count, device=device))
        report = self.reports[device] = replace(
            self.reports[device],
            running=False,
            failed=tuple(failed),
            synced_at=self.clock.now(),
            listed=listed,
        )
        log.info(
            "list_synced", device=device, wanted=report.wanted, added=report.added, removed=report.removed,
            failed=len(failed), left_out=report.left_out, held_back=report.held_back,
        )  # fmt: skip
        self._tell(device, report)
        return not failed

    async def _put(self, device: str, found: AllowList, entries: Sequence[AllowEntry]) -> list[str]:
        """Puts what is still to be there when its batch has its turn: a long list takes minutes, in which
        passes are revoked."""
        failed: list[str] = []
        for batch in _batches(entries, found.list_batch):
            if self._touched.get(device):
                await self._drop(device, found, self._no_more(device, found))
            still = self._match(device, found, (Credential(one.kind, one.value) for one in batch)).entries
            refused = set(await found.put(list(still.values())) if still else ())
            taken = [one for value, one in still.items() if value not in refused]
            failed += sorted(refused)
            await self.store.write(partial(device_lists.put, device=device, entries=taken))
            self._progress(device, added=len(taken), done=len(batch))
        return failed

    def _no_more(self, device: str, found: AllowList) -> list[str]:
        """The touched plates that a list must not hold any more; the others wait for their turn."""
        touched = self._touched.get(device, set())
        entries = self._match(device, found, touched).entries
        gone = {one for one in touched if one.value not in entries}
        self._touched[device] = touched - gone
        return sorted(one.value for one in gone)

    async def _drop(self, device: str, found: AllowList, values: Sequence[str]) -> list[str]:
        failed: list[str] = []
        for batch in _batches(values, found.list_batch):
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
