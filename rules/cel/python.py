"""The fast path: a checked expression as Python, where Python means exactly what CEL means.

Only forms on a list are translated, for operands of the types that facts have; everything else is None and
stays with the engine. What is generated may raise (a fact without a value, an overflow), and then the engine
is asked, which knows how CEL absorbs errors; it never gives another value than CEL. Facts must be of their
types (see `CelType`), times in UTC. Syntax trees are built, never source text.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from rules.cel.engine import Expression
from rules.cel.tree import Call, Constant, Ident, Items, Node, Value, moment, names, put_in

FACTS = "f"
"""The mapping that generated code looks facts up in."""
WHOLE = "whole"
"""The function that generated code checks whole numbers with: see `whole`."""
_MOMENT = "at_"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)

Constants = Mapping[str, object]
"""Parameters and groups, which are the same for every evaluation: name to bool, int, float, str, aware
datetime or a collection of str."""

_LISTED = frozenset({"bool", "int", "double", "string"})
_SCALARS = frozenset({"bool", "int", "double", "string", "timestamp"})


class _StaysThere(Exception):
    """The engine has to evaluate it."""


def python_of(expression: Expression, constants: Constants) -> ast.expr | None:
    """The expression as Python over a mapping `f` from names to values, with the constants put in; None if it
    has to stay with the engine."""
    return translated(with_constants(expression, constants))


def constant_value(expression: Expression, constants: Constants) -> bool | None:
    """What a condition always is, whatever the facts are; None if that depends, or is not known."""
    return always(with_constants(expression, constants))


def whole(value: int) -> int:
    """The same, if it is in the range of CEL's whole numbers. OverflowError otherwise."""
    if -0x8000_0000_0000_0000 <= value <= 0x7FFF_FFFF_FFFF_FFFF:
        return value
    raise OverflowError("a whole number leaves the range of 64 bits")


def moment_named(name: str) -> datetime | None:
    """The moment that a name in generated code stands for; None for other names."""
    if not name.startswith(_MOMENT):
        return None
    return _EPOCH + int(name.removeprefix(_MOMENT).replace("m", "-")) * _TICK


# --- constants ----------------------------------------------------------------------------------------------


def with_constants(expression: Expression, constants: Constants) -> Node:
    """The expression with the constants that it reads put in, but for those that are no value of CEL's."""
    values: dict[str, Node] = {}
    for name in expression.names:
        if name in constants:
            node = _node(constants[name])
            if node is not None:
                values[name] = node
    return put_in(expression.tree, values)


def _node(value: object) -> Node | None:
    if isinstance(value, bool):
        return Constant(value, "bool")
    if isinstance(value, int):
        return Constant(value, "int")
    if isinstance(value, float):
        return Constant(value, "double") if math.isfinite(value) else None
    if isinstance(value, str):
        return Constant(str(value), "string")
    if isinstance(value, datetime):
        return Constant(value.astimezone(UTC), "timestamp") if value.utcoffset() is not None else None
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(one, str) for one in value):
        return Items(tuple(Constant(str(one), "string") for one in value), "list(string)")
    return None


def always(node: Node) -> bool | None:
    """The same of a tree with the constants put in."""
    match node:
        case Constant(value=bool() as value):
            return value
        case Call(overload="logical_not", args=(one,)):
            inner = always(one)
            return None if inner is None else not inner
        case Call(overload="logical_and" | "logical_or" as overload, args=args):
            parts = [always(one) for one in args]
            decides = overload == "logical_or"
            if decides in parts:  # whatever the others are, errors too
                return decides
            return None if None in parts else not decides
        case Call(overload="conditional", args=(test, yes, no)):
            chosen = always(test)
            return None if chosen is None else always(yes if chosen else no)
        case Call() if not names(node):
            return _computed(node)
    return None


def _computed(node: Node) -> bool | None:
    tree = translated(node)
    if tree is None:
        return None
    try:
        value = compiled(ast.Expression(tree), {})
    except Exception:
        return None
    return value if isinstance(value, bool) else None


def compiled(tree: ast.Expression, facts: Mapping[str, object]) -> object:
    """The value of a translated expression, for tests and constants; rules are fused instead."""
    ast.fix_missing_locations(tree)
    scope: dict[str, object] = {"__builtins__": {}, "len": len, WHOLE: whole, FACTS: facts}
    scope |= {name: at for name in _names(tree) if (at := moment_named(name)) is not None}
    return eval(compile(tree, "<condition>", "eval"), scope)  # noqa: S307  # the tree is built here, of a list of forms


def _names(tree: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)}


# --- translation --------------------------------------------------------------------------------------------


def translated(node: Node) -> ast.expr | None:
    """A tree, with constants put in, as Python; None if it has to stay with the engine."""
    try:
        return _python(node)
    except _StaysThere:
        return None


def _python(node: Node) -> ast.expr:
    if isinstance(node, Constant) and node.type in _LISTED:
        return ast.Constant(node.value)  # type: ignore[arg-type]  # a moment has another type
    at = moment(node)
    if at is not None:
        ticks = (at - _EPOCH) // _TICK
        return ast.Name(f"{_MOMENT}{ticks}".replace("-", "m"), ast.Load())
    if isinstance(node, Ident):
        return ast.Subscript(ast.Name(FACTS, ast.Load()), ast.Constant(node.name), ast.Load())
    if isinstance(node, Call):
        make = FORMS.get(node.overload)
        if make is not None:
            return make(node)
    raise _StaysThere


