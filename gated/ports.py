"""What the daemon asks of a device: small Protocols, and the three errors of the device rim.

Adapters implement these; nothing here does I/O. A device is entered (`async with`), which connects and
checks it, and is then read through `events()`. Every further power is a Protocol of its own, found with
`isinstance`.
"""

from __future__ import annotations

import os
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Self, runtime_checkable
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gated.domain import BarrierPosition, CredentialKind, DeviceEvent, Direction, OpeningOutcome


class DeviceError(Exception):
    """Anything that goes wrong at a device; adapters raise only the three below."""


class DeviceUnavailable(DeviceError):
    """The device does not answer, or not sensibly; it is tried again with back-off."""


class DeviceRefused(DeviceError):
    """The device says no (credentials, permission); an alert is raised and it is not hammered."""


class ConfigError(DeviceError):
    """The configuration cannot work with this device; the daemon does not start with it."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """One opening, sent once. `id`: the opening's id. `milliseconds`: 500 to 1500. `output`: which relay or
    door of the device, as its adapter names it. `answers`: key of the event that the opening answers, for
    devices that are opened by the reply to their own push."""

    id: str
    milliseconds: int
    output: str | None = None
    answers: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """What the device said to a pulse, and its words.

    ACCEPTED, CONFIRMED, REJECTED, UNREACHABLE or UNCERTAIN, or SUPPRESSED if it was withdrawn: returned
    rather than raised, for each of them is recorded.
    """

    outcome: OpeningOutcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a device says of itself; empty strings where it does not. `clock_drift`: device clock minus ours,
    None where it cannot be asked."""

    vendor: str = ""
    model: str = ""
    firmware: str = ""
    serial: str = ""
    clock_drift: timedelta | None = None


@runtime_checkable
class Device(Protocol):
    """A configured device. Entering connects and checks it, raising one of the three device errors.

    `events()` yields until the connection is lost, then raises `DeviceUnavailable` (or `DeviceRefused`);
    the caller leaves the context and enters a new one after a back-off. `info` is valid once entered.
    """

    id: str

    @property
    def info(self) -> DeviceInfo: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def events(self) -> AsyncIterator[DeviceEvent]: ...


@runtime_checkable
class Barrier(Protocol):
    """Can pulse a barrier open. Sends at most once per call; never closes. One that may have to wait before
    it can send is `Withdraws`, too.

    `open` is a coroutine function as a rule. What has nothing to do but to wait may return a `Future`, which
    spares the opening a task; to cancel it is to withdraw the pulse, as far as that is possible.
    """

    def open(self, pulse: Pulse) -> Awaitable[Opened]: ...


@runtime_checkable
class Withdraws(Protocol):
    """A barrier whose opening may wait for its chance, such as the device's own next push.

    `withdraw` takes the opening with this id back if it was not sent yet: `open` then returns SUPPRESSED, and
    it never will be sent. False, and nothing changes, if it is not known or was sent. Does no I/O.
    """

    def withdraw(self, opening_id: str) -> bool: ...


@runtime_checkable
class Position(Protocol):
    """Can be asked where its barrier is: UNKNOWN rather than stale."""

    async def position(self, output: str | None = None) -> BarrierPosition: ...


@runtime_checkable
class Snapshots(Protocol):
    """Can take a picture now; JPEG bytes."""

    async def snapshot(self) -> bytes: ...


# --- devices that push over HTTP --------------------------------------------------------------------------


class Push(NamedTuple):  # made in a third of the time that a frozen dataclass takes, once for every read
    """One HTTP request of a device, already authenticated and bounded. `path`: what follows
    `/ingest/{device}`, without a leading slash. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    peer: str = ""


class PushReply(NamedTuple):
    """What the device gets back. `sent` is called once, when the reply was handed to the socket (True) or the
    peer had gone (False)."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = MappingProxyType({})
    sent: Callable[[bool], None] | None = None


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of an event: it is durable when this is returned. `opening`: resolves with the outcome of
    the opening that the event caused; `barrier`: the device that is being pulsed for it."""

    passage_id: str | None = None
    granted: bool = False
    opening: Future[Opened] | None = None
    barrier: str | None = None


Handle = Callable[[DeviceEvent], Awaitable[Handled]]
"""Gives an event to the daemon; returns once it is recorded. Raises `NotRecorded` if it cannot be."""


class NotRecorded(Exception):
    """The event could not be made durable now (disk full, database locked); the device should send it
    again."""


@runtime_checkable
class Receiver(Protocol):
    """A device that pushes over HTTP. Must answer only after `handle` returned. A body that cannot be parsed
    is answered with 400 by raising `BadPush`."""

    async def receive(self, push: Push, handle: Handle) -> PushReply: ...


@runtime_checkable
class Heard(Protocol):
    """A device that can tell when it is next heard from, so that nobody has to try again meanwhile."""

    async def heard(self) -> None: ...


@runtime_checkable
class DropsUnread(Protocol):
    """A receiver that answers some pushes without reading them: they are not recorded either."""

    def drops(self, path: str) -> bool: ...


class BadPush(Exception):
    """The body of a push is not what this device sends; the message says why, without secrets."""


class UnparsedLog(Protocol):
    """Logs what could not be parsed, once per kind, in a form that pastes into a test."""

    def __call__(self, device: str, kind: str, sample: bytes | str, why: str) -> None: ...


# --- how the app builds a device --------------------------------------------------------------------------


class Secret(BaseModel):
    """Where a secret is: `{env: NAME}` or `{file: PATH}`. A literal value is refused, for a configuration
    file is copied, mailed and committed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str | None = None
    file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_literal(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("a secret is not written here: use {env: NAME} or {file: PATH}")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give exactly one of env and file")
        return self

    def value(self) -> str:
        """The secret itself, read now. Raises ConfigError, naming the place and never the value."""
        if self.env is not None:
            found = os.environ.get(self.env)
            if not found:
                raise ConfigError(f"the environment variable {self.env} is not set")
            return found
        assert self.file is not None  # noqa: S101 - _one_source
        try:
            found = self.file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"cannot read the secret file {self.file}: {error.strerror}") from error
        if not found:
            raise ConfigError(f"the secret file {self.file} is empty")
        return found


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"no time zone is called {name!r}; write it like Asia/Shanghai") from None
    return name


