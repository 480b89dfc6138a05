"""The life of one pull-point subscription: create, synchronise, pull, renew, unsubscribe.

Holds no loop of its own: `adapters.onvif.device` drives it. Times are seconds on the event loop's clock,
because the device's clock may be anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from xml.sax.saxutils import escape

from lxml import etree

from adapters.onvif import codec
from adapters.onvif.camera import LARGE, Answer, Camera, Faulted, Nonsense, Silent, Target
from adapters.onvif.envelope import EVENTS, WSNT, Fault, NotSoap, child, payload, reference_headers, text_of
from adapters.onvif.times import duration, utc
from gated.ports import ConfigError, DeviceError

LIFE_S = 600.0
LIMIT = 100
GRACE_S = 10.0  # how much longer than its own timeout a poll may take
_PORT = f"{EVENTS}/EventPortType"
_PULL = f"{EVENTS}/PullPointSubscription"
_MANAGER = "http://docs.oasis-open.org/wsn/bw-2/SubscriptionManager"
_DIALECT = "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"
_PREFIXES = (
    'xmlns:tns1="http://www.onvif.org/ver10/topics" xmlns:tnsaxis="http://www.axis.com/2009/event/topics" '
    'xmlns:tnshik="http://www.hikvision.com/2011/event/topics"'
)


def create_body(topics: Sequence[str]) -> str:
    """A CreatePullPointSubscription for ten minutes. The filter declares the prefixes that it uses: without
    that, devices ignore it or fault."""
    chosen = "".join(
        f'<Filter><n:TopicExpression xmlns:n="{WSNT}" Dialect="{_DIALECT}" {_PREFIXES}>'
        f"{escape('|'.join(topics))}"
        "</n:TopicExpression></Filter>"
        for _ in range(bool(topics))
    )
    return (
        f'<CreatePullPointSubscription xmlns="{EVENTS}">{chosen}<InitialTerminationTime>{duration(LIFE_S)}'
        "</InitialTerminationTime></CreatePullPointSubscription>"
    )


class Subscription:
    """One subscription at a device. Made by `create`."""

    def __init__(self, camera: Camera, target: Target, life: float) -> None:
        self._camera = camera
        self._target = target
        self._renewable = True
        self._extend(life)

    @classmethod
    async def create(cls, camera: Camera, events: Target, topics: Sequence[str]) -> Subscription:
        """Subscribes and asks for the state of all properties. Raises Faulted where the device has no room
        (or, as some do, always at first), and as `Camera.call`."""
        answer = await camera.call(
            events, create_body(topics), f"{_PORT}/CreatePullPointSubscriptionRequest", addressed=True
        )
        made = _payload(answer)
        reference = child(made, "SubscriptionReference")
        address = text_of(reference, "Address")
        found = camera.target(address, events.path)
        target = Target(found.path, found.address, reference_headers(child(reference, "ReferenceParameters")))
        life = _life(text_of(made, "CurrentTime"), text_of(made, "TerminationTime"))
        subscription = cls(camera, target, life)
        with contextlib.suppress(DeviceError):  # optional on some devices; a dead one shows at the next poll
            await camera.call(
                target,
                f'<SetSynchronizationPoint xmlns="{EVENTS}"/>',
                f"{_PULL}/SetSynchronizationPointRequest",
                addressed=True,
            )
        return subscription

    async def pull(self, seconds: float, reader: codec.Reader) -> tuple[codec.Pulled, datetime]:
        """Waits up to `seconds` for messages; what came, and when it arrived. Raises Faulted when the
        subscription is gone, and as `Camera.call`."""
        seconds = min(seconds, max(1.0, self._life * 0.4))
        answer = await self._camera.call(
            self._target,
            f'<PullMessages xmlns="{EVENTS}"><Timeout>{duration(seconds)}</Timeout>'
            f"<MessageLimit>{LIMIT}</MessageLimit></PullMessages>",
            f"{_PULL}/PullMessagesRequest",
            addressed=True,
            timeout_s=seconds + GRACE_S,
        )
        try:
            if len(answer.body) > LARGE:
                pulled = await asyncio.to_thread(reader.read, answer.body, answer.received_at)
            else:
                pulled = reader.read(answer.body, answer.received_at)
        except NotSoap as error:
            raise Nonsense(f"instead of messages: {error}", answer.body[:4096]) from None
        if isinstance(pulled, Fault):
            raise Faulted(pulled)
        return pulled, answer.received_at

    async def renew_if_due(self, next_pull: float) -> bool:
        """Renews when the next poll would end after 80 % of its life. A device that cannot renew (some fault,
        some hang) extends by itself with every pull, or faults at one, and is then subscribed anew. Returns
        whether it renewed."""
        loop = asyncio.get_running_loop()
        if not self._renewable or loop.time() + next_pull < self._since + self._life * 0.8:
            return False
        try:
            answer = await self._camera.call(
                self._target,
                f'<Renew xmlns="{WSNT}"><TerminationTime>{duration(LIFE_S)}</TerminationTime></Renew>',
                f"{_MANAGER}/RenewRequest",
                addressed=True,
            )
            made = _payload(answer)
        except (Faulted, Nonsense, Silent, ConfigError):
            self._renewable = False
            return False
        self._extend(_life(text_of(made, "CurrentTime"), text_of(made, "TerminationTime")))
        return True

    async def unsubscribe(self) -> None:
        """Gives it back, so that the device has room for the next one. Never raises a device error."""
        with contextlib.suppress(DeviceError):
            await self._camera.call(
                self._target,
                f'<Unsubscribe xmlns="{WSNT}"/>',
                f"{_MANAGER}/UnsubscribeRequest",
                addressed=True,
                timeout_s=2,
                resync=False,
            )

    def _extend(self, life: float) -> None:
        self._since = asyncio.get_running_loop().time()
        self._life = life


def _payload(answer: Answer) -> etree._Element:
    found = payload(answer.root())
    if found is None:
        raise Nonsense("an empty envelope", answer.body[:4096])
    return found


def _life(current: str, terminates: str) -> float:
    """How long a subscription lives, in seconds, by the device's own two times; LIFE_S where they are
    nonsense (one camera says that it ends in a year)."""
    begin, end = utc(current), utc(terminates)
    seconds = (end - begin).total_seconds() if begin and end else LIFE_S
    return min(seconds, LIFE_S) if seconds > 1 else LIFE_S
