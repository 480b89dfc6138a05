"""A site behind a really served API: the real store on SQLite, and small honest lanes and devices over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from gated.allowlist import ListReport
from gated.api.app import create_api
from gated.api.ingest import hash_secret
from gated.api.services import DeviceAuth, Services
from gated.api.tokens import make
from gated.api.wire import serve
from gated.domain import (
    Alert,
    AlertDraft,
    BarrierPosition,
    Candidate,
    Credential,
    CredentialKind,
    Decision,
    Direction,
    LaneMode,
    OpeningOutcome,
    Outcome,
    Pass,
    Passage,
    PassState,
    Read,
    Role,
    Severity,
    Text,
)
from gated.ids import event_id, new_id
from gated.lists import Dwellings, Lists
from gated.passbook import Passbook, Seen
from gated.ports import DeviceInfo, Handled, Push, PushReply
from gated.register import Register
from gated.registry import Registry
from gated.status import DeviceStatus, LaneStatus
from gated.store import Store
from gated.store.records import OpeningRecord, PassageRecord
from gated.store.tokens import insert

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DEVICE_SECRET = "secret-of-cam-east-in"


class Clock:
    """A clock that stands where it is put, and moves a millisecond at every look, as time does."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@dataclass
class Named:
    zh: str
    en: str


@dataclass
class Entrance:
    id: str
    name: Named
    grid: str


@dataclass
class Grid:
    id: str
    name: Named
    parent: str | None


@dataclass
class Site:
    entrances: list[Entrance] = field(
        default_factory=lambda: [
            Entrance("east", Named("东门", "East gate"), "g01"),
            Entrance("west", Named("西门", "West gate"), "g02"),
        ]
    )
    grids: list[Grid] = field(
        default_factory=lambda: [
            Grid("g00", Named("全村", "Village"), None),
            Grid("g01", Named("东片", "East"), "g00"),
            Grid("g02", Named("西片", "West"), "g00"),
        ]
    )


class Lanes:
    """Lanes that decide by exact match and record openings in the store; no barrier moves."""

    def __init__(self, store: Store, passbook: Passbook, clock: Clock) -> None:
        self.store = store
        self.passbook = passbook
        self.clock = clock
        self.opened: list[tuple[str, str, str]] = []
        self.hold: asyncio.Event | None = None
        self.fails: Exception | None = None

    def statuses(self) -> list[LaneStatus]:
        return [
            LaneStatus(
                id=f"east-{way.value}",
                entrance="east",
                direction=way,
                mode=LaneMode.NORMAL,
                position=BarrierPosition.UNKNOWN,
                barrier="relay-east" if way is Direction.IN else None,
                last_at=START,
            )
            for way in Direction
        ]

    def _known(self, lane: str) -> None:
        if lane not in {"east-in", "east-out"}:
            raise KeyError(lane)

    async def override(self, lane: str, *, person: str, reason: str) -> OpeningRecord:
        self._known(lane)
        if self.fails is not None:
            raise self.fails
        at = self.clock()
        self.opened.append((lane, person, reason))
        record = OpeningRecord(
            id=new_id(at),
            lane=lane,
            cause="override",
            outcome=OpeningOutcome.ACCEPTED,
            requested_at=at,
            finished_at=self.clock(),
            person=person,
            reason=reason,
        )
        await self.store.record_opening(record)
        if self.hold is not None:
            await self.hold.wait()
        return record

    def decide(
        self, lane: str, credential: Credential, confidence: float | None, at: datetime
    ) -> tuple[Decision, list[Candidate]]:
        self._known(lane)
        candidates = self.passbook.match(credential)
        for candidate in candidates:
            if candidate.facts.state is PassState.ACTIVE:
                return decision(Outcome.GRANT, candidate.facts.pass_id), candidates
        return decision(Outcome.REFER), candidates


class Camera:
    async def receive(self, push: Push, handle: Any) -> PushReply:
        return PushReply(body=b"{}")


class FakeAllowLists:
    """One device whose list a lane relies on."""

    def __init__(self) -> None:
        self.reports = {"cam-east-in": ListReport("cam-east-in", wanted=3, listed=2, failed=("津A1",))}
        self.asked: list[tuple[str, bool]] = []

    def sync_now(self, device: str, *, force: bool) -> bool:
        self.asked.append((device, force))
        return device in self.reports


class Devices:
    def statuses(self) -> list[DeviceStatus]:
        return [
            DeviceStatus(
                id="cam-east-in",
                type="vzenith",
                online=False,
                since=START,
                error="no heartbeat for 60 s",
                info=DeviceInfo(vendor="臻识", model="R5"),
            )
        ]

    def receiver(self, device_id: str) -> Any:
        async def handle(event: Any) -> Handled:
            return Handled()

        if device_id != "cam-east-in":
            return None
        return Camera(), handle, DeviceAuth(hash_secret(DEVICE_SECRET))


