"""A checked expression as a tree: the nodes, and what is asked of them in more than one place.

Pure data. Nothing here evaluates; what a node means is said by `rules.cel.python` and `rules.cel.logic`, each
for the part that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

Value = bool | int | float | str | bytes | datetime | None


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is written in the text, or a parameter that was put in its place."""

    value: Value
    type: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Ident:
    """A variable: a fact by its whole name ("pass.kind"), or the variable of a loop."""

    name: str
    type: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Select:
    """A field of a map. `test_only`: `has(...)`, whether there is one."""

    operand: Node
    name: str
    test_only: bool
    type: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """An operator or a function. `overload`: which of its forms the checker chose, "" if it left several.
    `args`: the operands; a method's object is the first."""

    function: str
    overload: str
    args: tuple[Node, ...]
    type: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Items:
    """A list that is written out."""

    items: tuple[Node, ...]
    type: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Entries:
    """A map that is written out."""

    entries: tuple[tuple[Node, Node], ...]
    type: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Loop:
    """What exists, all, exists_one, filter and map become: `range` is gone through with `variable`, `step`
    makes the next `accumulator` of the last, as long as `condition` holds."""

    variable: str
    range: Node
    accumulator: str
    init: Node
    condition: Node
    step: Node
    result: Node
    type: str
    position: int = field(default=-1, compare=False)


Node = Constant | Ident | Select | Call | Items | Entries | Loop


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below."""
    match node:
        case Select(operand=operand):
            return (operand,)
        case Call(args=args):
            return args
        case Items(items=items):
            return items
        case Entries(entries=entries):
            return tuple(one for entry in entries for one in entry)
        case Loop():
            return (node.range, node.init, node.condition, node.step, node.result)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(reversed(children(one)))


def names(node: Node) -> frozenset[str]:
    """The variables that it reads, without those of its loops."""
    own = {name for one in walk(node) if isinstance(one, Loop) for name in (one.variable, one.accumulator)}
    return frozenset(one.name for one in walk(node) if isinstance(one, Ident)) - own


def put_in(node: Node, values: Mapping[str, Node]) -> Node:
    """The same with each variable that has a value replaced by it."""

    def down(one: Node) -> Node:
        match one:
            case Ident(name=name):
                known = values.get(name)
                return one if known is None else replace(known, position=one.position)
            case Select():
                return replace(one, operand=down(one.operand))
            case Call():
                return replace(one, args=tuple(map(down, one.args)))
            case Items():
                return replace(one, items=tuple(map(down, one.items)))
            case Entries():
                return replace(one, entries=tuple((down(key), down(value)) for key, value in one.entries))
            case Loop():
                return replace(
                    one,
                    range=down(one.range),
                    init=down(one.init),
                    condition=down(one.condition),
                    step=down(one.step),
                    result=down(one.result),
                )
            case _:
                return one

    return down(node) if values else node


_MOMENT = re.compile(
    r"(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def moment(node: Node) -> datetime | None:
    """The moment, in UTC, that `timestamp("2026-01-01T00:00:00+08:00")` or a parameter is, if it is that.
    What CEL would take as well (a leap second, nanoseconds) but Python would not is None."""
    if isinstance(node, Constant) and isinstance(node.value, datetime):
        return node.value
    if not (isinstance(node, Call) and node.overload == "string_to_timestamp"):
        return None
    (text,) = node.args
    if not (isinstance(text, Constant) and isinstance(text.value, str) and _MOMENT.fullmatch(text.value)):
        return None
    try:
        return datetime.fromisoformat(text.value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def value_of(node: Node) -> Value:
    """The value of a constant, of a moment too. ValueError if it is not one."""
    if isinstance(node, Constant):
        return node.value
    at = moment(node)
    if at is None:
        raise ValueError("not a constant")
    return at


_INFIX = {
    "_&&_": "&&", "_||_": "||", "_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">",
    "_>=_": ">=", "_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%", "@in": "in",
}  # fmt: skip


def show(node: Node) -> str:
    """The expression in short, for a person: constants and operators as they are written."""
    match node:
        case Constant(value=value):
            return show_value(value)
        case Ident(name=name):
            return name
        case Select(operand=operand, name=name, test_only=test):
            return f"has({show(operand)}.{name})" if test else f"{show(operand)}.{name}"
        case Items(items=items):
            return f"[{', '.join(map(show, items))}]"
        case Entries(entries=entries):
            return "{" + ", ".join(f"{show(key)}: {show(value)}" for key, value in entries) + "}"
        case Loop():
            return f"{show(node.range)}.each({node.variable}, {show(node.step)})"
        case Call():
            return _show_call(node, show)


def _show_call(node: Call, inner: Callable[[Node], str]) -> str:
    args = [f"({inner(one)})" if _is_infix(one) else inner(one) for one in node.args]
    if node.function in _INFIX:
        return f" {_INFIX[node.function]} ".join(args)
    if node.function in ("!_", "-_"):
        return node.function[0] + args[0]
    if node.function == "_?_:_":
        return f"{args[0]} ? {args[1]} : {args[2]}"
    if node.function == "_[_]":
        return f"{args[0]}[{args[1]}]"
    return f"{node.function}({', '.join(map(inner, node.args))})"


def _is_infix(node: Node) -> bool:
    return isinstance(node, Call) and (node.function in _INFIX or node.function == "_?_:_")


def show_value(value: Value) -> str:
    """A constant as it is written in an expression."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case bytes():
            return repr(value)
        case _:
            return str(value)
