"""Events of a controller's log, and what their reasons mean. Pure. Reason codes: as uhppoted lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

REASONS: Mapping[int, str] = {
    1: "card accepted",
    2: "card accepted",
    3: "card accepted",
    5: "denied: the host decides",
    6: "no access rights",
    7: "wrong PIN",
    8: "anti-passback",
    9: "more cards are needed",
    10: "first card",
    11: "the door is set to normally closed",
    12: "interlock",
    13: "not at this time",
    15: "invalid time profile",
    18: "access denied",
    20: "button",
    23: "door opened",
    24: "door closed",
    25: "opened by password",
    28: "power on",
    29: "reset",
    31: "button refused: door locked",
    32: "button refused: offline",
    33: "button refused: interlock",
    34: "button refused: threat",
    37: "door open too long",
    38: "door forced open",
    39: "fire",
    40: "door forced closed",
    41: "theft prevention",
    42: "24 h zone",
    43: "emergency",
    44: "opened by software",
    45: "opened by software (USB reader)",
}
_HOST_DECIDES = 5
_LAST_OF_SWIPES = 18
_BY_HOST = frozenset({44, 45})
_SWIPE = 0x01  # a type of event
_NOBODY = (0, 0xFFFFFFFF)
KEPT_OUT = frozenset({7, 8, 9, 12})
"""Why the controller turned away a card that is on its list: it is not for the host to let it in all the
same."""

OBSERVED: Mapping[int, tuple[str, bool]] = {
    20: ("button", True),
    23: ("door_open", True),
    24: ("door_open", False),
    25: ("access_granted", True),
    28: ("power_on", True),
    29: ("reset", True),
    31: ("button_refused", True),
    32: ("button_refused", True),
    33: ("button_refused", True),
    34: ("button_refused", True),
    37: ("door_open_too_long", True),
    38: ("door_forced", True),
    39: ("fire", True),
    40: ("door_forced_closed", True),
    41: ("theft_prevention", True),
    42: ("zone_24h", True),
    43: ("emergency", True),
    44: ("opened_remotely", True),
    45: ("opened_remotely", True),
}
"""What is observed where nobody held up a card: the word, and whether it began or ended."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the controller's log. `at`: local time of its clock, None if it is no time. `direction`: 1
    in, 2 out. `card`: 0 for none."""

    index: int
    kind: int
    granted: bool
    door: int
    direction: int
    card: int
    at: datetime | None
    reason: int

    @property
    def swipe(self) -> bool:
        """Whether somebody held up a card. Some firmware logs the card that it let in as type 2, and software
        that opens a door puts a number there, too."""
        return self.card not in _NOBODY and (
            (self.kind == _SWIPE and self.reason not in _BY_HOST) or 1 <= self.reason <= _LAST_OF_SWIPES
        )


def decides_itself(entry: Entry) -> bool:
    """Whether an event shows that the host does not decide: a card was judged, or it was restarted."""
    return entry.reason in (28, 29) or (entry.swipe and entry.reason != _HOST_DECIDES)


def why(reason: int) -> str:
    """A reason in words."""
    return REASONS.get(reason, f"reason {reason}")