def _typed(node: Call, *types: str) -> None:
    """The engine takes a dyn where a type is wanted; here each operand has to be of its own."""
    if tuple(one.type for one in node.args) != types:
        raise _StaysThere


def _joined(node: Call) -> ast.expr:
    _typed(node, "bool", "bool")
    operator = ast.And() if node.overload == "logical_and" else ast.Or()
    values: list[ast.expr] = []
    for one in map(_python, node.args):
        if isinstance(one, ast.BoolOp) and type(one.op) is type(operator):
            values += one.values
        else:
            values.append(one)
    return ast.BoolOp(operator, values)


def _negated(node: Call) -> ast.expr:
    _typed(node, "bool")
    return ast.UnaryOp(ast.Not(), _python(node.args[0]))


def _chosen(node: Call) -> ast.expr:
    test, yes, no = node.args
    if test.type != "bool" or yes.type != no.type or yes.type not in _SCALARS:
        raise _StaysThere
    return ast.IfExp(_python(test), _python(yes), _python(no))


def _compared(operator: Callable[[], ast.cmpop], *types: str) -> Callable[[Call], ast.expr]:
    def make(node: Call) -> ast.expr:
        left, right = node.args
        if left.type != right.type or left.type not in (types or _SCALARS):
            raise _StaysThere
        return ast.Compare(_python(left), [operator()], [_python(right)])

    return make


def _among(node: Call) -> ast.expr:
    one, many = node.args
    nothing = isinstance(many, Items) and not many.items and one.type in _SCALARS
    if not nothing and (one.type not in _LISTED or many.type != f"list({one.type})"):
        raise _StaysThere
    if isinstance(many, Ident):
        return ast.Compare(_python(one), [ast.In()], [_python(many)])
    if not isinstance(many, Items):
        raise _StaysThere
    values: list[Value] = []
    for item in many.items:  # none of which can be NaN, which Python would find in a list and CEL would not
        if not isinstance(item, Constant) or item.value != item.value:
            raise _StaysThere
        values.append(item.value)
    if len(values) == 1:
        return ast.Compare(_python(one), [ast.Eq()], [_python(many.items[0])])
    return ast.Compare(_python(one), [ast.In()], [ast.Constant(frozenset(values))])  # type: ignore[arg-type]


def _counted(node: Call) -> ast.expr:
    (one,) = node.args
    if one.type not in ("string", "list(string)"):
        raise _StaysThere
    return ast.Call(ast.Name("len", ast.Load()), [_python(one)], [])


def _method(name: str) -> Callable[[Call], ast.expr]:
    def make(node: Call) -> ast.expr:
        _typed(node, "string", "string")
        of, what = map(_python, node.args)
        return ast.Call(ast.Attribute(of, name, ast.Load()), [what], [])

    return make


def _contained(node: Call) -> ast.expr:
    _typed(node, "string", "string")
    of, what = map(_python, node.args)
    return ast.Compare(what, [ast.In()], [of])


def _arithmetic(operator: Callable[[], ast.operator], type_: str) -> Callable[[Call], ast.expr]:
    def make(node: Call) -> ast.expr:
        _typed(node, type_, type_)
        left, right = map(_python, node.args)
        return _in_range(ast.BinOp(left, operator(), right), type_)

    return make


def _minus(type_: str) -> Callable[[Call], ast.expr]:
    def make(node: Call) -> ast.expr:
        _typed(node, type_)
        return _in_range(ast.UnaryOp(ast.USub(), _python(node.args[0])), type_)

    return make


def _in_range(value: ast.expr, type_: str) -> ast.expr:
    return ast.Call(ast.Name(WHOLE, ast.Load()), [value], []) if type_ == "int" else value


FORMS: dict[str, Callable[[Call], ast.expr]] = {
    "logical_and": _joined,
    "logical_or": _joined,
    "logical_not": _negated,
    "conditional": _chosen,
    "equals": _compared(ast.Eq),
    "not_equals": _compared(ast.NotEq),
    "in_list": _among,
    "size_string": _counted,
    "string_size": _counted,
    "size_list": _counted,
    "list_size": _counted,
    "starts_with_string": _method("startswith"),
    "ends_with_string": _method("endswith"),
    "contains_string": _contained,
    "add_int64": _arithmetic(ast.Add, "int"),
    "subtract_int64": _arithmetic(ast.Sub, "int"),
    "multiply_int64": _arithmetic(ast.Mult, "int"),
    "negate_int64": _minus("int"),
    "add_double": _arithmetic(ast.Add, "double"),
    "subtract_double": _arithmetic(ast.Sub, "double"),
    "multiply_double": _arithmetic(ast.Mult, "double"),
    "negate_double": _minus("double"),
    "add_string": _arithmetic(ast.Add, "string"),
}
"""How each form of an operator or a function is made, by its overload. All others stay with the engine."""
for _type, _named in (
    ("int64", "int"),
    ("double", "double"),
    ("string", "string"),
    ("timestamp", "timestamp"),
):
    FORMS[f"less_{_type}"] = _compared(ast.Lt, _named)
    FORMS[f"less_equals_{_type}"] = _compared(ast.LtE, _named)
    FORMS[f"greater_{_type}"] = _compared(ast.Gt, _named)
    FORMS[f"greater_equals_{_type}"] = _compared(ast.GtE, _named)
