"""The controller's log of events, read in order and without a gap.

Each event has an index, and the log a register in which its reader puts down how far it is: it is set only to
what the daemon has taken over, so that a restart of either side loses nothing. No event is taken from what is
pushed; what is overwritten is reported as lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from adapters.uhppote import codec
from adapters.uhppote.calls import Calls
from adapters.uhppote.entries import Entry

log = structlog.get_logger()

SAVED_EVERY = 100
"""After so many events at the latest the register is set, while more are waiting."""
_PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Lost:
    """Events that are not in the log any more."""

    first: int
    index: int


class Journal:
    """Where the reading is; it outlives a connection. `taken`: the last event that was taken over, None
    before the first connection. `past`: up to it, events happened before this connection."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.taken: int | None = None
        self.past = 0
        self._saved = 0
        self._missing = 0

    async def begin(self, calls: Calls, status: codec.Status) -> None:
        """After connecting: goes on where it was, else where the register says. A register that was never set
        means that nobody has read this log: it is read from now on."""
        self._saved = await calls.event_index()
        known = self._saved if self.taken is None else self.taken
        if self.taken is None and known == 0 and status.last:
            log.info("event_log_begins_now", device=self._device, index=status.last)
            known = status.last
        self.taken, self.past = known, status.last
        self._renewed(status)

    def _renewed(self, status: codec.Status) -> None:
        """If the log has begun anew, all that is in it is read."""
        if self.taken is not None and self.taken > status.last:
            log.warning("event_log_was_cleared", device=self._device, taken=self.taken, last=status.last)
            self.taken, self.past = 0, status.last

    async def next(self, calls: Calls, status: codec.Status) -> Entry | Lost | None:
        """The event after the last that was taken over, None if there is none. It comes again until it is
        `took`."""
        self._renewed(status)
        index = (self.taken or 0) + 1
        if index > status.last:
            return None
        if status.latest is not None and status.latest.index == index:
            return status.latest
        try:
            found = await calls.event(index)
        except codec.Overwritten:
            return Lost(index, await self._oldest(calls, index, status.last) - 1)
        if found is not None:
            self._missing = 0
            return found
        self._missing += 1  # it may not be written yet
        if self._missing < _PATIENCE:
            return None
        self._missing = 0
        return Lost(index, index)

    async def _oldest(self, calls: Calls, overwritten: int, last: int) -> int:
        """The oldest event that is still there."""
        low, high = overwritten, last
        while high - low > 1:
            middle = (low + high) // 2
            try:
                await calls.event(middle)
            except codec.Overwritten:
                low = middle
            else:
                high = middle
        return high

    def took(self, item: Entry | Lost) -> bool:
        """The daemon has taken it over. True if the register is to be set before the next."""
        self.taken = item.index
        return item.index - self._saved >= SAVED_EVERY or item.index < self._saved

    async def save(self, calls: Calls) -> None:
        """Sets the register, if that is of use."""
        if self.taken and self.taken != self._saved:
            await calls.set_event_index(self.taken)
            self._saved = self.taken
