"""Wiring: the only place that knows every part. Builds them from a configuration, starts, reloads, stops.

It decides nothing and speaks no protocol. Order of starting: store, passbook, lanes, broker, devices, HTTP;
of stopping: the other way round, so that what is under way still finds what it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from gated import __version__, logs
from gated.alerts import (
    AlertDesk,
    AlertKeeper,
    Raised,
    box_clock_stepped,
    lane_fault,
)
from gated.allowlist import AllowLists, Version
from gated.api.app import create_api
from gated.api.metrics import Metrics
from gated.api.permissions import Permission, allowed
from gated.api.services import Services
from gated.api.tokens import verify
from gated.api.wire import Served, serve
from gated.background import Background, kept_running
from gated.clocks import BoxClock
from gated.config import Changes, LoadAdapter, SiteConfig, diff
from gated.devices import Around, Devices
from gated.district import Forwarder
from gated.domain import (
    BarrierPosition,
    Decision,
    Disposition,
    ListName,
    OpeningOutcome,
    Outcome,
    Pass,
    Passage,
)
from gated.lane import Lanes, Observer, Parts, SiteSurroundings
from gated.mqtt.answers import Hooks
from gated.mqtt.client import Mqtt
from gated.mqtt.requests import LaneCommand
from gated.passbook import Passbook, Seen, follow
from gated.policy.live import LivePolicies
from gated.ports import ConfigError, DeviceConfig
from gated.register import Register
from gated.registry import Registry
from gated.remembered import Remembered
from gated.sightings import Sightings
from gated.store import Store, alerts, openings, outbox, passages, passes
from gated.store.passages import PassageRow
from gated.store.records import OpeningRecord
from gated.wiring import lane_settings, load_adapter, site_names, told_district
from rules.memory import Memory

log = structlog.get_logger()

_STOP_S = 2.0
_LET_GO_S = 30.0
_AT_A_LANE = 8
_NOTHING_SENT = frozenset({OpeningOutcome.UNREACHABLE, OpeningOutcome.REJECTED})
_STILL_THERE = timedelta(minutes=5)
"""Whoever stood before a barrier when gated was killed may still be there after so long."""


class _Counting:
    """Counts for the metrics, and passes on to whoever else wants to watch (the demo's table)."""

    def __init__(self, metrics: Metrics, also: Observer | None) -> None:
        self._metrics = metrics
        self._also = also

    def passage(self, passage: Passage, decision: Decision, seconds: float) -> None:
        self._metrics.passage(decision.outcome, seconds)
        # the record is in the store; a line for each of 40,000 grants a day would hide the others
        granted = decision.outcome is Outcome.GRANT
        if not granted or logs.debugging():
            (log.debug if granted else log.info)(
                "passage",
                lane=passage.lane,
                passage=passage.id,
                outcome=decision.outcome.value,
                reason=decision.reason,
                ms=round(seconds * 1000, 2),
            )
        if self._also is not None:
            self._also.passage(passage, decision, seconds)

    def opening(self, lane: str, outcome: OpeningOutcome) -> None:
        self._metrics.opening(outcome)
        if self._also is not None:
            self._also.opening(lane, outcome)

    def other_read(self, disposition: Disposition) -> None:
        if logs.debugging():
            log.debug("read", disposition=disposition.value)
        if self._also is not None:
            self._also.other_read(disposition)


class App:
    """The daemon of one site. `async with app:` runs it; `reload` takes a new configuration."""

    def __init__(
        self,
        config: SiteConfig,
        *,
        load_adapter: LoadAdapter = load_adapter,
        clock: BoxClock | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.config = config
        self.load_adapter = load_adapter
        self.clock = clock or BoxClock()
        self.metrics = Metrics()
        self.passbook = Passbook()
        self.remembered = Remembered(Memory(config.site.zone), self.clock.now)
        self.devices = Devices(load_adapter, self.clock)
        self._observer = _Counting(self.metrics, observer)
        self._dirty: set[str] = set()
        self._stack = contextlib.AsyncExitStack()
        # made when it starts, for they need the store
        self.store: Store
        self.lanes: Lanes
        self.keeper: AlertKeeper
        self.policies: LivePolicies
        self.registry: Registry
        self.register: Register
        self.background: Background
        self.mqtt: Mqtt
        self.allow_lists: AllowLists
        self.sightings: Sightings
        self.district: Forwarder
        self.served: Served
        self._desk: AlertDesk

    async def __aenter__(self) -> App:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        log.info("stopping")
        await self._stack.aclose()
        log.info("stopped")

    # --- starting ---------------------------------------------------------------------------------------

    async def _start(self) -> None:
        config, stack = self.config, self._stack
        log.info("starting", version=__version__, site=config.site.id)
        self.store = await Store.open(config.store.url, backups=config.store.backups)
        stack.push_async_callback(self.store.close)
        await self._load_passbook()
        await self.remembered.open(self.store)
        await self._make_lanes()
        self.clock.on_step.append(self._stepped)
        self.registry = Registry(
            self.store,
            self.passbook.apply,
            self.clock.now,
            entrances=lambda: [entrance.id for entrance in self.config.entrances],
            near=lambda credential: self.passbook.near([Seen(credential, None)]),
        )
        self.register = Register(
            self.remembered.lists,
            self.remembered.dwellings,
            self.clock.now,
            grids=lambda: [grid.id for grid in self.config.grids],
        )
        self.mqtt = Mqtt(config.mqtt, config.site.id, self.store, self.clock.now, self._hooks())
        self.allow_lists = AllowLists(
            self.store,
            self.clock,
            self.keeper,
            self.devices.find,
            passes.facts,
            passes.changed_since,
            match=lambda credential: [one.facts for one in self.passbook.match(credential)],
            blocked=lambda: self.remembered.lists.having(ListName.BLOCK, self.clock.now()),
            version=lambda: Version(self.passbook.change, self.remembered.lists.version),
        )
        self.allow_lists.configure(self.config.listed_devices)
        self.sightings = Sightings(
            self.lanes,
            self.keeper,
            self.store,
            self.clock,
            self.devices.find,
            config.site.zone,
            self.remembered.watched,
        )
        self.sightings.configure(config.devices, config.site.zone)
        stack.push_async_callback(self.sightings.settled, _STOP_S)
        self.district = Forwarder(self.store, self.clock, self.keeper)
        self.district.configure(told_district(config))
        self.background = Background(
            self.store,
            self.clock,
            self.lanes,
            self._dirty,
            self.follow_all,
            partial(self.remembered.advance, self.store),
            partial(self.remembered.tidy, self.store),
        )
        services = self._services()
        await stack.enter_async_context(kept_running(self.keeper.run, "alerts"))
        stack.push_async_callback(self.keeper.drained, 1.0)
        # those of the last events; what a stop finds under way was waited for before the devices went
        stack.push_async_callback(self.lanes.settled, _STOP_S)
        await stack.enter_async_context(self.background.running())
        self.mqtt.start()
        stack.push_async_callback(self.mqtt.stop)
        for device in config.devices:
            self._start_device(device)
        stack.push_async_callback(self.devices.stop_all)
        stack.push_async_callback(self.lanes.settled, _STOP_S)
        await stack.enter_async_context(kept_running(self.allow_lists.run, "allow-lists"))
        await stack.enter_async_context(kept_running(self.district.run, "district"))
        # the last to start and the first to stop: whoever pushes finds everything there
        self.served = await stack.enter_async_context(
            serve(create_api(services), host=config.api.host, port=config.api.port)
        )
        log.info(
            "started", url=self.served.url, credentials=len(self.passbook), lanes=len(config.lanes),
            devices=len(config.devices),
        )  # fmt: skip
        # what is here now stays: the collector need not walk it again
        gc.collect()
        gc.freeze()

    async def _load_passbook(self) -> None:
        book = self.passbook
        await self.store.read(lambda conn: book.load(passes.facts(conn), passes.last_change(conn)))

    async def _make_lanes(self) -> None:
        config = self.config
        self._desk = AlertDesk(*_grids(config))
        self._desk.restore(await self.store.read(alerts.open_by_fold))
        self.keeper = AlertKeeper(self._desk, self.clock, self._store_alert)
        self.policies = LivePolicies(
            self.store, lambda: site_names(self.config), self.clock.now, self.keeper, self.keeper.ended
        )
        await self.policies.open(config.policy.file)
        remembered = self.remembered
        parts = Parts(
            recorder=self.store,
            passbook=self.passbook,
            policy=self.policies.live,
            shadow=self.policies.shadow,
            memory=remembered.memory,
            site=SiteSurroundings(
                remembered.memory, remembered.lists, remembered.dwellings, self._boom, remembered.watched
            ),
            desk=self._desk,
            clock=self.clock,
            find=self.devices.find,
            refresh=self.follow_passes,
            raise_alert=self.keeper,
            end_alert=self.keeper.ended,
            observer=self._observer,
        )
        self.lanes = Lanes(map(lane_settings, config.lanes), parts, self._dirty.add)
        self._site_configured()
        await self._restore_vehicles()
        left = await self._settle_openings(lane.id for lane in config.lanes if lane.barrier is not None)
        for opening in left:
            log.warning("opening_uncertain", lane=opening.lane, opening=opening.id, why="gated had stopped")
            if self.clock.now() - opening.requested_at < _STILL_THERE:
                draft = lane_fault(opening.lane, opening.outcome.value, opening.detail)
                entrance = next((one.entrance for one in config.lanes if one.id == opening.lane), None)
                self.keeper(draft, entrance=entrance, lane=opening.lane)

    def _site_configured(self) -> None:
        """There may be other devices and lanes now: each lane is announced, no alert outlives its subject."""
        config = self.config
        self._dirty.update(lane.id for lane in config.lanes)
        self.keeper.configured((device.id for device in config.devices), (lane.id for lane in config.lanes))

    async def _restore_vehicles(self) -> None:
        """Who was at the lanes a moment ago: also over a restart a vehicle is opened for once."""
        now = self.clock.now()
        for lane in self.lanes:
            since = now - timedelta(seconds=lane.settings.merge_s) - lane.settings.max_age
            for row, openings_of_it in reversed(
                await self.store.read(partial(_latest, lane.settings.id, since))
            ):
                nothing_sent = any(one.outcome in _NOTHING_SENT for one in openings_of_it)
                granted = row.decision.outcome is Outcome.GRANT
                settled = granted and not nothing_sent
                lane.restore(row.passage, settled, row.decision.pass_id if granted else None)

    async def _settle_openings(self, lanes: Iterable[str]) -> list[OpeningRecord]:
        """What a crash left between the record and the barrier: nobody knows, and nothing is sent again."""
        now, with_barrier = self.clock.now(), frozenset(lanes)
        return await self.store.write(lambda conn: openings.settle(conn, now, with_barrier))

    def _services(self) -> Services:
        services = Services(
            store=self.store,
            registry=self.registry,
            register=self.register,
            lanes=self.lanes,
            devices=self.devices,
            allow_lists=self.allow_lists,
            site=self.config,
            clock=self.clock.now,
            ready=self._ready,
            version=__version__,
            metrics=self.metrics,
        )
        self.services = services
        self.store.on_batch = lambda rows, _seconds: self.metrics.store_batch.observe(rows)
        self.metrics.watch(
            store_queue=lambda: self.store.depth,
            outbox_backlog=lambda: self.background.outbox_backlog,
            district_connected=lambda: self.district.connected,
            loop_lag_seconds=lambda: self.background.loop_lag_s,
            devices_online=lambda: self.devices.online,
            devices_configured=lambda: len(self.devices),
            mqtt_connected=lambda: float(self.mqtt.connected),
            passes_live=lambda: len(self.passbook),
        )
        return services

    def _hooks(self) -> Hooks:
        return Hooks(
            announce=self._announce,
            lanes=lambda: {lane.id for lane in self.config.lanes},
            authorize=self._authorize,
            on_lane_command=self._lane_command,
        )

    def _start_device(self, device: DeviceConfig) -> None:
        self.devices.start(
            device,
            Around(self.sightings, self.keeper, self._device_announced),
            max_body=self.config.api.max_body,
            drift_limit=timedelta(milliseconds=self.config.clock.drift_limit_ms),
        )

    def _device_announced(self, device: str, online: bool) -> None:
        self.mqtt.availability(device, online)
        if online:
            self.allow_lists.device_online(device)

    # --- while it runs ----------------------------------------------------------------------------------

    def _ready(self) -> dict[str, str]:
        """What keeps it from working. A broker that is away does not: messages wait in the store."""
        error = self.store.last_error
        return {"store": error} if error else {}

    def _take_policies(self) -> None:
        self.lanes.parts.policy, self.lanes.parts.shadow = self.policies.live, self.policies.shadow

    def _boom(self, lane: str) -> BarrierPosition:
        return self.lanes.status(lane).position

    async def follow_all(self) -> int:
        """Takes over what other processes changed: passes, the policy, lists and dwellings."""
        taken = await self.follow_passes()
        if await self.policies.follow():
            self._take_policies()
            taken += 1
        return taken + await self.remembered.follow(self.store)

    async def follow_passes(self) -> int:
        """Brings the passbook up to the store."""

        async def changed_since(change: int, limit: int) -> list[Pass]:
            return await self.store.read(lambda conn: passes.changed_since(conn, change, limit))

        return await follow(self.passbook, changed_since)

    async def _store_alert(self, raised: Raised) -> None:
        def work(conn: Any) -> None:
            alerts.upsert(conn, raised.alert, raised.fold_key)
            outbox.append(conn, [raised.message])

        await self.store.write(work)

    def _stepped(self, seconds: float) -> None:
        log.warning("clock_stepped", seconds=round(seconds, 1))
        self.keeper(box_clock_stepped(seconds))

    async def _announce(self) -> None:
        self._dirty.update(lane.id for lane in self.config.lanes)

    async def _authorize(self, token: str, lane: str) -> str | None:
        now = self.clock.now()
        principal = await self.store.read(lambda conn: verify(conn, token, now))
        if principal is None or not allowed(principal.role, Permission.LANES_OPEN):
            return None
        return principal.name

    async def _lane_command(self, command: LaneCommand) -> OpeningOutcome:
        opened = await self.lanes.override(command.lane, person=command.person, reason=command.reason)
        return opened.outcome

    # --- a new configuration ----------------------------------------------------------------------------

    async def reload(self, config: SiteConfig) -> Changes:
        """Takes a new configuration without dropping a passage: what did not change is not touched, a lane
        keeps what is at it, and a device that changed is connected anew."""
        changes = diff(self.config, config)
        for name in changes.restart:
            log.warning("needs_restart", setting=name)
        kept = {
            name: getattr(self.config, name)
            for name in ("store", "api", "mqtt")
            if name in str(changes.restart)
        }
        if "site.id" in changes.restart:
            kept["site"] = config.site.model_copy(update={"id": self.config.site.id})
        self.config = config.model_copy(update=kept)
        self.services.site = self.config
        self._desk.configure(*_grids(self.config))
        self.remembered.memory.zone = self.config.site.zone
        self.policies.reconfigured()
        self._take_policies()
        self.lanes.configure(map(lane_settings, self.config.lanes))
        await asyncio.gather(
            *(self._drop_device(device_id) for device_id in changes.devices_removed),
            *(self._renew_device(device_id) for device_id in changes.devices_changed),
        )
        for device_id in changes.devices_added:
            self._try_device(device_id)
        self._site_configured()
        self.allow_lists.configure(self.config.listed_devices)
        self.sightings.configure(self.config.devices, self.config.site.zone)
        if "district" in changes.sections:
            self.district.configure(told_district(self.config))
        log.info(
            "reloaded", devices_added=changes.devices_added, devices_removed=changes.devices_removed,
            devices_changed=changes.devices_changed, lanes_added=changes.lanes_added,
            lanes_removed=changes.lanes_removed, lanes_changed=changes.lanes_changed,
        )  # fmt: skip
        return changes

    def _try_device(self, device_id: str) -> None:
        try:
            self._start_device(self.config.device(device_id))
        except ConfigError as error:
            log.error("device_not_started", device=device_id, error=str(error))

    async def _renew_device(self, device_id: str) -> None:
        """Connects a device anew. One that is slow to let go holds up no other."""
        await self._let_go(device_id)
        self._try_device(device_id)

    async def _let_go(self, device_id: str) -> None:
        """Disconnects a device, once it has said what became of the openings that were asked of it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LET_GO_S):
                while openings_of_it := self.lanes.asked_of(device_id):
                    await asyncio.wait(openings_of_it)
        await self.devices.stop(device_id)

    async def _drop_device(self, device_id: str) -> None:
        await self._let_go(device_id)
        self.mqtt.forget_device(device_id)


def _grids(config: SiteConfig) -> tuple[dict[str, str], str, list[str]]:
    """What the alert desk knows of the grids."""
    return (
        {entrance.id: entrance.grid for entrance in config.entrances},
        config.root_grid,
        [grid.id for grid in config.grids],
    )


def _latest(lane: str, since: datetime, conn: Connection) -> list[tuple[PassageRow, list[OpeningRecord]]]:
    """The passages of a lane since a time, the newest first, each with its openings."""
    found = passages.page(conn, lane=lane, since=since, limit=_AT_A_LANE)
    of_them = openings.for_passages(conn, [row.passage.id for row in found])
    return [(row, of_them.get(row.passage.id, [])) for row in found]
