"""What is wrong with a configuration: where, what, and what to do about it.

Records only: no reading of files, no rules of its own. A message never holds the value of a secret.
"""

from __future__ import annotations

from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where in the file's structure: `("lanes", 3, "pulse_ms")`."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; both count from 1, as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right. `path` is dotted (`lanes[3].pulse_ms`), empty for the file as a whole; `zh` is
    the message for a person who reads no English."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    zh: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        head = f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"
        extra = "".join(f"\n    {text}" for text in (self.zh, f"-> {self.hint}" if self.hint else "") if text)
        return head + extra

    def as_dict(self) -> dict[str, str | int]:
        """For `--json`."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
            "zh": self.zh,
        }


class ConfigErrors(Exception):
    """The configuration cannot be used; `problems` holds every reason, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            sorted(problems, key=lambda found: (found.file, found.line, found.column, found.path))
        )
        super().__init__("\n".join(map(str, self.problems)))


class UnknownDeviceType(LookupError):
    """No adapter has this name. Raised by the `load_adapter` that is given to `load`; `known` are those there
    are, for the hint."""

    def __init__(self, type_: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(f"no adapter is called {type_!r}")
        self.type = type_
        self.known = known


def dotted(path: Path) -> str:
    """`("lanes", 3, "pulse_ms")` as `lanes[3].pulse_ms`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text
