"""Telling what a reader repeats from what is presented anew.

Pure: `at` is in seconds, of a clock that only goes forward.
"""

from __future__ import annotations

from collections import OrderedDict

_MOST_TEXTS = 64


class Repeats:
    """A text that was seen within `window_s` is a repeat, for as long as a card or code is held up; it is
    presented anew when it was not seen for so long."""

    def __init__(self, window_s: float) -> None:
        self._window = window_s
        self._last: OrderedDict[str, float] = OrderedDict()

    def repeated(self, found: str, at: float) -> bool:
        """Whether this text at `at` repeats the one before; remembers it in any case."""
        last = self._last.get(found)
        self._last[found] = at
        self._last.move_to_end(found)
        while len(self._last) > _MOST_TEXTS:
            self._last.popitem(last=False)
        return last is not None and at - last < self._window

    def forget(self, found: str) -> None:
        """It could not be recorded: the next one is no repeat."""
        self._last.pop(found, None)
