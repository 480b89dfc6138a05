"""YAML text to plain data that remembers where each value stood.

A configuration is written by people and sometimes by programs, so it is read strictly: duplicate keys, tags
and more than one document are refused; only `true` and `false` are booleans (`no`, `on`, `12:30` stay
words); anchors and merge keys work, but what they unfold to is bounded, as are size and depth. Built on the
parser's events rather than on its constructors, so nothing in the file can make Python objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from gated.config.errors import ConfigErrors, Mark, Path, Problem

MAX_BYTES = 2 * 1024 * 1024
MAX_DEPTH = 24
MAX_VALUES = 200_000
"""Values after aliases are unfolded: a district's file has about 20,000."""

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})


@dataclass(slots=True)
class Source:
    """A file as plain data. `marks` holds the place of every value, and of every key under its own path."""

    name: str
    data: Any
    marks: dict[Path, Mark] = field(default_factory=dict)

    def mark(self, path: Path) -> Mark:
        """Where `path` stands, or the nearest thing around it that is in the file."""
        for length in range(len(path), -1, -1):
            found = self.marks.get(path[:length])
            if found is not None:
                return found
        return Mark(1, 1)


@dataclass(slots=True)
class _Node:
    mark: Mark
    scalar: Any = None
    items: list[_Node] | None = None
    pairs: dict[str, tuple[Mark, _Node]] | None = None  # a key's place and its value
    merges: list[tuple[Mark, _Node]] = field(default_factory=list)  # what `<<` named


class _Refused(Exception):
    def __init__(self, mark: Mark, message: str, hint: str = "", zh: str = "") -> None:
        super().__init__(message)
        self.mark, self.message, self.hint, self.zh = mark, message, hint, zh


def read(path: FilePath) -> Source:
    """The file as a `Source`. Raises ConfigErrors if it cannot be read or is not one YAML mapping."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        hint = "check the path given with -c, and that the user who runs gated may read it"
        raise ConfigErrors([Problem(str(path), 1, 1, "", message, hint, "无法读取配置文件")]) from error
    return parse(raw, str(path))


def parse(raw: bytes, name: str) -> Source:
    """YAML in UTF-8 as a `Source`; `name` is the file's name for messages. Raises ConfigErrors."""
    if len(raw) > MAX_BYTES:
        message = f"is larger than {MAX_BYTES // 1024 // 1024} MiB: this is no gated configuration"
        raise ConfigErrors([Problem(name, 1, 1, "", message)])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = Problem(name, line, 1, "", "is not UTF-8", "save the file as UTF-8", "文件须保存为 UTF-8")
        raise ConfigErrors([problem]) from error
    try:
        root = _compose(text)
        if root.pairs is None:
            raise _Refused(root.mark, "must be a mapping of sections (site:, lanes:, devices: ...)")
        return _unfold(root, name)
    except _Refused as refused:
        found = Problem(
            name, refused.mark.line, refused.mark.column, "", refused.message, refused.hint, refused.zh
        )
        raise ConfigErrors([found]) from refused
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        hint = "check the indentation (spaces, no tabs), the colons and the quotes around this line"
        problem = Problem(
            name, place.line, place.column, "", f"not valid YAML: {what}", hint, "YAML 格式错误"
        )
        raise ConfigErrors([problem]) from error


def _place(event: yaml.Event) -> Mark:
    mark: Any = event.start_mark
    return Mark(mark.line + 1, mark.column + 1)


def _compose(text: str) -> _Node:
    """The one document of `text` as nodes; an alias is the very node that its anchor named."""
    anchors: dict[str, _Node] = {}
    events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
    root: _Node | None = None
    for event in events:
        if isinstance(event, (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent)):
            continue
        if isinstance(event, yaml.DocumentStartEvent):
            if root is not None:
                raise _Refused(_place(event), "a second document (---) in one file")
            continue
        root = _node(event, events, anchors, 0)
    if root is None:
        raise _Refused(
            Mark(1, 1), "the file is empty", "start from deploy/sites/minimal/gated.yaml", "文件为空"
        )
    return root


