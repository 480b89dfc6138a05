"""What is wrong with an expression, in plain words: the engine's messages turned into an operator's language.

Pure text. The engine's wording is recognised by its parts; what is not recognised is passed on as it is, so
that a new release may say something new but never lose it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from rules.cel.slips import slip


class Kind(StrEnum):
    """What sort of error it is."""

    SYNTAX = "syntax"
    NAME = "name"  # a fact that there is not
    FUNCTION = "function"
    TYPE = "type"
    VALUE = "value"  # a pattern, a moment or a time zone that is none
    LIMIT = "limit"  # too long, too deep, or nothing that a policy may do


@dataclass(frozen=True, slots=True)
class CelError:
    """One error. `line`, `column`: from 1, in characters. `message` and `hint` are English, `zh` says both.
    `name`: the fact that was asked for, where there is none; the caller may know what was meant."""

    line: int
    column: int
    message: str
    zh: str
    hint: str = ""
    kind: Kind = Kind.SYNTAX
    name: str = ""


class CelErrors(Exception):
    """The expression cannot be used; `errors` holds every reason, in the order of the text."""

    def __init__(self, errors: tuple[CelError, ...]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{one.line}:{one.column}: {one.message}" for one in errors))


class EvaluationFailed(Exception):
    """The expression has no value for these facts; `message` says why, `zh` in Chinese."""

    def __init__(self, message: str, zh: str = "") -> None:
        self.message = message
        self.zh = zh or message
        super().__init__(message)


def at(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of a character of the text."""
    before = text[: max(offset, 0)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def offset_of(text: str, line: int, column: int) -> int:
    """The character at line and column, the opposite of `at`."""
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    return start + column - 1


# --- what the engine says ---------------------------------------------------------------------------------

_REPORT = re.compile(
    r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?=\n \| |\nERROR: <input>:| \[[A-Z_]+\]\Z|\Z)", re.DOTALL
)
_DEEP = re.compile(r"recursion (?:depth|limit)", re.IGNORECASE)
_UNDECLARED = re.compile(r"undeclared reference to '(.*?)' \(in container ''\)", re.DOTALL)
_OVERLOAD = re.compile(r"found no matching overload for '(.*?)' applied to '\((.*)\)'", re.DOTALL)
_SELECT = re.compile(r"expression of type '(.*)' cannot be the operand of a select operation", re.DOTALL)
_RESERVED = re.compile(r"reserved identifier: (\w+)")
_LITERAL = re.compile(r"invalid (\w+) literal")
_VARIABLE = re.compile(r"(\w+)\(\) variable name must be a simple identifier")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*")
_SAY_SYNTAX = "Syntax error: "


def explained(report: str, text: str) -> CelErrors:
    """The engine's report about a text that it did not take."""
    found: list[tuple[int, CelError]] = []
    syntax = False
    if _DEEP.search(report):
        return CelErrors((too_deep(),))
    for line, column, said in _REPORT.findall(report):
        offset = max(offset_of(text, int(line), int(column)), 0) if int(line) > 0 else 0
        if said.startswith("<<nil>>"):
            continue
        if said.startswith(_SAY_SYNTAX):
            if syntax:  # what follows the first one is mostly its consequence
                continue
            syntax = True
            error = _syntax(said.removeprefix(_SAY_SYNTAX), text, offset)
        else:
            error = _meaning(said, text, offset)
        found.append((offset, error))
    if not found:
        said = report.strip().removeprefix("INVALID_ARGUMENT: ") or "no"
        return CelErrors((CelError(1, 1, f"CEL says: {said}", f"CEL 报告：{said}"),))
    return CelErrors(tuple(_without_echoes(found, text)))


_VARIABLES = re.compile(r"\(\s*(\w+)\s*(?:,\s*(\w+)\s*)?,")


