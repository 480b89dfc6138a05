"""What the demo shows: counts, and a live table of the lanes for people who watch a terminal."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text as Line

from gated.domain import BarrierPosition, Decision, Disposition, LaneMode, OpeningOutcome, Outcome, Passage
from gated.status import LaneStatus

_COLOURS = {Outcome.GRANT: "green", Outcome.REFER: "yellow", Outcome.DENY: "red"}
_WORDS = {Outcome.GRANT: "放行 grant", Outcome.REFER: "核验 refer", Outcome.DENY: "拒绝 deny"}
_OPENED = (OpeningOutcome.ACCEPTED, OpeningOutcome.CONFIRMED)
_KEPT = 100_000


@dataclass(slots=True)
class Tally:
    """Counts what happens: `gated.lane.path.Observer`. `seconds`: from read to durable record, the latest."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    openings: Counter[OpeningOutcome] = field(default_factory=Counter)
    reads: Counter[Disposition] = field(default_factory=Counter)
    alerts: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    latest: dict[str, tuple[Passage, Decision]] = field(default_factory=dict)
    recent: deque[tuple[Passage, Decision]] = field(default_factory=lambda: deque(maxlen=8))

    def passage(self, passage: Passage, decision: Decision, seconds: float) -> None:
        self.outcomes[decision.outcome] += 1
        self.alerts += len(decision.alerts)
        self.seconds.append(seconds)
        self.latest[passage.lane] = (passage, decision)
        if decision.outcome is not Outcome.GRANT:
            self.recent.appendleft((passage, decision))

    def opening(self, lane: str, outcome: OpeningOutcome) -> None:
        self.openings[outcome] += 1

    def other_read(self, disposition: Disposition) -> None:
        self.reads[disposition] += 1

    @property
    def opened(self) -> int:
        return sum(self.openings[outcome] for outcome in _OPENED)

    def p99_ms(self) -> float:
        """99 of 100 decisions were on disk within this time; 0 before the first."""
        if not self.seconds:
            return 0.0
        ordered = sorted(self.seconds)
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 3)

    def summary(self, mqtt_delivered: int) -> dict[str, object]:
        """The last line of `gated demo --json`."""
        return {
            "passages": self.outcomes.total(),
            "granted": self.outcomes[Outcome.GRANT],
            "referred": self.outcomes[Outcome.REFER],
            "denied": self.outcomes[Outcome.DENY],
            "openings": self.opened,
            "alerts": self.alerts,
            "mqtt_delivered": mqtt_delivered,
            "decision_p99_ms": self.p99_ms(),
        }


class Screen:
    """Renders the village now; rich calls it some times a second."""

    def __init__(
        self,
        tally: Tally,
        statuses: Callable[[], list[LaneStatus]],
        names: Mapping[str, str],
        header: Callable[[], str],
    ) -> None:
        self._tally = tally
        self._statuses = statuses
        self._names = names
        self._header = header

    def __rich__(self) -> RenderableType:
        return Group(self._counts(), self._lanes(), self._refusals(), Line(self._header(), style="dim"))

    def _counts(self) -> Line:
        tally = self._tally
        parts = [f"通行 {tally.outcomes.total()}"]
        parts += [f"{_WORDS[outcome]} {tally.outcomes[outcome]}" for outcome in Outcome]
        parts += [f"开闸 opened {tally.opened}", f"告警 alerts {tally.alerts}", f"p99 {tally.p99_ms()} ms"]
        return Line("   ".join(parts), style="bold")

    def _lanes(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
        for title, width in (("通道 lane", 22), ("车牌", 10), ("判定", 12), ("道闸", 9)) * 2:
            table.add_column(title, min_width=width, no_wrap=True)
        rows = [self._lane(status) for status in self._statuses()]
        half = (len(rows) + 1) // 2
        empty: list[Line | str] = [""] * 4
        for left, right in zip_longest(rows[:half], rows[half:], fillvalue=empty):
            table.add_row(*left, *right)
        return table

    def _lane(self, status: LaneStatus) -> list[Line | str]:
        name = f"{self._names.get(status.entrance, status.entrance)} {status.id}"
        latest = self._tally.latest.get(status.id)
        if latest is None:
            return [name, "", "", self._barrier(status)]
        passage, decision = latest
        credential = passage.read.credential
        plate = credential.value if credential else "—"
        outcome = Line(_WORDS[decision.outcome], style=_COLOURS[decision.outcome])
        return [name, plate, outcome, self._barrier(status)]

    def _barrier(self, status: LaneStatus) -> Line:
        if status.mode is not LaneMode.NORMAL:
            return Line(status.mode.value, style="red")
        if status.position is BarrierPosition.UNKNOWN:
            return Line("·", style="dim")
        return Line(status.position.value, style="cyan")

    def _refusals(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        for passage, decision in list(self._tally.recent)[:5]:
            table.add_row(
                Line(passage.lane, style="dim"),
                Line(decision.explanation.zh, style=_COLOURS[decision.outcome]),
            )
        return table
