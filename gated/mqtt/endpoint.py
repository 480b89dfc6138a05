"""What one connection to a broker needs, and the ways in which it can fail. Opens nothing."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

from gated.mqtt.settings import MqttSettings, TlsSettings
from gated.ports import ConfigError

Version = Literal["5", "3.1.1"]
ONLINE, OFFLINE = b"online", b"offline"


class LinkError(Exception):
    """A connection could not be made, or was lost; the message is for the operator."""


class BrokerUnreachable(LinkError):
    """Nobody answers, or the connection broke: worth trying again soon."""


class BrokerRefused(LinkError):
    """The broker answers and says no, or our own settings cannot work. `kind`: credentials, tls, config,
    or publish (it takes no message on one of our topics)."""

    def __init__(self, kind: Literal["credentials", "tls", "config", "publish"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class WrongVersion(LinkError):
    """The broker does not speak this version of MQTT. `told`: it said so, rather than just hanging up."""

    def __init__(self, message: str, *, told: bool) -> None:
        super().__init__(message)
        self.told = told


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Everything that one connection needs. `password` is the secret itself, read just now."""

    host: str
    port: int
    client_id: str
    version: Version
    keepalive: int
    username: str | None
    password: str | None = field(repr=False)
    tls: TlsSettings | None
    will_topic: str | None = None
    will_payload: bytes = b""


def endpoint(settings: MqttSettings, *, client_id: str, version: Version, will_topic: str | None) -> Endpoint:
    """What `settings` mean for one connection; reads the password. Raises BrokerRefused (kind `config`)."""
    try:
        password = None if settings.password is None else settings.password.value()
    except ConfigError as error:
        raise BrokerRefused("config", str(error)) from error
    return Endpoint(
        host=settings.host,
        port=settings.port,
        client_id=client_id,
        version=version,
        keepalive=settings.keepalive,
        username=settings.username,
        password=password,
        tls=settings.tls,
        will_topic=will_topic,
        will_payload=OFFLINE,
    )


class _TlsSocket(ssl.SSLSocket):
    """A socket that still reads why the peer hung up when a write finds it gone: in TLS 1.3 a certificate is
    refused after the handshake, so that our first write may come upon an end whose alert nobody has read."""

    def send(self, data: Any, flags: int = 0) -> int:
        try:
            return super().send(data, flags)
        except (ssl.SSLEOFError, ssl.SSLSyscallError, ConnectionError) as gone:
            try:
                self.recv(1)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as alert:
                raise alert from gone
            except OSError:
                pass
            raise


class TlsContext(ssl.SSLContext):
    """A context that knows its last socket: when a handshake fails, paho leaves the socket to the garbage
    collector."""

    sslsocket_class = _TlsSocket
    last: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        self.last = super().wrap_socket(*args, **options)
        return self.last

    def close_last(self) -> None:
        if self.last is not None:
            self.last.close()


def tls_context(settings: TlsSettings) -> TlsContext:
    """The context for `settings`; reads the files. Raises BrokerRefused (kind `tls`) naming the file."""
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the certificate and the name in it
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if settings.ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(settings.ca)
    except (OSError, ssl.SSLError) as error:
        raise BrokerRefused("tls", f"cannot use mqtt.tls.ca {settings.ca}: {_reason(error)}") from error
    if settings.cert is not None and settings.key is not None:
        try:
            # an encrypted key is an error rather than a question on the terminal
            context.load_cert_chain(settings.cert, settings.key, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise BrokerRefused(
                "tls", f"cannot use mqtt.tls.cert {settings.cert} with {settings.key}: {_reason(error)}"
            ) from error
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason
    return error.strerror or str(error)
