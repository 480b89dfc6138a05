"""The daemon on PostgreSQL: the same path, a server that goes away and comes back, and a kill."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.acceptance.daemon import daemon, issue, opens, push_body, site, until
from tests.peers.postgres import Postgres, require

pytestmark = pytest.mark.postgres
PLATE = "津A12345"


async def test_the_path_on_postgresql(tmp_path: Path) -> None:
    with Postgres(require()) as server:
        url = server.url(server.create_database())
        config = site(tmp_path, lanes=2)
        config["store"] = {"url": url}
        with daemon(tmp_path, config) as gated:
            token = gated.token()
            [made] = await issue(gated.url, token, [PLATE])
            first = push_body(PLATE, 1)
            _, reply = await gated.camera(0).push(first) or (0, {})
            assert opens(reply)

            # the server dies: nothing opens, the camera is told to come again; it returns: all is as before
            server.stop("immediate")
            status, reply = await gated.camera(0).push(push_body(PLATE, 2)) or (0, {})
            assert (status, opens(reply)) == (503, False)
            server.start()
            camera = gated.camera(0)
            for _ in range(100):
                status, reply = await camera.push(push_body(PLATE, 2)) or (0, {})
                if status == 200:
                    break
                await asyncio.sleep(0.1)
            assert opens(reply)

            # killed under load, with the pass revoked by another process meanwhile: no opening after it
            gated.kill()
            gated.start()
            async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as client:
                answer = await client.post(
                    f"{gated.url}/api/v1/passes/{made['id']}/revoke", json={"reason": "搬离"}
                )
                assert answer.status_code == 200
            number = random.randrange(10**6, 10**9)
            _, reply = await gated.camera(1).push(push_body(PLATE, number)) or (0, {})
            assert not opens(reply)
            again = gated.camera(0)
            _, reply = await again.push(first) or (0, {})
            assert not opens(reply), "a resend after the kill opens nothing"
            assert gated.stop() < 5
        await until(lambda: _outcomes(url) == ["grant", "grant", "deny"])


def _outcomes(url: str) -> list[Any]:
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as conn:
        return [row[0] for row in conn.execute("SELECT outcome FROM passages ORDER BY n")]
