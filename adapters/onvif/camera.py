"""Requests to one ONVIF device: authentication, its clock, its addresses, and errors by their meaning.

Every failure leaves as one of the three device errors (or a subclass that says more). Says a wrong password
at most twice, because devices lock accounts. Never sends a password in clear without TLS. Logs no
credentials.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from lxml import etree

from adapters.onvif import digest as http_digest
from adapters.onvif import envelope, library
from adapters.onvif.config import Config
from adapters.onvif.envelope import DEVICE, Fault, NotSoap
from adapters.onvif.http import Http, NoAnswer, NotSent, Reply, Untrusted
from adapters.onvif.times import http_date, system_time
from gated.ports import ConfigError, DeviceRefused, DeviceUnavailable, Wire

MAX_REPLY = 8 * 1024 * 1024
LARGE = 16 * 1024  # larger replies (some 20 messages, 1 ms) are read in a thread
_RESYNC = timedelta(seconds=2)
TIME_REQUEST = f'<GetSystemDateAndTime xmlns="{DEVICE}"/>'


class Unreachable(DeviceUnavailable):
    """Nothing was sent: there is no connection."""


class Silent(DeviceUnavailable):
    """Sent, and no complete answer came."""


class Nonsense(DeviceUnavailable):
    """Answered, but not with SOAP. `sample`: the beginning of it."""

    def __init__(self, why: str, sample: bytes) -> None:
        super().__init__(why)
        self.sample = sample


class Faulted(DeviceUnavailable):
    """Answered with a SOAP fault that is not about credentials."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"the device answers with the fault {fault}")
        self.fault = fault


