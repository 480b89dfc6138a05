"""Passages, alerts, lanes, devices, site, decisions, health, and what all replies have in common."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from gated.domain import OpeningOutcome, Outcome, Role
from gated.ids import new_id
from gated.store import tables
from gated.store.records import OpeningRecord
from gated.times import iso
from tests.api.conftest import START, Gate, alert, passage_record, wanted_pass


async def passages(gate: Gate, query: str = "") -> list[dict[str, Any]]:
    reply = await gate.ask("GET", f"/api/v1/passages?{query}")
    assert reply.status_code == 200, reply.text
    return list(reply.json()["items"])


async def test_a_passage_with_its_opening(gate: Gate) -> None:
    record = passage_record(1, START)
    await gate.store.record(record)
    found = (await passages(gate))[0]
    assert found == {
        "id": record.passage.id,
        "lane": "east-in",
        "entrance": "east",
        "direction": "in",
        "at": "2026-11-21T12:00:00.000Z",
        "decided_at": "2026-11-21T12:00:00.000Z",
        "outcome": "refer",
        "reason": "no-pass",
        "explanation": {"zh": "没有出入证", "en": "no pass"},
        "rule_id": "first",
        "pass_id": None,
        "credential": {"kind": "plate", "value": "津A12345"},
        "raw": "津A12345",
        "confidence": 0.93,
        "device": "cam-east-in",
        "device_time": "2026-11-21T12:00:00.000Z",
        "received_at": "2026-11-21T12:00:00.000Z",
        "continues": None,
        "receipt": None,
        "opening": None,
    }
    await gate.store.record_opening(
        OpeningRecord(
            id=new_id(START),
            lane="east-in",
            cause="decision",
            outcome=OpeningOutcome.CONFIRMED,
            requested_at=START,
            finished_at=START + timedelta(seconds=1),
            passage_id=record.passage.id,
        )
    )
    one = (await gate.ask("GET", f"/api/v1/passages/{record.passage.id}")).json()
    assert (one["opening"]["outcome"], one["opening"]["cause"]) == ("confirmed", "decision")
    assert (await passages(gate))[0] == one
    missing = await gate.ask("GET", "/api/v1/passages/none")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/passage-not-found")


async def test_passages_filtered_and_paged(gate: Gate) -> None:
    for n in range(12):
        await gate.store.record(
            passage_record(
                n,
                START + timedelta(minutes=n),
                plate="津A12345" if n % 2 else "京B00001",
                lane="east-in" if n % 3 else "east-out",
            )
        )
    whole = [item["id"] for item in await passages(gate)]
    assert len(whole) == 12
    times = [item["at"] for item in await passages(gate)]
    assert times == sorted(times, reverse=True)
    assert len(await passages(gate, "lane=east-out")) == 4
    assert len(await passages(gate, "credential=京b·00001")) == 6
    assert len(await passages(gate, "outcome=grant")) == 0
    assert len(await passages(gate, "outcome=refer")) == 12
    since, until = iso(START + timedelta(minutes=3)), iso(START + timedelta(minutes=6))
    assert len(await passages(gate, f"since={since}&until={until}")) == 3
    for bad in ("since=yesterday", "outcome=maybe", "lane=a%20b", "offset=3"):
        assert (await gate.ask("GET", f"/api/v1/passages?{bad}")).status_code == 422

    seen: list[str] = []
    cursor = ""
    late = 100
    while cursor is not None:
        page = (await gate.ask("GET", f"/api/v1/passages?limit=5{cursor}")).json()
        seen += [item["id"] for item in page["items"]]
        # newer ones come meanwhile; they must neither repeat nor hide one of those that are being read
        await gate.store.record(passage_record(late, START + timedelta(hours=late)))
        late += 1
        cursor = None if page["next"] is None else f"&cursor={page['next']}"
    assert seen == whole


async def test_alerts(gate: Gate) -> None:
    found = []
    for n, (grid, state) in enumerate([("g01", "open"), ("g01", "closed"), ("g02", "open")]):
        at = START + timedelta(minutes=n)
        one = alert(new_id(at), at, grid=grid, state=state)
        await gate.store.record(passage_record(n, at, alerts=(one,)))
        found.append(one.id)

    async def ids(query: str) -> list[str]:
        reply = await gate.ask("GET", f"/api/v1/alerts?{query}", role=Role.WORKER)
        assert reply.status_code == 200, reply.text
        return [item["id"] for item in reply.json()["items"]]

    assert await ids("") == found[::-1]
    assert await ids("grid=g01") == found[1::-1]
    assert await ids("grid=g01&state=open") == [found[0]]
    assert await ids(f"since={iso(START + timedelta(minutes=1))}") == [found[2], found[1]]
    first = (await gate.ask("GET", "/api/v1/alerts?limit=2")).json()
    rest = (await gate.ask("GET", f"/api/v1/alerts?limit=2&cursor={first['next']}")).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == found[::-1]
    assert rest["next"] is None
    one = (await gate.ask("GET", f"/api/v1/alerts/{found[0]}")).json()
    assert one["text"] == {"zh": "没有出入证", "en": "no pass"}
    assert one["count"] == 1
    assert (await gate.ask("GET", "/api/v1/alerts/none")).json()["type"] == "/problems/alert-not-found"


async def test_lanes_and_opening_by_hand(gate: Gate) -> None:
    lanes = (await gate.ask("GET", "/api/v1/lanes", role=Role.VOLUNTEER)).json()
    assert [lane["id"] for lane in lanes["items"]] == ["east-in", "east-out"]
    assert lanes["items"][1]["barrier"] is None
    reply = await gate.ask(
        "POST", "/api/v1/lanes/east-in/open", {"reason": " 救护车进村 "}, role=Role.VOLUNTEER
    )
    opened = reply.json()
    assert (opened["outcome"], opened["person"], opened["reason"], opened["cause"]) == (
        "accepted",
        "volunteer 一号",
        "救护车进村",
        "override",
    )
    for body in ({}, {"reason": ""}, {"reason": "\t"}, {"reason": "x" * 201}, {"reason": "a", "name": "b"}):
        refused = await gate.ask("POST", "/api/v1/lanes/east-in/open", body)
        assert refused.status_code == 422
    missing = await gate.ask("POST", "/api/v1/lanes/north/open", {"reason": "x"})
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/lane-not-found")
    assert len(gate.lanes.opened) == 1


async def test_decisions_are_dry(gate: Gate) -> None:
    made = (await gate.ask("POST", "/api/v1/passes", wanted_pass())).json()
    asked = {"lane": "east-in", "credential": {"kind": "plate", "value": "津a·12345", "confidence": 0.9}}
    found = (await gate.ask("POST", "/api/v1/decisions", asked)).json()
    assert (found["outcome"], found["pass_id"], len(found["candidates"])) == ("grant", made["id"], 1)
    assert found["candidates"][0]["distance"] == 0
    other = {
        "lane": "east-in",
        "credential": {"kind": "card", "value": "77"},
        "at": "2026-11-21T08:00:00+08:00",
    }
    assert (await gate.ask("POST", "/api/v1/decisions", other)).json()["outcome"] == Outcome.REFER
    for body, field in [
        ({**asked, "lane": "north"}, "lane"),
        ({**asked, "credential": {"kind": "plate", "value": "。"}}, "credential.value"),
        ({**asked, "credential": {"kind": "plate", "value": "x", "confidence": 2}}, "credential.confidence"),
        (
            {**asked, "credential": {"kind": "plate", "value": "x", "confidence": "1"}},
            "credential.confidence",
        ),
        ({**asked, "at": 5}, "at"),
    ]:
        refused = await gate.ask("POST", "/api/v1/decisions", body)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
    assert await passages(gate) == []


async def test_site_and_devices(gate: Gate) -> None:
    entrances = (await gate.ask("GET", "/api/v1/entrances")).json()["items"]
    assert entrances[0] == {"id": "east", "name": {"zh": "东门", "en": "East gate"}, "grid": "g01"}
    grids = (await gate.ask("GET", "/api/v1/grids")).json()["items"]
    assert [grid["parent"] for grid in grids] == [None, "g00", "g00"]
    devices = (await gate.ask("GET", "/api/v1/devices", role=Role.OPERATOR)).json()["items"]
    assert (devices[0]["online"], devices[0]["info"]["vendor"]) == (False, "臻识")


async def test_health(gate: Gate) -> None:
    alive = await gate.http.get("/healthz", headers={"Authorization": "Bearer wrong"})
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    ready = await gate.http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "parts": [], "version": None})
    gate.failing["mqtt"] = "connection refused by 10.1.2.3"
    stranger = await gate.http.get("/readyz")
    assert stranger.status_code == 503
    assert stranger.json()["parts"] == [{"name": "mqtt", "reason": None}]
    staff = (await gate.ask("GET", "/readyz")).json()
    assert staff["parts"] == [{"name": "mqtt", "reason": None}]
    operator = (await gate.ask("GET", "/readyz", role=Role.OPERATOR)).json()
    assert operator["parts"] == [{"name": "mqtt", "reason": "connection refused by 10.1.2.3"}]
    assert operator["version"] == "1.2.3"
    assert (await gate.http.get("/readyz", headers={"Authorization": "Bearer wrong"})).status_code == 401


async def test_metrics(gate: Gate) -> None:
    metrics = gate.services.metrics
    metrics.passage(Outcome.GRANT, 0.003)
    metrics.opening(OpeningOutcome.CONFIRMED)
    metrics.watch(store_queue=lambda: 7, mqtt_connected=lambda: True)
    await gate.http.get("/api/v1/lanes")
    await gate.http.post("/ingest/cam-east-in?key=wrong")
    reply = await gate.ask("GET", "/metrics", role=Role.OPERATOR)
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = set(reply.text.splitlines())
    assert {
        'gated_passages_total{outcome="grant"} 1.0',
        'gated_openings_total{outcome="confirmed"} 1.0',
        'gated_decision_seconds_bucket{le="0.005"} 1.0',
        "gated_store_queue 7.0",
        "gated_mqtt_connected 1.0",
        'gated_auth_failures_total{at="ingest"} 1.0',
        'gated_pushes_total{status="4xx"} 1.0',
        'gated_build_info{version="1.2.3"} 1.0',
    } <= lines


@pytest.fixture
def settled() -> Iterator[None]:
    """As the daemon once it has started: the collector does not walk what is here already."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("settled")