def _without_echoes(found: list[tuple[int, CelError]], text: str) -> Iterator[CelError]:
    """Each once; and no unknown names that belong to an unknown function: "math" of math.abs(...), and the
    variable of a loop of which there is no such kind."""
    found.sort(key=lambda pair: pair[0])
    functions = [(offset, one.name) for offset, one in found if one.kind is Kind.FUNCTION and one.name]
    variables: dict[str, int] = {}
    for end, _ in functions:
        if loop := _VARIABLES.match(text, end):
            variables |= {name: end for name in loop.groups() if name}
    said: set[tuple[int, str]] = set()
    for offset, one in found:
        if one.kind is Kind.NAME and (
            variables.get(one.name, offset) < offset
            or any(end - len(name) <= offset < end and name.startswith(one.name) for end, name in functions)
        ):
            continue
        if (offset, one.message) not in said:
            said.add((offset, one.message))
            yield CelError(one.line, one.column, one.message, one.zh, one.hint, one.kind, _fact_of(one))


def _fact_of(error: CelError) -> str:
    return error.name if error.kind is Kind.NAME else ""


def too_deep() -> CelError:
    """The error of a text whose parentheses and operators are nested too deeply."""
    return CelError(
        1, 1, "is nested too deeply", "嵌套层数过多，请拆成几条规则，或改用 in [...]",
        "split it into several rules, or write `x in [...]` for a chain of comparisons", Kind.LIMIT,
    )  # fmt: skip


# --- syntax -----------------------------------------------------------------------------------------------


def _syntax(said: str, text: str, offset: int) -> CelError:
    slipped = slip(text, offset)
    if slipped is not None:
        where, message, zh, hint = slipped
        return CelError(*at(text, where), message, zh, hint)
    line, column = at(text, offset)
    missing = re.match(r"missing (.+) at ", said)
    if missing:
        return CelError(line, column, f"{missing[1]} is missing here", f"此处缺少 {missing[1]}")
    if offset >= len(text.rstrip()) or "'<EOF>'" in said.partition("expecting")[0]:
        return CelError(
            line, column, "ends too early", "条件没有写完",
            "something is missing after the last operator, or a bracket is still open",
        )  # fmt: skip
    found = re.match(r"""\w+|"[^"\n]*"|'[^'\n]*'|.""", text[offset:], re.DOTALL)
    word = found[0][:40] if found else ""
    if not word.isprintable() or not word.strip():
        word = " ".join(f"U+{ord(char):04X}" for char in word)
    if word[:1] not in ("'", '"'):
        word = f"'{word}'"
    return CelError(line, column, f"{word} is not expected here", f"此处不应出现 {word}")


# --- names and types --------------------------------------------------------------------------------------


def _meaning(said: str, text: str, offset: int) -> CelError:
    line, column = at(text, offset)
    if found := _UNDECLARED.fullmatch(said):
        return _undeclared(found[1], text, offset)
    if found := _OVERLOAD.fullmatch(said):
        message, zh, hint = _overload(found[1], _split(found[2]))
        return CelError(line, column, message, zh, hint, Kind.TYPE)
    if found := _SELECT.fullmatch(said):
        name = next(
            (
                re.sub(r"\s", "", one[0])
                for one in _DOTTED.finditer(text)
                if one.start() <= offset < one.end()
            ),
            "",
        )
        if name and found[1] != "*error*":
            return _unknown(name, line, column)
        what, zh = type_words(found[1])
        return CelError(line, column, f"{what} has no parts", f"{zh}没有下级字段", "", Kind.TYPE)
    if found := _RESERVED.fullmatch(said):
        return CelError(
            line, column, f"'{found[1]}' is a word that CEL keeps for itself", f"'{found[1]}' 是 CEL 的保留字"
        )
    if found := _LITERAL.fullmatch(said):
        return CelError(
            line, column, "the number does not fit into 64 bits", "数字超出 64 位范围", "", Kind.VALUE
        )
    if found := _VARIABLE.fullmatch(said):
        message = f"'{found[1]}' wants a name here for what it goes through"
        hint = f'for example: pass.entrances.{found[1]}(one, one == "west")'
        return CelError(line, column, message, f"'{found[1]}' 的第一个参数必须是变量名", hint)
    return CelError(line, column, f"CEL says: {said}", f"CEL 报告：{said}")


def _unknown(name: str, line: int, column: int) -> CelError:
    return CelError(
        line, column, f"no fact is called '{name}'", f"没有名为 '{name}' 的事实", "", Kind.NAME, name
    )