class NotOnvif(ConfigError):
    """A web server answers, but ONVIF does not live at this path."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a reply that is no fault, and when it came."""

    body: bytes
    received_at: datetime

    def root(self) -> etree._Element:
        """Its envelope. Raises Nonsense; whether it is well-formed was not looked at before."""
        try:
            return envelope.parse(self.body)
        except NotSoap as error:
            raise Nonsense(f"the device answers with {error}", self.body[:4096]) from None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `address`: the address as the device wrote it, for WS-Addressing; `path`: what is
    asked of the configured host, because the address may be behind NAT or on another interface."""

    path: str
    address: str = ""
    references: tuple[str, ...] = ()


class Camera:
    """One device. `offset`: its clock minus ours; `clock_known`: whether that was measured."""

    def __init__(self, config: Config, now: Callable[[], datetime], wire: Wire | None = None) -> None:
        self._config = config
        self.now = now
        self._http = Http(config.host, config.effective_port, tls=_tls(config), max_body=MAX_REPLY, wire=wire)
        self._password = config.password.value() if config.password is not None else ""
        self._challenge: http_digest.Digest | None = None
        self.offset = timedelta()
        self.clock_known = False

    def close(self) -> None:
        self._http.close()

    def target(self, address: str, default: str) -> Target:
        """An advertised address, on the host and port that are configured."""
        try:
            parts = urlsplit(address.strip() if len(address) < 2048 else "")
        except ValueError:
            parts = urlsplit("")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if not path.startswith("/") or not path.isascii() or any(c <= " " for c in path):
            return Target(default, self.url(default))
        return Target(path, address.strip())

    def url(self, path: str) -> str:
        return f"{'http' if self._config.tls == 'off' else 'https'}://{self._http.authority}{path}"

    async def measure_clock(self) -> None:
        """Asks the time, without credentials first, and sets `offset`. A device that wants credentials
        even for this (its digest then depends on the time it is asked for) is judged by its HTTP Date."""
        target = Target(self._config.path)
        before = self.now()
        reply = await self._send(target, envelope.envelope(TIME_REQUEST), "", self._config.timeout_s)
        moment, refused = self._time_in(reply)
        if refused and moment is None:
            dated = http_date(reply.header("date"))
            if dated is not None:
                self._set_clock(dated, before)
            if self._config.username:
                before = self.now()
                answer = await self.call(target, TIME_REQUEST, "", resync=False)
                moment = system_time(envelope.payload(answer.root()))
        moment = moment or http_date(reply.header("date"))
        if moment is not None:
            self._set_clock(moment, before)

    def _set_clock(self, moment: datetime, before: datetime) -> None:
        ours = before + (self.now() - before) / 2
        self.offset = moment - ours
        self.clock_known = True

    def _time_in(self, reply: Reply) -> tuple[datetime | None, bool]:
        """The time of a reply, or whether the device wanted credentials first."""
        if reply.status in (401, 403):  # 403 with a web page: locked, or it wants to know who asks
            self._learn(reply)
            return None, True
        try:
            root = envelope.parse(reply.body)
        except NotSoap as error:
            raise self._not_soap(reply, error) from None
        fault = envelope.fault(root)
        if fault is not None:
            return None, True  # whatever it says: ask once more, with credentials
        return system_time(envelope.payload(root)), False

    async def call(
        self,
        target: Target,
        body: str,
        action: str,
        *,
        addressed: bool = False,
        timeout_s: float | None = None,
        fresh: bool = False,
        resync: bool = True,
    ) -> Answer:
        """Sends one request and returns its answer. `addressed`: with WS-Addressing. `fresh`: on a new
        connection and, but for a challenge (which means that nothing was done), once. Raises Unreachable,
        Silent, Nonsense, Faulted, DeviceRefused, NotOnvif."""
        seconds = self._config.timeout_s if timeout_s is None else timeout_s
        for attempt in (1, 2, 3):
            had = self._challenge
            data = self._sign(target, body, action, addressed)
            reply = await self._send(target, data, action, seconds, fresh=fresh, authorize=True)
            received_at = self.now()
            if reply.status == 401:
                found = self._learn(reply)
                # a challenge, or a nonce that has grown old; anything else is the answer to a wrong password
                if attempt == 1 and found is not None and (had is None or found.stale or had.count > 1):
                    continue
                raise DeviceRefused(self._refusal(_offered(reply)))
            if reply.status == 403:
                raise DeviceRefused(self._refusal("HTTP 403"))
            fault = await self._check(reply)
            if fault is None:
                return Answer(reply.body, received_at)
            if not fault.refused:
                raise Faulted(fault)
            if not (resync and attempt < 3 and await self._clock_moved()):
                raise DeviceRefused(self._refusal(str(fault)))
            resync = False
        raise DeviceRefused(self._refusal("again and again"))

    async def ask(self, service: str, target: Target, name: str, **arguments: object) -> object:
        """An operation that onvif-zeep describes, as plain data. Raises as `call`, and Nonsense."""
        operation = await library.build(service, name, **arguments)
        answer = await self.call(target, operation.body, operation.action)
        try:
            return await library.read(operation, answer.root())
        except library.Unreadable as error:
            raise Nonsense(str(error), answer.body[:4096]) from None

    async def fetch(self, address: str) -> bytes:
        """GETs a picture. Raises as `call`."""
        path = self.target(address, "/").path
        for attempt in (1, 2):
            headers = self._authorization("GET", path)
            try:
                reply = await self._http.request(
                    "GET", path, headers=headers, timeout_s=self._config.timeout_s
                )
            except (NotSent, NoAnswer) as error:
                raise _unavailable(error) from None
            if reply.status == 401 and attempt == 1 and self._learn(reply) is not None:
                continue
            if reply.status in (401, 403):
                raise DeviceRefused(self._refusal(_offered(reply)))
            if reply.status != 200:
                raise Nonsense(f"HTTP {reply.status} instead of a picture", reply.body[:200])
            return reply.body
        raise DeviceRefused(self._refusal("the picture"))

    # --- parts ----------------------------------------------------------------------------------------

    def _sign(self, target: Target, body: str, action: str, addressed: bool) -> bytes:
        headers = []
        if addressed:
            to = target.address or self.url(target.path)
            headers.append(envelope.addressing(action, to, uuid.uuid4().urn, target.references))
        if self._config.username:
            created = envelope.wsse_time(self.now() + self.offset)
            headers.append(
                envelope.security(
                    self._config.username, self._password, created=created, nonce=os.urandom(16)
                )
            )
        return envelope.envelope(body, *headers)

    def _authorization(self, method: str, path: str) -> list[tuple[str, str]]:
        if self._challenge is None or not self._config.username:
            return []
        value = self._challenge.authorization(
            method, path, self._config.username, self._password, secrets.token_hex(8)
        )
        return [("Authorization", value)]

    async def _send(
        self,
        target: Target,
        data: bytes,
        action: str,
        timeout_s: float,
        *,
        fresh: bool = False,
        authorize: bool = False,
    ) -> Reply:
        kind = "application/soap+xml; charset=utf-8" + (f'; action="{action}"' if action else "")
        headers = [("Content-Type", kind), ("Accept-Encoding", "identity")]
        if authorize:
            headers += self._authorization("POST", target.path)
        try:
            return await self._http.request(
                "POST", target.path, headers=headers, body=data, timeout_s=timeout_s, fresh=fresh
            )
        except (NotSent, NoAnswer) as error:
            raise _unavailable(error) from None

    async def _check(self, reply: Reply) -> Fault | None:
        """None for a good reply, else its fault. Raises NotOnvif, Nonsense. Large replies cost a thread,
        small ones less than the thread would."""
        if reply.status == 200 and b"Fault" not in reply.body and b"Envelope" in reply.body[:4096]:
            return None  # read once, by whoever asked
        try:
            if len(reply.body) > LARGE:
                root = await asyncio.to_thread(envelope.parse, reply.body)
            else:
                root = envelope.parse(reply.body)
        except NotSoap as error:
            raise self._not_soap(reply, error) from None
        fault = envelope.fault(root)
        if fault is None and reply.status >= 400:
            raise Nonsense(f"HTTP {reply.status} without a fault", reply.body[:4096])
        return fault

    def _not_soap(self, reply: Reply, error: NotSoap) -> DeviceUnavailable | ConfigError:
        # cameras without ONVIF at this path answer 404, or a page that says 404 with status 200
        if reply.status in (404, 405) or (error.html and reply.status < 500):
            return NotOnvif(
                f"{self.url(self._config.path)} answers with {error} (HTTP {reply.status}): "
                "switch ONVIF on in the camera, or correct port and path"
            )
        return Nonsense(f"the device answers HTTP {reply.status} with {error}", reply.body[:4096])

    def _learn(self, reply: Reply) -> http_digest.Digest | None:
        found = http_digest.challenge(reply.every("www-authenticate"))
        if found is not None:
            self._challenge = found
        return found

    async def _clock_moved(self) -> bool:
        """Measures again after a refusal: True where the clock was the reason, as far as can be told."""
        before = self.offset
        try:
            await self.measure_clock()
        except (DeviceUnavailable, DeviceRefused, ConfigError):
            return False
        return abs(self.offset - before) > _RESYNC

    def _refusal(self, why: str) -> str:
        hint = (
            "check username and password, and that the user may use ONVIF "
            "(some brands want a separate ONVIF user)"
        )
        if abs(self.offset) > timedelta(seconds=30):
            hint += (
                f"; its clock is off by {self.offset.total_seconds():.0f} s, which alone can be the reason"
            )
        return f"the device refuses {self._config.username or 'requests without a user'} ({why}): {hint}"


def _offered(reply: Reply) -> str:
    schemes = sorted({value.split(" ", 1)[0] for value in reply.every("www-authenticate")})
    if [each.lower() for each in schemes] == ["basic"]:
        return "it offers only HTTP Basic, which would send the password in clear"
    return f"HTTP {reply.status}"


def _unavailable(error: NotSent | NoAnswer) -> DeviceUnavailable | ConfigError:
    if isinstance(error, Untrusted):
        return ConfigError(f"{error}; give its certificate as `ca`, or set `tls: unverified`")
    return Unreachable(str(error)) if isinstance(error, NotSent) else Silent(str(error))


def _tls(config: Config) -> ssl.SSLContext | None:
    if config.tls == "off":
        return None
    try:
        context = ssl.create_default_context(cafile=str(config.ca) if config.ca else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read the certificates in {config.ca}: {error}") from None
    if config.tls == "unverified":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
