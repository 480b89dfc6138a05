"""Devices that register at `/VIID/` (GA/T 1400), over a real socket: who is let in, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated.api import viid, wire
from gated.api.ingest import Ingest, hash_secret
from gated.api.limits import FailureLimiter
from gated.api.services import DeviceAuth
from gated.ports import Handled
from tests.api.test_ingest import SECRET, Camera, services

NUMBER = "31011500001190000001"
NAMED = {"User-Identify": NUMBER}
REGISTER, ALIVE, PLATES = "/VIID/System/Register", "/VIID/System/Keepalive", "/VIID/MotorVehicles"


class Devices:
    def __init__(self, camera: Camera) -> None:
        self.camera = camera

    def numbered(self, number: str) -> str | None:
        return {NUMBER: "cam", "tollgate": "cam"}.get(number)

    def receiver(self, device_id: str) -> Any:
        async def handle(_event: Any) -> Handled:
            return Handled()

        digest = viid.login(NUMBER, "tollgate", SECRET)
        return (
            (self.camera, handle, DeviceAuth(hash_secret(SECRET), digest=digest))
            if device_id == "cam"
            else None
        )

    def statuses(self) -> list[Any]:
        return []


class Rig:
    def __init__(self, port: int, camera: Camera, sessions: viid.Sessions) -> None:
        self.url, self.camera, self.sessions, self.seconds = f"http://127.0.0.1:{port}", camera, sessions, 0.0

    async def post(
        self, path: str, *, login: tuple[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> int:
        auth = httpx.DigestAuth(*login) if login else None
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, auth=auth) as http:
            reply = await http.post(path, headers=NAMED if headers is None else headers, content=b"{}")
            return reply.status_code


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    camera = Camera()
    known = services(camera)
    known.devices = Devices(camera)  # type: ignore[assignment]
    app = Ingest(known, limiter=FailureLimiter(burst=5))
    async with wire.serve(app) as server:
        rig = Rig(server.port, camera, app._viid)
        app._viid._now = lambda: 1000.0 + rig.seconds
        yield rig


async def test_a_device_registers_once_and_is_known_from_then_on(rig: Rig) -> None:
    assert await rig.post(ALIVE) == 401
    assert await rig.post(REGISTER, login=("tollgate", SECRET)) == 200
    assert await rig.post(ALIVE) == 200
    assert await rig.post(PLATES) == 200
    assert [push.path for push in rig.camera.pushes] == [REGISTER[1:], ALIVE[1:], PLATES[1:]]
    assert "authorization" not in rig.camera.pushes[0].headers


@pytest.mark.parametrize(
    ("login", "headers"),
    [
        (("tollgate", "wrong"), NAMED),
        ((NUMBER, SECRET), NAMED),  # another user than it is to log in as
        (("tollgate", SECRET), {"User-Identify": "31011500001190000002"}),
        (("nobody", SECRET), {}),
        (None, NAMED),
        (None, {}),
        (None, {"Authorization": "Digest \xe9"}),
        (None, {"Authorization": f'Digest username="tollgate", uri="{REGISTER}", nonce="1.2", response="x"'}),
        (None, {"Authorization": f"Bearer {SECRET}"}),
    ],
)  # fmt: skip
async def test_others_are_not_let_in(
    rig: Rig, login: tuple[str, str] | None, headers: dict[str, str]
) -> None:
    sent = {name: value for name, value in headers.items() if value.isascii()}
    assert await rig.post(REGISTER, login=login, headers=sent) == 401
    assert await rig.post(ALIVE) == 401
    assert rig.camera.pushes == []


async def test_one_that_names_itself_only_in_its_login(rig: Rig) -> None:
    assert await rig.post(REGISTER, login=("tollgate", SECRET), headers={}) == 200


async def test_one_that_answers_the_challenge_wherever_it_meets_it(rig: Rig) -> None:
    for number in range(30):
        rig.sessions._known.clear()  # gated is begun anew
        assert await rig.post(PLATES, login=("tollgate", SECRET)) == 200
        assert await rig.post(ALIVE) == 200, number


async def test_a_proof_counts_once(rig: Rig) -> None:
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False) as http:
        auth = httpx.DigestAuth("tollgate", SECRET)
        first = await http.post(REGISTER, headers=NAMED, auth=auth)
        proof = first.request.headers["authorization"]
        again = await http.post(REGISTER, headers={**NAMED, "Authorization": proof})
        other = await http.post(ALIVE, headers={**NAMED, "Authorization": proof})
        assert (first.status_code, again.status_code, other.status_code) == (200, 401, 200)


async def test_who_is_silent_or_leaves_registers_again(rig: Rig) -> None:
    await rig.post(REGISTER, login=("tollgate", SECRET))
    rig.seconds += viid.SESSION_S - 1
    assert await rig.post(ALIVE) == 200
    rig.seconds += viid.SESSION_S + 1
    assert await rig.post(ALIVE) == 401
    assert await rig.post(REGISTER, login=("tollgate", SECRET)) == 200
    assert await rig.post("/VIID/System/UnRegister") == 200
    assert await rig.post(ALIVE) == 401


def test_a_register_is_good_for_its_own_address_only() -> None:
    sessions = viid.Sessions()
    sessions._seen(NUMBER, "192.0.2.1")
    assert sessions.knows(NUMBER, "192.0.2.1")
    assert not sessions.knows(NUMBER, "192.0.2.2")


async def test_guessing_is_slowed_down(rig: Rig) -> None:
    tries = [await rig.post(REGISTER, login=("tollgate", f"wrong{number}")) for number in range(8)]
    assert tries[0] == 401
    assert tries[-1] == 429
    assert await rig.post(REGISTER, login=("tollgate", SECRET)) == 429


@given(st.text(max_size=200))
def test_no_header_does_harm(authorization: str) -> None:
    proof = viid.login(NUMBER, "tollgate", SECRET)
    for text in (
        authorization,
        f"Digest {authorization}",
        f'Digest uri="/", username="tollgate", {authorization}',
    ):
        assert not viid.Sessions().registers(proof, "POST", "/", text, "192.0.2.1")
        viid.username_of(text)
