"""The CEL engine behind a small interface: texts are checked once, and evaluated on plain data.

cel-expr-python wraps Google's CEL in C++. This module is the only one that knows it. What could do harm is
refused when it is compiled (`rules.cel.bounds`), so that an evaluation reads nothing but its data and ends
soon: a text is at most MAX_TEXT characters, the engine ends after 10,000 rounds of loops, patterns are RE2's
(linear). Nothing is documented about threads, except that the library's own tests share environments and
expressions between them; gated asks from one thread at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

from cel_expr_python import cel

from rules.cel.bounds import PATTERNS, checked
from rules.cel.errors import CelError, CelErrors, EvaluationFailed, Kind, at, explained, type_words
from rules.cel.tree import Call, Constant, Node, names, show, walk
from rules.cel.wire import WireError, decode

MAX_TEXT = 4_000
MAX_STRING = 1_000
"""The longest text, in characters, that a fact may be where the engine is asked."""
MAX_LIST = 1_000
"""The longest list that a fact, or a group, may be where the engine is asked."""

_INT = range(-(2**63), 2**63)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufeff]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*")


class CelType(StrEnum):
    """The types of facts and results, by CEL's name. In Python: bool; int of 64 bits; float; str; a list or
    tuple of str; an aware datetime."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"
    STRINGS = "list(string)"
    TIME = "timestamp"


_ENGINE: Mapping[CelType, Any] = {
    CelType.BOOL: cel.Type.BOOL,
    CelType.INT: cel.Type.INT,
    CelType.DOUBLE: cel.Type.DOUBLE,
    CelType.STRING: cel.Type.STRING,
    CelType.STRINGS: cel.Type.List(cel.Type.STRING),
    CelType.TIME: cel.Type.TIMESTAMP,
}


class Expression:
    """A checked expression. `text`: as it was written; `tree`: what it means; `names`: the variables that it
    reads; `returns`: the type of its value."""

    __slots__ = ("_engine", "_reads", "names", "returns", "text", "tree")

    def __init__(
        self, text: str, tree: Node, returns: CelType, reads: Mapping[str, CelType], engine: Any
    ) -> None:
        self.text = text
        self.tree = tree
        self.returns = returns
        self.names = frozenset(reads)
        self._reads = tuple(reads.items())
        self._engine = engine

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, data: Mapping[str, object]) -> object:
        """Its value for the variables in `data`, of which only `names` are looked at. A value that is missing
        or not of its type matters only if CEL comes to need it. Raises EvaluationFailed, nothing else."""
        given: dict[str, object] = {}
        wrong: list[str] = []
        for name, type_ in self._reads:
            try:
                given[name] = _as_engine_takes_it(data[name], type_)
            except Exception as error:
                wrong.append(f"{name}: {error if isinstance(error, ValueError) else 'has no value'}")
        try:
            found = self._engine.eval(data=given)
            failed = found.type() == cel.Type.ERROR
            value = found.plain_value()
        except Exception as error:
            raise _failed(str(error), wrong) from error
        if failed:
            raise _failed(str(value), wrong)
        if not isinstance(value, _PYTHON[self.returns]):
            raise EvaluationFailed(f"gives {type(value).__name__}, not {self.returns}")
        return value


_PYTHON: Mapping[CelType, type] = {
    CelType.BOOL: bool,
    CelType.INT: int,
    CelType.DOUBLE: float,
    CelType.STRING: str,
    CelType.STRINGS: list,
    CelType.TIME: datetime,
}

_FAILED = (
    ("no such overload", "has operands of the wrong type", "运算对象的类型不符"),
    ("integer overflow", "a whole number leaves the range of 64 bits", "整数超出 64 位范围"),
    ("divide by zero", "divides by zero", "除数为零"),
    ("modulus by zero", "divides by zero", "除数为零"),
    ("Iteration budget exceeded", "goes through more than 10,000 values", "循环次数超过 10,000"),
    ("Index error", "asks for a place that the list has not", "列表下标越界"),
    ("Key not found in map", "asks for a key that the map has not", "映射中没有该键"),
    ("duplicate key", "gives a map the same key twice", "映射中有重复的键"),
)  # fmt: skip


def _failed(said: str, wrong: list[str]) -> EvaluationFailed:
    if wrong:  # the engine only knows that it had no value
        return EvaluationFailed("; ".join(wrong), "事实的值不可用：" + "; ".join(wrong))
    for sign, message, zh in _FAILED:
        if sign in said:
            return EvaluationFailed(message, zh)
    return EvaluationFailed(re.sub(r"\A[A-Z_]+: |\s*\[[A-Z_]+\]\Z", "", said) or "has no value")


