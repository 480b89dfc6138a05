"""gated's side of the broker: keeps a connection up, publishes the outbox, has requests answered.

Decides nothing about lanes: a command that passed every check goes to `Hooks.on_lane_command`. Everything
that is published at least once comes from the outbox; what is announced here (status, availability) is
retained, and announced anew on every connection.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Literal, Self

import structlog

from gated.mqtt.answers import Answers, Hooks
from gated.mqtt.endpoint import (
    OFFLINE,
    ONLINE,
    BrokerRefused,
    BrokerUnreachable,
    Endpoint,
    LinkError,
    Version,
    WrongVersion,
    endpoint,
)
from gated.mqtt.link import Link
from gated.mqtt.sender import Answer, Counters, Sender
from gated.mqtt.settings import MqttSettings
from gated.outbox import Relay
from gated.store.store import Store

log = structlog.get_logger()

_STABLE_S = 10.0
"""A connection that lasted so long starts the back-off anew."""
_FAREWELL_S = 1.0

StateName = Literal["starting", "connected", "unreachable", "refused", "stopped"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between attempts: `first`, doubled up to `most`; `refused` after the broker said no. Each is
    shortened by up to half, at random, so that many boxes do not come back all at once."""

    first: float = 2.0
    most: float = 30.0
    refused: float = 120.0

    def delay(self, failures: int) -> float:
        """After so many failures in a row (1 is the first)."""
        return self._jittered(min(self.most, self.first * 2.0 ** min(failures - 1, 16)))

    def refused_delay(self) -> float:
        return self._jittered(self.refused)

    @staticmethod
    def _jittered(longest: float) -> float:
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


@dataclass(frozen=True, slots=True)
class MqttState:
    """For health and pages. `error`: the last one, in words for the operator; None since the last good
    connection."""

    state: StateName
    since: datetime
    error: str | None = None


