"""Stores and announces the alerts that belong to no passage: devices, clocks, barriers.

Raising returns at once; one task writes them down in order, and goes on trying while the store is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from gated.alerts.desk import AlertDesk, Raised
from gated.clocks import BoxClock
from gated.domain import AlertDraft
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


class AlertKeeper:
    """Takes alerts from anywhere on the event loop. `run` is the task that writes them."""

    def __init__(self, desk: AlertDesk, clock: BoxClock, write: Write, *, retry_s: float = 1.0) -> None:
        self._retry_s = retry_s
        self._desk = desk
        self._clock = clock
        self._write = write
        self._queue: asyncio.Queue[_Raise | str] = asyncio.Queue(_WAITING_MOST)

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

    def ended(self, fold_key: str) -> None:
        """What an alert was about is over."""
        self._put(fold_key)

    def _put(self, item: _Raise | str) -> None:
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            log.error("alert_dropped", waiting=_WAITING_MOST, alert=str(item))

    async def run(self) -> None:
        """Writes alerts until cancelled."""
        while True:
            item = await self._queue.get()
            try:
                await self._written(item)
            except Exception:  # what cannot be written must not keep the others from it
                log.exception("alert_not_written", alert=str(item))
            finally:
                self._queue.task_done()

    async def _written(self, item: _Raise | str) -> None:
        while True:
            now = self._clock.now()
            if isinstance(item, str):
                raised = self._desk.ended(item, now)
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
