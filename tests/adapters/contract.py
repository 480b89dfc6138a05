"""The contract that every adapter keeps, run against a loopback device that speaks its wire.

An adapter's test file makes a `Bench` (its double, and adapters pointed at it) and subclasses `Contract`:

    class TestAcmeContract(Contract):
        @pytest.fixture
        async def bench(self) -> AsyncIterator[Bench]:
            async with AcmeBench() as bench:
                yield bench

Nothing here knows a vendor. `Session` does what the daemon's supervisor does with a device, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import pytest

from adapters.simulator.faults import Faults
from gated.domain import DeviceEvent, Heartbeat, OpeningOutcome, Read
from gated.ports import (
    Barrier,
    ConfigError,
    Device,
    DeviceContext,
    DeviceError,
    DeviceInfo,
    DeviceRefused,
    DeviceUnavailable,
    Handled,
    Opened,
    Pulse,
)

CLOCK = datetime(2026, 11, 21, 8, 0, 0, 123000, tzinfo=UTC)
"""What the context's clock always says: an event's `received_at` must be exactly this."""


class Unparsed:
    """An `UnparsedLog` that keeps what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bytes | str, str]] = []

    def __call__(self, device: str, kind: str, sample: bytes | str, why: str) -> None:
        self.calls.append((device, kind, sample, why))


def context(device: str, unparsed: Unparsed | None = None) -> DeviceContext:
    """A context with the suite's clock."""
    return DeviceContext(id=device, now=lambda: CLOCK, unparsed=unparsed or Unparsed())


class Bench(ABC):
    """One adapter's double, and adapters pointed at it. Started and stopped by `async with`."""

    faults: Faults
    output: str | None = "0"
    refusal: type[DeviceError] = DeviceRefused
    """What "no" looks like: `DeviceRefused`; `ConfigError` where the wire knows no credentials."""
    barrier = True
    """Whether the adapter can open."""
    open_within_s = 3.0
    """Within this time `open` answers, whatever the device does."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...
    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def device(self) -> Device:
        """A new adapter for the running double, with timeouts short enough for a test."""

    @abstractmethod
    def unwelcome(self) -> Device:
        """A new adapter that the double will refuse (wrong password, wrong serial number, ...)."""

    @abstractmethod
    def nobody(self) -> Device:
        """A new adapter pointed at where nobody is."""

    def attach(self, session: Session) -> None:  # noqa: B027 - most devices need none
        """For devices that push: route their pushes to `session.device` and `session.handle`."""

    async def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Called before a session begins."""

    @abstractmethod
    async def emit(self) -> None:
        """The double reports one thing that becomes at least one event (subject to `faults`)."""

    @abstractmethod
    async def vanish(self) -> None:
        """The device is gone: off, unplugged."""

    @abstractmethod
    async def revive(self) -> None:
        """It is back, healthy."""

    @abstractmethod
    def pulses(self) -> list[int]:
        """Milliseconds of every pulse that reached the relay, in order."""

    # --- what not every wire has: a bench that has it says so, else the test is skipped with the reason ----

    no_silence: str | None = None
    """Why a device that takes everything and says nothing cannot be noticed; None: it is noticed."""
    backlog_size = 1000

    def failed_logins(self) -> int:
        """Wrong passwords that the double has counted."""
        pytest.skip("this wire knows no password, or the daemon checks it")

    def stranger(self) -> Device:
        """A new adapter that expects another device than the one that answers at its address."""
        pytest.skip("a device of this kind does not say who it is")

    async def error_inside(self) -> None:
        """From now on commands are answered with the wire's OK and an error within."""
        pytest.skip("an answer of this wire is itself the yes or no")

    async def emit_old(self, ago_s: float) -> None:
        """The double sends something that happened so long ago, as it does after it was offline."""
        pytest.skip("this device keeps nothing for later")


