"""Device pushes over a real socket: who is let in, what is bounded, when it is answered."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from gated.api import ingest as ingest_module
from gated.api import wire
from gated.api.ingest import Ingest, hash_secret
from gated.api.limits import FailureLimiter
from gated.api.services import DeviceAuth, Services
from gated.ports import BadPush, Handled, NotRecorded, Push, PushReply

SECRET = "a-secret-of-a-camera"
MAX_BODY = 256 * 1024


def head(length: int | str) -> bytes:
    lines = ("POST /ingest/cam HTTP/1.1", "Host: x", f"X-Device-Token: {SECRET}", f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Camera:
    """A receiver that keeps what it got; `answer` may be swapped by a test."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.sent: list[bool] = []
        self.entered = asyncio.Event()
        self.answer: Callable[[Push], Any] | None = None
        self._waiting: list[tuple[int, asyncio.Event]] = []

    async def reached(self, pushes: int) -> None:
        """Waits until so many pushes have come."""
        event = asyncio.Event()
        self._waiting.append((pushes, event))
        if len(self.pushes) < pushes:
            await event.wait()

    async def receive(self, push: Push, handle: Any) -> PushReply:
        self.pushes.append(push)
        self.entered.set()
        for wanted, event in self._waiting:
            if len(self.pushes) >= wanted:
                event.set()
        if self.answer is not None:
            reply = self.answer(push)
            return await reply if asyncio.iscoroutine(reply) else reply
        return PushReply(body=b'{"ok":true}', headers={"X-Seen": "1"}, sent=self.sent.append)


class Devices:
    def __init__(self, camera: Camera) -> None:
        self.camera = camera

    def receiver(self, device_id: str) -> Any:
        if device_id not in {"cam", "cam2"}:
            return None

        async def handle(event: Any) -> Handled:
            return Handled()

        return self.camera, handle, DeviceAuth(hash_secret(SECRET), MAX_BODY)

    def numbered(self, number: str) -> str | None:
        return None

    def statuses(self) -> list[Any]:
        return []


def services(camera: Camera) -> Services:
    nothing: Any = None
    return Services(
        store=nothing,
        registry=nothing,
        register=nothing,
        lanes=nothing,
        devices=Devices(camera),
        allow_lists=nothing,
        site=nothing,
        clock=lambda: datetime.now(UTC),
        ready=dict,
        version="0",
    )


class Rig:
    def __init__(self, camera: Camera, port: int, app: Ingest) -> None:
        self.camera = camera
        self.port = port
        self.app = app
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    async def raw(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        return reader, writer


@asynccontextmanager
async def served(**kwargs: Any) -> AsyncIterator[Rig]:
    camera = Camera()
    app = Ingest(services(camera), **kwargs)
    async with wire.serve(app) as server:
        rig = Rig(camera, server.port, app)
        async with rig.http:
            yield rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with served() as found:
        yield found


async def closed(reader: asyncio.StreamReader, within: float = 3.0) -> bytes:
    """All that comes until the server closes."""
    async with asyncio.timeout(within):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


BASIC = base64.b64encode(f"admin:{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/ingest/cam", {"Authorization": f"Bearer {SECRET}"}, 200),
        ("/ingest/cam", {"Authorization": f"Basic {BASIC}"}, 200),
        ("/ingest/cam", {"X-Device-Token": SECRET}, 200),
        (f"/ingest/cam?key={SECRET}", {}, 200),
        (f"/ingest/cam?a=b&key={SECRET.replace('-', '%2D')}", {}, 200),
        (f"/ingest/cam/plate/result?key={SECRET}", {}, 200),
        ("/ingest/cam", {}, 401),
        ("/ingest/cam", {"X-Device-Token": SECRET + "x"}, 401),
        ("/ingest/cam", {"X-Device-Token": ""}, 401),
        ("/ingest/cam", {"Authorization": "Basic ???"}, 401),
        ("/ingest/cam", {"Authorization": "Digest whatever"}, 401),
        ("/ingest/cam?key=", {}, 401),
        ("/ingest/nobody", {"X-Device-Token": SECRET}, 401),
        ("/ingest/", {"X-Device-Token": SECRET}, 401),
        # the stronger place decides: a wrong header is not saved by a right URL
        (f"/ingest/cam?key={SECRET}", {"Authorization": "Bearer wrong"}, 401),
    ],
)
async def test_who_is_let_in(rig: Rig, path: str, headers: dict[str, str], status: int) -> None:
    reply = await rig.http.post(path, headers=headers, content=b"{}")
    assert reply.status_code == status
    assert len(rig.camera.pushes) == (status == 200)
    if status != 200:
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["type"] == "/problems/unauthorized"
        assert "detail_zh" in reply.json()
        assert SECRET not in reply.text


