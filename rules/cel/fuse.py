"""Many translated conditions as one function: a chain of ifs in a single piece of Python code.

A fact that several conditions ask for is looked up once and kept in a local variable, but never before a
condition needs it. Where a condition raises, or was not translated, `slow(index)` is asked for its value;
what that raises ends the function. A variable that was not set because of an exception raises in its turn, so
the later conditions go the slow way too: slower, never wrong.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from rules.cel.python import FACTS, WHOLE, moment_named, whole

Slow = Callable[[int], bool]
First = Callable[[Mapping[str, Any], Slow], int]
All = Callable[[Mapping[str, Any], Slow], list[int]]

_SLOW = "slow"
_FOUND = "found"


def fuse_first(conditions: Sequence[ast.expr | None]) -> First:
    """A function of the facts, and of what evaluates the n-th condition the slow way. It returns the index of
    the first condition that holds, -1 if none does. None stands for a condition that goes the slow way."""
    hit = [ast.Return(ast.Constant(index)) for index in range(len(conditions))]
    body = _chain(conditions, hit)
    return cast(First, _made([*body, ast.Return(ast.Constant(-1))]))


def fuse_all(conditions: Sequence[ast.expr | None]) -> All:
    """The same, but it returns the indexes of all conditions that hold."""
    hit = [
        ast.Expr(ast.Call(ast.Attribute(_name(_FOUND), "append", ast.Load()), [ast.Constant(index)], []))
        for index in range(len(conditions))
    ]
    body = _chain(conditions, hit)
    start = ast.Assign([ast.Name(_FOUND, ast.Store())], ast.List([], ast.Load()))
    return cast(All, _made([start, *body, ast.Return(_name(_FOUND))]))


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _chain(conditions: Sequence[ast.expr | None], hits: Sequence[ast.stmt]) -> list[ast.stmt]:
    once = _Once()
    planned = [None if one is None else once.plan(one) for one in conditions]
    body: list[ast.stmt] = []
    for index, (condition, hit) in enumerate(zip(planned, hits, strict=True)):
        slowly = ast.If(ast.Call(_name(_SLOW), [ast.Constant(index)], []), [hit], [])
        if condition is None:
            body.append(slowly)
        elif isinstance(condition, ast.Constant):
            if condition.value:
                body.append(hit)
        else:
            handler = ast.ExceptHandler(_name("Exception"), None, [slowly])
            body.append(ast.Try([ast.If(once.place(condition), [hit], [])], [handler], [], []))
    return body


def _made(body: list[ast.stmt]) -> object:
    arguments = ast.arguments([], [ast.arg(FACTS), ast.arg(_SLOW)], None, [], [], None, [])
    function = ast.FunctionDef("rules", arguments, body, [], None, None)
    module = ast.fix_missing_locations(ast.Module([function], []))
    scope: dict[str, Any] = {"__builtins__": {}, "Exception": Exception, "len": len, WHOLE: whole}
    for one in ast.walk(module):
        if isinstance(one, ast.Name) and (at := moment_named(one.id)) is not None:
            scope[one.id] = at
    exec(compile(module, "<rules>", "exec"), scope)  # noqa: S102  # built of translated conditions alone
    return scope["rules"]


class _Seen(ast.expr):
    """A place where a fact is asked for. `known`: it has been looked up on every way that leads here."""

    _fields = ()

    def __init__(self, fact: ast.Subscript, name: str, known: bool) -> None:
        super().__init__()
        self.fact = fact
        self.name = name
        self.known = known


class _Once:
    """Looks each fact up once: first `plan` every condition in order, then `place` the variables."""

    def __init__(self) -> None:
        self._known: set[str] = set()  # looked up in every case before the condition at hand
        self._again: set[str] = set()  # asked for where it is known already: worth a variable
        self._variables: dict[str, str] = {}

    def plan(self, condition: ast.expr) -> ast.expr:
        """A copy in which each fact says whether it is known there."""
        return self._plan(condition, self._known)

    def _plan(self, node: ast.expr, known: set[str]) -> ast.expr:
        """`known` grows by what is looked up whenever this is evaluated."""
        match node:
            case ast.Subscript(slice=ast.Constant(value=str() as name)):
                seen = _Seen(node, name, name in known)
                if seen.known:
                    self._again.add(name)
                known.add(name)
                return seen
            case ast.BoolOp(op=operator, values=[first, *rest]):
                start = self._plan(first, known)
                within = set(known)
                return ast.BoolOp(operator, [start, *(self._plan(one, within) for one in rest)])
            case ast.IfExp(test=test, body=yes, orelse=no):
                asked = self._plan(test, known)
                return ast.IfExp(asked, self._plan(yes, set(known)), self._plan(no, set(known)))
            case ast.UnaryOp(op=sign, operand=operand):
                return ast.UnaryOp(sign, self._plan(operand, known))
            case ast.BinOp(left=left, op=operation, right=right):
                return ast.BinOp(self._plan(left, known), operation, self._plan(right, known))
            case ast.Compare(left=left, ops=operators, comparators=[right]):
                return ast.Compare(self._plan(left, known), operators, [self._plan(right, known)])
            case ast.Call(func=ast.Attribute(value=value, attr=attribute), args=args):
                method = ast.Attribute(self._plan(value, known), attribute, ast.Load())
                return ast.Call(method, [self._plan(one, known) for one in args], [])
            case ast.Call(func=function, args=args):
                return ast.Call(function, [self._plan(one, known) for one in args], [])
            case _:
                return node

    def place(self, node: ast.expr) -> ast.expr:
        """The planned condition with variables for the facts that are asked for again."""
        return cast(ast.expr, _Placing(self._again, self._variables).visit(node))


class _Placing(ast.NodeTransformer):
    def __init__(self, again: set[str], variables: dict[str, str]) -> None:
        self._again = again
        self._variables = variables

    def visit__Seen(self, node: _Seen) -> ast.expr:  # the name that ast.NodeVisitor looks for
        if node.name not in self._again:
            return node.fact
        variable = self._variables.setdefault(node.name, f"v{len(self._variables)}")
        if node.known:
            return ast.Name(variable, ast.Load())
        return ast.NamedExpr(ast.Name(variable, ast.Store()), node.fact)
