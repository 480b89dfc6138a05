"""How the command line speaks: data to standard output, one clear error with what to do to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn


class Failed(Exception):
    """A command could not do its work; the message is for the operator. `code`: the exit code."""

    def __init__(self, message: str, hint: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


CONFIG, STORE = 3, 4


def fail(message: str, hint: str = "", code: int = 1) -> NoReturn:
    """Ends the command."""
    raise Failed(message, hint, code)


def data(facts: object, text: str, *, as_json: bool) -> None:
    """The result of a command: one JSON value on one line, or `text`."""
    sys.stdout.write((json.dumps(facts, ensure_ascii=False) if as_json else text) + "\n")
    sys.stdout.flush()


def error(message: str, hint: str = "") -> None:
    """`gated: message`, and what to do."""
    sys.stderr.write(f"gated: {message}\n" + (f"  -> {hint}\n" if hint else ""))


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as aligned text; Chinese characters are two columns wide."""
    cells = [list(columns), *([str(row.get(name, "") or "") for name in columns] for row in rows)]
    widths = [max(_width(line[number]) for line in cells) for number in range(len(columns))]
    return "\n".join(
        "  ".join(cell + " " * (widths[number] - _width(cell)) for number, cell in enumerate(line)).rstrip()
        for line in cells
    )


def _width(text: str) -> int:
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
