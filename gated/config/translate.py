"""pydantic's errors in words for the person who edits gated.yaml: what is wrong, and what may stand there.

Pure. Shows a wrong value only where it cannot be a secret.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gated.config.errors import Path
from gated.config.rules import Finding, did_you_mean

_SECRETIVE = re.compile(r"passw|pwd|secret|token|key|auth", re.IGNORECASE)


def findings(error: ValidationError, model: type[BaseModel], data: object, at: Path) -> Iterator[Finding]:
    """The problems in `error`, raised while `data` (which stands at `at` in the file) was read as `model`."""
    for detail in error.errors(include_url=False):
        loc = _in_data(detail["loc"], data)
        message, hint, zh = _words(detail, model, loc)
        yield Finding((*at, *loc), message, hint, zh)


def _in_data(loc: tuple[int | str, ...], data: object) -> Path:
    """`loc` without the steps that pydantic adds for the branches of a union."""
    path: list[int | str] = []
    here = data
    for number, step in enumerate(loc):
        if isinstance(here, Mapping) and step in here:
            here = here[step]
        elif isinstance(here, list) and step in range(len(here)):
            here = here[int(step)]
        elif number < len(loc) - 1 or not isinstance(here, Mapping):
            continue
        path.append(step)
    return tuple(path)


def _words(detail: Any, model: type[BaseModel], loc: Path) -> tuple[str, str, str]:
    kind: str = detail["type"]
    limits: Mapping[str, Any] = detail.get("ctx", {})
    shown = _shown(detail["input"], loc)
    if kind == "extra_forbidden":
        return "unknown key", did_you_mean(str(loc[-1]), _keys(model, loc[:-1])), "未知的配置项"
    if kind == "missing":
        return "is missing", "", "缺少必填项"
    if kind in {"value_error", "assertion_error"}:
        return str(limits.get("error", detail["msg"])), "", ""
    if kind == "string_pattern_mismatch" and "a-z0-9" in limits.get("pattern", ""):
        words = "an id is a-z, 0-9, - and _, begins with a letter or digit, and has at most 63 characters"
        return f"{shown}is no id", words, "编号只能用小写字母、数字、- 和 _"
    if kind in {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}:
        return _range(shown, detail, model, loc)
    if kind in {"enum", "literal_error"}:
        expected = str(limits.get("expected", "")).replace("'", "")
        return f"{shown}is not one of: {expected}", "", "取值不在允许范围内"
    types_ = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "text",
        "model": "a mapping (key: value)",
        "dict": "a mapping (key: value)",
        "mapping": "a mapping (key: value)",
        "list": "a list (- item)",
        "tuple": "a list (- item)",
    }
    for prefix, wanted in types_.items():
        if kind.startswith(f"{prefix}_") and kind.endswith(
            ("_type", "_parsing", "_attributes_type", "_from_float")
        ):
            quotes = (
                'put it in quotes: "..."'
                if prefix == "string" and not isinstance(detail["input"], (list, dict))
                else ""
            )
            return f"{shown}is not {wanted}", quotes, "值的类型不对"
    return f"{shown}{detail['msg'][:1].lower()}{detail['msg'][1:]}", "", ""


def _range(shown: str, detail: Any, model: type[BaseModel], loc: Path) -> tuple[str, str, str]:
    """Both ends of what is allowed, not only the one that was crossed."""
    low = high = None
    owner = _model_at(model, loc[:-1])
    if owner is not None and loc and loc[-1] in owner.model_fields:
        for limit in owner.model_fields[str(loc[-1])].metadata:
            low = getattr(limit, "ge", low)
            high = getattr(limit, "le", high)
    if low is not None and high is not None:
        return f"{shown}must be between {low} and {high}", "", f"须在 {low} 与 {high} 之间"
    return (
        f"{shown}{detail['msg'].replace('Input should', 'must')}",
        "",
        "超出范围",
    )


def _shown(value: object, loc: Path) -> str:
    """The wrong value in front of the message, unless it is large or may be a secret."""
    if any(isinstance(step, str) and _SECRETIVE.search(step) for step in loc):
        return ""
    if isinstance(value, bool):
        return "true " if value else "false "
    if isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= 60):
        return f"{value!r} "
    return ""


def _keys(model: type[BaseModel], path: Path) -> list[str]:
    owner = _model_at(model, path)
    return [] if owner is None else [field.alias or name for name, field in owner.model_fields.items()]


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model that describes the mapping at `path` inside `model`, or None where that is not one model."""
    here: type[BaseModel] | None = model
    annotation: Any = model
    for step in path:
        if isinstance(step, int):
            arguments = [argument for argument in get_args(_plain(annotation)) if argument is not Ellipsis]
            annotation = arguments[0] if arguments else None
        else:
            if here is None or step not in here.model_fields:
                return None
            annotation = here.model_fields[step].annotation
        plain = _plain(annotation)
        here = plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None
    return here


def _plain(annotation: Any) -> Any:
    """The first branch of an optional or a union that is not None."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return next((branch for branch in get_args(annotation) if branch is not type(None)), None)
    return annotation
