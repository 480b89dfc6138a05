"""What can be made to go wrong at a simulated device: one small record of switches that every double reads.

Pure: it holds wishes and counts them down; the doubles carry them out on the wire. It knows no protocol.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

# what optics confuse, both ways
_LOOK_ALIKES = {
    "0": "D",
    "D": "0",
    "8": "B",
    "B": "8",
    "2": "Z",
    "Z": "2",
    "5": "S",
    "S": "5",
    "1": "7",
    "7": "1",
}


@dataclass(slots=True)
class Faults:
    """Faults on demand. A test or the scripted day sets fields at any time; zero and False mean healthy.

    Shares (0..1, drawn from `rng`): `lost`: an event is never sent. `twice`: it is sent again, unchanged.
    `misread`: one character of a plate is replaced by a look-alike.
    Counts (so many times yet, then healthy again): `die_mid_message`: the next message stops half-way and the
    connection is closed. `garbage`: the next message is replaced by bytes that mean nothing.
    States: `late_s`: events and answers come so many seconds late. `clock_offset_s`: the device's clock minus
    the true time. `refuse`: credentials, or the command, are refused. `hang`: requests are taken and
    never answered. `mute`: nothing at all is answered or sent, and no connection is closed. `stuck`: commands
    are accepted and the boom does not move.
    """

    lost: float = 0.0
    twice: float = 0.0
    misread: float = 0.0
    late_s: float = 0.0
    clock_offset_s: float = 0.0
    die_mid_message: int = 0
    garbage: int = 0
    refuse: bool = False
    mute: bool = False
    hang: bool = False
    stuck: bool = False
    rng: random.Random = field(default_factory=lambda: random.Random(1), repr=False)

    def drawn(self, share: float) -> bool:
        """True for `share` of the calls: `faults.drawn(faults.lost)`."""
        return share > 0 and self.rng.random() < share

    def take_death(self) -> bool:
        """True if the message that is being sent now should stop half-way; counts down."""
        if self.die_mid_message <= 0:
            return False
        self.die_mid_message -= 1
        return True

    def take_garbage(self) -> bytes | None:
        """Bytes to send instead of the next message, or None; counts down."""
        if self.garbage <= 0:
            return None
        self.garbage -= 1
        return self.rng.randbytes(self.rng.randint(1, 200))

    def copies(self) -> int:
        """How often the event that happened now is sent: 0 lost, 1, or 2."""
        if self.drawn(self.lost):
            return 0
        return 2 if self.drawn(self.twice) else 1

    def plate(self, plate: str) -> str:
        """The plate as the camera reads it now: usually right."""
        if not self.drawn(self.misread):
            return plate
        places = [i for i, character in enumerate(plate) if character in _LOOK_ALIKES]
        if not places:
            return plate
        at = self.rng.choice(places)
        return plate[:at] + _LOOK_ALIKES[plate[at]] + plate[at + 1 :]
