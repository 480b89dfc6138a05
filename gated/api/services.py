"""What the HTTP side is given: the store, the registry, and narrow views of lanes, devices and site.

Records and Protocols only. `gated.app` builds `Services` and hands it to `gated.api.app.create_api`; a reload
of the configuration assigns a new `site`, for it is read afresh at every request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from gated.api.metrics import Metrics
from gated.api.viid import DigestLogin
from gated.domain import Candidate, Credential, Decision
from gated.ports import Handle, Receiver
from gated.status import DeviceStatus, LaneStatus

if TYPE_CHECKING:
    from gated.allowlist import ListReport
    from gated.register import Register
    from gated.registry import Registry
    from gated.store import Store
    from gated.store.records import OpeningRecord


class LaneControl(Protocol):
    """The lanes of the site, as far as the API may touch them."""

    def statuses(self) -> list[LaneStatus]: ...

    async def override(self, lane: str, *, person: str, reason: str) -> OpeningRecord:
        """Opens by hand, recorded with name and reason before the pulse. Raises KeyError on an unknown lane
        and `gated.ports.NotRecorded` where it cannot be recorded; then nothing was sent."""
        ...

    def decide(
        self, lane: str, credential: Credential, confidence: float | None, at: datetime
    ) -> tuple[Decision, list[Candidate]]:
        """The dry run: what would be decided, recorded nowhere. Raises KeyError on an unknown lane."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceAuth:
    """What a pushing device must present. `secret_hash`: SHA-256 of the secret's UTF-8 bytes (`hash_secret`).
    `max_body`: bytes of a push, at most. `digest`: set for a device that pushes to `/VIID/` instead of its
    own address, and how it logs in there."""

    secret_hash: bytes
    max_body: int = 4 * 1024 * 1024
    digest: DigestLogin | None = None


class DeviceControl(Protocol):
    """The devices of the site, as far as the API may touch them."""

    def statuses(self) -> list[DeviceStatus]: ...

    def receiver(self, device_id: str) -> tuple[Receiver, Handle, DeviceAuth] | None:
        """How a push of this device is authenticated and handled; None if no such device pushes. Asked for
        every push: it must be a look-up, no more."""
        ...

    def numbered(self, number: str) -> str | None:
        """The device that calls itself so, or logs in as that user, at `/VIID/`; a look-up."""
        ...


class AllowListControl(Protocol):
    """The own lists of devices. `reports`: of each that a lane relies on."""

    @property
    def reports(self) -> Mapping[str, ListReport]: ...

    def sync_now(self, device: str, *, force: bool) -> bool:
        """Begins to bring a list in step; False if no lane relies on it."""
        ...


class NameView(Protocol):
    """A name in both languages."""

    @property
    def zh(self) -> str: ...
    @property
    def en(self) -> str: ...


class GridView(Protocol):
    """A grid of the configuration; `parent` is the grid above, None at the top."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> NameView: ...
    @property
    def parent(self) -> str | None: ...


class EntranceView(Protocol):
    """An entrance of the configuration."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> NameView: ...
    @property
    def grid(self) -> str: ...


class SiteView(Protocol):
    """The part of the configuration that the API reads; the configuration's model fits as it is."""

    @property
    def entrances(self) -> Sequence[EntranceView]: ...
    @property
    def grids(self) -> Sequence[GridView]: ...


@dataclass(slots=True)
class Services:
    """Everything that `create_api` needs. `clock`: aware UTC now. `ready`: empty when ready, else the reason
    for each part that is not. `metrics` may be shared with the parts that update it."""

    store: Store
    registry: Registry
    register: Register
    lanes: LaneControl
    devices: DeviceControl
    allow_lists: AllowListControl
    site: SiteView
    clock: Callable[[], datetime]
    ready: Callable[[], dict[str, str]]
    version: str
    metrics: Metrics = field(default_factory=Metrics)
