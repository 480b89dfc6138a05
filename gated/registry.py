"""Passes: issue, patch, renew, revoke. Validates, writes with an audit row, and tells the passbook.

Each change is one function of a database connection (`issue_in` and its like), so that a caller can put it in
one transaction with more, such as an idempotency key; `committed` must then be called with the result. The
async methods do both. It knows no HTTP and opens no barrier.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gated.domain import (
    Attestation,
    Candidate,
    Credential,
    CredentialKind,
    Holder,
    HourWindow,
    Pass,
    PassState,
    Text,
)
from gated.ids import new_id
from gated.plates import PROVINCES, normalise
from gated.store import audit, passes
from gated.times import iso

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gated.store import Store


_TOO_NEAR = 1.0
"""From this distance on a misread could be taken for another plate."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field. `field`: dotted, as the caller named it; `code`: stable."""

    field: str
    code: str
    text: Text


class InvalidPass(Exception):
    """The pass cannot be written so; `faults` says why, all of it."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.text.en}" for fault in faults))
        self.faults = faults


class NoSuchPass(LookupError):
    """There is no pass with this id."""


class PassIsRevoked(Exception):
    """A revoked pass is not changed any more; a new one is issued instead."""

    def __init__(self, found: Pass) -> None:
        super().__init__(f"the pass {found.id} is revoked")
        self.found = found


class WrongVersion(Exception):
    """The pass was changed since the caller read it; `current` is its version now."""

    def __init__(self, current: int) -> None:
        super().__init__(f"the pass is at version {current}")
        self.current = current


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that staff should look at, and that hinders nothing."""

    code: str
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class PassDraft:
    """A pass as somebody wants it. `credentials` as they were typed, not yet normalised; `entrances` None
    means all."""

    kind: str
    holder: Holder
    credentials: tuple[tuple[CredentialKind, str], ...]
    entrances: tuple[str, ...] | None
    valid_from: datetime
    valid_until: datetime
    hours: tuple[HourWindow, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    attestations: tuple[Attestation, ...] = ()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something: the id that the audit keeps, and a name for people."""

    id: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class Registry:
    """The passes of the site. `apply` takes a committed pass into the passbook; `entrances` are the ids of
    the site's entrances now; `near` gives the passes whose plate is nearly this one."""

    def __init__(
        self,
        store: Store,
        apply: Callable[[Pass], None],
        clock: Callable[[], datetime],
        *,
        entrances: Callable[[], Collection[str]],
        near: Callable[[Credential], list[Candidate]] = lambda _: [],
    ) -> None:
        self._store = store
        self._apply = apply
        self._clock = clock
        self._entrances = entrances
        self._near = near

    async def issue(self, draft: PassDraft, actor: Actor) -> Pass:
        """Writes a new pass. Raises InvalidPass, and NotRecorded where the store cannot write."""
        issued = await self._store.write(lambda conn: self.issue_in(conn, draft, actor))
        return self.committed(issued)

    async def renew(
        self, pass_id: str, valid_until: datetime, actor: Actor, version: int | None = None
    ) -> Pass:
        """Makes a pass valid for longer. Errors as `renew_in`, and NotRecorded."""
        renewed = await self._store.write(
            lambda conn: self.renew_in(conn, pass_id, valid_until, actor, version)
        )
        return self.committed(renewed)

    async def revoke(self, pass_id: str, reason: str, actor: Actor) -> Pass:
        """Takes a pass away. Errors as `revoke_in`, and NotRecorded."""
        revoked = await self._store.write(lambda conn: self.revoke_in(conn, pass_id, reason, actor))
        return self.committed(revoked)

    async def patch(
        self, pass_id: str, changes: Mapping[str, Any], actor: Actor, version: int | None = None
    ) -> Pass:
        """Changes some fields of a pass. Errors as `patch_in`, and NotRecorded."""
        patched = await self._store.write(lambda conn: self.patch_in(conn, pass_id, changes, actor, version))
        return self.committed(patched)

    def committed(self, changed: Pass) -> Pass:
        """Must be called on the event loop once a change is committed; gives it to the passbook."""
        self._apply(changed)
        return changed

    # --- within a transaction ---------------------------------------------------------------------------

    def issue_in(self, conn: Connection, draft: PassDraft, actor: Actor) -> Pass:
        """A new pass, its audit row, and its change number. Raises InvalidPass."""
        now = self._clock()
        issued = passes.insert(
            conn,
            Pass(
                id=new_id(now),
                kind=draft.kind,
                holder=draft.holder,
                credentials=self._checked(draft),
                entrances=draft.entrances,
                valid_from=draft.valid_from,
                valid_until=draft.valid_until,
                hours=draft.hours,
                limits=dict(draft.limits),
                attestations=draft.attestations,
                created_at=now,
                updated_at=now,
            ),
        )
        audit.append(conn, now, str(actor), "pass.issue", issued.id, _facts(issued))
        return issued

    def patch_in(
        self,
        conn: Connection,
        pass_id: str,
        changes: Mapping[str, Any],
        actor: Actor,
        version: int | None = None,
    ) -> Pass:
        """Replaces the fields of `PassDraft` that `changes` names. `version`: what the caller read, None to
        change whatever is there. Raises NoSuchPass, PassIsRevoked, WrongVersion, InvalidPass."""
        found = self._live(conn, pass_id, version)
        draft = replace(_draft(found), **changes)
        now = self._clock()
        wanted = replace(
            found,
            kind=draft.kind,
            holder=draft.holder,
            credentials=self._checked(draft, found.entrances or ()),
            entrances=draft.entrances,
            valid_from=draft.valid_from,
            valid_until=draft.valid_until,
            hours=draft.hours,
            limits=dict(draft.limits),
            attestations=draft.attestations,
            updated_at=now,
        )
        patched = passes.update(conn, wanted, expected_version=found.version)
        audit.append(
            conn, now, str(actor), "pass.patch", pass_id, {**_facts(patched), "fields": sorted(changes)}
        )
        return patched

    def renew_in(
        self,
        conn: Connection,
        pass_id: str,
        valid_until: datetime,
        actor: Actor,
        version: int | None = None,
    ) -> Pass:
        """Moves the end of a pass later; to the end it already has changes nothing. Raises NoSuchPass,
        PassIsRevoked, WrongVersion, InvalidPass (an end in the past, or before the present one)."""
        found = self._live(conn, pass_id, version)
        now = self._clock()
        if valid_until == found.valid_until:
            return found
        if valid_until <= now:
            text = Text("到期时间必须晚于现在", "must be later than now")
            raise InvalidPass((Fault("valid_until", "ends-in-past", text),))
        if valid_until < found.valid_until:
            text = Text(
                f"不得早于当前到期时间 {iso(found.valid_until)}；缩短请用修改",
                f"must not be before the present end, {iso(found.valid_until)}; to shorten a pass, patch it",
            )
            raise InvalidPass((Fault("valid_until", "shortens", text),))
        if valid_until <= found.valid_from:
            raise InvalidPass((_ORDER,))
        renewed = passes.update(
            conn, replace(found, valid_until=valid_until, updated_at=now), expected_version=found.version
        )
        audit.append(conn, now, str(actor), "pass.renew", pass_id, _facts(renewed))
        return renewed

    def revoke_in(self, conn: Connection, pass_id: str, reason: str, actor: Actor) -> Pass:
        """Takes a pass away; one that is revoked already stays as it is. Raises NoSuchPass."""
        found = self._found(conn, pass_id)
        if found.state is PassState.REVOKED:
            return found
        now = self._clock()
        wanted = replace(
            found, state=PassState.REVOKED, revoked_at=now, revoked_reason=reason, updated_at=now
        )
        revoked = passes.update(conn, wanted, expected_version=found.version)
        audit.append(conn, now, str(actor), "pass.revoke", pass_id, {**_facts(revoked), "reason": reason})
        return revoked

    def warnings(self, conn: Connection, found: Pass) -> list[Warned]:
        """What staff should know of a pass: an unusual plate, an end in the past, a credential that is on
        another live pass too, a plate that a camera could take for another's."""
        noted = self.plain_warnings(found)
        now = self._clock()
        for credential in found.credentials:
            others = passes.page(
                conn,
                credential=credential,
                holder=None,
                state=PassState.ACTIVE.value,
                kind=None,
                after=None,
                limit=20,
            )
            shared = [other.id for other in others if other.id != found.id and other.valid_until > now]
            if shared and found.state is PassState.ACTIVE:
                noted.append(
                    Warned(
                        "credential-shared",
                        Text(
                            f"{credential.value} 也在其他有效出入证上：{'、'.join(shared[:3])}",
                            f"{credential.value} is on another live pass too: {', '.join(shared[:3])}",
                        ),
                    )
                )
        if found.state is PassState.ACTIVE:
            noted += self._near_warnings(found, now)
        return noted

    def _near_warnings(self, found: Pass, now: datetime) -> Iterator[Warned]:
        """Live passes whose plates lie near one of this pass's: a misread of either may mean the other."""
        for credential in found.credentials:
            if credential.kind is not CredentialKind.PLATE:
                continue
            for other in self._near(credential):
                held = other.facts
                if (
                    held.pass_id != found.id
                    and other.distance <= _TOO_NEAR
                    and held.state is PassState.ACTIVE
                    and now < held.valid_until
                ):
                    yield Warned(
                        "plate-near",
                        Text(
                            f"{credential.value} 与另一有效出入证（{held.pass_id}）的 {other.value} 相近"
                            f"（{other.edits}），误读时可能混淆，相近匹配将不会自动放行",
                            f"{credential.value} lies near {other.value} of another live pass, "
                            f"{held.pass_id} ({other.edits}): a misread could mean either, and opens for "
                            "neither",
                        ),
                    )

    def plain_warnings(self, found: Pass) -> list[Warned]:
        """Those warnings that need no look-up, for lists."""
        noted = [
            Warned(
                "plate-unusual",
                Text(
                    f"{credential.value} 不像中国大陆车牌，请核对",
                    f"{credential.value} does not look like a mainland plate; check it",
                ),
            )
            for credential in found.credentials
            if credential.kind is CredentialKind.PLATE and not _usual(credential.value)
        ]
        if found.state is PassState.ACTIVE and found.valid_until <= self._clock():
            noted.append(Warned("ended", Text("该出入证已过期", "the pass has ended")))
        return noted

    # --- helpers ----------------------------------------------------------------------------------------

    def _found(self, conn: Connection, pass_id: str) -> Pass:
        found = passes.get(conn, pass_id)
        if found is None:
            raise NoSuchPass(pass_id)
        return found

    def _live(self, conn: Connection, pass_id: str, version: int | None) -> Pass:
        found = self._found(conn, pass_id)
        if version is not None and version != found.version:
            raise WrongVersion(found.version)
        if found.state is PassState.REVOKED:
            raise PassIsRevoked(found)
        return found

    def _checked(self, draft: PassDraft, had: Collection[str] = ()) -> tuple[Credential, ...]:
        """The draft's credentials, normalised, each once. Raises InvalidPass with every fault there is.
        `had`: entrances that the pass has already, which may have left the site since."""
        faults: list[Fault] = []
        credentials: dict[Credential, None] = {}
        for index, (kind, raw) in enumerate(draft.credentials):
            try:
                credentials[Credential(kind, normalise(kind, raw))] = None
            except ValueError as error:
                text = Text("凭证内容为空、过长或含无效字符", str(error))
                faults.append(Fault(f"credentials[{index}].value", "credential", text))
        if not draft.credentials:
            faults.append(Fault("credentials", "credential", Text("至少需要一个凭证", "needs at least one")))
        if draft.entrances is not None:
            known = self._entrances()
            faults.extend(
                Fault(
                    f"entrances[{index}]",
                    "unknown-entrance",
                    Text("没有此出入口", "the site has no such entrance"),
                )
                for index, entrance in enumerate(draft.entrances)
                if entrance not in known and entrance not in had
            )
        if draft.valid_until <= draft.valid_from:
            faults.append(_ORDER)
        faults.extend(_outdated(draft.attestations))
        if faults:
            raise InvalidPass(tuple(faults))
        return tuple(credentials)


def _outdated(attestations: tuple[Attestation, ...]) -> Iterator[Fault]:
    """What is wrong with the days of attestations."""
    for index, one in enumerate(attestations):
        if one.valid_until is not None and one.valid_until < one.issued_on:
            text = Text("有效期不得早于签发日期", "must not be before issued_on")
            yield Fault(f"attestations[{index}].valid_until", "ends-before-start", text)


_ORDER = Fault(
    "valid_until", "ends-before-start", Text("到期时间必须晚于生效时间", "must be later than valid_from")
)


def _usual(plate: str) -> bool:
    """Whether a normalised plate has the shape of a mainland plate: province, letter, five or six more."""
    return len(plate) in {7, 8} and plate[0] in PROVINCES and "A" <= plate[1] <= "Z"


def _draft(found: Pass) -> PassDraft:
    """A pass as the draft it could have come from; its credentials are normal already and stay so."""
    return PassDraft(
        kind=found.kind,
        holder=found.holder,
        credentials=tuple((credential.kind, credential.value) for credential in found.credentials),
        entrances=found.entrances,
        valid_from=found.valid_from,
        valid_until=found.valid_until,
        hours=found.hours,
        limits=found.limits,
        attestations=found.attestations,
    )


def _facts(found: Pass) -> dict[str, object]:
    """What the audit keeps of a change: enough to answer who did what, without copying the holder."""
    return {
        "version": found.version,
        "change": found.change,
        "state": found.state.value,
        "valid_from": iso(found.valid_from),
        "valid_until": iso(found.valid_until),
        "credentials": len(found.credentials),
        "entrances": None if found.entrances is None else list(found.entrances),
    }