class Session:
    """A device under supervision, as the daemon does it: enter, read events, hand each over, leave."""

    def __init__(self, bench: Bench, device: Device) -> None:
        self.bench, self.device = bench, device
        self.events: list[DeviceEvent] = []
        self.on_event: Callable[[DeviceEvent], Handled] = lambda _event: Handled()
        self._news = asyncio.Event()
        self._entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def handle(self, event: DeviceEvent) -> Handled:
        self.events.append(event)
        self._news.set()
        return self.on_event(event)

    async def _run(self) -> None:
        try:
            async with self.device:
                self._entered.set_result(None)
                async for event in self.device.events():
                    await self.handle(event)
        except BaseException as error:
            if not self._entered.done():
                self._entered.set_exception(error)
                return
            raise

    async def __aenter__(self) -> Self:
        self.bench.attach(self)
        await self.bench.prepare()
        self._task = asyncio.create_task(self._run())
        try:
            await asyncio.wait_for(asyncio.shield(self._entered), 10)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, DeviceError):
            await self._task

    async def ended(self, within: float = 10) -> None:
        """Waits until `events()` ends, and raises what it raised."""
        assert self._task is not None
        await asyncio.wait_for(asyncio.shield(self._task), within)
        raise AssertionError("events() ended without an error")

    async def reports(self, count: int = 1, within: float = 5) -> list[DeviceEvent]:
        """The events so far that say something (no heartbeats, no replayed state), once there are `count`."""
        deadline = time.monotonic() + within
        while len(found := self.said()) < count:
            self._news.clear()
            left = deadline - time.monotonic()
            assert left > 0, f"{count} events expected, {len(found)} came: {found[-3:]}"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)
        return found

    async def distinct(self, count: int) -> list[DeviceEvent]:
        """The first of each key, once there are `count` keys: on a busy machine a device sends again."""
        first: dict[str | None, DeviceEvent] = {}
        wanted = count
        while len(first) < count:
            for event in await self.reports(wanted):
                first.setdefault(event.key, event)
            wanted += 1
        return list(first.values())

    def said(self) -> list[DeviceEvent]:
        return [
            event
            for event in self.events
            if not isinstance(event, Heartbeat) and not getattr(event, "initial", False)
        ]


def pulse(bench: Bench, milliseconds: int = 700) -> Pulse:
    """An opening that answers no particular event."""
    return Pulse(id="01OPENING", milliseconds=milliseconds, output=bench.output)


async def timed(bench: Bench, device: Device, order: Pulse) -> Opened:
    """Opens, and fails if that takes longer than the adapter promises."""
    assert isinstance(device, Barrier)
    return await asyncio.wait_for(device.open(order), bench.open_within_s)


