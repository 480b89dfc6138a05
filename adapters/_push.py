"""What devices that push over HTTP have in common: when they are there, and being opened by a reply.

No wire format here; `adapters.vzenith` and `adapters.webhook` bring their codecs.

How such a device fits the daemon's supervisor, which knows only `async with` and `events()`:

- Pushes come in through `receive()` whether the device is entered or not: none is ever turned away because
  the supervisor happens to be in its back-off.
- Entering succeeds at once if the device was heard from within `silent_after_s`; else it waits a few seconds
  for a first push and raises `DeviceUnavailable`.
- `events()` yields nothing (what is pushed goes to `handle`), and raises `DeviceUnavailable` when the device
  has been silent for `silent_after_s`: so "down" and "up" are logged as for every other device.
- A stranger at the device's address (another serial number) is answered 403 and never handled. It makes the
  device `DeviceRefused` only while the right device is silent.

Silence is measured on the event loop's clock, which no clock step moves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gated.domain import DeviceEvent, OpeningOutcome
from gated.ports import DeviceError, DeviceInfo, DeviceRefused, DeviceUnavailable, Opened, Pulse

FIRST_PUSH_S = 5.0
"""How long entering waits for a device that was not heard from."""
_SENT_GRACE_S = 0.5  # from handing a reply to the server until it says that it was written


class Presence:
    """Whether a pushing device is there. Times in seconds on the event loop's clock."""

    def __init__(self, silent_after_s: float) -> None:
        self._silent_after = silent_after_s
        self._heard_at: float | None = None
        self._stranger: tuple[float, str] | None = None
        self._news = asyncio.Event()

    def heard(self) -> None:
        """The device pushed something."""
        self._heard_at = asyncio.get_running_loop().time()
        self._news.set()

    def stranger(self, why: str) -> None:
        """Something else pushed in its name."""
        self._stranger = (asyncio.get_running_loop().time(), why)
        self._news.set()

    @property
    def here(self) -> bool:
        """Heard from within the limit."""
        return self._left() > 0

    async def arrive(self, within_s: float) -> None:
        """Returns once the device is there. Raises DeviceRefused if a stranger came instead, and
        DeviceUnavailable if nobody came in time."""
        if not self.here:
            self._news.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._news.wait()
            except TimeoutError:
                pass
        if not self.here:
            raise self._verdict()

    async def loss(self) -> DeviceError:
        """Waits until the device has been silent for too long; the error that says so."""
        while True:
            left = self._left()
            if left <= 0:
                return self._verdict()
            await asyncio.sleep(left)

    async def next_push(self) -> None:
        """Waits for the next push of any kind."""
        self._news.clear()
        await self._news.wait()

    def _left(self) -> float:
        if self._heard_at is None:
            return 0.0
        return self._heard_at + self._silent_after - asyncio.get_running_loop().time()

    def _verdict(self) -> DeviceError:
        now = asyncio.get_running_loop().time()
        if self._stranger is not None and now - self._stranger[0] < self._silent_after:
            return DeviceRefused(self._stranger[1])
        if self._heard_at is None:
            return DeviceUnavailable("it has not pushed anything yet: check the address set in the device")
        return DeviceUnavailable(f"it has pushed nothing for {self._silent_after:g} s")


@dataclass(eq=False, slots=True)
class _Order:
    """One pulse on its way into a reply."""

    pulse: Pulse
    outcome: asyncio.Future[Opened]
    carried: bool = False


@dataclass(eq=False, slots=True)
class Exchange:
    """One push that is being answered. `key`: of its event. `opens`: whether the device acts on this reply;
    a backlog push never opens."""

    key: str | None
    opens: bool
    order: _Order | None = None
    _news: asyncio.Future[None] | None = None

    def attach(self, order: _Order) -> None:
        """This reply is to carry the order."""
        self.order = order
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def attached(self, within_s: float, or_over: asyncio.Future[Opened] | None = None) -> None:
        """Waits until an order is attached, but no longer than `within_s`; `or_over`: nor when the opening
        that the event caused ends without one (it was suppressed, say). It is never cancelled: it belongs
        to the lane."""
        if self.order is not None or (or_over is not None and or_over.done()):
            return
        news = self._news = asyncio.get_running_loop().create_future()

        def over(_: object) -> None:
            if not news.done():
                news.set_result(None)

        if or_over is not None:
            or_over.add_done_callback(over)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await news


