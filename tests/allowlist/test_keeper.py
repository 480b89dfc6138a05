"""Devices' own lists kept in step, on a real store, with a device that fails as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from gated.allowlist import AllowLists, Version, keeper
from gated.clocks import BoxClock
from gated.domain import (
    AlertDraft,
    Credential,
    CredentialKind,
    Holder,
    ListEntry,
    ListName,
    Pass,
    PassFacts,
    PassState,
    Text,
)
from gated.lists import Lists
from gated.passbook import Passbook
from gated.ports import AllowEntry, DeviceUnavailable
from gated.store import Store, passes

PLATE = CredentialKind.PLATE


@dataclass
class Camera:
    """Holds a list. `dies_after`: so many batches, then it answers no more. `refuses`: values."""

    list_kinds: frozenset[CredentialKind] = frozenset({PLATE})
    list_capacity: int = 100
    list_batch: int = 10
    holds: dict[str, datetime] = field(default_factory=dict)
    tells: bool = True
    dies_after: int | None = None
    refuses: frozenset[str] = frozenset()
    puts: int = 0
    asked: int = 0

    def _batch(self, size: int) -> None:
        assert 0 < size <= self.list_batch
        if self.dies_after is not None:
            if self.dies_after == 0:
                raise DeviceUnavailable("gone")
            self.dies_after -= 1

    async def held(self) -> frozenset[str] | None:
        self.asked += 1
        return frozenset(self.holds) if self.tells else None

    async def put(self, entries: Sequence[AllowEntry]) -> Sequence[str]:
        self._batch(len(entries))
        self.puts += len(entries)
        self.holds |= {one.value: one.valid_until for one in entries if one.value not in self.refuses}
        return [one.value for one in entries if one.value in self.refuses]

    async def drop(self, values: Sequence[str]) -> Sequence[str]:
        self._batch(len(values))
        for value in values:
            self.holds.pop(value, None)
        return ()


class Alarm:
    def __init__(self) -> None:
        self.open: dict[str, AlertDraft] = {}

    def raised(self, draft: AlertDraft, device: str) -> None:
        self.open[draft.fold_key] = draft

    def ended(self, fold_key: str, why: Text | None = None) -> None:
        self.open.pop(fold_key, None)


class Site:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.camera: Camera | None = Camera()
        self.alarm = Alarm()
        self.blocks = Lists()
        self.book = Passbook()
        self.whole = 0
        self.lists = self.new()

    def new(self) -> AllowLists:
        """A daemon that has just started on this store."""

        def facts(conn: Connection) -> Iterator[tuple[Credential, PassFacts]]:
            self.whole += 1
            return passes.facts(conn)

        lists = AllowLists(
            self.store, BoxClock(), self.alarm, lambda _: self.camera, facts, passes.changed_since,
            match=lambda credential: [one.facts for one in self.book.match(credential)],
            blocked=lambda: self.blocks.having(ListName.BLOCK, datetime.now(UTC)),
            version=lambda: Version(self.book.change, self.blocks.version),
        )  # fmt: skip
        lists.configure({"cam": {"east"}})
        return lists

    async def issue(self, first: int, last: int) -> list[Pass]:
        now = datetime.now(UTC)
        wanted = [
            Pass(
                id=f"{number:026d}", kind="resident", holder=Holder("王芳"), credentials=(plate(number),),
                entrances=None, valid_from=now - timedelta(days=1), valid_until=now + timedelta(days=90),
                created_at=now, updated_at=now,
            )
            for number in range(first, last)
        ]  # fmt: skip
        made = await self.store.write(lambda conn: [passes.insert(conn, one) for one in wanted])
        for one in made:
            self.book.apply(one)
        return made

    async def change(self, found: Pass, **more: Any) -> None:
        after = await self.store.write(
            lambda conn: passes.update(conn, replace(found, **more), expected_version=found.version)
        )
        self.book.apply(after)

    async def revoke(self, found: Pass) -> None:
        await self.change(found, state=PassState.REVOKED, revoked_at=datetime.now(UTC))

    def block(self, number: int) -> None:
        now = datetime.now(UTC)
        self.blocks.apply(
            ListEntry(list=ListName.BLOCK, credential=plate(number), note="", added_at=now, added_by="x")
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.lists.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def plate(number: int) -> Credential:
    return Credential(PLATE, f"津A{number:05d}")


async def until(true: Callable[[], bool]) -> None:
    """Waits for something that nobody announces."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    store = await Store.open(f"sqlite:///{tmp_path}/gated.db")
    try:
        yield Site(store)
    finally:
        await store.close()


