"""The JSON of passes: what clients send, what they get, and the way between that and the domain's records."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import time
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gated.api import examples
from gated.api.fields import (
    Amount,
    Clock,
    CredentialValue,
    Day,
    Moment,
    Name,
    Phone,
    Reason,
    Reference,
    Word,
    both,
)
from gated.domain import Attestation, CredentialKind, Holder, HourWindow, Pass, PassState
from gated.registry import PassDraft, Warned

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def shown(example: dict[str, Any]) -> ConfigDict:
    """The configuration of an `Out` model with its example."""
    return ConfigDict(json_schema_extra={"examples": [example]})


class In(BaseModel):
    """What clients send: nothing unknown."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """What clients get. All fields are always there, so that they are required in the schema."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class TextOut(Out):
    """A sentence in both languages."""

    zh: str
    en: str


class HolderIn(In):
    """Whose pass it is."""

    name: Name = Field(examples=["王小明"])
    phone: Phone | None = None
    dwelling_id: Reference | None = None


class CredentialIn(In):
    """What is presented at a lane; a plate may be written in any of the usual ways."""

    kind: CredentialKind
    value: CredentialValue


class AttestationIn(In):
    """A dated proof that the pass carries; both are days at the site, `valid_until` the last one."""

    kind: Word = Field(examples=["tenancy"])
    issued_on: Day
    valid_until: Day | None = None


class HourIn(In):
    """A weekly window in the site's time zone. `until` before or equal to `since` runs past midnight."""

    days: Annotated[list[Weekday], Field(min_length=1, max_length=7, json_schema_extra={"uniqueItems": True})]
    since: Clock
    until: Clock

    @model_validator(mode="after")
    def _each_day_once(self) -> Self:
        if len(set(self.days)) != len(self.days):
            raise ValueError("a day is given twice")
        return self

    def window(self) -> HourWindow:
        """The domain's record."""
        days = frozenset(DAYS.index(day) for day in self.days)
        return HourWindow(days, time.fromisoformat(self.since), time.fromisoformat(self.until))


Credentials = Annotated[list[CredentialIn], Field(min_length=1, max_length=16)]
Entrances = Annotated[list[Reference], Field(min_length=1, max_length=1000)]
Hours = Annotated[list[HourIn], Field(max_length=50)]
Attestations = Annotated[list[AttestationIn], Field(max_length=32)]
Limits = Annotated[
    dict[Word, Amount], Field(max_length=16, json_schema_extra={"additionalProperties": False})
]


class PassIn(In):
    """A pass to be issued. `entrances` null means all; no `hours` mean at any time."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.PASS_IN]})

    kind: Word
    holder: HolderIn
    credentials: Credentials
    entrances: Entrances | None = None
    valid_from: Moment
    valid_until: Moment
    hours: Hours = []
    limits: Limits = {}
    attestations: Attestations = []

    def draft(self) -> PassDraft:
        """The registry's record."""
        return PassDraft(
            kind=self.kind,
            holder=_holder(self.holder),
            credentials=_credentials(self.credentials),
            entrances=None if self.entrances is None else tuple(self.entrances),
            valid_from=self.valid_from,
            valid_until=self.valid_until,
            hours=tuple(hour.window() for hour in self.hours),
            limits=self.limits,
            attestations=_attestations(self.attestations),
        )


def _absent() -> Any:
    """Default of a field that need not be sent and must not be null; as a factory it stays out of the
    schema."""
    return None


