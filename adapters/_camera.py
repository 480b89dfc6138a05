"""What devices that are commanded over HTTP have in common: one lean client for each, on httpx.

No vendor's format here; `adapters.hikvision` and `adapters.dahua` bring theirs. Digest login that cannot
lock an account: after one refusal nothing more is sent until the device is entered anew. TLS trusts the
system's authorities, or exactly the one certificate that was pinned. Answers and streams are bounded.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self

import httpx
from pydantic import Field, model_validator

from adapters._multipart import Malformed, Part, Parts, boundary_of
from gated.ports import (
    ConfigError,
    DeviceConfig,
    DeviceRefused,
    DeviceUnavailable,
    Secret,
    Wire,
)

MAX_ANSWER = 4 * 1024 * 1024
_WHOLE = 6  # times the limit of one piece: for a whole answer
_ENDED = httpx.ByteStream(b"")
_CONNECTIONS = 2  # the stream of events and the command beside it: such devices have few sockets


class NotSent(DeviceUnavailable):
    """There was no connection: the device certainly got nothing."""


class NoAnswer(DeviceUnavailable):
    """It was sent, and no complete answer came: the device may have acted or not."""


class CameraConfig(DeviceConfig):
    """Where a device is and how to log in. `port`: 80, or 443 with `tls`. `certificate`: a PEM file with the
    one certificate that the device must present, for those that signed theirs themselves (`gated devices
    certificate` writes it). `timeout_ms`: for one answer."""

    host: str = Field(min_length=1, max_length=253)
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: bool = False
    certificate: Path | None = None
    username: str = Field(default="admin", min_length=1, max_length=64)
    password: Secret
    timeout_ms: int = Field(default=5000, ge=50, le=60_000)

    @model_validator(mode="after")
    def _pinned_over_tls(self) -> Self:
        if self.certificate is not None and not self.tls:
            raise ValueError("certificate is given, but tls is not on")
        return self


class Answer(NamedTuple):
    """A complete answer. Header names in lower case."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, whatever bytes it has."""
        return self.body.decode("utf-8", "replace")


