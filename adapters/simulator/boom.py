"""A barrier's boom as its own controller drives it: opened by a pulse, closed by its loop, never by gated.

Pure model of time: it is told `now` through a clock and works out where the boom is when it is asked. It
does no I/O and knows no wire; the doubles wire their relay to `pulse` and their inputs to its contacts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gated.domain import BarrierPosition


@dataclass(frozen=True, slots=True)
class Opening:
    """One pulse that reached the boom. `at`: seconds on the boom's clock. `milliseconds`: how long the
    contact was closed. `moved`: False when the boom was stuck."""

    at: float
    milliseconds: int
    moved: bool


@dataclass(slots=True)
class Boom:
    """Closed, moving, open, and closed again by itself.

    `travel_s`: time of one movement. `stay_s`: how long it stays open after the loop under it was last
    occupied (or, when nobody comes, after it was open). `stuck`: takes pulses and does not move.
    `openings` records every pulse. `clock`: seconds, any origin, never backwards.
    """

    travel_s: float = 1.5
    stay_s: float = 5.0
    stuck: bool = False
    clock: Callable[[], float] = time.monotonic
    openings: list[Opening] = field(default_factory=list)
    _raised: float | None = None  # when the current movement up began; None while it is down for good
    _busy: float = 0.0  # until when it stays up, if nothing else happens
    _occupied: bool = False
    _lowering: float | None = None

    def pulse(self, milliseconds: int) -> Opening:
        """The contact was closed for so long: raise, or stay up. Records it either way."""
        now = self.clock()
        position = self._at(now)
        opening = Opening(now, milliseconds, not self.stuck)
        self.openings.append(opening)
        if self.stuck:
            return opening
        if position is BarrierPosition.CLOSED or self._raised is None:
            self._raised = now
        elif self._lowering is not None:  # caught on its way down: it goes up again from where it is
            done = min(max((now - self._lowering) / self.travel_s, 0.0), 1.0) if self.travel_s else 1.0
            self._raised = now - (1.0 - done) * self.travel_s
        self._lowering = None
        self._busy = max(now, self._raised + self.travel_s) + self.stay_s
        return opening

    def occupy(self, occupied: bool) -> None:
        """A vehicle came onto the loop under the boom, or left it; the boom never closes on one."""
        now = self.clock()
        self._at(now)
        self._occupied = occupied
        if self._raised is not None:
            if self._lowering is not None and occupied:  # the safety loop raises it again
                self._raised, self._lowering = now, None
            self._busy = max(now, self._raised + self.travel_s) + self.stay_s

    @property
    def position(self) -> BarrierPosition:
        """Where it is now."""
        return self._at(self.clock())

    @property
    def open_contact(self) -> bool:
        """The limit switch at the upper end."""
        return self.position is BarrierPosition.OPEN

    @property
    def closed_contact(self) -> bool:
        """The limit switch at the lower end."""
        return self.position is BarrierPosition.CLOSED

    def _at(self, now: float) -> BarrierPosition:
        if self._raised is None:
            return BarrierPosition.CLOSED
        if self._lowering is None:
            if now < self._raised + self.travel_s:
                return BarrierPosition.MOVING
            if self._occupied or now < self._busy:
                return BarrierPosition.OPEN
            self._lowering = self._busy
        if now < self._lowering + self.travel_s:
            return BarrierPosition.MOVING
        self._raised = self._lowering = None
        return BarrierPosition.CLOSED