def decision(outcome: Outcome, pass_id: str | None = None) -> Decision:
    return Decision(
        outcome=outcome,
        reason="valid" if outcome is Outcome.GRANT else "no-pass",
        explanation=Text("有效", "valid") if outcome is Outcome.GRANT else Text("没有出入证", "no pass"),
        rule_id="first",
        pass_id=pass_id,
        alerts=()
        if outcome is Outcome.GRANT
        else (
            AlertDraft(
                severity=Severity.NOTICE, reason="no-pass", text=Text("没有出入证", "no pass"), fold_key="k"
            ),
        ),
    )


def alert(alert_id: str, at: datetime, *, grid: str = "g01", state: str = "open") -> Alert:
    """An alert as a passage raises it."""
    return Alert(
        id=alert_id,
        grid=grid,
        severity=Severity.WARNING,
        reason="no-pass",
        text=Text("没有出入证", "no pass"),
        state=state,
        raised_at=at,
        updated_at=at,
        lane="east-in",
    )


def passage_record(
    n: int,
    at: datetime,
    *,
    plate: str = "津A12345",
    lane: str = "east-in",
    alert_id: str | None = None,
    alerts: tuple[Alert, ...] = (),
) -> PassageRecord:
    """A refused passage, ready for `store.record`."""
    if alert_id is not None:
        alerts = (alert(alert_id, at),)
    read = Read(
        device="cam-east-in",
        received_at=at,
        device_time=at,
        key=str(n),
        credential=Credential(kind=CredentialKind.PLATE, value=plate),
        raw=plate,
        confidence=0.93,
    )
    passage = Passage(
        id=event_id("cam-east-in", str(n), at),
        lane=lane,
        entrance="east",
        direction=Direction.IN,
        read=read,
        at=at,
    )
    return PassageRecord(
        passage=passage, decision=decision(Outcome.REFER), decided_at=at, change=10**9, alerts=alerts
    )


@dataclass
class Gate:
    """The served site, with a client for each role."""

    store: Store
    services: Services
    lanes: Lanes
    passbook: Passbook
    clock: Clock
    url: str
    tokens: dict[Role, str]
    http: httpx.AsyncClient
    failing: dict[str, str]
    applied: list[Pass]
    lists: Lists

    def auth(self, role: Role = Role.OPERATOR) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    async def ask(
        self, method: str, path: str, body: Any = None, role: Role = Role.STAFF, **headers: str
    ) -> httpx.Response:
        """A request by a bearer of `role`; header names may be written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(
            method, path, headers={**self.auth(role), **named}, **({} if body is None else {"json": body})
        )


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Gate]:
    """A served site over a new store in `folder`."""
    clock = Clock()
    store = await Store.open(f"sqlite:///{folder / 'gated.db'}")
    try:
        passbook = Passbook()
        applied: list[Pass] = []

        def apply(changed: Pass) -> None:
            applied.append(changed)
            passbook.apply(changed)

        site = Site()
        lanes = Lanes(store, passbook, clock)
        failing: dict[str, str] = {}
        listed = Lists()
        services = Services(
            store=store,
            registry=Registry(
                store,
                apply,
                clock,
                entrances=lambda: {entrance.id for entrance in site.entrances},
                near=lambda credential: passbook.near([Seen(credential, None)]),
            ),
            register=Register(listed, Dwellings(), clock, grids=lambda: {grid.id for grid in site.grids}),
            lanes=lanes,
            devices=Devices(),
            allow_lists=FakeAllowLists(),
            site=site,
            clock=clock,
            ready=lambda: dict(failing),
            version="1.2.3",
        )
        made = {role: make(role, f"{role.value} 一号", clock()) for role in Role}
        await store.write(lambda conn: [insert(conn, row) for _, row in made.values()])
        tokens = {role: token for role, (token, _) in made.items()}
        async with (
            serve(create_api(services)) as server,
            httpx.AsyncClient(base_url=server.url, trust_env=False) as http,
        ):
            yield Gate(
                store, services, lanes, passbook, clock, server.url, tokens, http, failing, applied, listed
            )
    finally:
        await store.close()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    async with running(tmp_path) as found:
        yield found


def wanted_pass(**changes: Any) -> dict[str, Any]:
    """A valid body for POST /api/v1/passes."""
    return {
        "kind": "resident",
        "holder": {"name": "王小明", "phone": "13800000000", "dwelling_id": "d-1"},
        "credentials": [{"kind": "plate", "value": "津A·12345"}],
        "entrances": ["east"],
        "valid_from": "2026-11-01T00:00:00+08:00",
        "valid_until": "2027-11-01T00:00:00+08:00",
        "hours": [{"days": ["mon", "sun"], "since": "06:00", "until": "22:00"}],
        "limits": {"per_day": 4},
        **changes,
    }


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """Tracebacks as plain text: structlog's default draws them with all local variables, for seconds."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    )
    yield
    structlog.reset_defaults()
