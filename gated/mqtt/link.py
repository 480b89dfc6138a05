"""One connection to a broker, driven by the event loop from CONNECT until it is lost.

A link lives once. Whoever wants to reconnect makes a new one, so that nothing of an old connection (queues,
message ids, half a packet) can leak into the next. paho connects, subscribes, receives and keeps the
connection alive; our messages and their acknowledgements go past it (`gated.mqtt.tap`). A link knows bytes
and topics; what they mean is not its business, and it never decides to reconnect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gated.mqtt import wire
from gated.mqtt.dial import CONNECT_TIMEOUT_S, Client
from gated.mqtt.endpoint import BrokerRefused, BrokerUnreachable, Endpoint, LinkError, WrongVersion

_PACKETS = 10
"""How many packets paho reads at a stretch, some 0.1 ms each; then others have their turn on the loop."""
_REFUSALS = {
    # MQTT 5, 3.2.2.2: the reason codes that trying again does not cure
    0x85: "the broker does not accept the client id",
    0x86: "the broker does not accept the user name or password",
    0x87: "the broker does not allow this user to connect",
    0x8A: "the broker has banned this client",
    0x8C: "the broker asks for another kind of authentication",
}
_WRONG_VERSION = 0x84
_SILENT = 0x8D


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message to us. `retain` is true also for a live message that was sent to be retained (MQTT 5)."""

    topic: str
    payload: bytes
    retain: bool
    response_topic: str | None
    correlation: bytes | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the broker allows this connection; None where it sets no limit."""

    inflight: int | None = None
    packet: int | None = None


class Link:
    """One connection. `on_acks` gets what `publish` was given together with the reason code of the broker
    (0 for success), in bunches; `on_message` one message at a time. Both are called on the event loop,
    outside of paho's locks, and may publish. `publish`, `subscribe` and `flush` are for after `open`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        on_acks: Callable[[list[tuple[object, int]]], None],
        on_message: Callable[[Incoming], None],
    ) -> None:
        self.limits = Limits()
        self.version = endpoint.version
        self._on_acks = on_acks
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[LinkError] = self._loop.create_future()
        self._answer: asyncio.Future[tuple[int, str, Properties | None]] = self._loop.create_future()
        self._tokens: dict[int, object] = {}
        self._last_id = 0
        self._messages: list[Incoming] = []
        self._misc: asyncio.TimerHandle | None = None
        self._writing = False
        self._fd = -1
        self._client = Client(endpoint)
        self._last_error = self._client.last_error
        self._client.on_connect = self._connected
        self._client.on_message = self._received
        self._client.on_disconnect = self._disconnected

    # --- life -------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects. Raises BrokerUnreachable, BrokerRefused or WrongVersion; the link is then closed."""
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                await self._client.dial()
                self._watch()
                await asyncio.wait((self._answer, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if not self._answer.done():
                raise self._hung_up()
            self._judge(*self._answer.result())
        except TimeoutError:
            self.close("no answer")
            raise BrokerUnreachable("the broker accepts the connection but does not answer") from None
        except BaseException:
            self.close("not connected")
            raise

    async def lost(self) -> LinkError:
        """Waits until the connection is gone; says why."""
        return await asyncio.shield(self._lost)

    def goodbye(self) -> None:
        """Ends the connection in good order: the broker does not send our will."""
        if not self._lost.done():
            self._client.disconnect()
            self.flush()
        self.close("closed by us")

    def close(self, why: str) -> None:
        """Drops the connection at once. Safe to call again."""
        if not self._lost.done():
            self._lost.set_result(BrokerUnreachable(why))
        if self._misc is not None:
            self._misc.cancel()
        self._unwatch()
        self._client.hang_up()
        self._tokens.clear()

    @property
    def closed(self) -> bool:
        return self._lost.done()

    @property
    def in_flight(self) -> int:
        """Messages that the broker has not acknowledged yet."""
        return len(self._tokens)

    # --- use --------------------------------------------------------------------------------------------

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, token: object, correlation: bytes | None = None
    ) -> None:
        """Queues one message at QoS 1 for `flush`. The caller keeps `in_flight` within its window, so that
        nothing piles up here. Raises ValueError for what is not a topic, and for a message that is larger
        than the broker allows."""
        number = wire.next_id(self._last_id, self._tokens)
        packet = wire.publish(
            topic, payload, number, retain=retain, version=self.version, correlation=correlation
        )
        if self.limits.packet is not None and len(packet) > self.limits.packet:
            raise ValueError("it is larger than the broker allows")
        self._tap.put(packet)
        self._tokens[number] = token
        self._last_id = number

    def subscribe(self, topics: list[str]) -> None:
        """Subscribes at QoS 1. With MQTT 5 the flag `retain` is kept on live messages too."""
        if self.version == "5":
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            self._client.subscribe([(topic, options) for topic in topics])
        else:
            self._client.subscribe([(topic, 1) for topic in topics])
        self.flush()

    def flush(self) -> None:
        """Writes what is queued, as far as the socket takes it now."""
        if self._lost.done():
            return
        if self._client.want_write():
            self._client.loop_write()  # into the tap
        if self._client.socket() is None:
            self._hang_up()
            return
        try:
            self._tap.flush()
        except OSError as error:
            self._last_error.text = f"failed to send: {error}"
            self._hang_up()
            return
        self._set_writing(self._tap.unsent)

    # --- on the event loop ------------------------------------------------------------------------------

    def _watch(self) -> None:
        tap = self._client.tap
        if tap is None or self._client.socket() is None:
            raise self._hung_up()
        self._tap = tap
        self._fd = tap.fileno()
        self._client.on_socket_close = lambda *_: self._unwatch()
        self._loop.add_reader(self._fd, self._readable)
        self._misc = self._loop.call_later(self._misc_s, self._tick)
        self.flush()

    def _unwatch(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        self._loop.remove_reader(fd)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(fd)

    @property
    def _misc_s(self) -> float:
        return min(5.0, (self._client.keepalive or 15) / 3)  # the broker may have set another

    def _tick(self) -> None:
        self._client.loop_misc()
        self.flush()
        if not self._lost.done():
            self._misc = self._loop.call_later(self._misc_s, self._tick)

    def _readable(self) -> None:
        if not self._tap.for_paho:  # else `_read` goes on by itself
            self._read()

    def _read(self) -> None:
        """Takes one piece off the socket, and what is paho's in it a few packets at a time."""
        if self._lost.done():
            return
        acks: list[tuple[object, int]] = []
        try:
            if not self._tap.for_paho:
                acks = [
                    (self._tokens.pop(number), code)
                    for number, code in self._tap.receive()
                    if number in self._tokens
                ]
            for _ in range(_PACKETS):
                if not self._tap.for_paho:
                    break
                self._client.loop_read()
        except Exception as error:  # a packet that cannot be decoded
            self._last_error.text = f"malformed packet: {error}"
            self._hang_up()
        self._deliver(acks)
        self.flush()
        if self._tap.for_paho and not self._lost.done():
            self._loop.call_soon(self._read)

    def _deliver(self, acks: list[tuple[object, int]]) -> None:
        messages, self._messages = self._messages, []
        if acks:
            self._on_acks(acks)
        for message in messages:
            self._on_message(message)

    def _set_writing(self, wanted: bool) -> None:
        if wanted == self._writing or self._fd < 0:
            return
        self._writing = wanted
        if wanted:
            self._loop.add_writer(self._fd, self.flush)
        else:
            self._loop.remove_writer(self._fd)

    def _hang_up(self) -> None:
        self.close(self._last_error.text or "the broker closed the connection")

    def _hung_up(self) -> LinkError:
        """Why a connection ended before the broker answered our CONNECT."""
        text = self._last_error.text
        if "SSL" in text and "alert" in text.lower():
            return BrokerRefused(
                "tls", f"the broker refuses our certificate: {text}; check mqtt.tls.cert and key"
            )
        return WrongVersion(
            f"the broker hung up on a connection with MQTT {self.version} {text}".rstrip(), told=False
        )

    def _judge(self, code: int, name: str, properties: Properties | None) -> None:
        if code == 0:
            self.limits = Limits(
                getattr(properties, "ReceiveMaximum", None), getattr(properties, "MaximumPacketSize", None)
            )
            return
        if code == _WRONG_VERSION:
            raise WrongVersion(f"the broker does not speak MQTT {self.version}", told=True)
        if code in _REFUSALS:
            raise BrokerRefused("credentials", f"{_REFUSALS[code]} ({name})")
        raise BrokerUnreachable(f"the broker is not ready: {name}")

    # --- callbacks of paho: they only take note, for they run under its locks ---------------------------

    def _connected(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if not self._answer.done():
            self._answer.set_result((reason.value, reason.getName(), properties))

    def _disconnected(
        self, _client: paho.Client, _data: Any, flags: Any, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._last_error.text = f"the broker ended the connection: {reason.getName()}"
        elif reason.value == _SILENT:
            self._last_error.text = "the broker has fallen silent"

    def _received(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # a broker lets no such topic through; nothing of ours has one
        self._messages.append(
            Incoming(
                topic,
                bytes(message.payload),
                bool(message.retain),
                getattr(message.properties, "ResponseTopic", None),
                getattr(message.properties, "CorrelationData", None),
            )
        )