async def test_a_push_arrives_whole_and_without_its_secret(rig: Rig) -> None:
    body = "津A12345".encode("gb18030") * 3
    reply = await rig.http.put(
        f"/ingest/cam/a/b?key={SECRET}",
        headers={"Authorization": f"Bearer {SECRET}", "X-Thing": "v", "Cookie": "s=1"},
        content=body,
    )
    assert (reply.status_code, reply.content, reply.headers["x-seen"]) == (200, b'{"ok":true}', "1")
    push = rig.camera.pushes[0]
    assert (push.method, push.path, push.body, push.peer) == ("PUT", "a/b", body, "127.0.0.1")
    assert push.headers["x-thing"] == "v"
    assert SECRET not in repr(push)
    assert not {"authorization", "x-device-token", "cookie"} & set(push.headers)
    assert rig.camera.sent == [True]
    assert "server" not in reply.headers


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS"])
async def test_other_methods(rig: Rig, method: str) -> None:
    reply = await rig.http.request(method, "/ingest/cam", headers={"X-Device-Token": SECRET})
    assert reply.status_code == 405
    assert reply.headers["allow"] == "GET, POST, PUT"


def not_recorded(push: Push) -> PushReply:
    raise NotRecorded("disk full at /dev/sda1")


def bad_push(push: Push) -> PushReply:
    raise BadPush("no AlarmInfoPlate in it")


def broken(push: Push) -> PushReply:
    raise RuntimeError("password is hunter2")


@pytest.mark.parametrize(
    ("answer", "status", "kind", "says"),
    [
        (not_recorded, 503, "not-recorded", "disk full or database locked"),
        (bad_push, 400, "bad-push", "no AlarmInfoPlate in it"),
        (broken, 500, "internal", "see the log"),
    ],
)
async def test_what_goes_wrong(rig: Rig, answer: Any, status: int, kind: str, says: str) -> None:
    rig.camera.answer = answer
    reply = await rig.http.post("/ingest/cam", headers={"X-Device-Token": SECRET}, content=b"x")
    assert reply.status_code == status
    assert reply.json()["type"] == f"/problems/{kind}"
    assert says in reply.json()["detail"]
    assert "hunter2" not in reply.text
    assert "sda1" not in reply.text
    assert ("retry-after" in reply.headers) == (status == 503)


@pytest.mark.parametrize(
    ("pushes", "how"),
    [
        (head(2) + b"{}", "abort"),
        (head(2) + b"{}", "close"),
        (head(2) + b"{}" + head(2) + b"{}", "abort"),
        (head(200_000) + b"x" * 200_000, "close"),
        (head(2) + b"{}\x00", "garbage"),
    ],
    ids=["reset", "hung up", "reset with another push behind it", "hung up after a long body", "refused"],
)
async def test_it_answers_after_the_receiver_and_tells_it_that_the_peer_had_gone(
    rig: Rig, pushes: bytes, how: str
) -> None:
    go = asyncio.Event()

    async def slow(push: Push) -> PushReply:
        await go.wait()
        return PushReply(body=b"{}", sent=rig.camera.sent.append)

    rig.camera.answer = slow
    _, writer = await rig.raw(pushes)
    await rig.camera.entered.wait()
    if how == "abort":
        writer.transport.abort()
    elif how == "close":
        writer.close()
    await asyncio.sleep(0.05)
    go.set()
    for _ in range(100):
        if rig.camera.sent:
            break
        await asyncio.sleep(0.01)
    assert rig.camera.sent == [False]
    writer.close()