class PassPatch(In):
    """What to change; each field that is sent replaces the pass's whole field."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"minProperties": 1, "examples": [{"valid_until": "2027-12-31T00:00:00+08:00"}]},
    )

    kind: Word = Field(default_factory=_absent)
    holder: HolderIn = Field(default_factory=_absent)
    credentials: Credentials = Field(default_factory=_absent)
    entrances: Entrances | None = Field(default_factory=_absent)
    valid_from: Moment = Field(default_factory=_absent)
    valid_until: Moment = Field(default_factory=_absent)
    hours: Hours = Field(default_factory=_absent)
    limits: Limits = Field(default_factory=_absent)
    attestations: Attestations = Field(default_factory=_absent)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self

    def changes(self) -> dict[str, object]:
        """The fields of `PassDraft` that were sent."""
        found: dict[str, object] = {name: getattr(self, name) for name in self.model_fields_set}
        if "holder" in found:
            found["holder"] = _holder(self.holder)
        if "credentials" in found:
            found["credentials"] = _credentials(self.credentials)
        if self.entrances is not None:
            found["entrances"] = tuple(self.entrances)
        if "hours" in found:
            found["hours"] = tuple(hour.window() for hour in self.hours)
        if "attestations" in found:
            found["attestations"] = _attestations(self.attestations)
        return found


class RenewIn(In):
    """The new end of a pass."""

    valid_until: Moment


class RevokeIn(In):
    """Why a pass is taken away."""

    reason: Reason = Field(examples=["搬离本村"])


class HolderOut(Out):
    """Whose pass it is."""

    name: str
    phone: str | None
    dwelling_id: str | None


class CredentialOut(Out):
    """A credential in its normal form."""

    kind: CredentialKind
    value: str


class HourOut(Out):
    """A weekly window in the site's time zone."""

    days: list[Weekday]
    since: str
    until: str


class AttestationOut(Out):
    """A dated proof that the pass carries."""

    kind: str
    issued_on: Day
    valid_until: Day | None


class WarningOut(Out):
    """Something to look at, that hindered nothing. `code`: plate-unusual, plate-near, credential-shared,
    ended."""

    code: str
    text: TextOut


class PassOut(Out):
    """A pass."""

    model_config = shown(examples.PASS_OUT)

    id: str
    kind: str
    holder: HolderOut
    credentials: list[CredentialOut]
    entrances: list[str] | None
    valid_from: Moment
    valid_until: Moment
    hours: list[HourOut]
    limits: dict[str, int]
    attestations: list[AttestationOut]
    state: PassState
    version: int
    created_at: Moment
    updated_at: Moment
    revoked_at: Moment | None
    revoked_reason: str | None
    warnings: list[WarningOut]


class PassPage(Out):
    """Some passes, newest first; `next` is the cursor of those that follow, null at the end."""

    items: list[PassOut]
    next: str | None


def pass_out(found: Pass, warnings: Iterable[Warned]) -> PassOut:
    """A pass as clients get it."""
    return PassOut(
        id=found.id,
        kind=found.kind,
        holder=HolderOut(
            name=found.holder.name, phone=found.holder.phone, dwelling_id=found.holder.dwelling_id
        ),
        credentials=[CredentialOut(kind=item.kind, value=item.value) for item in found.credentials],
        entrances=None if found.entrances is None else list(found.entrances),
        valid_from=found.valid_from,
        valid_until=found.valid_until,
        hours=[_hour_out(window) for window in found.hours],
        limits=dict(found.limits),
        attestations=[
            AttestationOut(kind=one.kind, issued_on=one.issued_on, valid_until=one.valid_until)
            for one in found.attestations
        ],
        state=found.state,
        version=found.version,
        created_at=found.created_at,
        updated_at=found.updated_at,
        revoked_at=found.revoked_at,
        revoked_reason=found.revoked_reason,
        warnings=[WarningOut(code=item.code, text=TextOut(**both(item.text))) for item in warnings],
    )


def _hour_out(window: HourWindow) -> HourOut:
    return HourOut(
        days=[DAYS[day] for day in sorted(window.days)],
        since=window.since.isoformat(timespec="minutes"),
        until=window.until.isoformat(timespec="minutes"),
    )


def _holder(given: HolderIn) -> Holder:
    return Holder(given.name, given.phone, given.dwelling_id)


def _attestations(given: list[AttestationIn]) -> tuple[Attestation, ...]:
    return tuple(Attestation(item.kind, item.issued_on, item.valid_until) for item in given)


def _credentials(given: list[CredentialIn]) -> tuple[tuple[CredentialKind, str], ...]:
    return tuple((item.kind, item.value) for item in given)