async def test_writing_the_document_does_not_hold_the_loop(gate: Gate) -> None:
    worst = 0.0
    asking = asyncio.create_task(gate.http.put("/healthz"))  # its answer is in the document
    while not asking.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - before)
    assert (await asking).headers["allow"] == "GET"
    assert worst < 0.08


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/api/v1/", 404, "not-found"),
        ("GET", "/api/v1/passes/", 404, "not-found"),
        ("GET", "/docs", 404, "not-found"),
        ("GET", "/redoc", 404, "not-found"),
        ("DELETE", "/api/v1/passes/x", 405, "method-not-allowed"),
        ("PUT", "/api/v1/lanes", 405, "method-not-allowed"),
        ("OPTIONS", "/api/v1/lanes", 405, "method-not-allowed"),
        ("TRACE", "/api/v1/lanes", 405, "method-not-allowed"),
    ],
)
async def test_unknown_paths_and_methods(gate: Gate, method: str, path: str, status: int, kind: str) -> None:
    reply = await gate.ask(method, path)
    assert (reply.status_code, reply.json()["type"]) == (status, f"/problems/{kind}")
    assert reply.headers["content-type"] == "application/problem+json"
    assert ("allow" in reply.headers) == (status == 405)
    assert reply.json()["instance"] == path
    stranger = await gate.http.request(method, path)
    assert stranger.status_code == 401  # a stranger does not learn which paths there are


