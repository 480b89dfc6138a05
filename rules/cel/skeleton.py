"""A condition as a skeleton of atoms: what can be said of it without knowing any fact. For `rules.cel.logic`.

An atom either asks one fact about constants (`Asks`), or is a condition that is not looked into (`Opaque`)
but is recognised when it comes again. Writing the same thing in another way gives the same atom.
"""

from __future__ import annotations

from dataclasses import dataclass

from rules.cel.python import always
from rules.cel.tree import Call, Constant, Ident, Items, Node, Value, moment, show, value_of


@dataclass(frozen=True, slots=True)
class Asks:
    """Whether a fact stands in a relation to constants. `sign`: "==", "<", "<=", ">", ">=" or "in"; the first
    five have one value."""

    name: str
    type: str
    sign: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A condition that may hold or not."""

    node: Node


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: Skeleton


@dataclass(frozen=True, slots=True)
class Joined:
    """All of the parts (`every`), or at least one of them."""

    every: bool
    parts: tuple[Skeleton, ...]


Skeleton = bool | Asks | Opaque | Not | Joined


def skeleton(node: Node) -> Skeleton:
    """The skeleton of a condition."""
    match node:
        case Constant(value=bool() as value):
            return value
        case Ident(name=name):
            return Asks(name, "bool", "==", (True,))
        case Call(overload="logical_not", args=(part,)):
            return Not(skeleton(part))
        case Call(overload="logical_and" | "logical_or" as overload, args=parts):
            return Joined(overload == "logical_and", tuple(map(skeleton, parts)))
        case Call(overload="conditional", args=(test, yes, no)):
            asked = skeleton(test)
            return Joined(
                False, (Joined(True, (asked, skeleton(yes))), Joined(True, (Not(asked), skeleton(no))))
            )
        case Call(overload="not_equals", args=args):
            return Not(_equal(*args))
        case Call(overload="equals", args=args):
            return _equal(*args)
        case Call(overload="in_list", args=(one, Items(items=items))) if all(map(_known, items)):
            if isinstance(one, Ident) and one.type in _ORDERED:
                return Asks(one.name, one.type, "in", tuple(map(value_of, items)))
        case Call(function="_<_" | "_<=_" | "_>_" | "_>=_" as function, args=(left, right)):
            return _ordered(function.strip("_"), left, right)
    return _opaque(node)


def _opaque(node: Node) -> Skeleton:
    decided = always(node)
    return Opaque(node) if decided is None else decided


_ORDERED = ("int", "double", "string", "timestamp")
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _known(node: Node) -> bool:
    return (isinstance(node, Constant) and node.value is not None) or moment(node) is not None


def _equal(left: Node, right: Node) -> Skeleton:
    if _known(left):
        left, right = right, left
    if _known(right):
        if right.type == "bool":
            inner = skeleton(left)
            return inner if value_of(right) else Not(inner)
        if isinstance(left, Ident) and left.type in _ORDERED:
            return Asks(left.name, left.type, "==", (value_of(right),))
    if show(right) < show(left):
        left, right = right, left
    return _opaque(Call("_==_", "equals", (left, right), "bool"))


def _ordered(sign: str, left: Node, right: Node) -> Skeleton:
    if _known(left):
        left, right, sign = right, left, _TURNED[sign]
    if isinstance(left, Ident) and left.type in _ORDERED and _known(right):
        return Asks(left.name, left.type, sign, (value_of(right),))
    if sign in (">", ">="):
        left, right, sign = right, left, _TURNED[sign]
    if sign == "<=" and "double" not in (left.type, right.type):  # NaN is in no order
        return Not(_less("<", right, left))
    return _less(sign, left, right)


def _less(sign: str, left: Node, right: Node) -> Skeleton:
    form = {"int": "int64", "uint": "uint64"}.get(left.type, left.type)
    overload = f"less_{form}" if sign == "<" else f"less_equals_{form}"
    return _opaque(Call(f"_{sign}_", overload, (left, right), "bool"))
