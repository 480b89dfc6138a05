"""What the check found: one record for each thing that was looked at, with words for the operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gated.domain import Text


class State(StrEnum):
    """What became of one thing.

    OFFLINE: nobody answers. REFUSED: it answers and says no (credentials, permission). MISCONFIGURED: what
    gated.yaml says cannot work. FAILED: something else is wrong with it. WAITING: it comes to us, and has not
    yet. The last four but WAITING are problems; WARNING works, but not for ever.
    """

    OK = "ok"
    WARNING = "warning"
    WAITING = "waiting"
    OFFLINE = "offline"
    REFUSED = "refused"
    MISCONFIGURED = "misconfigured"
    FAILED = "failed"


PROBLEMS = frozenset({State.OFFLINE, State.REFUSED, State.MISCONFIGURED, State.FAILED})


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the report. `part`: config, secrets, policy, clock, install, store, broker, http or device;
    `subject`: which one of them; `hint`: what to do; `details`: what it said of itself, or
    `zh`, the message in Chinese; `advice`: the hint in words that fit all results of its kind, for a report
    that says it once for many devices."""

    part: str
    subject: str
    state: State
    message: str
    hint: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    advice: Text | None = None

    @property
    def problem(self) -> bool:
        """Whether the check fails because of it."""
        return self.state in PROBLEMS

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "part": self.part,
            "subject": self.subject,
            "state": self.state.value,
            "problem": self.problem,
            "message": self.message,
            "hint": self.hint,
            "details": dict(self.details),
        }
