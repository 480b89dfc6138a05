"""`/api/v1/device-events`: pages and pictures."""

from __future__ import annotations

from datetime import timedelta

from gated.domain import Role
from gated.store import device_events
from tests.api.conftest import START, Gate

JPEG = b"\xff\xd8 a picture"


async def test_pages_and_pictures(gate: Gate) -> None:
    for number in range(3):
        at = START + timedelta(seconds=number)
        image = JPEG if number == 1 else None
        await gate.store.write(
            lambda conn, at=at, image=image: device_events.add(
                conn, "cam-road", "crossed", at, at, {"target": "human"}, image
            )
        )
    first = (await gate.ask("GET", "/api/v1/device-events?limit=2", role=Role.VOLUNTEER)).json()
    assert [item["n"] for item in first["items"]] == [3, 2]
    rest = (await gate.ask("GET", f"/api/v1/device-events?limit=2&cursor={first['next']}")).json()
    assert ([item["n"] for item in rest["items"]], rest["next"]) == ([1], None)
    where = first["items"][1]["picture"]
    picture = await gate.ask("GET", where, role=Role.VOLUNTEER)
    assert (picture.status_code, picture.headers["content-type"], picture.content) == (
        200,
        "image/jpeg",
        JPEG,
    )
    assert rest["items"][0]["picture"] is None
    missing = await gate.ask("GET", "/api/v1/device-events/1/picture")
    assert missing.status_code == 404
    assert missing.json()["type"] == "/problems/picture-not-found"
    none = (await gate.ask("GET", "/api/v1/device-events?device=another")).json()
    assert none == {"items": [], "next": None}