class Mqtt:
    """The connection to the broker, kept up from `start` (or `async with`) to `stop`.

    To be made and used on the event loop's thread.
    """

    def __init__(
        self,
        settings: MqttSettings,
        site_id: str,
        store: Store,
        clock: Callable[[], datetime],
        hooks: Hooks,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._settings = settings
        self._site = site_id
        self._root = f"{settings.prefix}/{site_id}/"
        self._clock = clock
        self._hooks = hooks
        self._backoff = backoff or Backoff()
        self._relay = Relay(
            store, self._root, wake=self._pump, clock=clock, keep=timedelta(days=settings.outbox_days)
        )
        self._answers = Answers(settings.prefix, site_id, store, clock, hooks, self._reply)
        self._retained: dict[str, bytes] = {self._root + "status": ONLINE}
        self._link: Link | None = None
        self._sender: Sender | None = None
        self._version: Version = "3.1.1" if settings.protocol == "3.1.1" else "5"
        self._version_settled = settings.protocol != "auto"
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self.counters = Counters()
        self.state = MqttState("starting", clock())

    # --- for the app ------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._sender is not None

    @property
    def protocol(self) -> Version | None:
        """The version of MQTT that is spoken now; None while not connected."""
        return self._version if self._sender is not None else None

    def availability(self, device_id: str, online: bool) -> None:
        """Announces a device as online or offline, now and on every connection to come."""
        topic = f"{self._root}devices/{device_id}/availability"
        self._retained[topic] = ONLINE if online else OFFLINE
        if self._sender is not None:
            self._sender.announce(topic, self._retained[topic])

    def forget_device(self, device_id: str) -> None:
        """Removes what the broker keeps of a device that the configuration no longer has."""
        topic = f"{self._root}devices/{device_id}/availability"
        self._retained.pop(topic, None)
        if self._sender is not None:
            self._sender.announce(topic, b"")

    def start(self) -> None:
        """Begins to connect in the background and returns at once, for the broker may be away."""
        if self._task is None:
            self._ending = False
            self._task = asyncio.create_task(self._keep_up(), name="mqtt")

    async def stop(self, drain_s: float = 1.0) -> None:
        """Gives the outbox up to `drain_s` seconds to empty, says goodbye (status offline) and ends. What was
        not acknowledged stays in the store."""
        if self._task is None:
            return
        self._ending = True
        await self._settle(drain_s)
        if self._sender is not None and self._link is not None:
            self._sender.announce(self._root + "status", OFFLINE)
            await self._settle(_FAREWELL_S)
            self._link.goodbye()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        await self._answers.close()
        try:
            await self._relay.save()
        except Exception as error:
            log.warning("outbox_cursor_not_saved", error=str(error))
        self._enter("stopped", None)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # --- staying connected ------------------------------------------------------------------------------

    async def _keep_up(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._session()
            except WrongVersion as error:
                if self._fall_back(error):
                    continue
                state: StateName = "refused" if error.told else "unreachable"
                reason = str(error)
            except BrokerRefused as error:
                state, reason = "refused", str(error)
            except LinkError as error:
                state, reason = "unreachable", str(error)
            except Exception as error:
                log.exception("mqtt_failed")  # a defect; it must not end the relay for good
                state, reason = "unreachable", f"{type(error).__name__}: {error}"
            if self._ending:
                return
            self._enter(state, reason)
            failures = 1 if time.monotonic() - began > _STABLE_S else failures + 1
            delay = self._backoff.refused_delay() if state == "refused" else self._backoff.delay(failures)
            await asyncio.sleep(delay)

    def _fall_back(self, error: WrongVersion) -> bool:
        """From MQTT 5 to 3.1.1: for good where the broker said that it does not know 5; where it only hung
        up, for one attempt. True: try again at once."""
        if self._version_settled:
            return False
        if self._version == "5":
            self._version = "3.1.1"
            self._version_settled = error.told
            log.info("mqtt_tries_3_1_1", reason=str(error))
            return True
        self._version = "5"
        return False

    async def _session(self) -> None:
        """One connection, from CONNECT to its loss. Always raises: a LinkError, or what a defect raised."""
        link = Link(self._endpoint(), on_acks=self._acknowledged, on_message=self._answers.receive)
        await link.open()
        sender = Sender(link, self._relay, self._settings.inflight, self.counters)
        try:
            self._link, self._sender = link, sender
            self.counters.connects += 1
            self._enter("connected", None)
            link.subscribe(self._answers.topics())
            for topic, payload in self._retained.items():
                sender.announce(topic, payload)
            async with asyncio.TaskGroup() as tasks:
                helpers = [tasks.create_task(self._relay.run()), tasks.create_task(self._announce_lanes())]
                lost = await link.lost()
                for helper in helpers:
                    helper.cancel()
            raise sender.refusal or lost
        finally:
            self._link = self._sender = None
            link.close("the session is over")

    async def _announce_lanes(self) -> None:
        try:
            await self._hooks.announce()
        except Exception as error:
            log.warning("lane_states_not_announced", error=str(error))

    def _endpoint(self) -> Endpoint:
        return endpoint(
            self._settings,
            client_id=self._settings.client_id or f"gated-{self._site}",
            version=self._version,
            will_topic=self._root + "status",
        )

    def _enter(self, state: StateName, error: str | None) -> None:
        """Notes a state; logs a change once, however often the attempt is repeated."""
        before = self.state
        if before.state == state:
            self.state = MqttState(state, before.since, error)
            log.debug("mqtt_" + state, error=error)
            return
        self.state = MqttState(state, self._clock(), error)
        where = {"host": self._settings.host, "port": self._settings.port}
        if state == "connected":
            log.info("mqtt_connected", **where, protocol=self._version)
        elif state == "stopped":
            log.info("mqtt_stopped")
        else:
            log.warning("mqtt_" + state, **where, error=error)

    # --- between link, sender, relay and answers --------------------------------------------------------

    def _acknowledged(self, acks: list[tuple[object, int]]) -> None:
        if self._sender is not None:
            self._sender.acknowledged(acks)

    def _pump(self) -> None:
        if self._sender is not None:
            self._sender.pump()

    def _reply(self, answer: Answer) -> None:
        if self._sender is not None:
            self._sender.answer(answer)

    async def _settle(self, seconds: float) -> None:
        """Waits until nothing is on its way, or the connection is gone, or the time is over."""
        until = time.monotonic() + seconds
        while self._sender is not None and not self._sender.idle:
            if time.monotonic() > until:
                return
            await asyncio.sleep(0.01)


async def probe(settings: MqttSettings, client_id: str) -> Version:
    """Connects once and leaves, for `gated check`; returns the version of MQTT spoken. `client_id` must not
    be that of a running daemon, which would be thrown out. Raises BrokerUnreachable or BrokerRefused."""
    versions: tuple[Version, ...] = ("5", "3.1.1") if settings.protocol == "auto" else (settings.protocol,)
    error: WrongVersion | None = None
    for version in versions:
        link = Link(
            endpoint(settings, client_id=client_id, version=version, will_topic=None),
            on_acks=lambda _: None,
            on_message=lambda _: None,
        )
        try:
            await link.open()
        except WrongVersion as caught:
            error = caught
            continue
        link.goodbye()
        return version
    raise BrokerUnreachable(str(error))
