"""Plates that are nearly what was read: found by look-alike characters and one further edit, with the way
there.

Pure; holds plates and nothing of passes. A plate is near when it differs from the read in look-alike
characters (`LOOK_ALIKES`), 0.5 each, and at most one other edit (a substituted, missing or extra character),
1.0, and all of it costs no more than `MOST`.

Every character is mapped to the first of its look-alikes, so that any number of look-alike edits is one
look-up of this key. The other edit is found by trying the neighbours of the key, but only those that can be
there: for each key and each place in it a table holds, under the key with that place left open, the character
that belongs there. A table takes 64 to 90 bytes a plate and is never rebuilt: what comes when it is full goes
into a further one. `docs/decisions/0053-near-matches.md` tells what else was tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from operator import ne

MOST = 1.5
"""The largest distance that is still near."""
LOOK_ALIKE = 0.5
OTHER = 1.0
LOOK_ALIKES = ("0ODQ", "1IL", "8B", "2Z", "5S", "京琼", "辽宁")
"""Characters that cameras take for each other, each in one group. Of the provinces only those that are both
alike and known to be confused; any other is found too, at the price of another character."""

Near = tuple[float, str, str]
"""Distance, plate, edits. The edits lead from what was read to the plate, in the order of their places in
what was read, which count from 1: `5:8→B` the fifth character, 8, is taken for a B; `3:+D` a D is missing
before the third (`8:+D` after the last of seven); `3:-D` the third, a D, is one too many."""

_LONGEST = 16  # characters of a plate, see gated.plates
_CHINESE = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新警学港澳挂使领急"
_UNKNOWN = 0xFE  # any other character
# Characters of most plates. Of longer ones the table has, under a mark, what is left without each character,
# so that for an ordinary read the gaps between its characters need not be tried.
_ORDINARY = 7
_LEFT = b"\xfd"
_SEVERAL = 0xFF  # in a table: more than one character or mark
_FIRST_OF = {char: group[0] for group in LOOK_ALIKES for char in group}
_ALIKE = bytes.maketrans(
    "".join(char for char in _FIRST_OF if char.isascii()).encode(),
    "".join(first for first in _FIRST_OF.values() if first.isascii()).encode(),
)
# a Chinese character of a plate is one byte of its key
_BYTE_OF = {char: 0x80 + _CHINESE.index(_FIRST_OF.get(char, char)) for char in _CHINESE}
_HEADS = {char.encode(): bytes([code]) for char, code in _BYTE_OF.items()}

# By the number of characters: what is left of a key with each place open, from the first to the last, and
# what of it stands after each gap.
_ALL = (1 << 8 * _LONGEST) - 1
_OPEN = [[_ALL ^ 0xFF << 8 * (length - 1 - at) for at in range(length)] for length in range(_LONGEST + 1)]
_AFTER = [[(1 << 8 * (length - at)) - 1 for at in range(length + 1)] for length in range(_LONGEST + 1)]
SIZES = (2461637, 3481301, 4923277, 6962551, 9846533, 13925089, 19693067, 27850187, 39386131, 55700363,
         78772219, 111400733, 157544437, 222801431)  # fmt: skip
"""Places of a table: primes about 1.4 apart, none of which leaves a small rest of a power of 256. A key
divided by one that does, such as those just below a power of two, falls where its neighbours fall."""
_PLACES_EACH = 64
"""Places of a table for each plate that it is made for; 7 or 8 are taken. With twice as many it is full."""

_PLACES = range(_LONGEST)
_number = int.from_bytes


class NearPlates:
    """A set of plates in UTF-8, as they come from `gated.plates`; an object that is added is not copied. A
    plate stays: whoever asks knows whether it still means anything. One thread adds, any may ask. `sizes`: of
    its tables, from the smallest."""

    def __init__(self, *, sizes: Sequence[int] = SIZES) -> None:
        self._sizes = sizes
        self._keys: dict[int, bytes | tuple[bytes, ...]] = {}  # look-alike key to plates
        self._lengths: frozenset[int] = frozenset()
        # the characters that there are in the first place, and in the others
        self._heads = self._others = b""
        self._tables: tuple[tuple[bytearray, int], ...] = ()
        self._room = 0  # keys that still fit into the last table

    def __len__(self) -> int:
        """How many look-alike keys there are."""
        return len(self._keys)

    def load(self, plates: Iterable[bytes], count: int) -> None:
        """Adds many plates, about `count`, so that one table holds them."""
        self._extend(count)
        for plate in plates:
            self.add(plate)

    def add(self, plate: bytes) -> None:
        """Adds a plate; one that is there already is not added again."""
        raw = _raw(plate)
        key = _number(raw, "big")
        there = self._keys.get(key)
        if there is not None:
            known = there if isinstance(there, tuple) else (there,)
            if plate not in known:
                self._keys[key] = (*known, plate)
            return
        if not self._room:
            self._extend(len(self._keys))
        self._room -= 1
        if len(raw) not in self._lengths:
            self._lengths |= {len(raw)}
        if raw[:1] not in self._heads:
            self._heads += raw[:1]
        if raw[1:].translate(None, self._others):
            self._others += bytes(set(raw[1:]).difference(self._others))
        self._keys[key] = plate
        rests, codes = [key & mask for mask in _OPEN[len(raw)]], raw
        if len(raw) > _ORDINARY:
            rests += _without_one(key, len(raw))
            codes += _LEFT * len(raw)
        table, size = self._tables[-1]
        for rest, code in zip(rests, codes, strict=True):
            place = rest % size
            before = table[place]
            if not before:
                table[place] = code
            elif before != code:
                table[place] = _SEVERAL

    def _extend(self, count: int) -> None:
        size = next((size for size in self._sizes if size >= count * _PLACES_EACH), self._sizes[-1])
        self._tables = (*self._tables, (bytearray(size), size))
        self._room = max(1, 2 * size // _PLACES_EACH)

    def near(self, read: str) -> list[Near]:
        """The plates near to what was read, that very one left out; the nearest first, then by their text."""
        plate = read.encode()
        raw = _raw(plate)
        if not 0 < len(raw) <= _LONGEST:
            return []
        key = _number(raw, "big")
        found: list[Near] = []
        same = self._keys.get(key)
        if same is not None and same != plate:
            _look_alikes(read, same, found)
        others = self._one_off(key, raw)
        if others:
            for other in {*others}:
                if other != key:
                    _one_edit(read, key, other, self._keys[other], found)
            found.sort()
        return found

    def _one_off(self, key: int, raw: bytes) -> list[int]:
        """The keys that are one edit from this one; some twice, and perhaps this one too."""
        length, lengths = len(raw), self._lengths
        found: list[int] = []
        for table, size in self._tables:
            for mask, own in zip(_OPEN[length], raw):  # noqa: B905 (strict would take half as long again)
                code = table[(key & mask) % size]
                if code and code != own:
                    self._fill(key & mask, (_ALL ^ mask).bit_length() - 8, length, code, found)
            if length + 1 in lengths and (length < _ORDINARY or table[key % size]):
                moved = key << 8
                for mask in _AFTER[length]:  # what stands before the gap moves by one character
                    rest = moved - 255 * (key & mask)
                    code = table[rest % size]
                    if code:
                        self._fill(rest, mask.bit_length(), length + 1, code, found)
        if length - 1 in lengths:
            keys = self._keys
            found += [shorter for shorter in _without_one(key, length) if shorter in keys]
        return found

    def _fill(self, rest: int, shift: int, length: int, code: int, found: list[int]) -> None:
        """Finds the keys that have a character at the open place of `rest`: this one, or one of several."""
        keys = self._keys
        if code != _SEVERAL:
            key = rest | code << shift
            if key in keys:
                found.append(key)
            return
        for one in self._heads if shift == 8 * (length - 1) else self._others:
            key = rest | one << shift
            if key in keys:
                found.append(key)


def _without_one(key: int, length: int) -> list[int]:
    """The keys that leave out one character of this one, which has `length`, from the first to the last."""
    moved = key >> 8
    differing = moved ^ key
    return [moved ^ differing & mask for mask in _AFTER[length - 1]]


def _raw(plate: bytes) -> bytes:
    """The look-alike key of a plate, a byte a character."""
    head, tail = _HEADS.get(plate[:3]), plate[3:]
    if head is not None and tail.isascii():
        return head + tail.translate(_ALIKE)
    codes = (ord(char) if char.isascii() else _BYTE_OF.get(char, _UNKNOWN) for char in plate.decode())
    return bytes(codes).translate(_ALIKE)


# --- distance and edits -----------------------------------------------------------------------------------


def _look_alikes(read: str, plates: bytes | tuple[bytes, ...], found: list[Near]) -> None:
    """What of `plates`, which all have the key of what was read, is near."""
    for one in (plates,) if isinstance(plates, bytes) else plates:
        plate = one.decode()
        distance, edits = _substituted(read, plate, -1)
        if 0 < distance <= MOST:
            found.append((distance, plate, edits))


def _one_edit(read: str, key: int, other: int, plates: bytes | tuple[bytes, ...], found: list[Near]) -> None:
    """What of `plates`, which all have the key `other`, one edit from `key`, is near."""
    length, size = len(read), other.bit_length() + 7 >> 3
    for one in (plates,) if isinstance(plates, bytes) else plates:
        plate = one.decode()
        if length == size:
            distance, edits = _substituted(read, plate, length - ((key ^ other).bit_length() + 7 >> 3))
        else:
            places = _places(key, other, length) if length > size else _places(other, key, size)
            distance, edits = min([_shifted(read, plate, at) for at in places])
        if distance <= MOST:
            found.append((distance, plate, edits))


def _places(long: int, short: int, length: int) -> range:
    """Where a character left out of the longer key, which has `length`, gives the shorter one."""
    last = length - 1 - ((long >> 8 ^ short).bit_length() + 7 >> 3)
    raw = long.to_bytes(length, "big")
    first = last
    while first and raw[first - 1] == raw[last]:
        first -= 1
    return range(first, last + 1)


def _substituted(read: str, plate: str, place: int) -> tuple[float, str]:
    """The distance and the edits of two texts of one length, whose keys differ at this place at the most."""
    apart = _apart(read, plate)
    if len(apart) == 1 and place >= 0:  # nearly always
        return OTHER, f"{place + 1}:{read[place]}→{plate[place]}"
    distance = sum([_price(read[at]) if at != place else OTHER for at in apart])
    if distance > MOST:
        return distance, ""
    return distance, " ".join([f"{at + 1}:{read[at]}→{plate[at]}" for at in apart])


def _shifted(read: str, plate: str, place: int) -> tuple[float, str]:
    """The distance and the edits of two texts, one longer than the other by the character at this place."""
    if len(read) < len(plate):
        edit, extra = f"{place + 1}:+{plate[place]}", 0
        plate = plate[:place] + plate[place + 1 :]
    else:
        edit, extra = f"{place + 1}:-{read[place]}", 1
        read = read[:place] + read[place + 1 :]
    apart = _apart(read, plate)
    distance = OTHER + sum([_price(read[at]) for at in apart])
    if not apart or distance > MOST:
        return distance, edit
    edits = [f"{at + 1 + extra * (at >= place)}:{read[at]}→{plate[at]}" for at in apart]
    edits.insert(sum([at < place for at in apart]), edit)
    return distance, " ".join(edits)


def _apart(one: str, other: str) -> list[int]:
    """The places at which two texts of one length differ."""
    return [*compress(_PLACES, map(ne, one, other))]


def _price(char: str) -> float:
    """Of a look-alike; and of a character that no plate has, which has the key of all such."""
    return LOOK_ALIKE if char in _FIRST_OF else OTHER