async def test_pipelined_pushes_are_answered_in_order(rig: Rig) -> None:
    reader, writer = await rig.raw(b"".join(head(1) + b"%d" % n for n in range(5)))
    got = b""
    async with asyncio.timeout(3):
        while got.count(b'{"ok":true}') < 5:
            got += await reader.read(4096)
    assert [push.body for push in rig.camera.pushes] == [b"0", b"1", b"2", b"3", b"4"]
    assert rig.camera.sent == [True] * 5
    writer.close()


# --- bounds ---------------------------------------------------------------------------------------------


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("chunked", [False, True])
async def test_100_mb_are_refused_without_being_held(rig: Rig, chunked: bool) -> None:
    piece = b"x" * 65536
    size = 100 * 1024 * 1024
    before = peak_kib()
    start = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") if chunked else head(size)
    reader, writer = await rig.raw(start)
    answer = asyncio.create_task(reader.read(4096))
    sent = 0
    try:
        async with asyncio.timeout(20):
            while sent < size:
                writer.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
                await writer.drain()
                sent += len(piece)
    except ConnectionError:
        pass
    got = await answer
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b"/problems/too-large" in got
    assert sent < 40 * 1024 * 1024, "the connection was not closed"
    assert peak_kib() - before < 24 * 1024
    assert rig.camera.pushes == []
    assert rig.app._held == 0
    assert (await rig.http.post(f"/ingest/cam?key={SECRET}", content=b"{}")).status_code == 200


async def test_a_chunked_body_below_the_limit_arrives(rig: Rig) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"y" * 10_000

    reply = await rig.http.post("/ingest/cam", headers={"X-Device-Token": SECRET}, content=pieces())
    assert reply.status_code == 200
    assert rig.camera.pushes[0].body == b"y" * 100_000


async def test_a_trailer_is_no_header(rig: Rig) -> None:
    start = head(0).replace(b"Content-Length: 0", b"X-A: head\r\nTransfer-Encoding: chunked")
    reader, writer = await rig.raw(start + b"1\r\n1\r\n0\r\nX-A: trailer\r\nX-Device-Token: wrong\r\n\r\n")
    assert (await reader.read(15)).startswith(b"HTTP/1.1 200")
    assert rig.camera.pushes[0].headers["x-a"] == "head"
    writer.close()


async def test_bodies_of_all_devices_share_one_budget() -> None:
    async with served(memory=100_000) as rig:
        release = asyncio.Event()

        async def hold(push: Push) -> PushReply:
            await release.wait()
            return PushReply()

        rig.camera.answer = hold
        headers = {"X-Device-Token": SECRET}
        first = asyncio.create_task(rig.http.post("/ingest/cam", headers=headers, content=b"z" * 80_000))
        await rig.camera.entered.wait()
        second = await rig.http.post("/ingest/cam2", headers=headers, content=b"z" * 80_000)
        assert (second.status_code, second.json()["type"]) == (503, "/problems/busy")
        release.set()
        assert (await first).status_code == 200
        assert rig.app._held == 0


async def test_one_device_may_not_hold_everything() -> None:
    async with served(in_flight=3) as rig:
        release = asyncio.Event()

        async def hold(push: Push) -> PushReply:
            await release.wait()
            return PushReply()

        rig.camera.answer = hold
        headers = {"X-Device-Token": SECRET}
        held = [
            asyncio.create_task(rig.http.post("/ingest/cam", headers=headers, content=b"1")) for _ in range(3)
        ]
        await rig.camera.reached(3)
        fourth = await rig.http.post("/ingest/cam", headers=headers, content=b"1")
        assert (fourth.status_code, fourth.headers["retry-after"]) == (503, "1")
        other = asyncio.create_task(rig.http.post("/ingest/cam2", headers=headers, content=b"1"))
        await rig.camera.reached(4)
        release.set()
        assert [reply.status_code for reply in await asyncio.gather(*held, other)] == [200] * 4
        assert rig.app._in_flight == {}


