"""Clocks that are wrong, step, or arrive with a backlog."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gated.clocks import BoxClock, DeviceClock

NOW = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)
LIMIT = timedelta(seconds=5)


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


class Hands:
    """A wall clock and a monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.mono = 50.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


def test_a_step_is_noticed_once_and_told_before_the_new_time_is_used() -> None:
    hands = Hands()
    clock = BoxClock(lambda: hands.wall, lambda: hands.mono)
    steps: list[float] = []
    clock.on_step.append(steps.append)
    before = clock.now()
    hands.pass_(10)
    hands.wall += 3600
    assert clock.now() - before == s(3610)
    clock.now()
    hands.wall -= 7200
    clock.now()
    assert [round(x) for x in steps] == [3600, -7200]


def test_slewing_is_no_step() -> None:
    hands = Hands()
    clock = BoxClock(lambda: hands.wall, lambda: hands.mono)
    steps: list[float] = []
    clock.on_step.append(steps.append)
    hands.pass_(10)
    hands.wall += 0.4
    clock.now()
    assert steps == []


def test_a_measured_drift_is_taken_off() -> None:
    clock = DeviceClock()
    clock.measured(NOW + s(3600), NOW)
    assert clock.corrected(NOW + s(3600), NOW + s(2)) == NOW
    assert clock.corrected(None, NOW) == NOW


def test_nothing_happens_after_it_arrived_by_a_little_jitter() -> None:
    assert DeviceClock().corrected(NOW + s(1.5), NOW) == NOW
    assert DeviceClock().corrected(NOW + s(30), NOW) == NOW + s(30)


def test_live_events_of_a_wrong_clock_teach_its_drift() -> None:
    clock = DeviceClock()
    learnt = [clock.observe(NOW + s(t + 3600), NOW + s(t + 0.3), LIMIT) for t in (0, 6, 12, 18)]
    assert learnt == [False, False, True, False]
    assert abs(clock.corrected(NOW + s(3630), NOW + s(30)) - (NOW + s(30))) < s(1)


def test_a_backlog_teaches_nothing() -> None:
    """An hour of events within a second, and an hour delivered slowly: each is off by another amount."""
    burst, slow = DeviceClock(), DeviceClock()
    for n in range(100):
        assert not burst.observe(NOW - s(3600 - 36 * n), NOW + s(n / 100), LIMIT)
    for n in range(20):
        assert not slow.observe(NOW - s(3600 - 60 * n), NOW + s(5 * n), LIMIT)
    assert burst.drift is None
    assert slow.drift is None


def test_when_our_own_clock_is_stepped_devices_stay_right() -> None:
    """An hour forward: the device seems an hour behind, and is corrected for it at the very next event."""
    clock = DeviceClock()
    clock.measured(NOW, NOW)
    clock.shifted(3600)
    assert clock.corrected(NOW + s(10), NOW + s(3610)) == NOW + s(3610)
    clock.shifted(-7200)
    assert clock.corrected(NOW + s(20), NOW + s(20 - 3600)) == NOW + s(20 - 3600)


def test_a_device_that_was_in_time_without_being_measured_stays_right_over_a_step() -> None:
    clock = DeviceClock()
    clock.observe(NOW, NOW + s(0.2), LIMIT)
    clock.shifted(3600)
    assert clock.corrected(NOW + s(5), NOW + s(3605)) == NOW + s(3605)


def test_a_step_says_nothing_about_a_device_that_was_never_heard() -> None:
    clock = DeviceClock()
    clock.shifted(3600)
    assert clock.drift is None
