"""What `gated check` found, for a person: a line for each thing, by state, then the sum and what to do.

Good news first, so that what needs somebody is last and in sight. What to do is said once for each kind of
trouble: when the switch of 24 cameras is off, that is one walk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from gated.check import Result, State

_WORDS = {
    State.OK: ("green", "ok 正常"),
    State.WAITING: ("cyan", "waiting 等待"),
    State.WARNING: ("yellow", "warning 注意"),
    State.OFFLINE: ("red", "offline 离线"),
    State.REFUSED: ("red", "refused 拒绝"),
    State.MISCONFIGURED: ("red", "misconfigured 配置错误"),
    State.FAILED: ("red", "failed 故障"),
}
_TOLD_WHOLE = frozenset({State.WARNING, State.REFUSED, State.MISCONFIGURED, State.FAILED})
"""Of a device in another state one line is enough: there may be many, and their first words tell."""

_PART, _SUBJECT = 11, 22  # columns; a longer subject has a line of its own


class Findings:
    """Prints results on a console. Where nobody watches (a file, a pipe) lines are as long as they are."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = console.width if console.is_terminal else None

    def print(self, results: Sequence[Result]) -> None:
        """All of it."""
        for state in _WORDS:
            of_state = [result for result in results if result.state is state]
            if of_state:
                self._section(state, of_state)
        counts = Counter(result.state for result in results)
        self._what_to_do(results)
        self._sum(counts, sum(result.problem for result in results))

    def _section(self, state: State, results: Sequence[Result]) -> None:
        style, words = _WORDS[state]
        self._line(Text(f"{words}: {len(results)}", style=f"bold {style}"))
        subject = min(_SUBJECT, max(cell_len(result.subject) for result in results))
        for result in results:
            whole = state in _TOLD_WHOLE or result.part != "device"
            head = f"  {set_cell_size(result.part, _PART - 2)}{result.subject}"
            edge = _PART + subject + 2
            if cell_len(head) > edge - 2:
                self._row("", head, whole=True)
                head, edge = "", _PART
            self._row(set_cell_size(head, edge), result.message, whole=whole)
            if chinese := result.details.get("zh"):
                self._row(" " * edge, chinese, whole=True)
            if result.hint and not result.advice and state is not State.OK:
                self._row(" " * _PART + "-> ", result.hint, whole=True, style="bold")
        self._line(Text())

    def _what_to_do(self, results: Iterable[Result]) -> None:
        """For each kind of trouble that many may share; what only one has, it says itself."""
        kinds = Counter((result.state, result.part, result.advice) for result in results if result.advice)
        if not kinds:
            return
        self._line(Text("what to do 怎么办", style="bold"))
        for (state, part, advice), count in kinds.items():
            style, words = _WORDS[state]
            self._line(Text(f"  {part}, {words}: {count}", style=style))
            for said in (advice.zh, advice.en):
                self._row("    ", said, whole=True)
        self._line(Text())

    def _sum(self, counts: Counter[State], problems: int) -> None:
        each = ", ".join(f"{counts[state]} {state.value}" for state in _WORDS if counts[state])
        said, style = f"No problem ({each}). 检查通过。", "green"
        if problems:
            count = "1 problem" if problems == 1 else f"{problems} problems"
            said, style = f"{count} ({each}). 有问题需要处理。", "red"
        self._row("", said, whole=True, style=style)

    # --- lines ------------------------------------------------------------------------------------------

    def _row(self, head: str, text: str, *, whole: bool, style: str = "") -> None:
        """`text` behind `head`: folded below itself if it must be told whole, else cut off at the edge."""
        indent = head
        for line in self._fitted(text, cell_len(head), whole=whole):
            self._line(Text(indent + line, style=style))
            indent = " " * cell_len(head)

    def _fitted(self, text: str, used: int, *, whole: bool) -> Iterator[str]:
        if self._width is None:
            yield text
            return
        room = max(20, self._width - used)
        if whole:
            for line in Text(text).wrap(self._console, room):
                yield line.plain.rstrip()
            return
        line = Text(text)
        line.truncate(room, overflow="ellipsis")
        yield line.plain

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
