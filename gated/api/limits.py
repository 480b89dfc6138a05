"""How many wrong credentials a peer may present: a leaky bucket each, in bounded memory.

Knows no HTTP. Time is an argument (seconds of a monotonic clock).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable


def peer_key(host: str) -> str:
    """What counts as one peer: an IPv4 address, or the /64 that an IPv6 host chooses its addresses from."""
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


class FailureLimiter:
    """Allows `burst` failures at once and one more every `every_s` seconds. Remembers at most `size` keys,
    and forgets the one that failed longest ago first, so that strangers cannot fill the memory."""

    def __init__(self, *, burst: int = 20, every_s: float = 3.0, size: int = 4096) -> None:
        self._every = every_s
        self._allowance = burst * every_s
        self._size = size
        self._empty_at: OrderedDict[Hashable, float] = OrderedDict()  # when the bucket will be empty again

    def __len__(self) -> int:
        """How many keys are remembered; 0, and the limiter false, while nobody has failed."""
        return len(self._empty_at)

    def wait(self, key: Hashable, now: float) -> float:
        """Seconds until `key` may try again; 0 if it may now."""
        empty_at = self._empty_at.get(key)
        if empty_at is None:
            return 0.0
        return max(0.0, empty_at - now - self._allowance + self._every)

    def failed(self, key: Hashable, now: float) -> bool:
        """Counts a failure; True if it is the first of this key that is remembered: worth a log line."""
        before = self._empty_at.pop(key, 0.0)
        self._empty_at[key] = max(before, now) + self._every
        if len(self._empty_at) > self._size:
            self._empty_at.popitem(last=False)
        return before <= now
