"""What an expression may not do here though CEL has it: nothing whose cost or reach is not seen beforehand.

Measured with cel-expr-python 0.1.3: `[s].map(x, x+x+x+x)`, fourteen times in a row, takes 790 MB and 2.5 s
without ever coming near the engine's budget of loops; a time zone's name is a path that is opened; a pattern
that is made at run time is checked only then. So loops only look (exists, all, exists_one, filter), are not
nested and join no texts; patterns and time zones are written out. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from rules.cel.errors import CelError, Kind, at
from rules.cel.tree import Call, Constant, Entries, Ident, Items, Loop, Node, children, show, walk

MAX_LOOP_CALLS = 40
"""How many operators and functions may be in the conditions of an expression's loops, all together."""

PATTERNS = ("matches", "matches_string")
_JOINS = ("add_string", "add_list", "add_bytes")
_ZONE = re.compile(r"[+-]?(?:[01][0-9]|2[0-3]):[0-5][0-9]|[A-Z][A-Za-z0-9_+-]*(?:/[A-Z][A-Za-z0-9_+-]*){0,2}")
_Bad = tuple[Node, str, str, str]
"""Where, what in English, what in Chinese, the hint in English."""


def checked(tree: Node, text: str, variables: Collection[str]) -> list[CelError]:
    """What is refused of an expression that CEL takes, in the order of the text."""
    found = [*_nodes(tree, text, variables), *_loops(tree, variables)]
    found.sort(key=lambda one: one[0].position)
    return [CelError(*at(text, node.position), en, zh, hint, Kind.LIMIT) for node, en, zh, hint in found]


def _nodes(tree: Node, text: str, variables: Collection[str]) -> Iterator[_Bad]:
    for node in walk(tree):
        if isinstance(node, Ident):
            if node.name in variables and "." in node.name and text[node.position : node.position + 1] == "(":
                # the engine turns has(pass.kind) into pass.kind; only its place tells
                hint = f"compare it: {node.name} == ..."
                yield (
                    node,
                    "has() says nothing of a fact: it always has a value",
                    "事实总有值，不能用 has()",
                    hint,
                )
        elif isinstance(node, Call):
            yield from _call(node)
        if "dyn" in node.type and not (isinstance(node, Items) and not node.items):
            yield from _mixed(node)


def _call(node: Call) -> Iterator[_Bad]:
    if node.overload in PATTERNS and not _is_text(node.args[1]):
        yield node, "the pattern of 'matches' must be written out", "matches 的模式必须直接写出", (
            'write text.matches("^津A"), or use startsWith, contains'
        )  # fmt: skip
    elif node.overload.endswith("_with_tz"):
        zone = node.args[1]
        if not _is_text(zone):
            yield node, "the time zone must be written out", "时区必须直接写出", 'write "Asia/Shanghai"'
        elif isinstance(zone, Constant) and not _ZONE.fullmatch(str(zone.value)):
            yield (
                zone,
                f"{show(zone)} is no time zone",
                f"{show(zone)} 不是有效的时区",
                'write "Asia/Shanghai" or "+08:00"',
            )


def _is_text(node: Node) -> bool:
    return isinstance(node, Constant) and node.type == "string"


def _mixed(node: Node) -> Iterator[_Bad]:
    """Only where it begins: the nodes below have types of their own."""
    if isinstance(node, Call) and node.overload == "to_dyn":
        yield node, "dyn() is not used here: types are checked beforehand", "不能使用 dyn()", "leave it out"
    elif isinstance(node, Entries) and not node.entries:
        yield node, "an empty map", "空映射没有用处", "leave it out"
    elif not any("dyn" in one.type for one in children(node)):
        yield node, "mixes values of several types", "混用了不同类型的值", "give all of them one type"


def _loops(tree: Node, variables: Collection[str]) -> Iterator[_Bad]:
    calls = 0
    for node in walk(tree):
        if not isinstance(node, Loop):
            continue
        if node.variable in variables:
            yield (
                node,
                f"'{node.variable}' is the name of a fact",
                f"'{node.variable}' 已是事实的名称",
                "take another name",
            )
        condition = _condition(node)
        if condition is None:
            yield (
                node,
                "'map' is not used here",
                "不能使用 map",
                "write exists, all or filter with a condition",
            )
            continue
        for inner in walk(condition):
            if isinstance(inner, Loop):
                yield inner, "a loop within a loop", "循环不能嵌套", "write `one in list` for the inner one"
            elif isinstance(inner, Call):
                calls += 1
                if inner.overload in _JOINS:
                    yield inner, "texts and lists are not joined within a loop", "循环内不能拼接文字或列表", (
                        "compare the parts one by one"
                    )  # fmt: skip
        if calls > MAX_LOOP_CALLS:
            message = f"loops with more than {MAX_LOOP_CALLS} comparisons"
            yield node, message, f"循环内的运算超过 {MAX_LOOP_CALLS} 个", "split it into several rules"


def _condition(loop: Loop) -> Node | None:
    """What a macro asks of each value: of exists and all, exists_one and filter. None for map."""
    match loop.step:
        case Call(function="_||_" | "_&&_", args=(Ident(name=name), condition)) if name == loop.accumulator:
            return condition
        case Call(function="_?_:_", args=(condition, Call(function="_+_", args=(_, more)), Ident())):
            counted = isinstance(more, Constant)
            kept = isinstance(more, Items) and [one for one in more.items if isinstance(one, Ident)]
            if counted or (kept and kept[0].name == loop.variable):
                return condition
    return None
