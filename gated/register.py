"""The register beside the passes: dwellings, and the lists of credentials. Validates, writes with an audit
row.

As in `gated.registry`, each change is a function of a connection, so that a caller can put it in one
transaction with more; `committed` must then be called on the event loop, and brings memory up to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gated.domain import Credential, CredentialKind, Dwelling, ListEntry, ListName, Text
from gated.lists import Dwellings, Lists
from gated.plates import normalise
from gated.registry import Actor, Fault
from gated.store import audit, dwellings, lists
from gated.times import iso

if TYPE_CHECKING:
    from sqlalchemy import Connection


class InvalidEntry(Exception):
    """It cannot be written so; `faults` says why, all of it."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.text.en}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change made. `now` None: taken out; `before` None: it is new."""

    before: ListEntry | Dwelling | None
    now: ListEntry | Dwelling | None


class Register:
    """Dwellings and lists of the site. `grids`: the ids of the site's grids now."""

    def __init__(
        self,
        lists: Lists,
        dwellings: Dwellings,
        clock: Callable[[], datetime],
        *,
        grids: Callable[[], Collection[str]],
    ) -> None:
        self._lists = lists
        self._dwellings = dwellings
        self._clock = clock
        self._grids = grids

    def committed(self, changed: Changed) -> Changed:
        """Must be called on the event loop once a change is committed."""
        gone, now = changed.before, changed.now
        if isinstance(now, ListEntry):
            self._lists.apply(now)
        elif isinstance(now, Dwelling):
            self._dwellings.apply(now)
        elif isinstance(gone, ListEntry):
            self._lists.remove(gone.list, gone.credential)
        elif isinstance(gone, Dwelling):
            self._dwellings.remove(gone.id)
        return changed

    def put_dwelling_in(self, conn: Connection, given: Dwelling, actor: Actor) -> Changed:
        """Writes a dwelling. Raises InvalidEntry."""
        faults: list[Fault] = []
        if given.grid not in self._grids():
            faults.append(Fault("grid", "unknown-grid", Text("没有此网格", "the site has no such grid")))
        if given.lease_until is not None and given.tenure != "rented":
            text = Text("自有住所没有租约", "a dwelling that is owned has no lease")
            faults.append(Fault("lease_until", "no-lease", text))
        if faults:
            raise InvalidEntry(tuple(faults))
        now = self._clock()
        before = dwellings.put(conn, now, given)
        details = {
            "grid": given.grid,
            "tenure": given.tenure,
            "lease_until": None if given.lease_until is None else given.lease_until.isoformat(),
            "new": before is None,
        }
        audit.append(conn, now, str(actor), "dwelling.put", given.id, details)
        return Changed(before, given)

    def remove_dwelling_in(self, conn: Connection, dwelling_id: str, actor: Actor) -> Changed:
        """Takes a dwelling out of the register; passes that name it stay."""
        before = dwellings.remove(conn, dwelling_id)
        if before is not None:
            details = {"grid": before.grid, "tenure": before.tenure}
            audit.append(conn, self._clock(), str(actor), "dwelling.remove", dwelling_id, details)
        return Changed(before, None)

    def put_on_list_in(
        self,
        conn: Connection,
        name: ListName,
        kind: CredentialKind,
        raw: str,
        note: str,
        until: datetime | None,
        actor: Actor,
    ) -> Changed:
        """Puts a credential on a list, or changes its note and end. Raises InvalidEntry."""
        now = self._clock()
        credential = self.credential(kind, raw)
        if until is not None and until <= now:
            text = Text("到期时间必须晚于现在", "must be later than now")
            raise InvalidEntry((Fault("until", "ends-in-past", text),))
        entry = ListEntry(
            list=name, credential=credential, note=note, added_at=now, added_by=actor.name, until=until
        )
        before = lists.put(conn, entry)
        details = {
            "kind": kind.value,
            "value": credential.value,
            "note": note,
            "until": None if until is None else iso(until),
        }
        audit.append(conn, now, str(actor), "list.put", name.value, details)
        return Changed(before, entry)

    def take_off_list_in(
        self, conn: Connection, name: ListName, kind: CredentialKind, raw: str, actor: Actor
    ) -> Changed:
        """Takes a credential off a list."""
        credential = self.credential(kind, raw)
        before = lists.take_off(conn, name, credential)
        if before is not None:
            details = {"kind": kind.value, "value": credential.value, "note": before.note}
            audit.append(conn, self._clock(), str(actor), "list.take_off", name.value, details)
        return Changed(before, None)

    @staticmethod
    def credential(kind: CredentialKind, raw: str) -> Credential:
        """A normalised credential. Raises InvalidEntry."""
        try:
            return Credential(kind, normalise(kind, raw))
        except ValueError as error:
            text = Text("凭证内容为空、过长或含无效字符", str(error))
            raise InvalidEntry((Fault("value", "credential", text),)) from error
