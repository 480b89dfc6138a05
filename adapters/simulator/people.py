"""Who lives in the simulated village, and what they drive: invented plates and names, the same for a seed.

Pure. It says what kind of pass each vehicle has; whoever fills a store makes passes of it.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗"
_GIVEN = (
    "伟",
    "芳",
    "娜",
    "敏",
    "静",
    "丽",
    "强",
    "磊",
    "军",
    "洋",
    "勇",
    "艳",
    "杰",
    "涛",
    "秀英",
    "建国",
    "志强",
    "桂兰",
)
_HOME, _LETTERS, _DIGITS = "津", "ABCDEFGHJK", "0123456789"
_ELSEWHERE = "京冀鲁豫晋辽苏皖黑吉"
_SERIAL = "ABCDEFGHJKLMNPQRSTUVWXYZ"


class Standing(StrEnum):
    """How a vehicle stands with the gate."""

    VALID = "valid"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    REVOKED = "revoked"
    OTHER_ENTRANCE = "other_entrance"
    NIGHT_ONLY = "night_only"
    NONE = "none"


# of a hundred vehicles that have, or had, a pass
_STANDINGS = (
    [Standing.VALID] * 88
    + [Standing.EXPIRED] * 5
    + [Standing.OTHER_ENTRANCE] * 3
    + [Standing.REVOKED] * 2
    + [Standing.NOT_YET]
    + [Standing.NIGHT_ONLY]
)


@dataclass(frozen=True, slots=True)
class Resident:
    """One vehicle and its holder. `kind`: resident, tenant, worker or visitor."""

    plate: str
    name: str
    phone: str
    kind: str
    standing: Standing


def plate(rng: random.Random) -> str:
    """An invented plate: 7 characters, or 8 for a new-energy vehicle; mostly local."""
    province = _HOME if rng.random() < 0.8 else rng.choice(_ELSEWHERE)
    letter = rng.choice(_LETTERS)
    if rng.random() < 0.25:
        return f"{province}{letter}{rng.choice('DF')}{rng.choice(_DIGITS)}" + "".join(
            rng.choices(_DIGITS, k=4)
        )
    serial = rng.choices(_DIGITS, k=5)
    for place in rng.sample(range(5), rng.choice((0, 1, 1, 2))):
        serial[place] = rng.choice(_SERIAL)
    return province + letter + "".join(serial)


def residents(seed: int, count: int) -> Iterator[Resident]:
    """So many vehicles with a pass of some kind; no plate twice."""
    rng = random.Random(f"residents {seed}")
    seen: set[str] = set()
    while len(seen) < count:
        shown = plate(rng)
        if shown in seen:
            continue
        seen.add(shown)
        yield Resident(
            plate=shown,
            name=rng.choice(_SURNAMES) + rng.choice(_GIVEN),
            phone="1" + rng.choice("3578") + "".join(rng.choices(_DIGITS, k=9)),
            kind=rng.choices(("resident", "tenant", "worker", "visitor"), (30, 55, 12, 3))[0],
            standing=rng.choice(_STANDINGS),
        )


def card_of(plate: str) -> str:
    """The number of the card that goes with a pass for this plate, as a 34-bit reader tells it."""
    return str(zlib.crc32(plate.encode()) or 1)


def stranger(rng: random.Random) -> str:
    """A plate that nobody registered (a village of 12,000 leaves room enough)."""
    shown = plate(rng)
    return rng.choice(_ELSEWHERE) + shown[1:]
