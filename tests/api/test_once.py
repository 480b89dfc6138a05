"""Idempotency keys: the same intention is carried out once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select

from gated.api.once import KEPT, Key, Once, Reply
from gated.domain import Role
from gated.ports import NotRecorded
from gated.store import tables
from tests.api.conftest import Gate, wanted_pass

PASSES = "/api/v1/passes"
OPEN = "/api/v1/lanes/east-in/open"


async def count(gate: Gate, table: Any) -> int:
    return int(
        await gate.store.read(lambda conn: conn.execute(select(func.count()).select_from(table)).scalar())
    )


async def test_a_repeat_gets_the_first_reply(gate: Gate) -> None:
    first = await gate.ask("POST", PASSES, wanted_pass(), idempotency_key="k1")
    again = await gate.ask("POST", PASSES, wanted_pass(), idempotency_key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    for name in ("etag", "location"):
        assert again.headers[name] == first.headers[name]
    assert await count(gate, tables.passes) == 1
    assert len(gate.applied) == 1


async def test_another_request_with_the_key_is_refused(gate: Gate) -> None:
    made = (await gate.ask("POST", PASSES, wanted_pass(), idempotency_key="k1")).json()
    path = f"{PASSES}/{made['id']}"
    for method, where, body, more in [
        ("POST", PASSES, wanted_pass(kind="guest"), {}),
        ("PATCH", path, {"kind": "guest"}, {}),
        ("POST", f"{path}/revoke", {"reason": "x"}, {}),
    ]:
        reply = await gate.ask(method, where, body, idempotency_key="k1", **more)
        assert (reply.status_code, reply.json()["type"]) == (422, "/problems/key-reused")
    # another token's keys are its own
    other = await gate.ask("POST", PASSES, wanted_pass(), role=Role.OPERATOR, idempotency_key="k1")
    assert other.status_code == 201


async def test_a_refused_request_leaves_its_key_free(gate: Gate) -> None:
    wrong = wanted_pass(entrances=["nowhere"])
    for _ in range(2):
        assert (await gate.ask("POST", PASSES, wrong, idempotency_key="k")).status_code == 422
    assert (await gate.ask("POST", PASSES, wanted_pass(), idempotency_key="k")).status_code == 201
    assert await count(gate, tables.idempotency) == 1


async def test_many_at_once_are_one(gate: Gate) -> None:
    replies = await asyncio.gather(
        *(gate.ask("POST", PASSES, wanted_pass(), idempotency_key="k") for _ in range(20))
    )
    codes = [reply.status_code for reply in replies]
    assert set(codes) <= {201, 409}
    assert len({reply.content for reply in replies if reply.status_code == 201}) == 1
    for reply in replies:
        if reply.status_code == 409:
            assert reply.json()["type"] == "/problems/key-in-progress"
            assert reply.headers["retry-after"] == "1"
    assert await count(gate, tables.passes) == 1
    assert await count(gate, tables.audit) == 1


async def test_patch_replayed_with_its_version(gate: Gate) -> None:
    made = (await gate.ask("POST", PASSES, wanted_pass())).json()
    path = f"{PASSES}/{made['id']}"
    for _ in range(2):  # without the key the second would be 412
        reply = await gate.ask("PATCH", path, {"kind": "guest"}, if_match='"1"', idempotency_key="p")
        assert (reply.status_code, reply.json()["version"]) == (200, 2)
    other = await gate.ask("PATCH", path, {"kind": "guest"}, if_match='"2"', idempotency_key="p")
    assert other.status_code == 422


async def test_a_key_is_forgotten_after_a_day(gate: Gate) -> None:
    first = (await gate.ask("POST", PASSES, wanted_pass(), idempotency_key="k")).json()
    gate.clock.now += KEPT * 2
    second = await gate.ask("POST", PASSES, wanted_pass(), idempotency_key="k")
    assert second.status_code == 201
    assert second.json()["id"] != first["id"]
    assert (await gate.ask("POST", PASSES, wanted_pass(), idempotency_key="k")).json() == second.json()


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "钥匙".encode()])
async def test_what_is_no_key(gate: Gate, key: Any) -> None:
    headers = [(b"idempotency-key", key if isinstance(key, bytes) else key.encode())]
    headers += [(name.encode(), value.encode()) for name, value in gate.auth().items()]
    reply = await gate.http.post(PASSES, headers=headers, json=wanted_pass())
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


async def test_the_write_and_its_key_are_one_transaction(gate: Gate) -> None:
    """What fails after the write, in the same transaction, takes the write with it."""
    once = Once(gate.store, gate.clock)
    key = Key("t", "k", "f")

    def work(conn: Any) -> str:
        conn.execute(tables.audit.insert().values(at=1, who="w", action="test", subject="s", details="{}"))
        return "done"

    def broken(conn: Any, done: str) -> Reply:
        raise RuntimeError("power cut")

    before = await count(gate, tables.audit)
    with pytest.raises(RuntimeError, match="power cut"):
        await once.write(key, work, broken, lambda done: None)
    assert await count(gate, tables.audit) == before
    assert await count(gate, tables.idempotency) == 0
    reply = await once.write(key, work, lambda conn, done: Reply(200, b"{}"), lambda done: None)
    assert (reply.status, reply.replayed) == (200, False)
    assert await count(gate, tables.audit) == before + 1


# --- acts in the world ----------------------------------------------------------------------------------


async def test_an_opening_is_not_repeated(gate: Gate) -> None:
    first = await gate.ask("POST", OPEN, {"reason": "救护车"}, role=Role.VOLUNTEER, idempotency_key="o")
    again = await gate.ask("POST", OPEN, {"reason": "救护车"}, role=Role.VOLUNTEER, idempotency_key="o")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert gate.lanes.opened == [("east-in", "volunteer 一号", "救护车")]
    await gate.ask("POST", OPEN, {"reason": "救护车"}, role=Role.VOLUNTEER)
    assert len(gate.lanes.opened) == 2


async def test_an_opening_in_progress(gate: Gate) -> None:
    gate.lanes.hold = asyncio.Event()
    first = asyncio.create_task(gate.ask("POST", OPEN, {"reason": "x"}, idempotency_key="o"))
    while not gate.lanes.opened:  # noqa: ASYNC110 - the double has no event for it
        await asyncio.sleep(0.01)
    second = await gate.ask("POST", OPEN, {"reason": "x"}, idempotency_key="o")
    assert (second.status_code, second.json()["type"]) == (409, "/problems/key-in-progress")
    gate.lanes.hold.set()
    assert (await first).status_code == 200
    assert len(gate.lanes.opened) == 1


async def test_an_opening_cut_short_is_not_repeated(gate: Gate) -> None:
    """After a crash between the claim and the reply nobody knows whether the barrier was pulsed."""
    gate.lanes.fails = RuntimeError("kill -9")
    first = await gate.ask("POST", OPEN, {"reason": "x"}, idempotency_key="o")
    assert first.status_code == 500
    gate.lanes.fails = None
    again = await gate.ask("POST", OPEN, {"reason": "x"}, idempotency_key="o")
    assert (again.status_code, again.json()["type"]) == (409, "/problems/key-outcome-unknown")
    assert gate.lanes.opened == []


async def test_an_opening_that_did_not_happen_may_be_tried_again(gate: Gate) -> None:
    gate.lanes.fails = NotRecorded("disk full")
    first = await gate.ask("POST", OPEN, {"reason": "x"}, idempotency_key="o")
    assert (first.status_code, first.json()["type"]) == (503, "/problems/not-recorded")
    gate.lanes.fails = None
    assert (await gate.ask("POST", OPEN, {"reason": "x"}, idempotency_key="o")).status_code == 200
    unknown = await gate.ask("POST", "/api/v1/lanes/nowhere/open", {"reason": "x"}, idempotency_key="n")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/lane-not-found")


async def test_a_client_that_goes_does_not_stop_the_write(gate: Gate) -> None:
    gate.lanes.hold = asyncio.Event()
    asking = asyncio.create_task(gate.ask("POST", OPEN, {"reason": "x"}, idempotency_key="o"))
    while not gate.lanes.opened:  # noqa: ASYNC110 - the double has no event for it
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    gate.lanes.hold.set()
    for _ in range(100):
        reply = await gate.ask("POST", OPEN, {"reason": "x"}, idempotency_key="o")
        if reply.status_code == 200:
            break
        await asyncio.sleep(0.02)
    assert reply.headers["idempotency-replayed"] == "true"
    assert len(gate.lanes.opened) == 1