_INSTEAD = {
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "length": "size",
    "len": "size", "any": "exists", "startswith": "startsWith", "startWith": "startsWith", "str": "string",
    "endswith": "endsWith", "endWith": "endsWith", "match": "matches", "contain": "contains",
    "float": "double",
}  # fmt: skip
_WRITTEN = {"and": "&&", "or": "||", "not": "!"}
_SHAPES = {
    "matches": 'text.matches("pattern")', "contains": 'text.contains("B")',
    "startsWith": 'text.startsWith("津")', "endsWith": 'text.endsWith("学")',
    "size": "size(list)", "exists": "list.exists(one, condition)",
    "all": "list.all(one, condition)", "exists_one": "list.exists_one(one, condition)",
    "filter": "list.filter(one, condition)", "has": "", "duration": 'duration("90m")',
    "timestamp": 'timestamp("2026-01-01T00:00:00+08:00")',
}  # fmt: skip


def _undeclared(name: str, text: str, offset: int) -> CelError:
    instead = _INSTEAD.get(name)
    if text[offset : offset + 1] == "(":  # the engine points at the bracket of what is called
        return _no_function(name, text, offset)
    line, column = at(text, offset)
    written = re.sub(r"\s", "", name)
    dotted = next((one for one in _DOTTED.finditer(text) if one.start() <= offset < one.end()), None)
    if dotted is not None and re.sub(r"\s", "", dotted[0]) == written:
        line, column = at(text, dotted.start())
    if instead:
        return CelError(line, column, f"'{name}' is written {instead}", f"'{name}' 应写作 {instead}")
    return _unknown(written, line, column)


def _no_function(name: str, text: str, bracket: int) -> CelError:
    line, column = at(text, bracket - len(name) if text[:bracket].endswith(name) else bracket)
    if name.lower() in _WRITTEN:
        sign = _WRITTEN[name.lower()]
        return CelError(line, column, f"'{name}' is written {sign}", f"'{name}' 应写作 {sign}")
    whole = next((one[0] for one in _DOTTED.finditer(text) if one.end() == bracket), name)
    if name in _SHAPES:
        message, zh = f"'{name}' is not given what it needs", f"'{name}' 的写法不对"
        hint = f"write {_SHAPES[name]}" if _SHAPES[name] else ""
    else:
        message, zh, hint = f"there is no function '{name}'", f"没有函数 '{name}'", ""
        if name in _INSTEAD:
            hint, zh = f"it is called {_INSTEAD[name]} here", f"{zh}，请用 {_INSTEAD[name]}"
    return CelError(line, column, message, zh, hint, Kind.FUNCTION, whole)


_TYPES = {
    "bool": ("a yes-or-no value (bool)", "是非值 (bool)"),
    "int": ("a whole number (int)", "整数 (int)"),
    "uint": ("a number without sign (uint)", "无符号整数 (uint)"),
    "double": ("a number with decimals (double)", "小数 (double)"),
    "string": ("a text (string)", "文字 (string)"),
    "bytes": ("bytes", "字节 (bytes)"),
    "null_type": ("null", "空值 (null)"),
    "null": ("null", "空值 (null)"),
    "timestamp": ("a moment (timestamp)", "时刻 (timestamp)"),
    "google.protobuf.Timestamp": ("a moment (timestamp)", "时刻 (timestamp)"),
    "duration": ("a length of time (duration)", "时长 (duration)"),
    "google.protobuf.Duration": ("a length of time (duration)", "时长 (duration)"),
    "list(string)": ("a list of texts", "文字列表"),
    "list(int)": ("a list of whole numbers", "整数列表"),
    "list(double)": ("a list of numbers with decimals", "小数列表"),
    "dyn": ("a value of any type", "任意类型的值"),
}


def type_words(named: str) -> tuple[str, str]:
    """A type in both languages, English first."""
    if named in _TYPES:
        return _TYPES[named]
    if named.startswith("list("):
        return "a list", "列表"
    if named.startswith("map("):
        return "a map", "映射"
    if named.startswith("type"):
        return "a type", "类型"
    return named, named


def _split(types: str) -> list[str]:
    """ "string, list(map(int, string))" at its outer commas."""
    found, depth, start = [], 0, 0
    for index, char in enumerate(types):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            found.append(types[start:index].strip())
            start = index + 1
    return [*found, types[start:].strip()]