ZoneName = Annotated[str, AfterValidator(_zone)]
"""The name of a time zone that this box knows."""


class WatchConfig(BaseModel):
    """What a device sees, beside reads, that people are told of. `what`: its words for it (motion, crossed,
    inside, tamper, ...; see its page). `hours`: "22:00-05:00", at the site; none is at any time. `quiet_ms`:
    told at most once in so long. `grid`: who is told; none is the root grid. `picture`: with one, where the
    device can take one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: tuple[str, ...] = Field(min_length=1, max_length=32)
    hours: str | None = Field(default=None, pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")
    severity: Literal["info", "notice", "warning", "critical"] = "notice"
    grid: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    quiet_ms: int = Field(default=300_000, ge=1000, le=86_400_000)
    picture: bool = True


class RecordConfig(BaseModel):
    """What goes over the device's wire is written down, for so many minutes from when it starts, into a file
    in `folder`, without plates and secrets: to make a test of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    minutes: float = Field(default=10, gt=0, le=120)


class DeviceConfig(BaseModel):
    """What every device's section has; an adapter's `Config` extends it. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    watch: tuple[WatchConfig, ...] = Field(default=(), max_length=32)
    record: RecordConfig | None = None

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    type: str
    name: str = ""


class PushConfig(DeviceConfig):
    """A device that pushes to `/ingest/{id}`; `token` is what it must present."""

    token: Secret


class NumberedConfig(PushConfig):
    """A device that pushes to `/VIID/...` of gated (GA/T 1400), for it can be given no other path. `number`:
    how it names itself, 20 digits; it registers with HTTP Digest as `username` (its number, if it is not
    given) and `token` as its password."""

    number: str = Field(pattern=r"^[0-9]{20}$")
    username: str | None = Field(default=None, min_length=1, max_length=64)


def pushes(config: DeviceConfig) -> Secret | None:
    """The token with which this device pushes to `/ingest/{id}`; None if it does not push."""
    token: Secret | None = getattr(config, "token", None)
    return token


class Wire(Protocol):
    """Takes down what goes over a device's wire, while it is recorded. `way`: "in" is from the device.
    `what`: what kind of message it is, as the wire names it (request line, status, topic). `exchange`: which
    request it belongs to, where several are under way. Headers, and with them logins, are not given to it."""

    def __call__(self, way: Literal["in", "out"], what: str, data: bytes, exchange: int = 0) -> None: ...


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """What an adapter gets beside its own config: its id, a clock, where to log what it cannot parse, and,
    while it is recorded, where to tell what goes over its wire."""

    id: str
    now: Callable[[], datetime]
    unparsed: UnparsedLog
    wire: Wire | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """What answers at an address, found out without any password. `said`: what it was recognised by.
    `settings`: of its section in gated.yaml, beside `id` and `type`; `login`: it wants user and password."""

    type: str
    said: str
    settings: Mapping[str, object]
    login: bool = False


class AdapterModule(Protocol):
    """What `adapters.<type>` must have: `Config`, a pydantic model with `type: Literal["<type>"]`, and
    `create`, which does no I/O. It may have a `probe(host, port, timeout_s)`, a coroutine function that looks
    whether such a device is at an address (`port` None: its usual one), tries no password and changes nothing
    there; it gives a `Probed`, or None."""

    Config: type[Any]

    def create(self, config: Any, context: DeviceContext) -> Device: ...


# --- a platform that wants the passages ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SentPassage:
    """What a platform of the district is told of a passage: no name, no phone, no pass, no picture.

    `at`: UTC. `lane`: the platform's own number of the lane. `color`: of the plate, as in `Read.details`,
    empty if unknown."""

    id: str
    plate: str
    at: datetime
    lane: str
    direction: Direction
    color: str = ""


class Platform(Protocol):
    """A connection to such a platform, entered (`async with`): logged in. Raises device errors."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def send(self, passages: Sequence[SentPassage]) -> Mapping[str, str]:
        """Sends them; those that it will never take, by id, with its words. If it raises, nobody knows which
        arrived: they are sent again, and look the same."""


# --- lists that devices keep for when gated is down -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AllowEntry:
    """One credential for a device's own list. `valid_until` is exclusive."""

    kind: CredentialKind
    value: str
    valid_from: datetime
    valid_until: datetime


@runtime_checkable
class AllowList(Protocol):
    """Holds a list of credentials that it lets in alone while gated is down. What the list should hold is
    worked out by `gated.allowlist`; a device only reads, puts and drops. All three raise device errors, and
    none of them ever empties the list on the way.

    `list_kinds`: the kinds of credential that it can hold. `list_capacity`: how many. `list_batch`: how many
    one `put` or `drop` may be given.
    """

    list_kinds: frozenset[CredentialKind]
    list_capacity: int
    list_batch: int

    async def held(self) -> frozenset[str] | None:
        """The values that it holds now; None where it cannot be asked."""

    async def put(self, entries: Sequence[AllowEntry]) -> Sequence[str]:
        """Adds, or replaces those of the same value. The values that it did not take."""

    async def drop(self, values: Sequence[str]) -> Sequence[str]:
        """Removes; not to hold it is no failure. The values that it did not remove."""
