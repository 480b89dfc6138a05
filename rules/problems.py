"""What is wrong with a policy: which value, what, and what to do about it. Records only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where in the file's structure: `("rules", 3, "when")`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right. `line`, `column`: within the text of the value, from 1, where it has
    several."""

    path: Path
    message: str
    hint: str = ""
    zh: str = ""
    line: int = 1
    column: int = 1


class PolicyRefused(Exception):
    """The policy cannot be used; `problems` holds every reason."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{one.path}: {one.message}" for one in self.problems))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or nothing where nothing is close."""
    near = difflib.get_close_matches(word, list(known), n=2, cutoff=0.55)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""