class HttpLink:
    """The connection to one device; `async with`. Raises NotSent, NoAnswer (both DeviceUnavailable) and
    DeviceRefused; ConfigError when entered with a certificate or secret that cannot be read."""

    def __init__(self, config: CameraConfig, wire: Wire | None = None) -> None:
        self._config = config
        self._wire = wire
        self._exchanges = 0
        self._client: httpx.AsyncClient | None = None
        self._refused: str | None = None

    async def __aenter__(self) -> Self:
        config = self._config
        scheme = "https" if config.tls else "http"
        host = f"[{config.host}]" if ":" in config.host else config.host
        port = "" if config.port is None else f":{config.port}"
        seconds = config.timeout_ms / 1000
        self._refused = None
        self._client = httpx.AsyncClient(
            base_url=f"{scheme}://{host}{port}",
            auth=httpx.DigestAuth(config.username, config.password.value()),
            verify=trust(config.certificate) if config.tls else _no_tls(),
            timeout=httpx.Timeout(seconds, connect=min(seconds, 5.0)),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            trust_env=False,
            headers={"User-Agent": "gated"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def ask(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        content_type: str = "application/xml",
        timeout_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One exchange, sent once. Answers of any status but 401 and 403 are returned."""
        async with self._response(method, target, body, content_type, timeout_s, headers) as response:
            chunks, size = [], 0
            # httpx's limit is for each piece: a device that drips would hold us for days
            async with asyncio.timeout(_WHOLE * (timeout_s or self._config.timeout_ms / 1000)):
                async for chunk in response.aiter_raw():
                    size += len(chunk)
                    if size > MAX_ANSWER:
                        raise NoAnswer(f"its answer is larger than {MAX_ANSWER} bytes")
                    chunks.append(chunk)
            answer = Answer(response.status_code, response.headers, b"".join(chunks))
        if self._wire is not None:
            exchange = self._begun(f"{method} {target}", body or b"")
            kind = answer.headers.get("content-type", "")
            self._wire("in", f"{answer.status} {kind}".rstrip(), answer.body, exchange)
        return answer

    async def stream(
        self, target: str, *, silent_after_s: float, keep: int = 0
    ) -> AsyncGenerator[Part, None]:
        """The parts of an endless multipart answer; never ends but by an error. `silent_after_s`: so long
        without a part and the connection counts as dead, also one that nobody closed. `keep`: bytes kept of
        each picture."""
        async with self._response("GET", target, None, "", silent_after_s) as response:
            if response.status_code != 200:
                raise NoAnswer(f"{target.split('?', maxsplit=1)[0]} answers {response.status_code}")
            boundary = boundary_of(response.headers.get("content-type", ""))
            if boundary is None:
                raise NoAnswer(f"{target.split('?', maxsplit=1)[0]} is no stream of events")
            parts = Parts(boundary, keep=keep)
            exchange = self._begun(f"GET {target}")
            now = asyncio.get_running_loop().time
            whole_at = now()
            try:
                async for chunk in response.aiter_raw():
                    for part in parts.feed(chunk):
                        if self._wire is not None:
                            self._wire("in", f"part {part.content_type}".rstrip(), part.body, exchange)
                        yield part
                        whole_at = now()
                    if now() - whole_at > silent_after_s:  # it drips, and says nothing
                        raise NoAnswer("nothing whole came from its stream of events")
            except Malformed as error:
                raise NoAnswer(str(error)) from None
        raise NoAnswer("it closed its stream of events")

    def _begun(self, what: str, body: bytes = b"") -> int:
        self._exchanges += 1
        if self._wire is not None:
            self._wire("out", what, body, self._exchanges)
        return self._exchanges

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        target: str,
        body: bytes | None,
        content_type: str,
        timeout_s: float | None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        client = self._client
        if client is None:
            raise NotSent("not connected")
        if self._refused is not None:
            raise DeviceRefused(self._refused)
        seconds = timeout_s or self._config.timeout_ms / 1000
        request = client.build_request(
            method,
            target,
            content=body,
            headers={**({"Content-Type": content_type} if body is not None else {}), **(headers or {})},
            timeout=httpx.Timeout(seconds, connect=min(seconds, 5.0)),
        )
        try:
            # the limit is for the whole of a reply's head: a device that drips bytes is none that answers
            # httpx's own, which can tell that there was no connection, ends first
            async with asyncio.timeout(seconds + 0.25):
                response = await client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotSent(_words(error, client)) from None
        except httpx.UnsupportedProtocol as error:
            raise ConfigError(str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise NoAnswer(_words(error, client)) from None
        except (ValueError, KeyError, NotImplementedError) as error:  # a challenge that is none, or auth-int
            raise NoAnswer(f"its challenge cannot be read: {type(error).__name__}") from None
        try:
            if response.status_code == 401:
                self._refused = _refusal(response)
            if response.status_code in (401, 403):  # what one may not do locks no account
                raise DeviceRefused(_refusal(response))
            yield response
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            raise NoAnswer(_words(error, client)) from None
        finally:
            await response.aclose()
            response.stream = _ENDED  # it refers to the response: a circle for each exchange


@cache
def trust(certificate: Path | None) -> ssl.SSLContext:
    """A context that trusts the system's authorities, or the one certificate in this file, whatever name it
    bears. Raises ConfigError."""
    if certificate is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(certificate)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "it is no PEM certificate"
        raise ConfigError(f"cannot use the certificate {certificate}: {reason}") from None
    return context


@cache
def _no_tls() -> ssl.SSLContext:
    """For plain HTTP: httpx would read all authorities for each client, which takes 20 ms and half a MB."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _refusal(response: httpx.Response) -> str:
    if response.status_code == 403:
        return f"this user may not do that ({response.request.url.path})"
    schemes = response.headers.get("www-authenticate", "").lower()
    if "digest" not in schemes and "basic" in schemes:
        return "it wants the password in clear text (Basic): set its authentication to digest"
    return "wrong user or password; nothing more is sent for a while, so that the account is not locked"


def _words(error: Exception, client: httpx.AsyncClient) -> str:
    where = client.base_url.netloc.decode("ascii", "replace")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return f"no answer from {where} in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {where} is not the one that is trusted: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return f"{where}: {str(error) or type(error).__name__}"
