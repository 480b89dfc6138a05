"""The sections of gated.yaml as pydantic models: shapes, units, limits and defaults of each value alone.

What needs more than one section (references, one owner per device output, no circles) is in
`gated.config.rules`; reading the file is in `gated.config.load`. Times are whole milliseconds. Every model
is frozen and refuses keys it does not know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from gated.domain import Direction
from gated.ports import Secret, ZoneName

ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Id = Annotated[str, Field(pattern=ID_PATTERN)]


def _number_to_text(value: object) -> object:
    """YAML reads `output: 0` as a number; a device's own names of its ports are text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


PortName = Annotated[str, BeforeValidator(_number_to_text), Field(min_length=1, max_length=128)]
"""A device's own name of an input, output or channel, as its adapter's page in docs/devices explains."""

Milliseconds = Annotated[int, Field(strict=True)]


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- the site and its services ----------------------------------------------------------------------------


class Name(Section):
    """What people read. One of the two is enough; a plain text stands for both."""

    zh: str = Field(max_length=200)
    en: str = Field(max_length=200)

    @model_validator(mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"zh": value, "en": value}
        if isinstance(value, dict):
            if "zh" in value and "en" not in value:
                return {**value, "en": value["zh"]}
            if "en" in value and "zh" not in value:
                return {**value, "zh": value["en"]}
        return value


class SiteInfo(Section):
    """The village (村). `id` is part of every MQTT topic; `timezone` is what people's hours are in."""

    id: Id
    name: Name
    timezone: ZoneName = "Asia/Shanghai"

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.timezone)


class StoreSettings(Section):
    """Where passages and passes are kept. `url`: `sqlite:////absolute/path` (four slashes), or
    `postgresql://user@host/database`. A password for PostgreSQL goes to ~/.pgpass or PGPASSWORD, not here.
    `backups`: folder for the backup before a migration; None puts it beside a SQLite database."""

    url: str
    backups: Path | None = None

    @field_validator("url")
    @classmethod
    def _supported(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if not separator or scheme not in {"sqlite", "postgresql", "postgresql+psycopg"}:
            raise ValueError("must begin with sqlite:/// or postgresql://")
        if scheme == "sqlite":
            if not rest.startswith("/") or len(rest) == 1 or rest.startswith("/:memory:"):
                raise ValueError("must name a file: sqlite:////var/lib/gated/gated.db (four slashes)")
            return value
        login = rest.split("/", 1)[0].rpartition("@")[0]
        if ":" in login or "password=" in rest:
            raise ValueError("holds a password; leave it out and use ~/.pgpass or the variable PGPASSWORD")
        return value

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None for PostgreSQL."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:") else None


class ApiSettings(Section):
    """Where the HTTP API and the devices' pushes come in. `max_body` in bytes."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8440, ge=0, le=65535)
    max_body: int = Field(default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)


class LogSettings(Section):
    """`plates: clear` writes plates unmasked above debug level: only where the law and the site allow it.
    `format: auto` is lines for people on a terminal and JSON otherwise."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    plates: Literal["masked", "clear"] = "masked"
    format: Literal["auto", "json", "console"] = "auto"


class ClockSettings(Section):
    """`drift_limit_ms`: how far a device's clock may be from ours before an alert is raised."""

    drift_limit_ms: Milliseconds = Field(default=5000, ge=100, le=86_400_000)


def _district_number(value: str) -> str:
    if not (len(value) == 20 and value.isascii() and value.isdigit()):
        raise ValueError("must be the 20 digits that the platform gave it")
    return value


DistrictNumber = Annotated[str, BeforeValidator(str), AfterValidator(_district_number)]


class DistrictSettings(Section):
    """A platform of the district (视图库, GA/T 1400) that is told of plates. Nothing is sent without this
    section, and of no lane that `lanes` does not give the platform's number of. `number`: the platform's
    number of gated itself; `username`: the same, unless it is given. `certificate`: a PEM file with the one
    certificate that the platform must present; without it the system's authorities decide."""

    url: str = Field(pattern=r"^https?://[^/\s]+(/[^\s?#]*)?$", max_length=255)
    number: DistrictNumber
    username: str | None = Field(default=None, min_length=1, max_length=64)
    password: Secret
    certificate: Path | None = None
    lanes: dict[Id, DistrictNumber] = Field(min_length=1)
    keepalive_s: float = Field(default=45, ge=5, le=300)
    timeout_ms: Milliseconds = Field(default=10_000, ge=100, le=60_000)

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            whole = bool(parts.hostname) and parts.port != 0 and not parts.username
        except ValueError:
            whole = False
        if not whole:
            raise ValueError("is no address: write it like https://192.0.2.9:8443")
        return value

    @model_validator(mode="after")
    def _pinned_over_tls(self) -> DistrictSettings:
        if self.certificate is not None and not self.url.startswith("https:"):
            raise ValueError("has a certificate, but its url is not https")
        return self