async def test_half_a_message_is_never_handed_over(rig: Rig) -> None:
    for cut in (b"", b'{"AlarmInfo'):
        _, writer = await rig.raw(head(1000) + cut)
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.05)
    assert rig.camera.pushes == []
    assert rig.app._in_flight == {}
    assert rig.app._held == 0


async def test_a_slow_body_is_given_up() -> None:
    async with served(body_s=0.2) as rig:
        reader, writer = await rig.raw(head(1000) + b"x")
        got = await closed(reader)
        assert got.startswith(b"HTTP/1.1 408 ")
        assert rig.camera.pushes == []
        writer.close()


@pytest.mark.parametrize(
    "start",
    [b"", b"POST /inge", b"POST /ingest/cam HTTP/1.1\r\nHost: x\r\nX-Sl", head(2) + b"{}" + b"POST /in"],
    ids=["silence", "half a line", "half a header", "half a second request"],
)
async def test_a_slow_head_is_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(wire, "HEAD_S", 0.2)
    reader, writer = await rig.raw(start)
    async with asyncio.timeout(2):
        got = await closed(reader)
    assert got.count(b"200 OK") == (
        1 if start.startswith(b"POST /ingest/cam HTTP/1.1\r\nHost: x\r\nX-Dev") else 0
    )
    writer.close()


