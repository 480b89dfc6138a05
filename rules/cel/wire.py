"""Reads a checked expression back from the bytes that the engine serializes it to.

The bytes are protocol buffers: an `Any` that holds a `cel.expr.CheckedExpr` (cel/expr/checked.proto and
syntax.proto of github.com/google/cel-spec). Only what those files define is taken; anything else is a
WireError, so that a new release of the engine is noticed by the tests instead of being read wrongly.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rules.cel.tree import Call, Constant, Entries, Ident, Items, Loop, Node, Select, Value

_T = TypeVar("_T")
_CHECKED = "type.googleapis.com/cel.expr.CheckedExpr"
_DEEPEST = 150  # the parser ends at 32, and a macro adds a handful of levels


class WireError(ValueError):
    """The bytes are not what the engine is known to write."""


def decode(data: bytes) -> Node:
    """The checked expression in `data`. WireError if it is not one."""
    url, body = b"", b""
    for number, value in _fields(data):
        if number == 1:
            url = _bytes(value)
        elif number == 2:
            body = _bytes(value)
        else:
            raise WireError(f"field {number} of Any")
    if _text(url) != _CHECKED:
        raise WireError("not a CheckedExpr")
    return _checked(body)


# --- the wire -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fixed:
    """Eight bytes, as a double is written."""

    data: bytes


_Raw = int | bytes | _Fixed


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError("a number that does not end")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, at


def _fields(data: bytes) -> Iterator[tuple[int, _Raw]]:
    """The fields of a message in the order in which they are written: number and raw value."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        value: _Raw
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2):
            size = 8
            if kind == 2:
                size, at = _varint(data, at)
            if at + size > len(data):
                raise WireError("a field that does not end")
            raw = data[at : at + size]
            value = _Fixed(raw) if kind == 1 else raw
            at += size
        else:
            raise WireError(f"wire type {kind}")
        yield tag >> 3, value


def _bytes(value: _Raw) -> bytes:
    if not isinstance(value, bytes):
        raise WireError("a number where bytes belong")
    return value


def _text(value: _Raw) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise WireError("a text that is not UTF-8") from error


