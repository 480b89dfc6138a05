"""What devices that are reached through an MQTT broker have in common: one connection for each, on paho.

Knows no vendor's topics. paho's own threads are not used: its socket is watched by the event loop, so that
hundreds of connections cost no thread. It never reconnects (the daemon's supervisor does), never retains, and
never sends a message again: an opening that got no PUBACK is not repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters._camera import NoAnswer, NotSent, trust
from gated.domain import OpeningOutcome
from gated.ports import ConfigError, DeviceRefused, DeviceUnavailable, Opened, Secret, Wire

MAX_PAYLOAD = 4 * 1024 * 1024
_MOST_WAITING = 2000
_KEEPALIVE_S = 30
_MISC_S = 2.0
_PAUSE_S = 0.5  # so long without a message, and what the broker kept is through
_REFUSED = {4, 5, 134, 135}  # MQTT 3.1.1: bad user or password, not authorised; MQTT 5: the same


class Broker(BaseModel):
    """The broker that a device talks to. `certificate`: a PEM file with the one certificate that it must
    present, else the system's authorities decide."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: int = Field(default=1883, ge=1, le=65535)
    username: str | None = Field(default=None, max_length=128)
    password: Secret | None = None
    tls: bool = False
    certificate: Path | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.password is not None and self.username is None:
            raise ValueError("a password without a username")
        if self.certificate is not None and not self.tls:
            raise ValueError("certificate is given, but tls is not on")
        return self


class Message(NamedTuple):
    """One message. `retained`: the broker had kept it; it tells of a state, never of an event. `kept`: it may
    have waited at the broker while we were away, and says nothing of this moment."""

    topic: str
    payload: bytes
    retained: bool
    kept: bool = False