_COMPARING = {"_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_JOINING = {"_&&_": "&&", "_||_": "||"}
_COUNTING = {"_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%"}


def _overload(function: str, types: list[str]) -> tuple[str, str, str]:
    """Message, Chinese and hint for an operator or a function that does not go with what it is given."""
    en, zh = zip(*map(type_words, types), strict=True)
    if function in _COMPARING and len(types) == 2:
        sign = _COMPARING[function]
        hint, zh_hint = _mixed(types) or _chain(sign, types)
        return (
            f"'{sign}' compares {en[0]} with {en[1]}",
            f"'{sign}' 比较了{zh[0]}和{zh[1]}{zh_hint and '：' + zh_hint}",
            hint,
        )
    if function in _JOINING or function == "!_":
        sign = _JOINING.get(function, "!")
        wrong = [index for index, one in enumerate(types) if one != "bool"]
        named, zh_named = en[wrong[0]] if wrong else en[0], zh[wrong[0]] if wrong else zh[0]
        return (
            f"'{sign}' wants conditions, and is given {named}",
            f"'{sign}' 只能连接条件，此处是{zh_named}，请先与某个值比较",
            "compare it with something",
        )
    if function == "_?_:_" and len(types) == 3:
        if types[0] != "bool":
            return (
                f"'?' wants a condition before it, and is given {en[0]}",
                f"'?' 之前应是条件，此处是{zh[0]}",
                "compare it with something",
            )
        return (
            f"'?' chooses between {en[1]} and {en[2]}",
            f"'?' 的两个结果类型不同：{zh[1]}和{zh[2]}",
            "both must be of one type",
        )
    if function == "@in" and len(types) == 2:
        if types[1] == "string":
            return (
                f"'in' looks for {en[0]} in a text",
                f"'in' 不能在文字中查找{zh[0]}，请用 contains",
                "write text.contains(...) for a part of a text",
            )
        if not types[1].startswith(("list(", "map(")):
            return (
                f"'in' looks into {en[1]}",
                f"'in' 之后应是列表，此处是{zh[1]}",
                'write a list: x in ["a", "b"]',
            )
        return (
            f"'in' looks for {en[0]} in {en[1]}",
            f"'in' 在{zh[1]}中查找{zh[0]}，类型不符",
            "both must be of one type",
        )
    if function == "_[_]" and len(types) == 2:
        return f"{en[0]} has no place called {en[1]}", f"{zh[0]}不能用{zh[1]}取值", ""
    if function in _COUNTING and len(types) == 2:
        sign = _COUNTING[function]
        hint, zh_hint = _mixed(types) or ("", "")
        return (
            f"'{sign}' does not go with {en[0]} and {en[1]}",
            f"'{sign}' 不能用于{zh[0]}和{zh[1]}{zh_hint and '：' + zh_hint}",
            hint,
        )
    sign = "-" if function == "-_" else function
    return f"'{sign}' is given {', '.join(en)}", f"'{sign}' 不能用于{'、'.join(zh)}", ""


def _mixed(types: list[str]) -> tuple[str, str] | None:
    if set(types) == {"int", "double"}:
        return (
            "write 1.0 for 1, or double(...) around the whole number",
            "整数请写成 1.0，或用 double(...) 转换",
        )
    if "string" in types and ("int" in types or "double" in types):
        return "write a number without quotes, a text with quotes", "数字不加引号，文字要加引号"
    if "bool" in types and "string" in types:
        return "write true and false without quotes", "true 和 false 不加引号"
    if any("imestamp" in one for one in types) and "string" in types:
        return (
            'write a moment as timestamp("2026-01-01T00:00:00+08:00")',
            '时刻请写作 timestamp("2026-01-01T00:00:00+08:00")',
        )
    if any("imestamp" in one for one in types) and "int" in types:
        return 'write a length of time as duration("90m")', '时长请写作 duration("90m")'
    if "null_type" in types:
        return (
            'a fact always has a value; compare it with "", 0 or false',
            '事实总有值，请与 ""、0 或 false 比较',
        )
    return None


def _chain(sign: str, types: list[str]) -> tuple[str, str]:
    if types[0] == "bool" and sign in ("<", "<=", ">", ">="):
        return "compare twice: 1 < x && x < 3", "请分成两次比较：1 < x && x < 3"
    return "", ""