async def test_a_head_without_end_is_refused(rig: Rig) -> None:
    reader, writer = await rig.raw(b"POST /ingest/cam HTTP/1.1\r\n")
    sent = 0
    try:
        async with asyncio.timeout(10):
            while sent < 20_000_000:
                writer.write(b"X-Filler: " + b"a" * 8000 + b"\r\n")
                await writer.drain()
                sent += 8000
    except ConnectionError:
        pass
    assert sent < 10_000_000
    assert (await closed(reader))[:13] in {b"HTTP/1.1 431 ", b""}


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02" * 200,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" * 20,
        b"GET\r\n\r\n",
        b"CONNECT camera:80 HTTP/1.1\r\n\r\n",
        b"VZ\x00\x00\x00\x00\x00\x10" * 50,
        b"POST /ingest/cam HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /ingest/cam HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /ingest/cam HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"zz\r\nhello\r\n",
    ],
)
async def test_garbage_is_refused_and_others_are_served(
    rig: Rig, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await rig.raw(garbage)
    got = await closed(reader)
    assert got[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 401", b""}
    assert rig.camera.pushes == []
    reply = await rig.http.post(f"/ingest/cam?key={SECRET}", content=b"{}")
    assert reply.status_code == 200
    assert [record for record in caplog.records if record.name == "asyncio"] == []  # nothing broke
    writer.close()


async def test_wrong_secrets_are_limited_by_peer_and_device() -> None:
    async with served(limiter=FailureLimiter(burst=5, every_s=60)) as rig:
        wrong = {"X-Device-Token": "guess"}
        codes = [
            (await rig.http.post("/ingest/cam", headers=wrong, content=b"")).status_code for _ in range(1000)
        ]
        assert codes == [401] * 5 + [429] * 995
        right = {"X-Device-Token": SECRET}
        refused = await rig.http.post("/ingest/cam", headers=right, content=b"")
        assert refused.status_code == 429  # looked at no secret: guessing gains nothing
        assert int(refused.headers["retry-after"]) > 0
        assert (await rig.http.post("/ingest/cam2", headers=right, content=b"")).status_code == 200


async def test_a_reply_that_nobody_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "WRITE_S", 0.2)
    async with served() as rig:
        rig.camera.answer = lambda push: PushReply(body=b"r" * 8_000_000, sent=rig.camera.sent.append)
        reader, writer = await rig.raw(b"".join(head(1) + b"1" for _ in range(4)))
        await asyncio.sleep(0.6)
        got = await closed(reader)
        assert len(got) < 32_000_000
        assert rig.camera.sent == [True, False]  # the second waited for room, and was never written
        writer.close()


async def test_so_many_pushes_wait_on_one_connection(rig: Rig) -> None:
    go = asyncio.Event()

    async def slow(push: Push) -> PushReply:
        await go.wait()
        return PushReply(body=b"{}", sent=rig.camera.sent.append)

    rig.camera.answer = slow
    reader, writer = await rig.raw((head(1) + b"1") * (1 + wire.MAX_PIPELINED))
    await rig.camera.entered.wait()
    await asyncio.sleep(0.05)
    writer.write((head(1) + b"1") * 1000)
    with contextlib.suppress(ConnectionError):
        assert await closed(reader) == b""
    go.set()
    await asyncio.sleep(0.05)
    assert rig.camera.sent == [False]
    assert len(rig.camera.pushes) == 1
    writer.close()


async def test_one_address_has_so_many_connections(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FROM_ONE", 3)
    monkeypatch.setattr(wire, "_LOOPBACK", ("nothing",))
    opened = [await rig.raw(b"") for _ in range(3)]
    refused, writer = await rig.raw(b"")
    assert await closed(refused) == b""
    writer.close()
    opened[0][1].close()
    await opened[0][1].wait_closed()
    await asyncio.sleep(0.05)
    reader, writer = await rig.raw(head(1) + b"x")
    assert (await reader.read(15)).startswith(b"HTTP/1.1 200")
    for _, each in [*opened[1:], (reader, writer)]:
        each.close()


async def test_idle_connections_make_room(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FROM_ONE", 3)
    monkeypatch.setattr(wire, "MAX_CONNECTIONS", 4)
    busy = [await rig.raw(b"POST /ingest/cam HTTP/1.1\r\n") for _ in range(3)]
    idle, idle_writer = await rig.raw(b"")
    await asyncio.sleep(0.05)
    reader, writer = await rig.raw(head(1) + b"x")
    assert (await reader.read(15)).startswith(b"HTTP/1.1 200")
    assert await closed(idle) == b""
    for _, each in [*busy, (idle, idle_writer), (reader, writer)]:
        each.close()


async def test_leaving_lets_a_push_finish_and_cuts_the_rest() -> None:
    camera = Camera()
    release = asyncio.Event()

    async def slow(push: Push) -> PushReply:
        await release.wait()
        return PushReply(body=b"done")

    camera.answer = slow
    app = Ingest(services(camera))
    async with asyncio.timeout(5), httpx.AsyncClient(trust_env=False) as http:
        async with wire.serve(app, graceful_s=2) as server:
            idle = await asyncio.open_connection("127.0.0.1", server.port)
            url = f"{server.url}/ingest/cam?key={SECRET}"
            going = asyncio.create_task(http.post(url, content=b"1"))
            await camera.entered.wait()
            asyncio.get_running_loop().call_later(0.2, release.set)
        assert (await going).content == b"done"
        assert await idle[0].read() == b""
        idle[1].close()


@pytest.mark.parametrize(("trusted", "peer"), [((), "127.0.0.1"), (("127.0.0.1",), "10.9.9.9")])
async def test_only_a_trusted_proxy_says_who_asks(trusted: tuple[str, ...], peer: str) -> None:
    camera = Camera()
    async with (
        wire.serve(Ingest(services(camera)), trusted_proxies=trusted) as server,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        headers = {"X-Device-Token": SECRET, "X-Forwarded-For": "10.9.9.9"}
        await http.post(f"{server.url}/ingest/cam", headers=headers, content=b"1")
    assert camera.pushes[0].peer == peer


async def test_a_port_in_use_says_so() -> None:
    app = Ingest(services(Camera()))
    async with wire.serve(app) as server:
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {server.port}"):
            async with wire.serve(app, port=server.port):
                raise AssertionError


def test_the_secret_is_hashed() -> None:
    assert hash_secret("x") == hash_secret("x")
    assert b"x" not in hash_secret("x")[:0]
    assert len(ingest_module.hash_secret("村")) == 32
