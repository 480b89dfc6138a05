"""Plates that are nearly what was read: found by look-alike characters and one further edit, with the way
there.

Pure; holds plates and nothing of passes. A plate is near when it differs from the read in look-alike
characters (0 O D Q, 1 I L, 8 B, 2 Z, 5 S: docs/glossary.md), 0.5 each, and at most one other edit (a
substituted, missing or extra character), 1.0, and all of it costs no more than MOST.

Characters are mapped to one of their look-alikes first, so that any number of look-alike edits is one
look-up. The other edit is found through an index of all keys with one character left out, as long as there
are at most INDEXED of them; with more, every neighbour of the key is tried in turn.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

MOST = 1.5
"""The largest distance that is still near."""
LOOK_ALIKE = 0.5
OTHER = 1.0
INDEXED = 200_000

_CLASSES = ("0ODQ", "1IL", "8B", "2Z", "5S")
_PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"
_SPECIAL = "警学港澳挂使领急"
_CLASS_OF = {char: members[0] for members in _CLASSES for char in members}
_ALIKE = bytes.maketrans("".join(_CLASS_OF).encode(), "".join(_CLASS_OF.values()).encode())
# a Chinese character of a plate is one byte of its key
_BYTE_OF = {char: bytes([0x80 + number]) for number, char in enumerate(_PROVINCES + _SPECIAL)}
_SERIAL = sorted({_CLASS_OF.get(char, char).encode() for char in string.digits + string.ascii_uppercase})
_ANY = [*_BYTE_OF.values(), *_SERIAL]

Near = tuple[float, str, str]
"""Distance, edits (`5:8→B`: the fifth character of what was read is taken for a B), plate."""


class NearPlates:
    """A set of plates. `indexed`: up to how many it keeps the index of left-out characters."""

    def __init__(self, *, indexed: int = INDEXED) -> None:
        self._indexed = indexed
        self._keys: dict[bytes, str | tuple[str, ...]] = {}  # look-alike key to plates
        self._lengths: set[int] = set()
        self._without: (
            dict[bytes, bytes | tuple[bytes, ...]] | None
        ) = {}  # key with one character less to keys

    def __len__(self) -> int:
        """How many look-alike keys there are."""
        return len(self._keys)

    @property
    def is_indexed(self) -> bool:
        """Whether the index of left-out characters is kept."""
        return self._without is not None

    def load(self, plates: Iterable[str]) -> None:
        """Adds many plates; decides once whether the index is kept."""
        for plate in plates:
            _add(self._keys, _key(plate), plate)
        self._lengths = set(map(len, self._keys))
        if len(self._keys) > self._indexed:
            self._without = None
        elif self._without is not None:
            self._without = {}
            for key in self._keys:
                for shorter in set(_shorter(key)):
                    _add(self._without, shorter, key)

    def add(self, plate: str) -> None:
        """Adds a plate; one that is there already is added once."""
        key = _key(plate)
        new = key not in self._keys
        self._lengths.add(len(key))
        _add(self._keys, key, plate)
        if new and self._without is not None:
            if len(self._keys) > self._indexed:
                self._without = None
                return
            for shorter in set(_shorter(key)):
                _add(self._without, shorter, key)

    def discard(self, plate: str) -> None:
        """Takes a plate out, if it is there."""
        key = _key(plate)
        _discard(self._keys, key, plate)
        if key not in self._keys and self._without is not None:
            for shorter in set(_shorter(key)):
                _discard(self._without, shorter, key)

    def near(self, read: str) -> list[Near]:
        """The plates near to what was read, that very one left out; the nearest first, then by writing."""
        if not read:
            return []
        key = _key(read)
        keys, without, length = self._keys, self._without, len(key)
        found: list[Near] = []
        same = keys.get(key)
        if same is not None:
            _look_alikes(read, same, found)
        others: set[bytes] = set()
        if without is not None:
            for one in filter(None, map(without.get, map(bytes, combinations(key, length - 1)))):
                if one != key:
                    others.update(one if isinstance(one, tuple) else (one,))
            if length + 1 in self._lengths:
                longer = without.get(key)
                if longer is not None:
                    others.update(longer if isinstance(longer, tuple) else (longer,))
            if length - 1 in self._lengths:
                others.update(shorter for shorter in _shorter(key) if shorter in keys)
        else:
            others = {other for other in _neighbours(key) if other in keys}
        for other in others:
            if other != key:
                _one_edit(read, key, other, keys[other], found)
        if len(found) > 1:
            found.sort()
        return found


def _key(plate: str) -> bytes:
    """The look-alike key, a byte a character."""
    first, rest = plate[:1], plate[1:]
    try:
        tail = rest.encode("ascii")
    except UnicodeEncodeError:
        tail = b"".join([_byte(char) for char in rest])
    return ((_BYTE_OF.get(first) or _byte(first)) + tail).translate(_ALIKE)


def _byte(char: str) -> bytes:
    """One character; all that no plate has are alike."""
    return _BYTE_OF.get(char) or (char.encode() if char.isascii() else b"\xff")


def _look_alikes(read: str, plates: str | tuple[str, ...], found: list[Near]) -> None:
    for plate in (plates,) if isinstance(plates, str) else plates:
        if plate != read:
            distance, edits = _differing(read, plate, len(read))
            if distance <= MOST:
                found.append((distance, edits, plate))


def _one_edit(read: str, key: bytes, other: bytes, plates: str | tuple[str, ...], found: list[Near]) -> None:
    """What of `plates`, which all have the key `other`, is one edit (and look-alikes) away."""
    length, longer = len(key), len(other)
    at = 0
    for one, two in zip(key, other, strict=False):
        if one != two:
            break
        at += 1
    if key[at + (length >= longer) :] != other[at + (length <= longer) :]:
        return
    for plate in (plates,) if isinstance(plates, str) else plates:
        if length == longer:
            if read[at + 1 :] == plate[at + 1 :] and read[:at] == plate[:at]:  # nearly always
                found.append((OTHER, f"{at + 1}:{read[at]}→{plate[at]}", plate))
                continue
            distance, edits = _differing(read, plate, length)
            distance += OTHER - LOOK_ALIKE
        elif length < longer:  # a character of the plate was not read
            distance, edits, place = min(
                (*_differing(read, plate[:place] + plate[place + 1 :], length), place)
                for place in _run(other, at)
            )
            distance += OTHER
            edits = _join(f"{place + 1}:+{plate[place]}", edits)
        else:
            distance, edits, place = min(
                (*_differing(read[:place] + read[place + 1 :], plate, longer), place)
                for place in _run(key, at)
            )
            distance += OTHER
            edits = _join(f"{place + 1}:-{read[place]}", edits)
        if distance <= MOST:
            found.append((distance, edits, plate))


def _run(key: bytes, last: int) -> range:
    """The places up to `last` at which leaving out one character of the key gives the same."""
    first = last
    while first and key[first - 1] == key[last]:
        first -= 1
    return range(first, last + 1)


def _differing(read: str, plate: str, length: int) -> tuple[float, str]:
    """The places at which two texts of one length differ, each at the price of a look-alike."""
    if read == plate:
        return 0.0, ""
    edits = ""
    distance = 0.0
    for place in range(length):
        if read[place] != plate[place]:
            distance += LOOK_ALIKE
            edits = _join(edits, f"{place + 1}:{read[place]}→{plate[place]}")
    return distance, edits


def _join(one: str, other: str) -> str:
    return f"{one} {other}" if one and other else one or other


def _shorter(key: bytes) -> Iterator[bytes]:
    """Every key that leaves out one character, some of them twice."""
    return map(bytes, combinations(key, len(key) - 1))


def _neighbours(key: bytes) -> Iterator[bytes]:
    """Every key that one edit makes of this one."""
    for index in range(len(key)):
        head, tail = key[:index], key[index + 1 :]
        yield head + tail
        for char in _SERIAL if 0 < index < len(key) - 1 else _ANY:
            yield head + char + tail
    for index in range(len(key) + 1):
        head, tail = key[:index], key[index:]
        for char in _SERIAL if 0 < index < len(key) else _ANY:
            yield head + char + tail


def _add(index: dict[bytes, Any], key: bytes, value: str | bytes) -> None:
    there = index.get(key)
    if there is None:
        index[key] = value
    elif isinstance(there, tuple):
        if value not in there:
            index[key] = (*there, value)
    elif there != value:
        index[key] = (there, value)


def _discard(index: dict[bytes, Any], key: bytes, value: str | bytes) -> None:
    there = index.get(key)
    if isinstance(there, tuple):
        left = tuple(one for one in there if one != value)
        index[key] = left if len(left) > 1 else left[0]
    elif there == value:
        del index[key]
