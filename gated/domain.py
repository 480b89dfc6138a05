"""The vocabulary: frozen records and enums that every part speaks.

Standard library only; no I/O, no clock. All datetimes are aware and in UTC unless a name says otherwise.
Words are those of `docs/glossary.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any


class CredentialKind(StrEnum):
    """What is presented at a lane (凭证)."""

    PLATE = "plate"
    CARD = "card"
    CODE = "code"


class Direction(StrEnum):
    """Which way a lane leads, or a vehicle was seen to move."""

    IN = "in"
    OUT = "out"


class Outcome(StrEnum):
    """The result of a decision: 放行, 人工核验, 拒绝."""

    GRANT = "grant"
    REFER = "refer"
    DENY = "deny"


class Severity(StrEnum):
    """How urgently an alert needs a person."""

    INFO = "info"
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


class BarrierPosition(StrEnum):
    """Where the boom is. UNKNOWN whenever it was not just reported: a stale position is never shown."""

    OPEN = "open"
    CLOSED = "closed"
    MOVING = "moving"
    UNKNOWN = "unknown"


class LaneMode(StrEnum):
    """How a lane works now: normal; held open by the fire input; closed by an operator; fault."""

    NORMAL = "normal"
    HELD_OPEN = "held_open"
    CLOSED = "closed"
    FAULT = "fault"


class OpeningOutcome(StrEnum):
    """What became of one opening command.

    PENDING is only ever seen on disk after a crash between the record and the barrier; start-up turns it
    into UNCERTAIN. REJECTED is the device's "no"; UNREACHABLE means nothing was sent or nobody answered the
    connection; UNCERTAIN means it was sent and the answer never came: it is not sent again.
    """

    PENDING = "pending"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    UNCERTAIN = "uncertain"
    SUPPRESSED = "suppressed"


class PassState(StrEnum):
    """What staff did with a pass; expiry is not a state but a date."""

    ACTIVE = "active"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence for a person, in both languages."""

    zh: str
    en: str

    def as_dict(self) -> dict[str, str]:
        return {"zh": self.zh, "en": self.en}


@dataclass(frozen=True, slots=True)
class Credential:
    """A normalised credential; `value` is what lookups compare (see `gated.plates.normalise`)."""

    kind: CredentialKind
    value: str


# --- what devices report ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvent:
    """Anything a device reports.

    `device`: the configured id. `received_at`: arrival on the box, UTC. `device_time`: what the device's own
    clock said (UTC), or None where it gave none or nonsense. `key`: the device's own number of the event, so
    that a resend can be told from a second vehicle; None where the device has none.
    """

    device: str
    received_at: datetime
    device_time: datetime | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(DeviceEvent):
    """One recognition (识读) by one device.

    `raw`: what the device said, unchanged. `credential`: normalised, or None where the device saw a vehicle
    without a readable plate. `confidence`: 0..1, None where the device gives none. `backlog`: the device says
    that it happened while it was offline; it is recorded and opens nothing. `channel`: the device's own lane
    or video channel where it watches several. `direction`: as the device saw it move. `details`: small, flat
    extra facts (plate colour, vehicle class, speed), strings as the codec names them.
    """

    credential: Credential | None
    raw: str
    confidence: float | None = None
    backlog: bool = False
    channel: str | None = None
    direction: Direction | None = None
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChanged(DeviceEvent):
    """A digital input or relay contact of a device; `initial` marks a replayed state, not a change."""

    input: str
    active: bool
    initial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed(DeviceEvent):
    """Something seen that is no read: `what` is motion, crossed, inside, tamper, dark, scene_change,
    access_granted, access_denied, door_forced ...; `active` False when it ended; `initial` as in
    `InputChanged`."""

    what: str
    active: bool = True
    initial: bool = False
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionChanged(DeviceEvent):
    """A device reported where its barrier is; `output` names the barrier where it drives several."""

    position: BarrierPosition
    output: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(DeviceEvent):
    """The device is alive; with `device_time` its clock can be compared."""


type_of_event: Mapping[type[DeviceEvent], str] = {
    Read: "read",
    InputChanged: "input",
    Observed: "observed",
    PositionChanged: "position",
    Heartbeat: "heartbeat",
}


