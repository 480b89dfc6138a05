"""The alert desk: gives an alert its id and its grid, and folds repeats into the one that is open.

Pure but for what it remembers; it stores and publishes nothing. Who does gets, with each alert, the message
that announces it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gated.domain import Alert, AlertDraft, Text
from gated.ids import new_id
from gated.outbox import alert_message
from gated.store.records import OutboxMessage

FOLD_WITHIN = timedelta(minutes=10)
"""A repeat within this time of the last one is counted into the same alert; one that lasts, at any time."""

_OPEN_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert as it stands now, and the message that says so. `fold_key`: what it is about."""

    fold_key: str
    alert: Alert
    message: OutboxMessage


class AlertDesk:
    """The open alerts that may still be folded into, by what they are about. `grids`: entrance to grid.
    `default_grid`: for what belongs to no entrance. `known`: all grids of the site."""

    def __init__(self, grids: Mapping[str, str], default_grid: str, known: Iterable[str] = ()) -> None:
        self._open: OrderedDict[str, Alert] = OrderedDict()
        self.configure(grids, default_grid, known)

    def configure(self, grids: Mapping[str, str], default_grid: str, known: Iterable[str] = ()) -> None:
        """Takes the grids of a (new) configuration."""
        self.grids = grids
        self.default_grid = default_grid
        self.known = frozenset(known) | {default_grid, *grids.values()}

    def restore(self, alerts: Iterable[tuple[str, Alert]]) -> None:
        """Takes in the alerts that were open before a restart, by fold key."""
        for key, alert in alerts:
            self._open[key] = alert

    def raised(
        self,
        draft: AlertDraft,
        now: datetime,
        *,
        entrance: str | None = None,
        lane: str | None = None,
        device: str | None = None,
        passage_id: str | None = None,
    ) -> Raised:
        """A new alert, or a repeat of an open one of the same kind about the same thing. Changes nothing:
        call `keep` once it is on disk."""
        known = self._open.get(draft.fold_key)
        if known is not None and (draft.lasting or now - known.updated_at <= FOLD_WITHIN):
            alert = replace(
                known,
                count=known.count + 1,
                updated_at=now,
                text=draft.text,
                passage_id=passage_id or known.passage_id,
            )
            message = alert_message(alert, "update")
        else:
            alert = Alert(
                id=new_id(now),
                grid=self._grid(draft, entrance),
                severity=draft.severity,
                reason=draft.reason,
                text=draft.text,
                state="open",
                raised_at=now,
                updated_at=now,
                lane=lane,
                device=device,
                passage_id=passage_id,
            )
            message = alert_message(alert, "new")
        return Raised(draft.fold_key, alert, message)

    def _grid(self, draft: AlertDraft, entrance: str | None) -> str:
        """Who is told: the grid that the draft asks for, if there is such a one; else the entrance's."""
        if draft.grid == "site":
            return self.default_grid
        if draft.grid is not None and draft.grid in self.known:
            return draft.grid
        return self.grids.get(entrance or "", self.default_grid)

    def about_the_site(self) -> list[tuple[str, Alert]]:
        """The open alerts that belong to no passage, by what they are about."""
        return [(fold_key, alert) for fold_key, alert in self._open.items() if alert.passage_id is None]

    def ended(self, fold_key: str, now: datetime, why: Text | None = None) -> Raised | None:
        """What the alert was about is over (the device is back): closes it, if open. `why`: said with it,
        where it is not simply well again. `keep` as above."""
        known = self._open.get(fold_key)
        if known is None:
            return None
        text = known.text
        if why is not None:
            text = Text(f"{text.zh}已结束：{why.zh}。", f"{text.en} Over: {why.en}.")
        alert = replace(known, state="closed", updated_at=now, text=text)
        return Raised(fold_key, alert, alert_message(alert, "end"))

    def keep(self, raised: Raised) -> None:
        """The alert is on disk as it stands: later repeats fold into it, or it is over."""
        self._open.pop(raised.fold_key, None)
        if raised.alert.state == "open":
            self._open[raised.fold_key] = raised.alert
        while len(self._open) > _OPEN_KEPT:
            self._open.popitem(last=False)
