"""The event service of a simulated ONVIF camera: subscriptions, long polls, and the ways they go wrong."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from lxml import etree

from adapters.simulator import onvif_soap as soap
from adapters.simulator.faults import Faults
from adapters.simulator.onvif_quirks import Quirks
from adapters.simulator.onvif_wire import Peer

_EVENTS = "http://www.onvif.org/ver10/events/wsdl"
_ACTION = "{*}Header/{http://www.w3.org/2005/08/addressing}Action"


class Host(Protocol):
    """What the event service needs of its camera."""

    faults: Faults
    quirks: Quirks

    @property
    def now(self) -> datetime: ...
    @property
    def base(self) -> str: ...
    def state(self) -> list[str]: ...
    def say(self, peer: Peer, body: str, action: str = "") -> None: ...
    def background(self, work: Coroutine[Any, Any, None]) -> None: ...


@dataclass(slots=True)
class _Poll:
    peer: Peer
    limit: int
    timer: asyncio.TimerHandle


@dataclass(slots=True)
class _Subscription:
    number: int
    ends: float
    queue: deque[str] = field(default_factory=lambda: deque(maxlen=1000))
    poll: _Poll | None = None


Operation = Callable[[Peer, str, etree._Element, etree._Element], None]


class Events:
    """All subscriptions of one camera. Its operations take the connection, the request's target, the
    envelope and the element of the operation."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._all: dict[int, _Subscription] = {}
        self._number = 0
        self.operations: dict[str, Operation] = {
            "CreatePullPointSubscription": self._create,
            "SetSynchronizationPoint": self._synchronise,
            "PullMessages": self._pull,
            "Renew": self._renew,
            "Unsubscribe": self._unsubscribe,
        }

    def __len__(self) -> int:
        return len(self._all)

    def publish(self, message: str, copies: int = 1) -> None:
        """Queues a message for everybody who listens."""
        for each in list(self._all.values()):
            each.queue.extend([message] * copies)
            self._deliver(each)

    def forget(self) -> None:
        """Ends all subscriptions; polls that wait get a fault."""
        for each in list(self._all.values()):
            self._end(each)

    def _create(self, peer: Peer, *_: object) -> None:
        quirks = self._host.quirks
        if quirks.busy_creates > 0:
            quirks.busy_creates -= 1
            peer.reply(400, soap.fault("BlockedThreadUpperLimit"))
            return
        self._expire()
        if len(self._all) >= quirks.subscriptions:
            peer.reply(400, soap.fault("SubscribeCreationFailed", "too many subscriptions", "Receiver"))
            return
        self._number += 1
        made = _Subscription(self._number, time.monotonic() + quirks.life_s)
        self._all[made.number] = made
        address, reference = f"{self._host.base}/onvif/subscription?Idx={made.number}", ""
        if quirks.references:
            address = f"{self._host.base}/onvif/services"
            reference = (
                '<wsa:ReferenceParameters><dom0:SubscriptionId xmlns:dom0="http://www.axis.com/2009/event">'
                f"{made.number}</dom0:SubscriptionId></wsa:ReferenceParameters>"
            )
        body = soap.subscription(address, reference, soap.stamp(self._host.now), self._ends(made))
        self._host.say(peer, body, f"{_EVENTS}/EventPortType/CreatePullPointSubscriptionResponse")

    def _synchronise(self, peer: Peer, target: str, root: etree._Element, _operation: etree._Element) -> None:
        found = self._addressed(peer, target, root)
        if found is not None:
            found.queue.extend(self._host.state())
            self._host.say(peer, "<tev:SetSynchronizationPointResponse/>")

    def _pull(self, peer: Peer, target: str, root: etree._Element, operation: etree._Element) -> None:
        found = self._addressed(peer, target, root)
        if found is None:
            return
        seconds = soap.seconds(operation.findtext("{*}Timeout", "PT1S"))
        limit = int(operation.findtext("{*}MessageLimit", "100"))
        subscription = found
        timer = asyncio.get_running_loop().call_later(
            seconds, lambda: self._deliver(subscription, empty=True)
        )
        if found.poll is not None:
            found.poll.timer.cancel()
        found.poll = _Poll(peer, limit, timer)
        self._deliver(found, empty=not self._host.quirks.waits)

    def _renew(self, peer: Peer, target: str, root: etree._Element, _operation: etree._Element) -> None:
        found = self._addressed(peer, target, root)
        if found is None:
            return
        if not self._host.quirks.renews:
            peer.reply(400, soap.fault("ActionNotSupported", code="Receiver"))
            return
        found.ends = time.monotonic() + self._host.quirks.life_s
        self._host.say(
            peer,
            f"<wsnt:RenewResponse><wsnt:TerminationTime>{self._ends(found)}</wsnt:TerminationTime>"
            f"<wsnt:CurrentTime>{soap.stamp(self._host.now)}</wsnt:CurrentTime></wsnt:RenewResponse>",
        )

    def _unsubscribe(self, peer: Peer, target: str, root: etree._Element, _operation: etree._Element) -> None:
        found = self._addressed(peer, target, root)
        if found is not None:
            self._end(found)
            self._host.say(peer, "<wsnt:UnsubscribeResponse/>")

    def _addressed(self, peer: Peer, target: str, root: etree._Element) -> _Subscription | None:
        """The subscription that a request is for; without WS-Addressing there is none, as on several
        devices."""
        self._expire()
        number = target.rpartition("Idx=")[2]
        if self._host.quirks.references:
            number = root.findtext("{*}Header/{http://www.axis.com/2009/event}SubscriptionId", "")
        found = self._all.get(int(number)) if number.isdigit() else None
        if found is None or root.find(_ACTION) is None:
            peer.reply(400, soap.fault("ResourceUnknown", "unknown subscription"))
            return None
        return found

    def _deliver(self, subscription: _Subscription, *, empty: bool = False) -> None:
        """Answers a poll that waits, if there is something to say or its time is over."""
        faults, quirks, poll = self._host.faults, self._host.quirks, subscription.poll
        if poll is None or not (subscription.queue or empty) or faults.hang:
            return
        poll.timer.cancel()
        subscription.poll = None
        if poll.peer.gone:
            return
        queue = subscription.queue
        taken = [queue.popleft() for _ in range(min(poll.limit, len(queue)))]
        body = soap.envelope(
            soap.messages(soap.stamp(self._host.now), self._ends(subscription), taken),
            f"{_EVENTS}/PullPointSubscription/PullMessagesResponse",
        )
        if quirks.bombs > 0:
            quirks.bombs -= 1
            poll.peer.reply(200, soap.BOMB)
        elif quirks.floods > 0:
            quirks.floods -= 1
            self._host.background(poll.peer.flood())
        elif taken and (junk := faults.take_garbage()) is not None:
            poll.peer.reply(200, junk)
        elif taken and faults.take_death():
            poll.peer.reply(200, body, half=True)
        else:
            poll.peer.reply(200, body)

    def _ends(self, subscription: _Subscription) -> str:
        return soap.stamp(self._host.now + timedelta(seconds=subscription.ends - time.monotonic()))

    def _expire(self) -> None:
        for each in [each for each in self._all.values() if each.ends < time.monotonic()]:
            self._end(each)

    def _end(self, subscription: _Subscription) -> None:
        self._all.pop(subscription.number, None)
        poll, subscription.poll = subscription.poll, None
        if poll is not None:
            poll.timer.cancel()
            poll.peer.reply(400, soap.fault("ResourceUnknown", "the subscription ended"))
