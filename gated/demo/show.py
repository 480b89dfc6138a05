"""What the demo shows: counts, and a live table of the lanes for people who watch a terminal."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text as Line

from gated.domain import BarrierPosition, Decision, Disposition, LaneMode, OpeningOutcome, Outcome, Passage
from gated.status import LaneStatus

_COLOURS = {Outcome.GRANT: "green", Outcome.REFER: "yellow", Outcome.DENY: "red"}
_WORDS = {Outcome.GRANT: ("放行", "grant"), Outcome.REFER: ("核验", "refer"), Outcome.DENY: ("拒绝", "deny")}
_POSITIONS = {
    BarrierPosition.OPEN: ("开", "open"),
    BarrierPosition.CLOSED: ("关", "closed"),
    BarrierPosition.MOVING: ("动", "moving"),
}
_MODES = {
    LaneMode.HELD_OPEN: ("常开", "held"),
    LaneMode.CLOSED: ("停用", "closed"),
    LaneMode.FAULT: ("故障", "fault"),
}
_BOTH_LANGUAGES_FROM = 114  # columns; in fewer there is room for the Chinese words only
_REFUSALS = 5  # shown at most
_OPENED = (OpeningOutcome.ACCEPTED, OpeningOutcome.CONFIRMED)
_KEPT = 100_000


@dataclass(slots=True)
class Tally:
    """Counts what happens: `gated.lane.Observer`. `seconds`: from read to durable record, the latest."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    openings: Counter[OpeningOutcome] = field(default_factory=Counter)
    reads: Counter[Disposition] = field(default_factory=Counter)
    alerts: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    latest: dict[str, tuple[Passage, Decision]] = field(default_factory=dict)
    recent: deque[tuple[Passage, Decision]] = field(default_factory=lambda: deque(maxlen=_REFUSALS))

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


@dataclass(frozen=True, slots=True)
class Delivery:
    """What has come out of MQTT: passages, steps of alerts, each counted once. `away`: the broker is."""

    passages: int
    alerts: int
    away: bool


class Screen:
    """Renders the village now; rich calls it some times a second. It fits into 80 columns and 24 lines."""

    def __init__(
        self,
        tally: Tally,
        statuses: Callable[[], list[LaneStatus]],
        names: Mapping[str, str],
        delivery: Callable[[], Delivery],
    ) -> None:
        self._tally = tally
        self._statuses = statuses
        self._names = names
        self._delivery = delivery

    def line(self) -> str:
        """Everything in a line, for where nobody watches."""
        tally, delivery = self._tally, self._delivery()
        outcomes = "  ".join(f"{outcome.value} {count}" for outcome, count in sorted(tally.outcomes.items()))
        total = tally.outcomes.total()
        away = "  消息中断 broker away" if delivery.away else ""
        return (
            f"通行 passages {total}  {outcomes}  开闸 opened {tally.opened}  p99 {tally.p99_ms()} ms  "
            f"MQTT {delivery.passages}/{total}{away}"
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        both = options.max_width >= _BOTH_LANGUAGES_FROM
        statuses = self._statuses()
        room = options.size.height - (len(statuses) + 1) // 2 - 8  # the rest: counts, headings, blank lines
        yield self._counts(both=both)
        yield self._delivered(both=both)
        yield self._lanes(statuses, both=both)
        yield ""
        yield self._refusals(max(1, min(_REFUSALS, room)), both=both)

    def _counts(self, *, both: bool) -> Line:
        tally = self._tally
        parts = [(("通行", "passages"), str(tally.outcomes.total()))]
        parts += [(_WORDS[outcome], str(tally.outcomes[outcome])) for outcome in Outcome]
        parts += [(("开闸", "opened"), str(tally.opened)), (("告警", "alerts"), str(tally.alerts))]
        shown = [f"{_say(words, both=both)} {count}" for words, count in parts]
        return Line("   ".join([*shown, f"p99 {tally.p99_ms():.1f} ms"]), style="bold", no_wrap=True)

    def _delivered(self, *, both: bool) -> Line:
        delivery, total = self._delivery(), self._tally.outcomes.total()
        shown = _say(("送达", "delivered"), both=both)
        line = Line(f"MQTT {shown} {delivery.passages}/{total}", style="dim", no_wrap=True)
        line.append(f"   {_say(('告警消息', 'alert messages'), both=both)} {delivery.alerts}")
        if delivery.away:
            waiting = max(0, total - delivery.passages)
            words = ("消息中断，待发", "broker away, waiting")
            line.append(f"   {_say(words, both=both)} {waiting}", style="not dim red")
        return line

    def _lanes(self, statuses: list[LaneStatus], *, both: bool) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1 if both else 0), pad_edge=False)
        for title in ("通道", "车牌", "判定", "道闸") * 2:
            table.add_column(title, no_wrap=True)
        rows = [self._lane(status, both=both) for status in statuses]
        widest = max((cell_len(str(row[0])) for row in rows), default=0)
        for column, width in enumerate((widest, 9, *((10, 9) if both else (4, 4))) * 2):
            table.columns[column].min_width = width  # so that nothing jumps
        half = (len(rows) + 1) // 2
        empty: list[Line | str] = [""] * 4
        for left, right in zip_longest(rows[:half], rows[half:], fillvalue=empty):
            table.add_row(*left, *right)
        return table

    def _lane(self, status: LaneStatus, *, both: bool) -> list[Line | str]:
        name = f"{self._names.get(status.entrance, status.entrance)} {status.id}"
        barrier = self._barrier(status, both=both)
        latest = self._tally.latest.get(status.id)
        if latest is None:
            return [name, "", "", barrier]
        passage, decision = latest
        credential = passage.read.credential
        plate = credential.value if credential else "—"
        outcome = Line(_say(_WORDS[decision.outcome], both=both), style=_COLOURS[decision.outcome])
        return [name, plate, outcome, barrier]

    def _barrier(self, status: LaneStatus, *, both: bool) -> Line:
        if status.mode in _MODES:
            return Line(_say(_MODES[status.mode], both=both), style="red")
        if status.position in _POSITIONS:
            return Line(_say(_POSITIONS[status.position], both=both), style="cyan")
        return Line("·", style="dim")  # nothing tells where this boom is

    def _refusals(self, count: int, *, both: bool) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        for passage, decision in list(self._tally.recent)[:count]:
            cells = [Line(passage.lane, style="dim")]
            if both:
                cells.append(Line(decision.reason, style="dim"))
            cells.append(Line(decision.explanation.zh, style=_COLOURS[decision.outcome], no_wrap=True))
            table.add_row(*cells)
        return table


def _say(words: tuple[str, str], *, both: bool) -> str:
    return " ".join(words) if both else words[0]