def _number(value: _Raw) -> int:
    if not isinstance(value, int):
        raise WireError("bytes where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value  # int64


def _packed(value: _Raw) -> None:
    """Numbers of which nothing is needed: checked and left."""
    if isinstance(value, bytes):
        at = 0
        while at < len(value):
            _, at = _varint(value, at)
    else:
        _number(value)


def _entry(value: _Raw, read: Callable[[_Raw], _T]) -> tuple[int, _T]:
    """An entry of a map from a number to something."""
    key, found = 0, None
    for number, part in _fields(_bytes(value)):
        if number == 1:
            key = _number(part)
        elif number == 2:
            found = read(part)
        else:
            raise WireError(f"field {number} of a map's entry")
    return key, read(b"") if found is None else found


# --- cel.expr.CheckedExpr -----------------------------------------------------------------------------------


def _checked(data: bytes) -> Node:
    overloads: dict[int, tuple[str, ...]] = {}
    types: dict[int, str] = {}
    positions: dict[int, int] = {}
    expr: bytes | None = None
    for number, value in _fields(data):
        if number == 2:
            key, found = _entry(value, _reference)
            overloads[key] = found
        elif number == 3:
            key, named = _entry(value, _type)
            types[key] = named
        elif number == 4:
            expr = _bytes(value)
        elif number == 5:
            positions = _positions(_bytes(value))
        elif number == 6:
            _text(value)  # the version of the expression
        else:
            raise WireError(f"field {number} of CheckedExpr")
    if expr is None:
        raise WireError("no expression")
    return _Reader(overloads, types, positions).node(expr, 0)


def _reference(value: _Raw) -> tuple[str, ...]:
    """The overloads that a function stands for; none for a variable."""
    found = []
    for number, part in _fields(_bytes(value)):
        if number == 1:
            _text(part)
        elif number == 3:
            found.append(_text(part))
        else:
            raise WireError(f"field {number} of Reference")
    return tuple(found)


def _positions(data: bytes) -> dict[int, int]:
    positions: dict[int, int] = {}
    for number, value in _fields(data):
        if number in (1, 2):
            _text(value)  # version and name of the source
        elif number == 3:
            _packed(value)  # where its lines end
        elif number == 4:
            key, at = _entry(value, lambda part: 0 if part == b"" else _number(part))
            positions[key] = at
        else:
            raise WireError(f"field {number} of SourceInfo")
    return positions


_PRIMITIVE = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN = {1: "any", 2: "timestamp", 3: "duration"}


def _type(value: _Raw) -> str:
    """A type by its name: "int", "list(string)", "map(string, int)"; "dyn" for whatever comes at run time."""
    named = "dyn"
    for number, part in _fields(_bytes(value)):
        if number in (1, 10):  # dyn, a parameter that nothing has fixed
            named = "dyn"
        elif number == 2:
            named = "null"
        elif number == 3:
            named = _PRIMITIVE.get(_number(part), "dyn")
        elif number == 5:
            named = _WELL_KNOWN.get(_number(part), "dyn")
        elif number == 6:
            named = f"list({_inner(part, (1,))[0]})"
        elif number == 7:
            named = "map({}, {})".format(*_inner(part, (1, 2)))
        elif number in (4, 8, 9, 11, 12, 14):
            named = {4: "wrapper", 8: "function", 9: "message", 11: "type", 12: "error", 14: "abstract"}[
                number
            ]
        else:
            raise WireError(f"field {number} of Type")
    return named


def _inner(value: _Raw, wanted: tuple[int, ...]) -> list[str]:
    found = dict.fromkeys(wanted, "dyn")
    for number, part in _fields(_bytes(value)):
        if number not in found:
            raise WireError(f"field {number} of a list's or map's type")
        found[number] = _type(part)
    return list(found.values())


# --- cel.expr.Expr ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reader:
    overloads: dict[int, tuple[str, ...]]
    types: dict[int, str]
    positions: dict[int, int]

    def node(self, data: bytes, depth: int) -> Node:
        if depth > _DEEPEST:
            raise WireError("an expression that goes too deep")
        key, kind, body = 0, 0, b""
        for number, value in _fields(data):
            if number == 2:
                key = _number(value)
            elif number in _KINDS and not kind:
                kind, body = number, _bytes(value)
            else:
                raise WireError(f"field {number} of Expr")
        if not kind:
            raise WireError("an expression of no kind")
        return _KINDS[kind](self, body, key, depth + 1)

    def _where(self, key: int) -> tuple[str, int]:
        return self.types.get(key, "dyn"), self.positions.get(key, -1)

    def constant(self, data: bytes, key: int, depth: int) -> Node:
        found: Value = None
        for number, value in _fields(data):
            if number == 1:
                found = None
            elif number == 2:
                found = bool(_number(value))
            elif number == 3:
                found = _number(value)
            elif number == 4 and isinstance(value, int):
                found = value
            elif number == 5 and isinstance(value, _Fixed):
                (found,) = struct.unpack("<d", value.data)
            elif number == 6:
                found = _text(value)
            elif number == 7:
                found = _bytes(value)
            else:
                raise WireError(f"field {number} of Constant")
        return Constant(found, *self._where(key))

    def ident(self, data: bytes, key: int, depth: int) -> Node:
        return Ident(_single(data, 1), *self._where(key))

    def select(self, data: bytes, key: int, depth: int) -> Node:
        operand, name, test = None, "", False
        for number, value in _fields(data):
            if number == 1:
                operand = self.node(_bytes(value), depth)
            elif number == 2:
                name = _text(value)
            elif number == 3:
                test = bool(_number(value))
            else:
                raise WireError(f"field {number} of Select")
        if operand is None:
            raise WireError("a field of nothing")
        return Select(operand, name, test, *self._where(key))

    def call(self, data: bytes, key: int, depth: int) -> Node:
        target: list[Node] = []
        args: list[Node] = []
        function = ""
        for number, value in _fields(data):
            if number == 1:
                target = [self.node(_bytes(value), depth)]
            elif number == 2:
                function = _text(value)
            elif number == 3:
                args.append(self.node(_bytes(value), depth))
            else:
                raise WireError(f"field {number} of Call")
        chosen = self.overloads.get(key, ())
        overload = chosen[0] if len(chosen) == 1 else ""
        return Call(function, overload, (*target, *args), *self._where(key))

    def items(self, data: bytes, key: int, depth: int) -> Node:
        items: list[Node] = []
        for number, value in _fields(data):
            if number == 1:
                items.append(self.node(_bytes(value), depth))
            else:  # 2: optional items, which the engine's grammar has not
                raise WireError(f"field {number} of CreateList")
        return Items(tuple(items), *self._where(key))

    def entries(self, data: bytes, key: int, depth: int) -> Node:
        entries: list[tuple[Node, Node]] = []
        for number, value in _fields(data):
            if number == 1:
                raise WireError("a message is made")
            if number != 2:
                raise WireError(f"field {number} of CreateStruct")
            pair: dict[int, Node] = {}
            for inner, part in _fields(_bytes(value)):
                if inner == 1:
                    _number(part)
                elif inner in (3, 4):
                    pair[inner] = self.node(_bytes(part), depth)
                else:
                    raise WireError(f"field {inner} of Entry")
            if len(pair) != 2:
                raise WireError("an entry without key or value")
            entries.append((pair[3], pair[4]))
        return Entries(tuple(entries), *self._where(key))

    def loop(self, data: bytes, key: int, depth: int) -> Node:
        words = {1: "", 3: ""}
        parts: dict[int, Node] = {}
        for number, value in _fields(data):
            if number in words:
                words[number] = _text(value)
            elif number in (2, 4, 5, 6, 7):
                parts[number] = self.node(_bytes(value), depth)
            else:
                raise WireError(f"field {number} of Comprehension")
        if len(parts) != 5:
            raise WireError("a loop that lacks a part")
        return Loop(words[1], parts[2], words[3], parts[4], parts[5], parts[6], parts[7], *self._where(key))


_KINDS = {
    3: _Reader.constant, 4: _Reader.ident, 5: _Reader.select, 6: _Reader.call, 7: _Reader.items,
    8: _Reader.entries, 9: _Reader.loop,
}  # fmt: skip


def _single(data: bytes, wanted: int) -> str:
    found = ""
    for number, value in _fields(data):
        if number != wanted:
            raise WireError(f"field {number} of Ident")
        found = _text(value)
    return found