def _as_engine_takes_it(value: object, type_: CelType) -> object:
    """The value if it is of its type, such that the engine reads it whole. ValueError otherwise."""
    if type_ is CelType.BOOL and isinstance(value, bool):
        return value
    if type_ is CelType.INT and isinstance(value, int) and not isinstance(value, bool):
        if value not in _INT:
            raise ValueError("is beyond 64 bits")
        return value
    if type_ is CelType.DOUBLE and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if type_ is CelType.STRING and isinstance(value, str):
        return _string(value)
    if type_ is CelType.STRINGS and isinstance(value, list | tuple):
        if len(value) > MAX_LIST:
            raise ValueError(f"has more than {MAX_LIST} values")
        if not all(isinstance(one, str) for one in value):
            raise ValueError("is no list of texts")
        return [_string(one) for one in value]
    if type_ is CelType.TIME and isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("is a time without its zone")
        return value.astimezone(UTC)
    raise ValueError(f"is {type(value).__name__}, not {type_}")


def _string(value: str) -> str:
    if len(value) > MAX_STRING:
        raise ValueError(f"is longer than {MAX_STRING} characters")
    if "\0" in value:  # where the engine would stop reading
        raise ValueError("has a NUL in it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is no valid text") from None
    return value


class Environment:
    """What expressions may ask: `variables` by name, dotted or not, each with its type. ValueError for a name
    that no expression could write."""

    def __init__(self, variables: Mapping[str, CelType]) -> None:
        for name in variables:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a variable")
        self._variables = dict(variables)
        self._engine = cel.NewEnv(variables={name: _ENGINE[type_] for name, type_ in variables.items()})

    def compile(self, text: str) -> Expression:
        """The expression that `text` says. Raises CelErrors with everything that is wrong with it."""
        _refuse_unreadable(text)
        try:
            engine = self._engine.compile(text)
        except Exception as error:
            raise explained(str(error), text) from None
        try:
            tree = decode(engine.serialize())
        except WireError as error:
            raise CelErrors((_beyond(str(error)),)) from error
        found = checked(tree, text, self._variables) or _values(tree, text)
        if found:
            raise CelErrors(tuple(found))
        if tree.type not in _PYTHON:
            en, zh = type_words(tree.type)
            message = f"gives {en}, of which nothing can be made"
            raise CelErrors(
                (CelError(1, 1, message, f"结果是{zh}，无法使用", "compare it with something", Kind.TYPE),)
            )
        reads = {name: self._variables[name] for name in sorted(names(tree)) if name in self._variables}
        expression = Expression(text, tree, CelType(tree.type), reads, engine)
        with suppress(EvaluationFailed):  # the engine makes its program now, not when a vehicle waits
            expression.evaluate({})
        return expression


def _refuse_unreadable(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise CelErrors((
            CelError(
                1, 1, f"is longer than {MAX_TEXT:,} characters", f"超过 {MAX_TEXT:,} 个字符",
                "split it into several rules, or put a long list into a group", Kind.LIMIT,
            ),
        ))  # fmt: skip
    bad = _CONTROL.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        what = f"U+{ord(bad[0]):04X}"
        raise CelErrors(
            (
                CelError(
                    line, column, f"an invisible character ({what})", f"有不可见字符 ({what})", "delete it"
                ),
            )
        )


def _beyond(what: str) -> CelError:
    return CelError(1, 1, f"cannot be used here: {what}", f"此处不能使用该写法（{what}）", "", Kind.LIMIT)


# --- constants that mean something ------------------------------------------------------------------------


@cache
def _probe(expression: str) -> Any:
    return cel.NewEnv(variables={"it": cel.Type.STRING}).compile(expression)


_PROBES = (
    (PATTERNS, 1, "''.matches(it)", "is no pattern", "不是有效的匹配模式"),
    (("string_to_timestamp",), 0, "timestamp(it) == timestamp(it)", "is no moment", "不是有效的时刻"),
    (("string_to_duration",), 0, "duration(it) == duration(it)", "is no length of time", "不是有效的时长"),
    ((), 1, "timestamp(0).getHours(it) == 0", "is no time zone", "不是有效的时区"),
)


def _values(tree: Node, text: str) -> list[CelError]:
    """The patterns, moments, lengths and zones in the text that the engine would fail at: each is tried."""
    found = []
    for node in walk(tree):
        if not isinstance(node, Call):
            continue
        for overloads, index, probe, en, zh in _PROBES:
            if node.overload in overloads or (not overloads and node.overload.endswith("_with_tz")):
                value = node.args[index]
                if isinstance(value, Constant) and (why := _failure(probe, value.value)):
                    written = show(value)
                    hint = why.partition("regular expression: ")[2]
                    error = CelError(
                        *at(text, value.position), f"{written} {en}", f"{written} {zh}", hint, Kind.VALUE
                    )
                    found.append((value.position, error))
    return [error for _, error in sorted(found, key=lambda pair: pair[0])]


def _failure(probe: str, value: object) -> str:
    """What the engine says of a value; nothing if it takes it."""
    if not isinstance(value, str) or "\0" in value:
        return "it has a NUL in it"
    try:
        result = _probe(probe).eval(data={"it": value})
    except Exception as error:
        return str(error)
    return str(result.plain_value()) if result.type() == cel.Type.ERROR else ""