class ReplyOpener:
    """Opens a barrier through the reply to the device's own push: exactly once, and never late.

    An opening is attached to the push that it answers, else to any push that is being answered and can
    carry it; else it waits `wait_s` for one, and is withdrawn: UNREACHABLE. Once in a reply it is ACCEPTED
    when the server wrote the reply to the device, and UNCERTAIN when the device had gone or nobody said.
    """

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self._waiting: deque[_Order] = deque()
        self._exchanges: list[Exchange] = []

    async def open(self, pulse: Pulse) -> Opened:
        order = _Order(pulse, asyncio.get_running_loop().create_future())
        self._place(order)
        try:
            # not awaited itself: a time-out would cancel it
            await asyncio.wait((order.outcome,), timeout=self.wait_s)
            if order.carried and not order.outcome.done():
                await asyncio.wait((order.outcome,), timeout=_SENT_GRACE_S)
        finally:
            self._withdraw(order)
        if order.outcome.done():
            return order.outcome.result()
        if order.carried:
            return Opened(OpeningOutcome.UNCERTAIN, "given to the device in a reply; nobody said it arrived")
        return Opened(
            OpeningOutcome.UNREACHABLE,
            f"the device asked nothing within {self.wait_s:g} s, so there was no reply to open by; not sent",
        )

    @contextmanager
    def exchange(self, key: str | None, *, opens: bool) -> Iterator[Exchange]:
        """A push, from its arrival until its reply is built. An order that was attached and not taken (the
        event could not be recorded) goes back to waiting."""
        exchange = Exchange(key, opens)
        self._exchanges.append(exchange)
        try:
            yield exchange
        finally:
            self._exchanges.remove(exchange)
            order, exchange.order = exchange.order, None
            if order is not None and not order.carried:
                self._place(order)

    async def hold(self, exchange: Exchange, for_s: float) -> None:
        """Holds the reply to a poll back until there is a pulse for it, or for so long."""
        if self._waiting or exchange.order is not None:
            return
        await exchange.attached(for_s)

    def take(self, exchange: Exchange) -> tuple[Pulse, Callable[[bool], None]] | None:
        """The pulse that this reply is to carry and whom to tell that it was sent, or None. From here on
        the pulse counts as sent."""
        if exchange.order is None and exchange.opens and self._waiting:
            exchange.order = self._waiting.popleft()
        order = exchange.order
        if order is None:
            return None
        order.carried = True

        def sent(written: bool) -> None:
            if not order.outcome.done():
                order.outcome.set_result(
                    Opened(OpeningOutcome.ACCEPTED, "given to the device in its reply")
                    if written
                    else Opened(OpeningOutcome.UNCERTAIN, "the device hung up before its reply was sent")
                )

        return order.pulse, sent

    def _place(self, order: _Order) -> None:
        free = [each for each in self._exchanges if each.opens and each.order is None]
        answers = order.pulse.answers
        for exchange in free:
            if answers is not None and exchange.key == answers:
                break
        else:
            if not free:
                self._waiting.append(order)
                return
            exchange = free[0]
        exchange.attach(order)

    def _withdraw(self, order: _Order) -> None:
        if order in self._waiting:
            self._waiting.remove(order)
        for exchange in self._exchanges:
            if exchange.order is order and not order.carried:
                exchange.order = None


class PushDevice:
    """The `Device` side of a pushing device; see the module's docstring. `id` and `info` are as in
    `gated.ports.Device`."""

    def __init__(self, device: str, silent_after_s: float) -> None:
        self.id = device
        self.presence = Presence(silent_after_s)
        self._info = DeviceInfo()
        self._first_push_s = min(FIRST_PUSH_S, silent_after_s)

    @property
    def info(self) -> DeviceInfo:
        return self._info

    async def __aenter__(self) -> Self:
        await self.presence.arrive(self._first_push_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def events(self) -> AsyncIterator[DeviceEvent]:
        return _Silence(self.presence)

    async def heard(self) -> None:
        """Waits for the next push: a supervisor in its back-off may enter again at once when it comes."""
        await self.presence.next_push()


class _Silence:
    """Events of a device whose events come another way: none, and its loss."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DeviceEvent:
        raise await self._presence.loss()
