"""What watching devices saw within the last hour (see `gated.sightings`), for rules that ask for it. Pure."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable
from datetime import datetime, timedelta

KEPT = timedelta(hours=1)
_EACH = 256
_MOST = 4096


class Watched:
    """Times by "what device" ("crossed cam-road"). `kept`: how long they are kept; None: as long as it
    lives."""

    def __init__(self, kept: timedelta | None = KEPT) -> None:
        self._kept = kept
        self._times: dict[str, list[datetime]] = {}

    def load(self, events: Iterable[tuple[str, str, datetime]]) -> None:
        """Takes in what was recorded: what, device, when."""
        for what, device, at in events:
            self.note(what, device, at)

    def note(self, what: str, device: str, at: datetime) -> None:
        """A device saw something. A repeat within a second is nothing new."""
        word = f"{what} {device}"
        times = self._times.get(word)
        if times is None:
            if len(self._times) >= _MOST and self._kept is not None:
                del self._times[min(self._times, key=lambda each: self._times[each][-1])]
            times = self._times[word] = []
        if times and timedelta(0) <= at - times[-1] < timedelta(seconds=1):
            return
        insort(times, at)
        if self._kept is not None:
            del times[: max(bisect_right(times, at - self._kept), len(times) - _EACH)]

    def within(self, now: datetime, length: timedelta) -> list[str]:
        """What was seen in the time before `now`, in order of the words."""
        return sorted(
            word
            for word, times in self._times.items()
            if (place := bisect_right(times, now)) and times[place - 1] > now - length
        )
