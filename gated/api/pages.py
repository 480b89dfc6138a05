"""Cursors: where a list goes on, opaque to clients, and good only for the list and filters it came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

from gated.api import problems
from gated.api.problems import Problem

_MARK = 8


def _mark(list_name: str, filters: Mapping[str, object], after: str) -> bytes:
    """Binds a cursor to its list. No secret: a forged one could only start a list elsewhere."""
    seed = repr((list_name, sorted((name, str(value)) for name, value in filters.items()), after))
    return hashlib.blake2b(seed.encode(), digest_size=_MARK).digest()


def cursor(list_name: str, filters: Mapping[str, object], after: str) -> str:
    """The cursor for what follows the item with the key `after`."""
    return base64.urlsafe_b64encode(_mark(list_name, filters, after) + after.encode()).rstrip(b"=").decode()


def after(list_name: str, filters: Mapping[str, object], given: str | None) -> str | None:
    """The key that a cursor holds; None without one. Raises Problem 400 for any other cursor."""
    if given is None:
        return None
    try:
        raw = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
        key = raw[_MARK:].decode()
        if key and raw[:_MARK] == _mark(list_name, filters, key):
            return key
    except (binascii.Error, ValueError):
        pass
    raise Problem(
        problems.BAD_CURSOR,
        "Use the `next` of this very list, with the same filters; or leave the cursor out to start anew.",
        "请使用同一列表、相同筛选条件返回的 next，或去掉游标重新开始。",
    )
