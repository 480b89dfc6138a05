"""One connection to a broker: paho-mqtt driven by the event loop, from CONNECT until it is lost.

A link lives once. Whoever wants to reconnect makes a new one, so that nothing of an old connection (queues,
message ids, half a packet) can leak into the next. It knows bytes and topics; what they mean is not its
business, and it never decides to reconnect.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gated.mqtt.endpoint import (
    BrokerRefused,
    BrokerUnreachable,
    Endpoint,
    LinkError,
    WrongVersion,
    tls_context,
)

CONNECT_TIMEOUT_S = 10.0
MAX_INCOMING = 64 * 1024
"""No packet to us needs more; an MQTT 5 broker is told so."""
RECEIVE_MAXIMUM = 32

_REFUSALS = {
    # MQTT 5, 3.2.2.2: the reason codes that trying again does not cure
    0x85: "the broker does not accept the client id",
    0x86: "the broker does not accept the user name or password",
    0x87: "the broker does not allow this user to connect",
    0x8A: "the broker has banned this client",
    0x8C: "the broker asks for another kind of authentication",
}
_WRONG_VERSION = 0x84


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


class _LastError(logging.Handler):
    """paho tells why a socket broke only in its log; this keeps the last such line."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


class Link:
    """One connection. `on_acks` gets what `publish` was given together with the reason code of the broker
    (0 for success), in bunches; `on_message` one message at a time. Both are called on the event loop,
    outside of paho's locks, and may publish."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        on_acks: Callable[[list[tuple[object, int]]], None],
        on_message: Callable[[Incoming], None],
    ) -> None:
        self.limits = Limits()
        self.version = endpoint.version
        self._endpoint = endpoint
        self._on_acks = on_acks
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[LinkError] = self._loop.create_future()
        self._answer: asyncio.Future[tuple[int, str, Properties | None]] = self._loop.create_future()
        self._last_error = _LastError()
        self._tokens: dict[int, object] = {}
        self._acks: list[tuple[object, int]] = []
        self._messages: list[Incoming] = []
        self._misc: asyncio.TimerHandle | None = None
        self._writing = False
        self._fd = -1
        self._client = self._make()

    # --- life -------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects. Raises BrokerUnreachable, BrokerRefused or WrongVersion; the link is then closed."""
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                await self._connect()
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
            self._after()
        self.close("closed by us")

    def close(self, why: str) -> None:
        """Drops the connection at once. Safe to call again."""
        if not self._lost.done():
            self._lost.set_result(BrokerUnreachable(why))
        if self._misc is not None:
            self._misc.cancel()
        self._unwatch()
        held = self._client.socket()
        if held is not None:
            held.close()
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
        nothing piles up here. Raises ValueError for what is not a topic."""
        properties = None
        if correlation is not None and self.version == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        self._tokens[info.mid] = token

    def subscribe(self, topics: list[str]) -> None:
        """Subscribes at QoS 1. With MQTT 5 the flag `retain` is kept on live messages too."""
        if self.version == "5":
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            self._client.subscribe([(topic, options) for topic in topics])
        else:
            self._client.subscribe([(topic, 1) for topic in topics])
        self._after()

    def flush(self) -> None:
        """Writes what is queued, as far as the socket takes it now."""
        if not self._lost.done():
            self._client.loop_write()
            self._after()

    # --- paho -------------------------------------------------------------------------------------------

    def _make(self) -> paho.Client:
        plan = self._endpoint
        five = plan.version == "5"
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=plan.client_id,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,  # else paho reconnects, blocking, on some refusals
        )
        client.max_inflight_messages_set(0)  # the window is kept by the caller
        client.connect_timeout = CONNECT_TIMEOUT_S
        logger = logging.Logger("gated.mqtt.paho", logging.ERROR)  # its own, not registered
        logger.addHandler(self._last_error)
        client.enable_logger(logger)
        if plan.username is not None:
            client.username_pw_set(plan.username, plan.password)
        if plan.will_topic is not None:
            client.will_set(plan.will_topic, plan.will_payload, qos=1, retain=True)
        client.on_connect = self._connected
        client.on_publish = self._published
        client.on_message = self._received
        # writing is done by `flush`; without this callback paho would write inside of publish()
        client.on_socket_register_write = _nothing
        return client

    async def _connect(self) -> None:
        """TCP, TLS and the CONNECT packet, in a thread of its own: a name server or a peer that hangs holds
        neither the loop nor the shared executor, nor the end of the process."""
        outcome: asyncio.Future[None] = self._loop.create_future()
        given_up = threading.Event()

        def finish(error: BaseException | None) -> None:
            if outcome.done():
                return
            if error is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(error)

        def work() -> None:
            error: BaseException | None = None
            try:
                self._dial()
            except BaseException as caught:
                error = caught
            held = self._client.socket()
            if given_up.is_set() and held is not None:
                held.close()
            try:
                self._loop.call_soon_threadsafe(finish, error)
            except RuntimeError:  # the loop has ended meanwhile
                if held is not None:
                    held.close()

        threading.Thread(target=work, name="mqtt-connect", daemon=True).start()
        try:
            await outcome
        except asyncio.CancelledError:
            given_up.set()
            raise

    def _dial(self) -> None:
        plan = self._endpoint
        context = None if plan.tls is None else tls_context(plan.tls)
        if context is not None:
            self._client.tls_set_context(context)
        try:
            self._connect_socket()
        except LinkError:
            if context is not None:
                context.close_last()
            raise

    def _connect_socket(self) -> None:
        plan = self._endpoint
        properties = None
        if plan.version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = MAX_INCOMING
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
        try:
            if plan.version == "5":
                rc = self._client.connect(
                    plan.host, plan.port, plan.keepalive, clean_start=True, properties=properties
                )
            else:
                rc = self._client.connect(plan.host, plan.port, plan.keepalive)
        except ssl.SSLCertVerificationError as error:
            raise BrokerRefused(
                "tls",
                f"the broker's certificate is not trusted: {error.verify_message}; check mqtt.tls.ca, "
                f"and that mqtt.host {plan.host} is a name in the certificate",
            ) from error
        except ssl.SSLError as error:
            raise BrokerRefused(
                "tls",
                f"no TLS with the broker: {error.reason or error}; "
                f"check that port {plan.port} is its TLS port",
            ) from error
        except socket.gaierror as error:
            raise BrokerUnreachable(f"the name {plan.host} is not known: {error.strerror}") from error
        except OSError as error:
            raise BrokerUnreachable(f"{plan.host}:{plan.port}: {error.strerror or error}") from error
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BrokerUnreachable(f"{plan.host}:{plan.port}: {paho.error_string(rc)}")

    def _watch(self) -> None:
        held = self._client.socket()
        if not isinstance(held, socket.socket):
            raise self._hung_up()
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = held.fileno()
        self._client.on_socket_close = lambda *_: self._unwatch()
        self._loop.add_reader(self._fd, self._readable)
        self._misc = self._loop.call_later(self._misc_s, self._tick)
        self._after()

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
        self._after()
        if not self._lost.done():
            self._misc = self._loop.call_later(self._misc_s, self._tick)

    def _readable(self) -> None:
        if self._lost.done():
            return
        try:
            self._client.loop_read()
        except Exception as error:  # a packet that paho cannot decode
            self._last_error.text = f"malformed packet: {error}"
            self._hang_up()
        self._after()
        held = self._client.socket()
        # decrypted bytes that wait inside of the TLS layer do not make the socket readable again
        if isinstance(held, ssl.SSLSocket) and self._fd >= 0 and held.pending():
            self._loop.call_soon(self._readable)

    def _after(self) -> None:
        """What every call into paho may have left behind: acknowledgements, messages, bytes to write, or a
        lost connection."""
        acks, self._acks = self._acks, []
        messages, self._messages = self._messages, []
        if acks:
            self._on_acks(acks)
        for message in messages:
            self._on_message(message)
        if self._client.socket() is None:
            self._hang_up()
        elif self._client.want_write() and not self._lost.done():
            self._client.loop_write()
            self._set_writing(self._client.want_write())
            if self._client.socket() is None:
                self._hang_up()
        else:
            self._set_writing(False)

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

    def _published(
        self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if mid in self._tokens:
            self._acks.append((self._tokens.pop(mid), reason.value))

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


def _nothing(*_: object) -> None:
    """Bytes wait to be written; `flush` will."""