class MqttLink:
    """One device's connection; `async with`. Entering connects and subscribes. Raises DeviceUnavailable,
    DeviceRefused, ConfigError. `client_id`: the same at every start, so that a broker that keeps a session
    (`keeps`: for so many seconds) holds what came meanwhile."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        topics: Sequence[str],
        *,
        timeout_s: float = 5.0,
        keeps: bool = False,
        wire: Wire | None = None,
    ) -> None:
        self._broker = broker
        self._wire = wire
        self._client_id = client_id
        self._topics = list(topics)
        self._timeout = timeout_s
        self._keeps = keeps
        self._client: paho.Client | None = None
        self._lost: str | None = None
        self._news = asyncio.Event()
        self._waiting: deque[tuple[paho.MQTTMessage, bool]] = deque()
        self._live = not keeps
        self._latest = 0.0
        self._acks: dict[int, asyncio.Future[None]] = {}
        self._misc: asyncio.TimerHandle | None = None
        self._sock: Any = None
        self._paused = False

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._lost, self._paused = None, False
        self._live, self._latest = not self._keeps, loop.time()
        self._waiting.clear()
        self._acks.clear()
        connected: asyncio.Future[str | None] = loop.create_future()
        subscribed: asyncio.Future[None] = loop.create_future()
        client = self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv311,
            clean_session=not self._keeps,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = self._timeout
        if self._broker.username is not None:
            password = self._broker.password
            client.username_pw_set(self._broker.username, password.value() if password else None)
        if self._broker.tls:
            client.tls_set_context(trust(self._broker.certificate))

        def on_connect(_c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
            if connected.done():
                return
            if code.is_failure:
                error = DeviceRefused if code.value in _REFUSED else DeviceUnavailable
                connected.set_exception(error(f"the broker says: {code.getName()}"))
            else:
                connected.set_result(None)

        def on_disconnect(_c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
            self._went(f"the connection to the broker was lost ({code.getName()})")
            if not connected.done():
                error = DeviceRefused if code.value in _REFUSED else DeviceUnavailable
                connected.set_exception(error(f"the broker hung up: {code.getName()}"))

        def on_subscribe(_c: Any, _u: Any, _mid: Any, codes: Any, _p: Any) -> None:
            if subscribed.done():
                return
            if any(code.is_failure for code in codes):
                subscribed.set_exception(DeviceRefused("the broker does not let us subscribe: see its ACL"))
            else:
                subscribed.set_result(None)

        client.on_connect, client.on_disconnect, client.on_subscribe = on_connect, on_disconnect, on_subscribe
        client.on_message = self._came
        client.on_publish = self._acked
        self._watch(client, loop)
        try:
            await asyncio.to_thread(self._connect, client)
            async with asyncio.timeout(self._timeout):
                await connected
                if self._topics:
                    client.subscribe([(topic, 1) for topic in self._topics])
                    await subscribed
        except TimeoutError:
            self._drop()
            raise DeviceUnavailable(f"no answer from {self._where} in time") from None
        except BaseException:
            self._drop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        client = self._client
        if client is not None:
            client.disconnect()
        self._drop()

    async def messages(self) -> AsyncGenerator[Message, None]:
        """What comes, in order. A message is acknowledged to the broker when the next is asked for: what was
        not taken in before a crash comes again. Raises DeviceUnavailable when the connection is lost."""
        while True:
            while self._waiting:
                message, kept = self._waiting.popleft()
                if self._paused and len(self._waiting) < _MOST_WAITING // 2:
                    self._resume()
                came = Message(message.topic, bytes(message.payload), message.retain, kept)
                if self._wire is not None:
                    before = "retained " if came.retained else ""
                    self._wire("in", f"MQTT {before}{came.topic}", came.payload)
                yield came
                if self._client is not None:
                    self._client.ack(message.mid, message.qos)
            if self._lost is not None:
                raise DeviceUnavailable(self._lost)
            self._news.clear()
            await self._news.wait()

    async def send(self, topic: str, payload: bytes, *, timeout_s: float | None = None) -> None:
        """Publishes once, QoS 1, never retained; returns at the broker's PUBACK, which says nothing of the
        device. Raises NotSent (certainly not sent) and NoAnswer."""
        client = self._client
        if client is None or self._lost is not None or not client.is_connected():
            raise NotSent(self._lost or "not connected to the broker")
        # QoS 0 would not tell whether it arrived; paho repeats QoS 1 only on a reconnect, and there is none
        info = client.publish(topic, payload, qos=1, retain=False)
        if self._wire is not None:
            self._wire("out", f"MQTT {topic}", payload)
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotSent(f"the broker cannot be reached ({info.rc.name})")
        if info.is_published():
            return
        waiter = self._acks[info.mid] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s or self._timeout):
                await waiter
        except TimeoutError:
            raise NoAnswer("the broker did not acknowledge it in time") from None
        finally:
            self._acks.pop(info.mid, None)

    async def order(
        self, topic: str, payload: bytes, answer: asyncio.Future[Opened], timeout_s: float
    ) -> Opened:
        """An opening, published once: what the device answers, which whoever listens puts into `answer`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.send(topic, payload)
                return await answer
        except NotSent as error:
            return Opened(OpeningOutcome.UNREACHABLE, f"{error}; nothing was sent")
        except DeviceUnavailable as error:
            return Opened(OpeningOutcome.UNCERTAIN, str(error))
        except TimeoutError:
            return Opened(OpeningOutcome.UNCERTAIN, "sent, but the device did not answer in time")

    # --- paho and the event loop ------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"{self._broker.host}:{self._broker.port}"

    def _connect(self, client: paho.Client) -> None:
        try:
            client.connect(self._broker.host, self._broker.port, keepalive=_KEEPALIVE_S)
        except ssl.SSLCertVerificationError as error:
            raise DeviceUnavailable(
                f"the certificate of the broker {self._where} is not trusted: {error.verify_message}"
            ) from None
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DeviceUnavailable(f"no connection to the broker {self._where}: {reason}") from None
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def _watch(self, client: paho.Client, loop: asyncio.AbstractEventLoop) -> None:
        """Has the loop watch paho's socket. The callbacks come from the thread that connects, and later
        from the loop itself."""

        def on_loop(call: Callable[..., None], *args: Any) -> None:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                loop.call_soon_threadsafe(call, *args)
            else:
                call(*args)

        def opened(sock: Any) -> None:
            if self._client is client:
                self._sock = sock
                # an acknowledgement and an opening beside it: the second would wait for the first one's ACK
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                loop.add_reader(sock, self._read, client)
                self._tick(client)

        def closed(sock: Any) -> None:
            with contextlib.suppress(OSError, ValueError):
                loop.remove_reader(sock)
                loop.remove_writer(sock)
            if self._sock is sock:
                self._sock = None

        def wants_to_write(sock: Any) -> None:
            if self._client is client and sock.fileno() >= 0:
                loop.add_writer(sock, self._write, client, sock)

        client.on_socket_open = lambda _c, _u, sock: on_loop(opened, sock)
        client.on_socket_close = lambda _c, _u, sock: on_loop(closed, sock)
        client.on_socket_register_write = lambda _c, _u, sock: on_loop(wants_to_write, sock)
        client.on_socket_unregister_write = lambda _c, _u, sock: None

    def _read(self, client: paho.Client) -> None:
        client.loop_read()
        pending = getattr(self._sock, "pending", None)  # TLS: what is decrypted already wakes nobody
        while pending is not None and self._sock is not None and not self._paused and pending() > 0:
            client.loop_read()

    def _write(self, client: paho.Client, sock: Any) -> None:
        client.loop_write()
        if not client.want_write():
            with contextlib.suppress(OSError, ValueError):
                asyncio.get_running_loop().remove_writer(sock)

    def _tick(self, client: paho.Client) -> None:
        if self._client is client:
            client.loop_misc()
            self._misc = asyncio.get_running_loop().call_later(_MISC_S, self._tick, client)

    def _came(self, client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        if len(message.payload) > MAX_PAYLOAD:
            client.ack(message.mid, message.qos)
            return
        # what was kept comes without a pause after the connection
        now = asyncio.get_running_loop().time()
        self._live, self._latest = self._live or now - self._latest >= _PAUSE_S, now
        self._waiting.append((message, not self._live))
        self._news.set()
        if len(self._waiting) >= _MOST_WAITING and not self._paused and self._sock is not None:
            self._paused = True
            asyncio.get_running_loop().remove_reader(self._sock)

    def _resume(self) -> None:
        self._paused = False
        if self._sock is not None and self._client is not None:
            asyncio.get_running_loop().add_reader(self._sock, self._read, self._client)

    def _acked(self, _client: Any, _user: Any, mid: int, _code: Any, _properties: Any) -> None:
        waiter = self._acks.get(mid)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _went(self, why: str) -> None:
        if self._lost is None:
            self._lost = why
        self._news.set()
        for waiter in self._acks.values():
            if not waiter.done():
                waiter.set_exception(NoAnswer("the connection to the broker was lost before its answer"))

    def _drop(self) -> None:
        client, self._client = self._client, None
        if self._misc is not None:
            self._misc.cancel()
            self._misc = None
        if client is not None:
            sock = client.socket()
            if sock is not None:
                loop = asyncio.get_running_loop()
                with contextlib.suppress(OSError, ValueError):
                    loop.remove_reader(sock)
                    loop.remove_writer(sock)
            client.on_socket_close = client.on_disconnect = None
            # paho closes the pair that wakes its thread only when it is collected, from any thread
            client._reset_sockets()
        self._sock = None
        self._went("disconnected")