def _node(event: yaml.Event, events: Iterator[yaml.Event], anchors: dict[str, _Node], depth: int) -> _Node:
    mark = _place(event)
    if depth > MAX_DEPTH:
        raise _Refused(mark, f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(event, yaml.AliasEvent):
        known = anchors.get(str(event.anchor))
        if known is None:
            raise _Refused(mark, f"*{event.anchor} refers to an anchor that is not defined above it")
        return known
    tag = getattr(event, "tag", None)
    if tag is not None and tag != "!":
        hint = f'a text that begins with ! stands in quotes: "{tag} ..."; tags are not used here'
        raise _Refused(mark, f"the tag {tag} is not allowed here", hint, "以 ! 开头的内容须加双引号")
    node = _Node(mark)
    if isinstance(event, yaml.ScalarEvent):
        node.scalar = _scalar(event, mark)
    elif isinstance(event, yaml.SequenceStartEvent):
        node.items = []
        while not isinstance(inner := next(events), yaml.SequenceEndEvent):
            node.items.append(_node(inner, events, anchors, depth + 1))
    else:
        _fill(node, events, anchors, depth)
    # Registered after its content: a node that holds itself is thereby an unknown alias, not an endless loop.
    anchor = getattr(event, "anchor", None)
    if anchor is not None:
        anchors[anchor] = node
    return node


def _fill(node: _Node, events: Iterator[yaml.Event], anchors: dict[str, _Node], depth: int) -> None:
    """The pairs of a mapping whose start was just read."""
    node.pairs = {}
    while not isinstance(inner := next(events), yaml.MappingEndEvent):
        place = _place(inner)
        key = _key(_node(inner, events, anchors, depth + 1))
        value = _node(next(events), events, anchors, depth + 1)
        if key == "<<":
            node.merges.append((place, value))
        elif key in node.pairs:
            first = node.pairs[key][0].line
            message = f"{key!r} is given twice; the first is in line {first}"
            raise _Refused(place, message, "keep one of them", f"键 {key!r} 重复")
        else:
            node.pairs[key] = (place, value)


def _key(node: _Node) -> str:
    if node.items is not None or node.pairs is not None:
        raise _Refused(node.mark, "a key must be a plain word")
    if isinstance(node.scalar, str):
        return node.scalar
    raise _Refused(node.mark, f"the key {node.scalar!r} must be a word", 'put it in quotes: "..."')


def _scalar(event: yaml.ScalarEvent, mark: Mark) -> Any:
    value: str = event.value
    if not event.implicit[0]:  # quoted or block text is always text
        return value
    if value in _NULL:
        return None
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    if _INTEGER.fullmatch(value):
        if len(value) > 20:
            raise _Refused(mark, "a number with more than 20 digits", "put it in quotes if it is an id")
        # A leading zero is an id (an extension, a serial number), not a number.
        return value if re.fullmatch(r"[-+]?0[0-9]+", value) else int(value)
    if _FLOAT.fullmatch(value):
        return float(value)
    return value


def _unfold(root: _Node, name: str) -> Source:
    source = Source(name, None)
    source.data = _Unfold(source).visit(root, ())
    return source


class _Unfold:
    """Nodes to plain data, with one budget for everything that aliases and merges multiply."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = MAX_VALUES

    def visit(self, node: _Node, path: Path) -> Any:
        self._spend(node.mark, 1)
        if len(path) > MAX_DEPTH:
            raise _Refused(node.mark, f"nested more than {MAX_DEPTH} levels deep")
        marks = self._source.marks
        marks.setdefault(path, node.mark)
        if node.items is not None:
            return [self.visit(item, (*path, index)) for index, item in enumerate(node.items)]
        if node.pairs is not None:
            found = {}
            for key, (place, value) in self._merged(node, 0).items():
                # A key's own place: a misspelt key is shown where it stands, not where its value is.
                marks[(*path, key)] = place
                found[key] = self.visit(value, (*path, key))
            return found
        return node.scalar

    def _spend(self, mark: Mark, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise _Refused(mark, f"aliases unfold to more than {MAX_VALUES} values")

    def _merged(self, node: _Node, depth: int) -> dict[str, tuple[Mark, _Node]]:
        """A mapping's pairs with `<<` resolved: its own keys win, then the merged mappings in order."""
        assert node.pairs is not None  # noqa: S101 - only called for mappings
        if not node.merges:
            return node.pairs
        if depth > MAX_DEPTH:
            raise _Refused(node.mark, f"merged more than {MAX_DEPTH} levels deep")
        result = dict(node.pairs)
        for place, value in node.merges:
            for merged in [value] if value.items is None else value.items:
                if merged.pairs is None:
                    raise _Refused(place, "<< must name a mapping: <<: *anchor")
                inherited = self._merged(merged, depth + 1)
                self._spend(place, len(inherited) + 1)
                for key, pair in inherited.items():
                    result.setdefault(key, pair)
        return result