class Contract:
    """Every adapter's tests. Subclasses give the fixture `bench`."""

    @pytest.fixture
    def bench(self) -> Any:
        raise NotImplementedError("give a bench")

    async def test_enters_and_reports_info(self, bench: Bench) -> None:
        device = bench.device()
        assert isinstance(device, Device)
        async with Session(bench, device):
            assert isinstance(device.info, DeviceInfo)

    async def test_events_arrive_with_the_time_of_arrival(self, bench: Bench) -> None:
        device = bench.device()
        async with Session(bench, device) as session:
            await bench.emit()
            event = (await session.reports())[0]
            assert isinstance(event, DeviceEvent)
            assert event.device == device.id
            assert event.received_at == CLOCK
            assert event.device_time is None or event.device_time.tzinfo is not None

    async def test_refused(self, bench: Bench) -> None:
        assert bench.refusal in (DeviceRefused, ConfigError)
        with pytest.raises(bench.refusal) as caught:
            async with Session(bench, bench.unwelcome()) as session:
                await session.ended()
        assert str(caught.value), "an operator reads this"

    async def test_nobody_there(self, bench: Bench) -> None:
        with pytest.raises(DeviceUnavailable) as caught:
            async with Session(bench, bench.nobody()) as session:
                await session.ended()
        assert str(caught.value), "an operator reads this"

    async def test_dies_in_mid_message_and_comes_back(self, bench: Bench) -> None:
        device = bench.device()
        async with Session(bench, device) as session:
            bench.faults.die_mid_message = 1
            with contextlib.suppress(ConnectionError):
                await bench.emit()
            await bench.vanish()
            with pytest.raises(DeviceUnavailable):
                await session.ended()
        bench.faults.die_mid_message = 0
        await bench.revive()
        async with Session(bench, device) as session:
            await bench.emit()
            assert await session.reports()

    async def test_vanishes_and_comes_back(self, bench: Bench) -> None:
        device = bench.device()
        async with Session(bench, device) as session:
            await bench.vanish()
            with pytest.raises(DeviceUnavailable):
                await session.ended()
        await bench.revive()
        async with Session(bench, device):
            pass

    async def test_sent_twice_is_told_apart_from_two(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            bench.faults.twice = 1.0
            await bench.emit()
            await session.reports()
            await asyncio.sleep(0.2)
            copies = session.said()
            keys = {event.key for event in copies}
            assert len(copies) == 1 or (len(keys) == 1 and None not in keys), copies

    async def test_garbage_is_survived_or_ends_the_session(self, bench: Bench) -> None:
        device = bench.device()
        for _ in range(3):
            with contextlib.suppress(DeviceUnavailable):
                async with Session(bench, device) as session:
                    bench.faults.garbage = 3
                    for _ in range(3):
                        with contextlib.suppress(ConnectionError):
                            await bench.emit()
                    await asyncio.sleep(0.05)
                    if session._task is not None and session._task.done():
                        await session._task
        bench.faults.garbage = 0
        async with Session(bench, device) as session:
            await bench.emit()
            assert await session.reports()

    async def test_leaves_nothing_behind(self, bench: Bench) -> None:
        before = asyncio.all_tasks()
        device = bench.device()
        for _ in range(3):
            async with Session(bench, device) as session:
                await bench.emit()
                await session.reports()
        await bench.vanish()
        left = asyncio.all_tasks() - before
        if left:
            _, left = await asyncio.wait(left, timeout=3)
        assert not left

    # --- faults --------------------------------------------------------------------------------------

    async def test_a_wrong_password_is_tried_once(self, bench: Bench) -> None:
        before = bench.failed_logins()
        device = bench.unwelcome()
        for attempt in (1, 2):  # the supervisor comes again after minutes
            with pytest.raises(bench.refusal):
                async with Session(bench, device) as session:
                    await session.ended()
            assert bench.failed_logins() - before <= attempt, "this locks the account"

    async def test_another_device_at_its_address(self, bench: Bench) -> None:
        device = bench.stranger()
        with pytest.raises((DeviceRefused, ConfigError)) as caught:
            async with Session(bench, device) as session:
                await session.ended()
        assert str(caught.value)

    async def test_silence_is_noticed(self, bench: Bench) -> None:
        """Half-open: the connection stands, and nothing comes any more."""
        if bench.no_silence is not None:
            pytest.skip(bench.no_silence)
        async with Session(bench, bench.device()) as session:
            bench.faults.mute = bench.faults.hang = True
            with pytest.raises(DeviceUnavailable):
                await session.ended(within=5)

    async def test_a_clock_that_is_a_day_off(self, bench: Bench) -> None:
        bench.faults.clock_offset_s = 86_400
        device = bench.device()
        async with Session(bench, device) as session:
            await bench.emit()
            event = (await session.reports())[0]
            ahead = datetime.now(UTC) + timedelta(hours=23)
            assert event.device_time is None or event.device_time > ahead, "its own time is told as it is"
            drift = device.info.clock_drift
            assert drift is None or datetime.now(UTC) + timedelta(hours=23) < CLOCK + drift

    async def test_out_of_order(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            await session.reports()
            await bench.emit_old(3600)
            await bench.emit()
            reports = await session.distinct(3)
        times = [event.device_time for event in reports if event.device_time is not None]
        old = datetime.now(UTC) - timedelta(minutes=55)
        assert [time < old for time in sorted(times)] == [True, False, False], "each has its own time"

    async def test_backlog_is_taken_in_whole_and_opens_nothing(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            for number in range(bench.backlog_size):
                await bench.emit_old(3600 - number)
            reports = await session.reports(bench.backlog_size, within=20)
            await bench.emit()
            last = (await session.reports(bench.backlog_size + 1))[-1]
        assert len({event.key for event in reports}) == bench.backlog_size
        assert isinstance(last, Read)
        assert not last.backlog, "what happens now is no backlog"
        recent = datetime.now(UTC) - timedelta(minutes=5)
        for event in reports:
            assert isinstance(event, Read)
            old = event.device_time is not None and event.device_time < recent
            assert event.backlog or old, "it would be taken for a vehicle that is there now"

    async def test_an_error_inside_an_ok_is_no_opening(self, bench: Bench) -> None:
        self._needs_barrier(bench)
        device = bench.device()
        async with Session(bench, device):
            await bench.error_inside()
            opened = await timed(bench, device, pulse(bench))
            assert opened.outcome in (OpeningOutcome.REJECTED, OpeningOutcome.UNCERTAIN), opened
            assert opened.detail, "an operator reads this"

    # --- opening --------------------------------------------------------------------------------------

    @pytest.mark.parametrize("milliseconds", [500, 1500])
    async def test_opens_with_one_pulse(self, bench: Bench, milliseconds: int) -> None:
        self._needs_barrier(bench)
        device = bench.device()
        async with Session(bench, device):
            opened = await timed(bench, device, pulse(bench, milliseconds))
            assert opened.outcome in (OpeningOutcome.ACCEPTED, OpeningOutcome.CONFIRMED), opened
            await asyncio.sleep(0.3)
        assert len(bench.pulses()) == 1
        assert bench.pulses()[0] == pytest.approx(milliseconds, abs=150)

    async def test_two_openings_are_two_pulses(self, bench: Bench) -> None:
        self._needs_barrier(bench)
        device = bench.device()
        async with Session(bench, device):
            await timed(bench, device, pulse(bench, 500))
            await timed(bench, device, pulse(bench, 500))
            await asyncio.sleep(0.3)
        assert len(bench.pulses()) == 2

    @pytest.mark.parametrize("after_s", [0.0, 0.02, 0.2])
    async def test_cancelled_opening_pulses_at_most_once(self, bench: Bench, after_s: float) -> None:
        self._needs_barrier(bench)
        device = bench.device()
        assert isinstance(device, Barrier)
        async with Session(bench, device):
            task = asyncio.ensure_future(device.open(pulse(bench, 500)))
            await asyncio.sleep(after_s)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.8)
        assert len(bench.pulses()) <= 1
        assert all(500 - 150 <= milliseconds <= 1500 for milliseconds in bench.pulses())

    async def test_no_answer_is_uncertain_and_is_not_sent_again(self, bench: Bench) -> None:
        self._needs_barrier(bench)
        device = bench.device()
        async with Session(bench, device):
            bench.faults.hang = True
            await asyncio.sleep(0.3)  # what was under way before is answered
            opened = await timed(bench, device, pulse(bench))
            assert opened.outcome is OpeningOutcome.UNCERTAIN, opened
            bench.faults.hang = False
            await asyncio.sleep(0.3)
        assert len(bench.pulses()) <= 1

    async def test_nobody_to_open_is_unreachable(self, bench: Bench) -> None:
        self._needs_barrier(bench)
        device = bench.device()
        async with Session(bench, device) as session:
            await bench.vanish()
            with contextlib.suppress(DeviceError):
                await session.ended()
            opened = await timed(bench, device, pulse(bench))
            assert opened.outcome is OpeningOutcome.UNREACHABLE, opened
            assert opened.detail, "an operator reads this"
        await bench.revive()
        async with Session(bench, device):
            await asyncio.sleep(0.3)
        assert bench.pulses() == [], "an opening was sent late"

    def _needs_barrier(self, bench: Bench) -> None:
        if not bench.barrier:
            pytest.skip("this adapter opens nothing")
