"""All lanes of the site: who gets which event, and what the API and MQTT may do with a lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import structlog

from gated.alerts import lane_held_open, reads_late, tampered
from gated.domain import (
    BarrierPosition,
    Candidate,
    Credential,
    CredentialKind,
    Decision,
    DeviceEvent,
    Disposition,
    InputChanged,
    Observed,
    PositionChanged,
    Read,
)
from gated.lane.collect import FUTURE
from gated.lane.parts import Parts
from gated.lane.path import Lane
from gated.lane.settings import LaneSettings
from gated.passbook import Seen
from gated.ports import Handled, Opened
from gated.status import LaneStatus
from gated.store.records import OpeningRecord, ReadRecord

log = structlog.get_logger()

_INPUTS_MOST = 10_000
_TAMPER = frozenset({"tamper", "dark", "scene_change", "door_tamper", "door_forced"})


class Lanes:
    """The lanes by id, and the routes from devices to them. `changed` gets the id of a lane whose shown
    state may have changed."""

    def __init__(
        self, settings: Iterable[LaneSettings], parts: Parts, changed: Callable[[str], None]
    ) -> None:
        self.parts = parts
        self._changed = changed
        self._lanes: dict[str, Lane] = {}
        self._gone: list[Lane] = []
        """Lanes of an earlier configuration that have not ended what they began."""
        self._readers: dict[tuple[str, str | None], Lane] = {}
        self._concerned: dict[str, list[Lane]] = {}
        """By device: the lanes that it opens, or that it tells something of beside reads."""
        self._in_time: set[str] = set()
        """Devices whose latest read was of its moment: no alert says otherwise any more."""
        self._inputs: dict[tuple[str, str], bool] = {}
        """Every input as it was last reported: a new configuration may be the first to ask."""
        self.configure(settings)

    def configure(self, settings: Iterable[LaneSettings]) -> None:
        """Takes the lanes of a (new) configuration. Those that stay keep what is at them; those that are gone
        end what they have begun."""
        lanes: dict[str, Lane] = {}
        for one in settings:
            lane = self._lanes.get(one.id)
            if lane is None:
                lane = Lane(one, self.parts, self._changed)
                self._look_for_fire(lane)
            elif lane.settings != one:
                before = lane.settings.fire
                lane.reconfigure(one)
                if one.fire != before:
                    self._look_for_fire(lane)
            lanes[one.id] = lane
        gone = [lane for lane_id, lane in self._lanes.items() if lane_id not in lanes]
        self._gone = [lane for lane in (*self._gone, *gone) if lane.busy]
        self._lanes = lanes
        self._readers = {reader: lane for lane in lanes.values() for reader in lane.settings.readers}
        self._concerned = {}
        for lane in lanes.values():
            for device in lane.settings.devices:
                self._concerned.setdefault(device, []).append(lane)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    # --- events -----------------------------------------------------------------------------------------

    async def handle(self, event: DeviceEvent, at: datetime) -> Handled:
        """Takes in one event of a device; `at` is its corrected time. Raises `NotRecorded`."""
        if isinstance(event, Read):
            return await self._read(event, at)
        if isinstance(event, InputChanged):
            self._input(event)
        elif isinstance(event, PositionChanged):
            self._position(event)
        elif isinstance(event, Observed):
            self._observed(event)
        return Handled()

    async def _read(self, read: Read, at: datetime) -> Handled:
        lane = self._readers.get((read.device, read.channel)) or self._readers.get((read.device, None))
        if lane is None:
            await self.parts.recorder.record_read(
                ReadRecord(read=read, disposition=Disposition.UNROUTED, lane=None, passage_id=None, at=at)
            )
            self.parts.observer.other_read(Disposition.UNROUTED)
            return Handled()
        handled = await lane.handle(read, at)
        if handled.passage_id is not None and not read.backlog and read.device_time is not None:
            age = read.received_at - at
            if not FUTURE <= age <= lane.settings.max_age:
                self._in_time.discard(read.device)
                draft = reads_late(read.device, age.total_seconds())
                self.parts.raise_alert(draft, entrance=lane.settings.entrance, device=read.device)
            elif read.device not in self._in_time:
                self._in_time.add(read.device)
                self.parts.end_alert(reads_late(read.device, 0).fold_key)
        return handled

    def _position(self, event: PositionChanged) -> None:
        for lane in self._concerned.get(event.device, ()):
            control, barrier, source = lane.control, lane.settings.barrier, lane.settings.position
            if control is None or barrier is None:
                continue
            device, output = (source.device, source.output) if source else (barrier.device, barrier.output)
            if event.device == device and event.output in (None, output):
                control.position_reported(event.position)

    def _input(self, event: InputChanged) -> None:
        key = (event.device, event.input)
        if key in self._inputs or len(self._inputs) < _INPUTS_MOST:
            self._inputs[key] = event.active
        for lane in self._concerned.get(event.device, ()):
            presence, source, fire = lane.settings.presence, lane.settings.position, lane.settings.fire
            if presence is not None and (presence.device, presence.input) == key:
                lane.presence(event.active is not presence.inverted)
            if lane.control is not None and source is not None and (source.device, source.input) == key:
                is_open = event.active is not source.inverted
                lane.control.position_reported(BarrierPosition.OPEN if is_open else BarrierPosition.CLOSED)
            if fire is not None and (fire.device, fire.input) == key:
                active = event.active is not fire.inverted
                self._fire(lane, active=active)
                if not active:
                    self.parts.end_alert(lane_held_open(lane.settings.id).fold_key)
        for lane in self._gone:
            fire = lane.settings.fire
            if fire is not None and (fire.device, fire.input) == key:
                lane.openings.fire(event.active is not fire.inverted)

    def _fire(self, lane: Lane, *, active: bool) -> None:
        settings = lane.settings
        if active and not lane.held_open:
            log.warning("held_open", lane=settings.id)
            self.parts.raise_alert(lane_held_open(settings.id), entrance=settings.entrance, lane=settings.id)
        lane.openings.fire(active)

    def _look_for_fire(self, lane: Lane) -> None:
        """A lane was configured: its fire input may be active already, or another one now."""
        fire = lane.settings.fire
        known = None if fire is None else self._inputs.get((fire.device, fire.input))
        active = fire is not None and known is (not fire.inverted)
        if lane.held_open and not active:
            self.parts.end_alert(lane_held_open(lane.settings.id).fold_key)
        self._fire(lane, active=active)

    def _observed(self, event: Observed) -> None:
        if event.what in _TAMPER and event.active and not event.initial:
            lane = next(
                (
                    one
                    for one in self._lanes.values()
                    if any(device == event.device for device, _ in one.settings.readers)
                ),
                None,
            )
            self.parts.raise_alert(
                tampered(event.device, event.what),
                entrance=lane.settings.entrance if lane else None,
                lane=lane.settings.id if lane else None,
                device=event.device,
            )

    # --- devices come and go ----------------------------------------------------------------------------

    def device_online(self, device: str) -> None:
        """A device is connected: lanes that it opens leave fault."""
        for lane in self._concerned.get(device, ()):
            if lane.control is not None and lane.control.settings.device == device:
                lane.control.device_returned()

    def device_offline(self, device: str, why: str) -> None:
        """A device is away: what it reported is no longer known. A lane held open by its fire input stays
        so until the device says otherwise: releasing it would command a barrier during a fire."""
        for lane in self._concerned.get(device, ()):
            control, settings = lane.control, lane.settings
            if settings.presence is not None and settings.presence.device == device:
                lane.presence(None)
            if control is None:
                continue
            if control.settings.device == device:
                control.device_lost(f"{device}: {why}")
                control.position_lost()
            if settings.position is not None and settings.position.device == device:
                control.position_lost()

    # --- for people -------------------------------------------------------------------------------------

    def statuses(self) -> list[LaneStatus]:
        """Every lane now, in the order of the configuration."""
        return [lane.status() for lane in self._lanes.values()]

    def status(self, lane: str) -> LaneStatus:
        """One lane now; KeyError if there is none of this id."""
        return self._lanes[lane].status()

    async def override(self, lane: str, *, person: str, reason: str) -> OpeningRecord:
        """A named person opens by hand. KeyError on an unknown lane; `NotRecorded` where it cannot be
        recorded, and then nothing was sent."""
        return await self._lanes[lane].openings.by_hand(person, reason)

    def decide(
        self, lane: str, credential: Credential, confidence: float | None, at: datetime
    ) -> tuple[Decision, list[Candidate]]:
        """The dry run of a decision, and the passes that it was about, exact or near; KeyError on an unknown
        lane."""
        decision, exact = self._lanes[lane].decide(credential, confidence, at)
        if exact or credential.kind is not CredentialKind.PLATE:
            return decision, exact
        return decision, self.parts.passbook.near([Seen(credential, confidence)])

    async def settled(self, timeout_s: float) -> None:
        """Waits for the openings under way on all lanes, at most so long; then they are broken off."""
        await asyncio.gather(*(lane.openings.settled(timeout_s) for lane in self._all()))

    def asked_of(self, device: str) -> list[asyncio.Future[Opened]]:
        """The openings asked of a barrier device that have not ended, also those of lanes that are gone."""
        return [one for lane in self._all() for one in lane.openings.asked_of(device)]

    def _all(self) -> list[Lane]:
        return [*self._gone, *self._lanes.values()]
