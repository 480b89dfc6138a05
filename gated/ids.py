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
_40_BITS = (1 << 40) - 1


def _eight(bits: int) -> str:
    """40 bits as 8 characters, two at a time."""
    pairs = _PAIRS
    return f"{pairs[bits >> 30]}{pairs[bits >> 20 & 1023]}{pairs[bits >> 10 & 1023]}{pairs[bits & 1023]}"


def _encode(milliseconds: int, tail: int) -> str:
    """50 and 80 bits as 26 characters."""
    return (
        f"{_PAIRS[milliseconds >> 40]}{_eight(milliseconds & _40_BITS)}"
        f"{_eight(tail >> 40)}{_eight(tail & _40_BITS)}"
    )


def new_id(now: datetime) -> str:
    """A new id; two made in the same millisecond differ by 80 random bits."""
    return _encode(to_us(now) // 1000, secrets.randbits(80))


def event_id(device: str, key: str, time: datetime) -> str:
    """The id of what a device reported: the same device, key and time give the same id."""
    us = to_us(time)
    digest = hashlib.blake2b(f"{device}\0{key}\0{us}".encode(), digest_size=10).digest()
    return _encode(max(us, 0) // 1000, int.from_bytes(digest, "big"))