@pytest.mark.parametrize(
    ("content_type", "body", "status", "kind"),
    [
        ("application/json", b"{", 400, "malformed"),
        ("application/json", b"\xff\xfe", 400, "malformed"),
        ("application/json", b'{"kind": NaN}', 400, "malformed"),
        ("application/json", b'{"kind": "\\ud800"}', 400, "malformed"),
        ("application/json", b"[" * 100_000, 400, "malformed"),
        ("application/json", b"[" * 900 + b"]" * 900, 422, "invalid"),
        ("application/json", b'{"limits": {"n": ' + b"9" * 5000 + b"}}", None, None),
        ("application/json", b"", 422, "invalid"),
        ("text/plain", b"{}", 415, "unsupported-media"),
        ("", b"{}", 415, "unsupported-media"),
        ("application/x-www-form-urlencoded", b"a=b", 415, "unsupported-media"),
        ("application/json", b'"' + b"x" * 300_000 + b'"', 413, "too-large"),
    ],
)
async def test_bodies(
    gate: Gate, content_type: str, body: bytes, status: int | None, kind: str | None
) -> None:
    reply = await gate.http.post(
        "/api/v1/passes", headers={**gate.auth(), "Content-Type": content_type}, content=body
    )
    assert 400 <= reply.status_code < 500
    if status is not None:
        assert (reply.status_code, reply.json()["type"]) == (status, f"/problems/{kind}"), reply.text


