"""The text of a policy file to a `rules.Policy`, or every reason why not at once, each with line and column.

The same strict YAML as gated.yaml (`gated.config.source`). No file is written and nothing is put in force
here.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from gated.config.errors import ConfigErrors, Path, Problem, dotted
from gated.config.source import MAX_BYTES, Source, parse
from gated.config.translate import findings
from rules import Policy
from rules.build import SiteNames, build
from rules.model import PolicyModel
from rules.problems import PolicyRefused

DEFAULT = "the default policy"


def default_text() -> str:
    """The policy that gated ships with."""
    return files("rules").joinpath("default/policy.yaml").read_text(encoding="utf-8")


def refer_all_text() -> str:
    """The policy for when there is no other: people decide everything."""
    return files("rules").joinpath("default/refer_all.yaml").read_text(encoding="utf-8")


def read(path: FilePath) -> str:
    """The text of a policy file. Raises ConfigErrors where it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigErrors(
            [Problem(str(path), 1, 1, "", message, "check the path", "无法读取政策文件")]
        ) from error
    if len(raw) > MAX_BYTES:
        raise ConfigErrors([Problem(str(path), 1, 1, "", "is too large for a policy", "", "文件过大")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = Problem(
            str(path), line, 1, "", "is not UTF-8", "save the file as UTF-8", "文件须保存为 UTF-8"
        )
        raise ConfigErrors([problem]) from error


def load(text: str, site: SiteNames, *, name: str = DEFAULT) -> Policy:
    """A policy from its text; `name` is the file's, for messages. Raises ConfigErrors with all problems."""
    source = parse(text.encode(), name)
    try:
        model = PolicyModel.model_validate(source.data)
    except ValidationError as error:
        raise ConfigErrors(
            [
                _problem(source, text, found.path, found.message, found.hint, found.zh, 1, 1)
                for found in findings(error, PolicyModel, source.data, ())
            ]
        ) from error
    try:
        return build(model, text, site)
    except PolicyRefused as refused:
        raise ConfigErrors(
            [
                _problem(source, text, one.path, one.message, one.hint, one.zh, one.line, one.column)
                for one in refused.problems
            ]
        ) from refused


def _problem(
    source: Source, text: str, path: Path, message: str, hint: str, zh: str, line: int, column: int
) -> Problem:
    mark = source.mark(path)
    at_line, at_column = mark.line, mark.column
    value = _value(source.data, path)
    if isinstance(value, str) and path[-1] in ("when", "zh", "en"):
        at_line, at_column = _inside(text, value, mark.line, mark.column, line, column)
    return Problem(source.name, at_line, at_column, _named(source, path), message, hint, zh)


def _value(data: Any, path: Path) -> Any:
    for step in path:
        try:
            data = data[step]
        except (LookupError, TypeError):
            return None
    return data


def _inside(
    text: str, value: str, mark_line: int, mark_column: int, line: int, column: int
) -> tuple[int, int]:
    """The place in the file of a place inside a value that begins at or after a mark: the line of the value
    is looked for from there on. One that the file writes otherwise (folded, escaped) is shown at its key."""
    lines = value.splitlines()
    if not 1 <= line <= len(lines):
        return mark_line, mark_column
    wanted = lines[line - 1]
    stripped = wanted.strip()
    written = text.splitlines()
    for number in range(mark_line - 1, min(len(written), mark_line + len(lines) + 2)):
        start = written[number].find(stripped, mark_column - 1 if number == mark_line - 1 else 0)
        if stripped and start >= 0:
            indent = len(wanted) - len(wanted.lstrip())
            return number + 1, start + max(1, column - indent)
    return mark_line, mark_column


def _named(source: Source, path: Path) -> str:
    """`rules[3].when`, with the rule's own id: `rules[3] (night_vans).when`."""
    if len(path) > 1 and path[0] == "rules" and isinstance(path[1], int):
        try:
            id_ = source.data["rules"][path[1]]["id"]
        except (LookupError, TypeError):
            id_ = None
        if isinstance(id_, str):
            rest = dotted(path[2:])
            return f"rules[{path[1]}] ({id_})" + (f".{rest}" if rest else "")
    return dotted(path)
