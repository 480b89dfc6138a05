"""Stores and announces the alerts that belong to no passage: devices, clocks, barriers.

Raising returns at once; one task writes them down in order, and goes on trying while the store is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import structlog

from gated.alerts.desk import AlertDesk, Raised
from gated.alerts.drafts import NOT_CONFIGURED
from gated.clocks import BoxClock
from gated.domain import Alert, AlertDraft, Text
from gated.ports import NotRecorded

log = structlog.get_logger()

_WAITING_MOST = 1000

Write = Callable[[Raised], Awaitable[None]]
"""Stores an alert and its message in one transaction; raises `NotRecorded`."""


@dataclass(frozen=True, slots=True)
class _Raise:
    draft: AlertDraft
    entrance: str | None
    lane: str | None
    device: str | None


@dataclass(frozen=True, slots=True)
class _End:
    fold_key: str
    why: Text | None


@dataclass(frozen=True, slots=True)
class _Configured:
    devices: frozenset[str]
    lanes: frozenset[str]

    def knows(self, alert: Alert) -> bool:
        """Whether what the alert is about is still there."""
        if alert.device is not None:
            return alert.device in self.devices
        return alert.lane is None or alert.lane in self.lanes


class AlertKeeper:
    """Takes alerts from anywhere on the event loop. `run` is the task that writes them."""

    def __init__(self, desk: AlertDesk, clock: BoxClock, write: Write, *, retry_s: float = 1.0) -> None:
        self._retry_s = retry_s
        self._desk = desk
        self._clock = clock
        self._write = write
        self._queue: asyncio.Queue[_Raise | _End | _Configured] = asyncio.Queue(_WAITING_MOST)

    def __call__(
        self,
        draft: AlertDraft,
        *,
        entrance: str | None = None,
        lane: str | None = None,
        device: str | None = None,
    ) -> None:
        """Raises an alert, or counts a repeat."""
        self._put(_Raise(draft, entrance, lane, device))

    def raised(self, draft: AlertDraft, device: str) -> None:
        """An alert about a device."""
        self._put(_Raise(draft, None, None, device))

    def ended(self, fold_key: str, why: Text | None = None) -> None:
        """What an alert was about is over; `why`, where it is not simply well again."""
        self._put(_End(fold_key, why))

    def configured(self, devices: Iterable[str], lanes: Iterable[str]) -> None:
        """These are there from now on: ends what is open about any other, which nobody else would end."""
        self._put(_Configured(frozenset(devices), frozenset(lanes)))

    def _put(self, item: _Raise | _End | _Configured) -> None:
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            log.error("alert_dropped", waiting=_WAITING_MOST, alert=str(item))

    async def run(self) -> None:
        """Writes alerts until cancelled."""
        while True:
            item = await self._queue.get()
            try:
                if isinstance(item, _Configured):
                    for fold_key, alert in self._desk.about_the_site():
                        if not item.knows(alert):
                            await self._written(_End(fold_key, NOT_CONFIGURED))
                else:
                    await self._written(item)
            except Exception:  # what cannot be written must not keep the others from it
                log.exception("alert_not_written", alert=str(item))
            finally:
                self._queue.task_done()

    async def _written(self, item: _Raise | _End) -> None:
        while True:
            now = self._clock.now()
            if isinstance(item, _End):
                raised = self._desk.ended(item.fold_key, now, item.why)
                if raised is None:
                    return
            else:
                raised = self._desk.raised(
                    item.draft, now, entrance=item.entrance, lane=item.lane, device=item.device
                )
            try:
                await self._write(raised)
            except NotRecorded as why:
                log.warning("alert_waits", reason=raised.alert.reason, why=str(why))
                await asyncio.sleep(self._retry_s)
                continue
            self._desk.keep(raised)
            alert = raised.alert
            log.info(
                "alert",
                reason=alert.reason,
                grid=alert.grid,
                id=alert.id,
                state=alert.state,
                count=alert.count,
            )
            return

    async def drained(self, timeout_s: float) -> None:
        """Waits until what was raised is written, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            log.warning("alerts_left", waiting=self._queue.qsize())
