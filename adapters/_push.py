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
from collections.abc import AsyncIterator, Callable
from functools import partial
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


class _Order:
    """One pulse on its way into a reply; once `carried`, it is with no exchange any more. `outcome` is what
    `ReplyOpener.open` gave out: whoever opens may cancel it."""

    __slots__ = ("carried", "outcome", "pulse", "timer")

    def __init__(self, pulse: Pulse, outcome: asyncio.Future[Opened]) -> None:
        self.pulse = pulse
        self.outcome = outcome
        self.carried = False
        self.timer: asyncio.TimerHandle | None = None

    def ended(self, outcome: OpeningOutcome, detail: str) -> None:
        """Says what became of it; only the first word counts."""
        if not self.outcome.done():
            self.outcome.set_result(Opened(outcome, detail))

    def sent(self, written: bool) -> None:
        """What the server says of the reply that carried it."""
        if written:
            self.ended(OpeningOutcome.ACCEPTED, "given to the device in its reply")
        else:
            self.ended(OpeningOutcome.UNCERTAIN, "the device hung up before its reply was sent")


class Exchange:
    """One push that is being answered: a context manager, from its arrival until its reply is built.

    `key`: of its event. `opens`: whether the reply may still be given a pulse: the device does not act on
    replies to backlog, nor on the first one of an event that it sent again, for it gave that request up.
    `opening`: what the event caused at this device's barrier, as far as is known.
    """

    __slots__ = ("_news", "_opener", "key", "opening", "opens", "order")

    def __init__(self, opener: ReplyOpener, key: str | None, opens: bool) -> None:
        self.key = key
        self.opens = opens
        self.opening: asyncio.Future[Opened] | None = None
        self.order: _Order | None = None
        self._opener = opener
        self._news: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._opener.began(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._opener.ended(self)

    def attach(self, order: _Order) -> None:
        """This reply is to carry the order."""
        self.order = order
        self.tell()

    def tell(self, _: object = None) -> None:
        """There is news for whoever waits in `attached`."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def attached(self, within_s: float, or_over: asyncio.Future[Opened] | None = None) -> None:
        """Waits until an order is attached, but no longer than `within_s`; `or_over`: nor when the opening
        that the event caused ends without one (it was suppressed, say). It is never cancelled: it belongs
        to the lane."""
        if or_over is not None:
            self._opener.caused(self, or_over)
        over = self.opening is not None and self.opening.done()
        if self.order is not None or over or not self.opens:
            return
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        timer = loop.call_later(within_s, self.tell)
        if self.opening is not None:
            self.opening.add_done_callback(self.tell)
        try:
            await self._news
        finally:
            timer.cancel()


class ReplyOpener:
    """Opens a barrier through the reply to the device's own push: exactly once, and never late.

    An opening is attached to the push that it answers, else to any push that is being answered and can
    carry it; else it waits `wait_s` for one, and is withdrawn: UNREACHABLE. Once in a reply it is ACCEPTED
    when the server wrote the reply to the device, and UNCERTAIN when the device had gone or nobody said.

    A device that sends an event again, while the first request is still being answered, has given that one
    up: what its reply would have carried goes into the reply to the latest.
    """

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self._waiting: deque[_Order] = deque()
        self._exchanges: list[Exchange] = []

    def open(self, pulse: Pulse) -> asyncio.Future[Opened]:
        """See `gated.ports.Barrier`. The pulse is attached, or waits, when this returns; to cancel the
        future withdraws it."""
        loop = asyncio.get_running_loop()
        order = _Order(pulse, loop.create_future())
        order.timer = loop.call_later(self.wait_s, self._late, order)
        order.outcome.add_done_callback(partial(self._over, order))
        self._place(order)
        return order.outcome

    def withdraw(self, opening_id: str) -> bool:
        """See `gated.ports.Withdraws`."""
        attached = [each.order for each in self._exchanges if each.order is not None]
        for order in (*self._waiting, *attached):
            if order.pulse.id == opening_id and not order.outcome.done():
                self._remove(order)
                order.ended(OpeningOutcome.SUPPRESSED, "withdrawn before it was sent")
                return True
        return False

    def exchange(self, key: str | None, *, opens: bool) -> Exchange:
        """A push, to be entered at its arrival and left when its reply is built. An order that was attached
        and not taken (the event could not be recorded) goes back to waiting."""
        return Exchange(self, key, opens)

    def began(self, exchange: Exchange) -> None:
        """A push came. It takes over from an earlier one of the same event."""
        if exchange.opens and exchange.key is not None and self._exchanges:
            given_up = self._open_exchange(exchange.key)
            if given_up is not None:
                given_up.opens = False
                exchange.opening = given_up.opening
                exchange.order, given_up.order = given_up.order, None
                given_up.tell()
        self._exchanges.append(exchange)

    def ended(self, exchange: Exchange) -> None:
        """The reply to a push is built, or it has failed."""
        self._exchanges.remove(exchange)
        if exchange.order is not None:
            self._place(exchange.order)

    def caused(self, exchange: Exchange, opening: asyncio.Future[Opened]) -> None:
        """A push's event caused an opening: it, or the one that took over from it, is to carry it."""
        exchange.opening = opening
        if not exchange.opens and exchange.key is not None:
            latest = self._open_exchange(exchange.key)
            if latest is not None:
                latest.opening = opening

    async def hold(self, exchange: Exchange, for_s: float) -> None:
        """Holds the reply to a poll back until there is a pulse for it, or for so long."""
        if self._waiting or exchange.order is not None:
            return
        await exchange.attached(for_s)

    def take(self, exchange: Exchange) -> tuple[Pulse, Callable[[bool], None]] | None:
        """The pulse that this reply is to carry and whom to tell that it was sent, or None. From here on
        the pulse counts as sent."""
        order, exchange.order = exchange.order, None
        while exchange.opens and self._waiting and (order is None or order.outcome.done()):
            order = self._waiting.popleft()
        if order is None or order.outcome.done():  # it was cancelled in this very turn of the loop
            return None
        exchange.opens = False  # one is enough
        order.carried = True
        return order.pulse, order.sent

    def _over(self, order: _Order, _: object) -> None:
        if order.timer is not None:
            order.timer.cancel()
        if not order.carried:
            self._remove(order)

    def _late(self, order: _Order) -> None:
        if order.carried:
            order.timer = asyncio.get_running_loop().call_later(
                _SENT_GRACE_S,
                order.ended,
                OpeningOutcome.UNCERTAIN,
                "given to the device in a reply; nobody said it arrived",
            )
            return
        self._remove(order)
        order.ended(
            OpeningOutcome.UNREACHABLE,
            f"the device asked nothing within {self.wait_s:g} s, so there was no reply to open by; not sent",
        )

    def _open_exchange(self, key: str) -> Exchange | None:
        """The one of an event whose reply the device acts on."""
        return next((each for each in self._exchanges if each.opens and each.key == key), None)

    def _place(self, order: _Order) -> None:
        answers = order.pulse.answers
        found: Exchange | None = None
        for exchange in self._exchanges:
            if exchange.opens and exchange.order is None:
                if answers is not None and exchange.key == answers:
                    found = exchange
                    break
                found = found or exchange
        if found is None:
            self._waiting.append(order)
        else:
            found.attach(order)

    def _remove(self, order: _Order) -> None:
        if order in self._waiting:
            self._waiting.remove(order)
        for exchange in self._exchanges:
            if exchange.order is order:
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