async def test_a_list_is_filled_kept_and_reported(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        assert at.camera is not None
        await at.issue(0, 35)
        assert await at.lists.sync("cam")
        report = at.lists.reports["cam"]
        assert (report.wanted, report.listed, report.added, report.total, report.done) == (35, 35, 35, 35, 35)
        assert len(at.camera.holds) == 35
        assert await at.lists.sync("cam")
        assert at.camera.puts == 35, "what is there is not put again"
        at.camera.holds.clear()  # somebody reset the camera
        assert await at.lists.sync("cam")
        assert len(at.camera.holds) == 35


async def test_a_device_that_dies_in_between_goes_on_where_it_was(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        assert at.camera is not None
        at.camera.tells = False
        await at.issue(0, 35)
        at.camera.dies_after = 2
        assert not await at.lists.sync("cam")
        assert len(at.camera.holds) == 20
        assert at.lists.reports["cam"].error == "gone"
        assert at.alarm.open, "a person is told"
        at.camera.dies_after = None
        again = at.new()  # and gated was restarted meanwhile
        assert await again.sync("cam")
        assert at.camera.puts == 35
        assert len(at.camera.holds) == 35
        assert not at.alarm.open


async def test_nothing_is_emptied_on_an_error(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        assert at.camera is not None
        await at.issue(0, 60)
        await at.lists.sync("cam")
        for number in range(60):  # a restored store, a rule that went wrong: as if all had been revoked
            at.block(number)
        assert await at.lists.sync("cam")
        assert len(at.camera.holds) == 60
        assert at.lists.reports["cam"].held_back == 60
        assert at.alarm.open
        assert at.lists.sync_now("cam", force=True)
        await at.lists.sync("cam")
        assert at.camera.holds == {}
        assert not at.alarm.open


async def test_one_that_is_refused_keeps_nobody_else_out(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        assert at.camera is not None
        at.camera.refuses = frozenset({"津A00003"})
        await at.issue(0, 12)
        assert not await at.lists.sync("cam")
        report = at.lists.reports["cam"]
        assert report.failed == ("津A00003",)
        assert len(at.camera.holds) == 11
        assert "1 entries were refused" in at.alarm.open["device|cam|list"].text.en


async def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        assert at.camera is not None
        at.camera.list_capacity = 10
        await at.issue(0, 12)
        await at.lists.sync("cam")
        assert len(at.camera.holds) == 10
        assert at.lists.reports["cam"].left_out == 2
        assert "do not fit" in at.alarm.open["device|cam|list"].text.en


async def test_what_staff_put_there_stays(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        assert at.camera is not None
        at.camera.holds["粤B00001"] = datetime.now(UTC)
        await at.issue(0, 2)
        await at.lists.sync("cam")
        assert "粤B00001" in at.camera.holds
        assert at.lists.reports["cam"].foreign == 1


async def test_it_runs_by_itself(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        camera, at.camera = at.camera, None
        assert camera is not None
        await at.issue(0, 3)
        async with at.running():
            await until(lambda: at.lists.reports["cam"].error == "the device is offline")
            at.camera = camera
            at.lists.device_online("cam")
            await until(lambda: len(camera.holds) == 3)
        assert not at.lists.sync_now("another", force=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes are looked for at once, not every five seconds."""
    monkeypatch.setattr(keeper, "QUIET_S", 0.02)


@pytest.mark.usefixtures("quick")
async def test_a_change_costs_no_more_than_its_plates(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        camera = at.camera
        assert camera is not None
        made = await at.issue(0, 60)
        async with at.running():
            await until(lambda: len(camera.holds) == 60)
            await until(lambda: not at.lists.reports["cam"].running)
            assert (at.whole, camera.asked) == (1, 1)
            await at.issue(60, 63)
            await until(lambda: len(camera.holds) == 63)
            await at.revoke(made[7])
            await until(lambda: plate(7).value not in camera.holds)
            await until(lambda: not at.lists.reports["cam"].running)
            report = at.lists.reports["cam"]
            assert (report.wanted, report.listed, report.removed) == (62, 62, 1)
            # neither all passes nor the device's list were read again
            assert (at.whole, camera.asked) == (1, 1)
            assert camera.puts == 63


@pytest.mark.usefixtures("quick")
async def test_who_is_blocked_goes(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        camera = at.camera
        assert camera is not None
        await at.issue(0, 5)
        async with at.running():
            await until(lambda: len(camera.holds) == 5)
            at.block(3)
            await until(lambda: plate(3).value not in camera.holds)
        assert at.whole == 2


@pytest.mark.usefixtures("quick")
async def test_a_plate_that_a_pass_had_before_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "AGAIN_S", 0.1)
    async with site(tmp_path) as at:
        camera = at.camera
        assert camera is not None
        (made,) = await at.issue(0, 1)
        async with at.running():
            await until(lambda: plate(0).value in camera.holds)
            await at.change(made, credentials=(plate(1),))
            await until(lambda: set(camera.holds) == {plate(1).value})


@pytest.mark.usefixtures("quick")
async def test_many_revoked_at_once_are_held_back(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        camera = at.camera
        assert camera is not None
        made = await at.issue(0, 60)
        async with at.running():
            await until(lambda: len(camera.holds) == 60)
            gone = [replace(one, state=PassState.REVOKED, revoked_at=datetime.now(UTC)) for one in made[:40]]
            after = await at.store.write(
                lambda conn: [passes.update(conn, one, expected_version=one.version) for one in gone]
            )
            for one in after:
                at.book.apply(one)
            await until(lambda: at.lists.reports["cam"].held_back == 40)
            assert len(camera.holds) == 60
            await until(lambda: bool(at.alarm.open))
            assert at.lists.sync_now("cam", force=True)
            await until(lambda: len(camera.holds) == 20)


@pytest.mark.usefixtures("quick")
async def test_a_revocation_does_not_wait_for_a_long_fill(tmp_path: Path) -> None:
    """A slow device (VZ: five plates a reply) is still being filled when passes are revoked: one that it has
    been given, and one whose turn has not come."""
    async with site(tmp_path) as at:
        camera = at.camera
        assert camera is not None
        camera.tells = False
        made = await at.issue(0, 60)
        put, order = camera.put, list[str]()

        async def slowly(entries: Sequence[AllowEntry]) -> Sequence[str]:
            order.extend(one.value for one in entries)
            if len(order) == 20:
                await at.revoke(made[3])
                await at.revoke(made[55])
                await asyncio.sleep(0.1)  # the change is noticed meanwhile
            if len(order) > 30:
                assert plate(3).value not in camera.holds, "it went between two batches"
            return await put(entries)

        camera.put = slowly  # type: ignore[method-assign]
        async with at.running():
            await until(lambda: len(camera.holds) == 58 and not at.lists.reports["cam"].running)
        assert plate(55).value not in order, "it is not put at all"
        assert len(order) == 59


async def test_one_slow_device_holds_up_no_other(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        await at.issue(0, 3)
        never = asyncio.Event()

        class Stuck(Camera):
            async def put(self, entries: Sequence[AllowEntry]) -> Sequence[str]:
                await never.wait()
                return ()

        cameras = {"cam": Stuck(), "other": Camera()}
        at.lists.find = cameras.get
        at.lists.configure({"cam": {"east"}, "other": {"east"}})
        async with at.running():
            await until(lambda: len(cameras["other"].holds) == 3)