# --- passes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HourWindow:
    """A weekly window in the site's time zone. `days`: 0 Monday .. 6 Sunday. `until` before or equal to
    `since` runs past midnight, and belongs to the day on which it began."""

    days: frozenset[int]
    since: time
    until: time


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose pass it is (持证人)."""

    name: str
    phone: str | None = None
    dwelling_id: str | None = None


@dataclass(frozen=True, slots=True)
class Attestation:
    """A dated proof (查验证明) that a pass carries. `kind`: a word that the policy asks for (tenancy,
    work_permit, removal_notice); `issued_on` and `valid_until` (the last day, or None) are days at the
    site."""

    kind: str
    issued_on: date
    valid_until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dwelling:
    """A home (住所), owned or rented, in a grid. `lease_until`: the last day of a lease, if it has one."""

    id: str
    grid: str
    tenure: str = "owned"
    lease_until: date | None = None
    name: str = ""


class ListName(StrEnum):
    """The lists that a credential may be on: refused, reported when seen, let through in an emergency."""

    BLOCK = "block"
    WATCH = "watch"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """A credential on a list, until a time (exclusive) or until it is taken off; `note` says why."""

    list: ListName
    credential: Credential
    note: str
    added_at: datetime
    added_by: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """The right to enter (出入证). `entrances` None means all. `valid_until` is exclusive. Empty `hours` mean
    at any time. `limits`: see `LIMITS`. `version` grows by one with every change of this pass; `change` is
    the site-wide number of the change that produced it (see `gated.store`)."""

    id: str
    kind: str
    holder: Holder
    credentials: tuple[Credential, ...]
    entrances: tuple[str, ...] | None
    valid_from: datetime
    valid_until: datetime
    hours: tuple[HourWindow, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    attestations: tuple[Attestation, ...] = ()
    state: PassState = PassState.ACTIVE
    revoked_at: datetime | None = None
    revoked_reason: str | None = None
    created_at: datetime
    updated_at: datetime
    version: int = 1
    change: int = 0


LIMITS: Mapping[str, str] = {
    "visits": "entries in all",
    "visits_per_day": "entries on one day",
    "visit_hours": "hours from the first entry within which it may be used",
    "vehicles": "vehicles of this pass that may be inside at once",
    "stay_hours": "hours that one stay may last",
}
"""What a pass may be limited to; other words are kept and mean nothing to the policy that ships with
gated."""


@dataclass(frozen=True, slots=True)
class PassFacts:
    """What deciding needs of a pass, and no more: the compact form that the passbook keeps in memory."""

    pass_id: str
    kind: str
    state: PassState
    valid_from: datetime
    valid_until: datetime
    entrances: tuple[str, ...] | None
    hours: tuple[HourWindow, ...]
    revoked_at: datetime | None = None
    limits: tuple[tuple[str, int], ...] = ()
    attestations: tuple[Attestation, ...] = ()
    dwelling_id: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pass that the credential may mean. `distance`: 0 is exact; else the cost of `edits`, the path from
    what was read to `value`, the credential of this pass (an edit of look-alikes costs less than one)."""

    facts: PassFacts
    distance: float = 0.0
    edits: str = ""
    value: str = ""


# --- passages and decisions -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One vehicle or person at one lane, once (通行). `at`: when, on the device's clock corrected for its
    drift, UTC; this is the time that is judged. `continues`: an earlier passage of the same vehicle that a
    better read corrected."""

    id: str
    lane: str
    entrance: str
    direction: Direction
    read: Read
    at: datetime
    continues: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDraft:
    """An alert that a decision or a fault asks for; `gated.alerts` gives it an id and routes it. `lasting`:
    it tells of a state, whose end will be told, too; until then there is one alert of it. `grid`: who is told
    where it is not the grid of the entrance; "site" is the root grid."""

    severity: Severity
    reason: str
    text: Text
    fold_key: str
    lasting: bool = False
    grid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The result for one passage (判定). `reason` is a stable code; `explanation` is what a person reads;
    `receipt` is what the decision can be made again from, as JSON (see `rules.receipt`)."""

    outcome: Outcome
    reason: str
    explanation: Text
    rule_id: str
    pass_id: str | None = None
    alerts: tuple[AlertDraft, ...] = ()
    receipt: Mapping[str, Any] | None = None


class Disposition(StrEnum):
    """What became of a read: DECIDED made a passage; the others are recorded and open nothing."""

    DECIDED = "decided"
    MERGED = "merged"
    DUPLICATE = "duplicate"
    BACKLOG = "backlog"
    STALE = "stale"
    UNROUTED = "unrouted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that needs a person (告警). `state`: open or closed. `count`: repeats folded into it."""

    id: str
    grid: str
    severity: Severity
    reason: str
    text: Text
    state: str
    raised_at: datetime
    updated_at: datetime
    count: int = 1
    lane: str | None = None
    device: str | None = None
    passage_id: str | None = None


class Role(StrEnum):
    """What a token may do, from least to most."""

    VOLUNTEER = "volunteer"
    WORKER = "worker"
    STAFF = "staff"
    OPERATOR = "operator"
