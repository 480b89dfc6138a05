"""Ids: 26 characters of Crockford base32, ordered by time, as ULIDs are.

The first 10 characters are milliseconds since 1970; the rest is random, or derived from the event so that
a resent event has the same id.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from gated.times import to_us

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)


def _encode(value: int) -> str:
    """130 bits as 26 characters, two at a time."""
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -10, -10)])


def new_id(now: datetime) -> str:
    """A new id; two made in the same millisecond differ by 80 random bits."""
    return _encode((to_us(now) // 1000 << 80) | secrets.randbits(80))


def event_id(device: str, key: str, time: datetime) -> str:
    """The id of what a device reported: the same device, key and time give the same id."""
    seed = f"{device}\0{key}\0{to_us(time)}".encode()
    tail = int.from_bytes(hashlib.blake2b(seed, digest_size=10).digest(), "big")
    return _encode((max(to_us(time), 0) // 1000 << 80) | tail)