class PolicySettings(Section):
    """`file`: the policy to begin with, for a store in which none was put in force yet; without it the
    village policy that gated ships with. From then on `gated rules activate` says which one is in force."""

    file: Path | None = None


# --- places -----------------------------------------------------------------------------------------------


class GridConfig(Section):
    """A patch of the site (网格). `parent` None: a root of the tree."""

    id: Id
    name: Name
    parent: Id | None = None


class EntranceConfig(Section):
    """A named place with one or more lanes (出入口); its alerts go to `grid`."""

    id: Id
    name: Name
    grid: Id


class CameraRef(Section):
    """A device whose reads belong to a lane; `channel` where the device watches several, None for all."""

    device: Id
    channel: PortName | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_id(cls, value: Any) -> Any:
        return {"device": value} if isinstance(value, str) else value


class OutputRef(Section):
    """The output of a device that pulses a barrier; None where the device has only one."""

    device: Id
    output: PortName | None = None


class InputRef(Section):
    """An input of a device. `inverted`: the contact is closed at rest, so inactive means that it speaks."""

    device: Id
    input: PortName
    inverted: bool = False


class PositionRef(Section):
    """How a lane knows where its boom is: an input that is active when the boom is `active`, or (without
    `input`) a device that reports or can be asked, for `output` where it has several."""

    device: Id
    input: PortName | None = None
    output: PortName | None = None
    active: Literal["open", "closed"] = "open"

    @model_validator(mode="after")
    def _one_of(self) -> PositionRef:
        if self.input is not None and self.output is not None:
            raise ValueError("give an input or an output, not both")
        return self


class LaneTuning(Section):
    """The times of a lane, also under `defaults.lane`.

    `pulse_ms`: how long the barrier's contact is closed. `cool_down_ms`: pause between two openings.
    `merge_ms`: reads of one vehicle within it are one passage. `max_age_ms`: an older read is recorded but
    opens nothing. `open_timeout_ms`: the device's answer to an opening must come within it.
    `confirm_ms`: after it an opening that the position has not confirmed is no longer waited for.
    """

    pulse_ms: Milliseconds = Field(default=700, ge=500, le=1500)
    cool_down_ms: Milliseconds = Field(default=1000, ge=0, le=60_000)
    merge_ms: Milliseconds = Field(default=5000, ge=0, le=60_000)
    max_age_ms: Milliseconds = Field(default=15_000, ge=1000, le=300_000)
    open_timeout_ms: Milliseconds = Field(default=3000, ge=100, le=30_000)
    confirm_ms: Milliseconds = Field(default=5000, ge=500, le=60_000)


class LaneConfig(LaneTuning):
    """One way through an entrance (通道), with its devices. Without `barrier` it only watches, and says so
    with `watch_only: true`. `closed: true` takes it out of use: nobody is let through but by hand.

    `fail_mode`: who is let in while gated is down. "closed": nobody, but by hand at the barrier. "list":
    those on the own list of the device `allow_list` (the barrier's, if it is not said), which gated keeps in
    step with the passes. "controller": the barrier's controller does as it is set and wired, which gated
    neither knows nor changes."""

    id: Id
    name: Name | None = None
    entrance: Id
    direction: Direction
    cameras: tuple[CameraRef, ...] = ()
    barrier: OutputRef | None = None
    watch_only: bool = False
    closed: bool = False
    position: PositionRef | None = None
    presence: InputRef | None = None
    fire: InputRef | None = None
    fail_mode: Literal["closed", "list", "controller"] = "closed"
    allow_list: Id | None = None

    @model_validator(mode="after")
    def _whole(self) -> LaneConfig:
        if not self.cameras:
            raise ValueError("has no camera: name at least one device whose reads belong to this lane")
        if self.barrier is None and not self.watch_only:
            raise ValueError("has no barrier: name one, or say watch_only: true if it only records")
        if self.barrier is not None and self.watch_only:
            raise ValueError("is watch_only and has a barrier: keep one of the two")
        if self.allow_list is not None and self.fail_mode != "list":
            raise ValueError("names an allow_list, but its fail_mode is not list")
        if self.fail_mode == "list" and self.barrier is None:
            raise ValueError("has no barrier that a list could open: its fail_mode cannot be list")
        if self.merge_ms > self.max_age_ms:
            raise ValueError(
                "merge_ms is longer than max_age_ms: reads would be stale before they are merged"
            )
        return self

    @property
    def listed_on(self) -> str | None:
        """The device whose own list lets people in while gated is down, if the lane relies on one."""
        if self.fail_mode != "list" or self.barrier is None:
            return None
        return self.allow_list or self.barrier.device


class Defaults(Section):
    """Values for all lanes that do not say otherwise."""

    lane: LaneTuning = LaneTuning()
