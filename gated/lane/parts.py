"""What the lanes work with: the store, the passes, the rules, the devices, whoever counts and who tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from gated.alerts import AlertDesk
from gated.clocks import BoxClock
from gated.domain import AlertDraft, Decision, Disposition, OpeningOutcome, Passage
from gated.passbook import Passbook
from gated.store.records import OpeningRecord, PassageRecord, ReadRecord
from rules import Policy, Surroundings
from rules.memory import Memory


class Recorder(Protocol):
    """What a lane needs of the store. `NotRecorded` is raised at once, or when the result is awaited."""

    def record(self, record: PassageRecord) -> Awaitable[None]: ...
    def record_read(self, record: ReadRecord) -> Awaitable[None]: ...
    def record_opening(self, record: OpeningRecord) -> Awaitable[None]: ...


class Observer(Protocol):
    """Who counts what happens (metrics, the demo's table). Called on the event loop; must be quick."""

    def passage(self, passage: Passage, decision: Decision, seconds: float) -> None: ...
    def opening(self, lane: str, outcome: OpeningOutcome) -> None: ...
    def other_read(self, disposition: Disposition) -> None: ...


class RaiseAlert(Protocol):
    """Stores and announces an alert that belongs to no passage; returns at once."""

    def __call__(
        self,
        draft: AlertDraft,
        *,
        entrance: str | None = None,
        lane: str | None = None,
        device: str | None = None,
    ) -> None: ...


@dataclass(slots=True)
class Parts:
    """What all lanes share. `policy` (in force), `shadow` (only compared) and the passbook are replaced in
    place. `memory` is told of every passage; `site` answers what rules ask of the site. `refresh` brings the
    passbook up to the store; `find` gives a device that can be commanded now; `end_alert` ends what a fold
    key is about."""

    recorder: Recorder
    passbook: Passbook
    policy: Policy
    memory: Memory
    site: Surroundings
    desk: AlertDesk
    clock: BoxClock
    find: Callable[[str], object | None]
    refresh: Callable[[], Awaitable[object]]
    raise_alert: RaiseAlert
    end_alert: Callable[[str], None]
    observer: Observer
    shadow: Policy | None = None
