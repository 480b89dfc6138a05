"""Getting a paho client connected, up to its CONNECT packet: names, TCP and TLS block, so they have a thread.

It ends where the event loop begins: `gated.mqtt.link` drives what is connected.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gated.mqtt.endpoint import BrokerRefused, BrokerUnreachable, Endpoint, LinkError, tls_context
from gated.mqtt.tap import Tap

CONNECT_TIMEOUT_S = 10.0
MAX_INCOMING = 64 * 1024
"""No packet to us needs more; an MQTT 5 broker is told so."""
RECEIVE_MAXIMUM = 32


class _LastError(logging.Handler):
    """paho tells why a socket broke only in its log; this keeps the last such line."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


class Client(paho.Client):
    """paho for one connection to `endpoint`, with a tap on its socket once there is one."""

    def __init__(self, endpoint: Endpoint) -> None:
        five = endpoint.version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=endpoint.client_id,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,  # else paho reconnects, blocking, on some refusals
        )
        self.tap: Tap | None = None
        self.last_error = _LastError()
        self.connect_timeout = CONNECT_TIMEOUT_S
        self._endpoint = endpoint
        logger = logging.Logger("gated.mqtt.paho", logging.ERROR)  # its own, not registered
        logger.addHandler(self.last_error)
        self.enable_logger(logger)
        if endpoint.username is not None:
            self.username_pw_set(endpoint.username, endpoint.password)
        if endpoint.will_topic is not None:
            self.will_set(endpoint.will_topic, endpoint.will_payload, qos=1, retain=True)
        # without this callback paho would write whenever it has a packet, not only when the link lets it
        self.on_socket_register_write = _nothing

    def _create_socket(self) -> Tap:
        held = super()._create_socket()
        assert isinstance(held, socket.socket)  # noqa: S101 - no websockets
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tap = Tap(held, self._endpoint.version)
        return self.tap

    async def dial(self) -> None:
        """TCP, TLS and the CONNECT packet, in a thread of its own: a name server or a peer that hangs holds
        neither the loop nor the shared executor, nor the end of the process. Raises LinkError."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[None] = loop.create_future()
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
            if given_up.is_set():
                self.hang_up()
            try:
                loop.call_soon_threadsafe(finish, error)
            except RuntimeError:  # the loop has ended meanwhile
                self.hang_up()

        threading.Thread(target=work, name="mqtt-connect", daemon=True).start()
        try:
            await outcome
        except asyncio.CancelledError:
            given_up.set()
            raise

    def hang_up(self) -> None:
        """Closes the socket, if there is one."""
        if self.tap is not None:
            self.tap.close()

    def _dial(self) -> None:
        plan = self._endpoint
        context = None if plan.tls is None else tls_context(plan.tls)
        if context is not None:
            self.tls_set_context(context)
        try:
            self._connect()
        except LinkError:
            if context is not None:
                context.close_last()
            raise

    def _connect(self) -> None:
        plan = self._endpoint
        properties = None
        if plan.version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = MAX_INCOMING
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
        try:
            if plan.version == "5":
                rc = self.connect(
                    plan.host, plan.port, plan.keepalive, clean_start=True, properties=properties
                )
            else:
                rc = self.connect(plan.host, plan.port, plan.keepalive)
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


def _nothing(*_: object) -> None:
    """Bytes wait to be written; `Link.flush` will."""