async def test_a_chunked_body_is_bounded_too(gate: Gate) -> None:
    async def endless() -> Any:
        for _ in range(400):
            yield b" " * 10_000

    reply = await gate.http.post(
        "/api/v1/passes", headers={**gate.auth(), "Content-Type": "application/json"}, content=endless()
    )
    assert (reply.status_code, reply.json()["type"]) == (413, "/problems/too-large")


async def test_what_goes_wrong_inside_stays_inside(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    gate.lanes.statuses = lambda: 1 / 0  # type: ignore[assignment, return-value]
    reply = await gate.ask("GET", "/api/v1/lanes")
    problem = reply.json()
    assert (reply.status_code, problem["type"]) == (500, "/problems/internal")
    assert "division" not in reply.text
    assert problem["incident"] in capsys.readouterr().out


async def test_headers_of_all_replies(gate: Gate) -> None:
    for path in ("/api/v1/lanes", "/nothing", "/healthz"):
        headers = (await gate.ask("GET", path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers
    cross = await gate.ask("GET", "/api/v1/lanes", origin="https://evil.example")
    assert not [name for name in cross.headers if name.startswith("access-control")]


async def test_a_read_that_breaks_off_leaves_no_old_snapshot(gate: Gate) -> None:
    """A cursor left half read holds its connection to what was there then; nobody may be given that again."""
    for n in range(5):
        await gate.store.record(passage_record(n, START))
    left: list[Any] = []

    def broken(conn: Any) -> None:
        rows = conn.execute(select(tables.passages))
        left.append((rows, rows.fetchone()))
        raise RuntimeError("in the middle")

    for _ in range(10):
        with pytest.raises(RuntimeError, match="in the middle"):
            await gate.store.read(broken)
    await gate.store.record(passage_record(5, START))
    for _ in range(10):
        assert len(await passages(gate)) == 6


async def test_the_loop_stays_free_while_lists_are_read(gate: Gate) -> None:
    for n in range(200):
        await gate.store.record(passage_record(n, START + timedelta(seconds=n)))
    reply = await gate.ask("GET", "/api/v1/passages?limit=200")
    assert len(reply.json()["items"]) == 200
    both = await asyncio.gather(
        *(gate.ask("GET", "/api/v1/passages?limit=200") for _ in range(3)), gate.http.get("/healthz")
    )
    assert {reply.status_code for reply in both} == {200}
