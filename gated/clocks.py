"""Time on the box and on the devices: what o'clock it is, how far a device is off, when something happened.

The box's wall clock may be stepped at any moment (NTP after a start without a battery); devices run on
clocks of their own. `BoxClock` notices a step by the monotonic clock; `DeviceClock` is pure and turns a
device's time into ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

STEP_S = 1.0
"""A wall clock that moved by more than this against the monotonic clock was stepped."""

_AGREE = timedelta(seconds=2)
_AGREEING_EVENTS = 3
_AGREEING_SPAN = timedelta(seconds=10)
_MICROSECOND = timedelta(microseconds=1)


class BoxClock:
    """The wall clock, and whoever wants to know when it was stepped.

    `on_step` callbacks get the step in seconds, positive when the clock was put forward; they are called from
    `now`, before it returns the new time.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self.on_step: list[Callable[[float], None]] = []

    def now(self) -> datetime:
        """Now, aware UTC."""
        wall = self._wall()
        offset = wall - self._monotonic()
        moved = offset - self._offset
        if not -STEP_S <= moved <= STEP_S:
            self._offset = offset
            for callback in self.on_step:
                callback(moved)
        return datetime.fromtimestamp(wall, UTC)

    def monotonic(self) -> float:
        """Seconds that only ever grow; for windows and intervals."""
        return self._monotonic()


def system_now() -> datetime:
    """The system's time, for tools that are no daemon."""
    return datetime.now(UTC)


class DeviceClock:
    """How far one device's clock is ahead of ours, and what its times mean.

    The drift is known in two ways. A measurement (`measured`: the device was asked, or sent a heartbeat with
    its time) counts at once. Without one, several events in a row that are off by the same amount, over
    several seconds, show a live device with a wrong clock: a backlog arrives in a burst, so its events are
    each off by another amount.
    """

    def __init__(self) -> None:
        self.drift: timedelta | None = None
        self._since: datetime | None = None  # arrival of the first of a row of events that agree
        self._last: timedelta | None = None
        self._agreeing = 0
        self._right = False  # its events were in time, without anything known of its clock

    @property
    def known(self) -> timedelta | None:
        """The drift, as long as the latest events bear it out; None where nothing is known."""
        if self._agreeing:
            return None
        return timedelta() if self.drift is None and self._right else self.drift

    def measured(self, device_time: datetime, received_at: datetime) -> None:
        """The device's time was just asked, or came with a heartbeat."""
        self.drift = device_time - received_at
        self._agreeing = 0

    def set_drift(self, drift: timedelta) -> None:
        """An adapter measured the drift itself."""
        self.drift = drift
        self._agreeing = 0

    def shifted(self, seconds: float) -> None:
        """Our own clock was put forward by so much: every device is now that much further behind."""
        step = timedelta(seconds=seconds)
        if self.drift is not None or self._right:
            self.drift = (self.drift or timedelta()) - step
        if self._last is not None:
            self._last -= step
        if self._since is not None:
            self._since += step

    def corrected(self, device_time: datetime | None, received_at: datetime) -> datetime:
        """When it happened, on our clock. Without a device time: when it arrived."""
        if device_time is None:
            return received_at
        try:
            at = device_time - (self.drift or timedelta())
        except OverflowError:  # a clock in the year 9999, or that was there when it was measured
            return device_time
        # what happened cannot have happened after it arrived; less than a second is jitter of the clocks
        if received_at < at <= received_at + _AGREE:
            return received_at
        return at

    def observe(self, device_time: datetime | None, received_at: datetime, limit: timedelta) -> bool:
        """Learns from a live event. Returns True if the drift was learnt anew just now: events off by more
        than `limit` (against the drift known) that agree among themselves."""
        if device_time is None:
            return False
        offset = device_time - received_at
        known = self.drift or timedelta()
        if abs(offset - known) <= limit:
            self._agreeing, self._right = 0, True
            return False
        if self._last is not None and self._agreeing and abs(offset - self._last) <= _AGREE:
            self._agreeing += 1
        else:
            self._agreeing, self._since = 1, received_at
        self._last = offset
        if (
            self._agreeing >= _AGREEING_EVENTS
            and self._since is not None
            and received_at - self._since >= _AGREEING_SPAN
        ):
            self.drift, self._agreeing = offset, 0
            return True
        return False
