"""Who may do what, and what wrong tokens cost."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest

from gated.api import tokens
from gated.api.limits import FailureLimiter, peer_key
from gated.api.permissions import LEAST, Permission, allowed
from gated.api.tokens import create_token
from gated.domain import Role
from gated.store import tokens as rows
from tests.api.conftest import START, Gate, wanted_pass

V, W, S, O = Role  # noqa: E741 - the four roles, least first

ROUTES = [
    ("GET", "/api/v1/lanes", None, V),
    ("POST", "/api/v1/lanes/east-in/open", {"reason": "救护车"}, V),
    ("GET", "/api/v1/passages", None, V),
    ("GET", "/api/v1/passages/none", None, V),
    ("GET", "/api/v1/alerts", None, V),
    ("GET", "/api/v1/alerts/none", None, V),
    ("GET", "/api/v1/entrances", None, V),
    ("GET", "/api/v1/grids", None, V),
    ("GET", "/openapi.json", None, V),
    ("POST", "/api/v1/passes", wanted_pass(), S),
    ("GET", "/api/v1/passes", None, S),
    ("GET", "/api/v1/passes/none", None, S),
    ("PATCH", "/api/v1/passes/none", {"kind": "guest"}, S),
    ("POST", "/api/v1/passes/none/renew", {"valid_until": "2029-01-01T00:00:00Z"}, S),
    ("POST", "/api/v1/passes/none/revoke", {"reason": "x"}, S),
    (
        "POST",
        "/api/v1/decisions",
        {"lane": "east-in", "credential": {"kind": "plate", "value": "津A12345"}},
        S,
    ),
    ("GET", "/api/v1/dwellings", None, S),
    ("GET", "/api/v1/dwellings/none", None, S),
    ("PUT", "/api/v1/dwellings/d1", {"name": "东街12号", "grid": "g01"}, S),
    ("DELETE", "/api/v1/dwellings/none", None, S),
    ("GET", "/api/v1/lists/block", None, S),
    ("PUT", "/api/v1/lists/block/card/A1", {"note": "x"}, S),
    ("DELETE", "/api/v1/lists/block/card/none", None, S),
    ("GET", "/api/v1/devices", None, O),
    ("GET", "/api/v1/allow-lists", None, O),
    ("GET", "/api/v1/device-events", None, V),
    ("GET", "/api/v1/device-events/1/picture", None, V),
    ("POST", "/api/v1/allow-lists/cam-east-in/sync", {"force": False}, O),
    ("GET", "/metrics", None, O),
]


async def test_roles_and_routes(gate: Gate) -> None:
    order = list(Role)
    for number, (method, path, body, least) in enumerate(ROUTES):
        for role in Role:
            reply = await gate.ask(method, path, body, role=role)
            if order.index(role) >= order.index(least):
                assert reply.status_code in {200, 201, 404}, (method, path, role, reply.text)
            else:
                assert reply.status_code == 403, (method, path, role)
                assert reply.json()["type"] == "/problems/forbidden"
                assert least.value in reply.json()["detail"]
        wrong = [{"Authorization": "Bearer wrong"}] if number < 18 else []  # more of them are not looked at
        for headers in ({}, *wrong):
            reply = await gate.http.request(method, path, headers=headers, json=body)
            assert (reply.status_code, reply.headers["www-authenticate"]) == (401, 'Bearer realm="gated"')


async def test_the_table_has_every_route(gate: Gate) -> None:
    document = (await gate.ask("GET", "/openapi.json")).json()
    said = {
        (method.upper(), path): operation.get("x-least-role", "volunteer")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    for anonymous in ("/healthz", "/readyz"):
        del said["GET", anonymous]
    tried: dict[tuple[str, str], str] = {}
    for method, path, _, least in ROUTES:
        for known in said:
            shape = known[1].split("/")
            parts = path.split("/")
            if (
                known[0] == method
                and len(shape) == len(parts)
                and all(a == b or a.startswith("{") for a, b in zip(shape, parts, strict=True))
            ):
                tried[known] = least.value
    assert tried == said


def test_every_permission_has_a_least_role() -> None:
    assert set(LEAST) == set(Permission)
    assert all(allowed(Role.OPERATOR, permission) for permission in Permission)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Basic Zm9vOmJhcg==",
        "Bearer gated_",
        "Bearer gated_00000000000000000000000000_" + "0" * 48,
        "Bearer " + "x" * 5000,
        "Bearer 津津津",
    ],
)
async def test_what_is_no_token(gate: Gate, value: str) -> None:
    headers = [(b"authorization", value.encode())]
    reply = await gate.http.get("/api/v1/lanes", headers=headers)
    assert reply.status_code == 401
    assert reply.json()["detail_zh"]


async def test_a_revoked_token_ends_within_two_seconds(gate: Gate) -> None:
    token, row = await create_token(gate.store, role=S, name="临时", now=gate.clock())
    headers = {"Authorization": f"Bearer {token}"}
    assert (await gate.http.get("/api/v1/lanes", headers=headers)).status_code == 200
    await gate.store.write(lambda conn: rows.revoke(conn, row.id, gate.clock()))
    start = time.monotonic()
    while (await gate.http.get("/api/v1/lanes", headers=headers)).status_code == 200:
        assert time.monotonic() - start < 2
        await asyncio.sleep(0.05)


async def test_an_expired_token_ends(gate: Gate) -> None:
    token, _ = await create_token(
        gate.store, role=S, name="短期", now=gate.clock(), expires_at=START + timedelta(hours=1)
    )
    headers = {"Authorization": f"Bearer {token}"}
    assert (await gate.http.get("/api/v1/lanes", headers=headers)).status_code == 200
    gate.clock.now += timedelta(hours=2)
    await asyncio.sleep(1.05)  # the cache's second
    assert (await gate.http.get("/api/v1/lanes", headers=headers)).status_code == 401


async def test_a_thousand_wrong_tokens(gate: Gate) -> None:
    good = gate.auth()
    assert (await gate.http.get("/api/v1/lanes", headers=good)).status_code == 200
    other, _ = await create_token(gate.store, role=V, name="新来", now=gate.clock())
    looked_up = 0
    original = gate.store.read

    async def counting(work: Any) -> Any:
        nonlocal looked_up
        looked_up += 1
        return await original(work)

    gate.store.read = counting  # type: ignore[method-assign]
    codes = []
    for n in range(1000):
        wrong = f"gated_{n:026d}_{n:048x}"
        reply = await gate.http.get("/api/v1/lanes", headers={"Authorization": f"Bearer {wrong}"})
        codes.append(reply.status_code)
    assert codes[:20] == [401] * 20
    assert codes.count(401) < 40
    assert looked_up < 40
    limited = await gate.http.get("/api/v1/lanes", headers={"Authorization": f"Bearer {other}"})
    assert (limited.status_code, limited.json()["type"]) == (429, "/problems/too-many-failures")
    assert int(limited.headers["retry-after"]) >= 1
    # whoever was let in before is let in still, though behind a proxy all share this address
    await asyncio.sleep(1.05)
    assert (await gate.http.get("/api/v1/lanes", headers=good)).status_code == 200


def test_the_limit_needs_little_memory() -> None:
    limiter = FailureLimiter(burst=3, every_s=10, size=1000)
    tracemalloc.start()
    for n in range(50_000):
        limiter.failed(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", n / 1000)
    assert len(limiter) == 1000
    assert tracemalloc.get_traced_memory()[0] < 1_000_000
    tracemalloc.stop()


def test_the_limit_leaks() -> None:
    limiter = FailureLimiter(burst=3, every_s=10)
    assert limiter.wait("a", 100) == 0
    firsts = [limiter.failed("a", 100) for _ in range(3)]
    assert firsts == [True, False, False]
    assert limiter.wait("a", 100) == 10
    assert limiter.wait("b", 100) == 0
    assert limiter.wait("a", 109) == 1
    assert limiter.wait("a", 110) == 0
    limiter.failed("a", 110)
    assert limiter.wait("a", 110) == 10
    assert limiter.failed("a", 500) is True


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.168.1.20", "192.168.1.20"),
        ("::ffff:192.168.1.20", "192.168.1.20"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:x", "unix:x"),
    ],
)
def test_peers(host: str, key: str) -> None:
    assert peer_key(host) == key


def test_tokens_are_random_and_kept_as_a_hash() -> None:
    one, row = tokens.make(S, " 张三 ", START)
    two, _ = tokens.make(S, "张三", START)
    assert one != two
    assert tokens.plausible(one)
    assert len(one.rsplit("_", 1)[1]) * 4 >= 160
    assert (row.name, row.hash) == ("张三", tokens.digest(one))
    assert one not in repr(row)
    for name in ("", "  ", "x" * 101, "a\nb"):
        with pytest.raises(ValueError, match="a token needs a name"):
            tokens.make(S, name, START)
    with pytest.raises(ValueError, match="expired already"):
        tokens.make(S, "x", START, START)
