"""What adapters of commanded cameras share: a pinned certificate, streams without end, multipart, XML."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import _xml
from adapters._camera import CameraConfig, HttpLink, NoAnswer, NotSent
from adapters._multipart import Malformed, Parts, boundary_of, whole
from adapters.simulator._http import Request, Response
from adapters.simulator._stream import CameraServer, Stream
from adapters.simulator.faults import Faults
from gated.ports import ConfigError, DeviceRefused, Secret


class Link(CameraConfig):
    type: str = "camera"


def link(folder: Path, port: int, word: str = "right", **more: Any) -> HttpLink:
    (folder / "pw").write_text(word)
    values = {
        "id": "c", "host": "127.0.0.1", "port": port, "timeout_ms": 500,
        "password": Secret(file=folder / "pw"),
    }  # fmt: skip
    return HttpLink(Link.model_validate(values | more))


async def answer(request: Request) -> Response | Stream | None:
    async def drip() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"-"
            await asyncio.sleep(0.02)

    async def flood() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"x" * 65536

    async def headers() -> AsyncGenerator[bytes, None]:
        yield b"--b\r\n"
        while True:
            yield b"a: b\r\n" * 100

    async def bomb() -> AsyncGenerator[bytes, None]:
        yield b"--b\r\nContent-Length: 999999999\r\n\r\n"
        await asyncio.sleep(5)

    async def ends() -> AsyncGenerator[bytes, None]:
        yield b"--b\r\nContent-Length: 1\r\n\r\nx\r\n"

    streams = {"/drip": drip, "/flood": flood, "/headers": headers, "/bomb": bomb, "/ends": ends}
    if request.target in streams:
        return Stream(streams[request.target](), "multipart/mixed; boundary=b")
    if request.target == "/big":
        return Response(200, b"x" * (5 * 1024 * 1024))
    if request.target == "/forbidden":
        return Response(403)
    return Response(200, b"fine", "text/plain")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/drip", "nothing whole"),
        ("/headers", "no end"),
        ("/bomb", "999999999"),
        ("/ends", "closed"),
        ("/fine", "no stream"),
    ],
)
async def test_streams_that_are_none_end(tmp_path: Path, target: str, says: str) -> None:
    async with CameraServer(answer, Faults()) as server, link(tmp_path, server.port) as http:

        async def read() -> None:
            async for _ in http.stream(target, silent_after_s=0.4):
                pass

        with pytest.raises(NoAnswer, match=says):
            await asyncio.wait_for(read(), 5)


async def test_answers_are_bounded(tmp_path: Path) -> None:
    async with CameraServer(answer, Faults()) as server, link(tmp_path, server.port) as http:
        with pytest.raises(NoAnswer, match="larger"):
            await http.ask("GET", "/big")


async def test_after_a_refusal_nothing_more_is_sent(tmp_path: Path) -> None:
    async with CameraServer(answer, Faults()) as server, link(tmp_path, server.port, "wrong") as http:
        for _ in range(5):
            with pytest.raises(DeviceRefused, match="wrong user or password"):
                await http.ask("GET", "/fine")
        assert server.logins_failed == 1
    async with CameraServer(answer, Faults()) as server, link(tmp_path, server.port) as http:
        with pytest.raises(DeviceRefused, match="may not do that"):
            await http.ask("GET", "/forbidden")
        assert (await http.ask("GET", "/fine")).status == 200, "other things it may do"


async def test_nobody_there_is_not_sent_and_no_answer_is_not_that(tmp_path: Path) -> None:
    async with link(tmp_path, 1) as http:
        with pytest.raises(NotSent):
            await http.ask("PUT", "/open")
    faults = Faults()
    async with CameraServer(answer, faults) as server, link(tmp_path, server.port) as http:
        await http.ask("GET", "/fine")
        faults.hang = True
        with pytest.raises(NoAnswer):
            await http.ask("PUT", "/open", body=b"")
    with pytest.raises(NotSent, match="not connected"):
        await http.ask("GET", "/fine")


# --- TLS --------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> Path:
    """A certificate that a camera made itself, with its key in the same file."""
    made = folder / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-keyout", str(folder / "key"), "-out", str(folder / "cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    made.write_text((folder / "cert").read_text() + (folder / "key").read_text())
    return made


async def test_a_pinned_certificate_and_no_other(tmp_path: Path) -> None:
    mine, other = certificate(tmp_path, "camera"), certificate(tmp_path, "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(mine)
    async with CameraServer(answer, Faults(), tls=context) as server:
        async with link(tmp_path, server.port, tls=True, certificate=mine) as http:
            assert (await http.ask("GET", "/fine")).text == "fine"
        for trusted in (other, None):  # the system's authorities know neither
            async with link(tmp_path, server.port, tls=True, certificate=trusted) as http:
                with pytest.raises(NotSent, match="certificate"):
                    await http.ask("PUT", "/open")
        assert all(request.target != "/open" for request in server.requests)


async def test_a_certificate_is_saved_and_pins(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path, "camera"))
    saved = tmp_path / "saved.pem"
    async with CameraServer(answer, Faults(), tls=context) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gated", "devices", "certificate", f"127.0.0.1:{server.port}", str(saved),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told, _ = await process.communicate()
        assert process.returncode == 0
        assert b"SHA-256 " in told
        async with link(tmp_path, server.port, tls=True, certificate=saved) as http:
            assert (await http.ask("GET", "/fine")).text == "fine"


async def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    for file in ("no.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=file):
            async with link(tmp_path, 1, tls=True, certificate=tmp_path / file):
                pass


# --- multipart and XML ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("multipart/mixed; boundary=boundary", "boundary"),
        ("multipart/x-mixed-replace; boundary=--myboundary", "myboundary"),
        ('multipart/form-data; boundary="a b"', "a b"),
        ("multipart/mixed", None),
        ("text/plain; boundary=--", None),
    ],
)
def test_boundaries(declared: str, expected: str | None) -> None:
    assert boundary_of(declared) == expected


CAREFUL = b"--b\r\nContent-Type: text/xml\r\nContent-Length: 3\r\n\r\n<a>\r\n--b\r\n\r\nplain\r\n--b--\r\n"
CARELESS = b"junk\n--b\nContent-Type: text/xml\nContent-Length: 9\n\n<a>\n--b\n\nplain\n--b--\n"


@pytest.mark.parametrize("body", [CAREFUL, CARELESS, CAREFUL.replace(b"Content-Length: 3\r\n", b"")])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_parts_come_whole_however_they_are_cut(body: bytes, size: int) -> None:
    parts = Parts("b")
    found = [one for at in range(0, len(body), size) for one in parts.feed(body[at : at + size])]
    found += parts.end()
    assert [one.body for one in found] == [b"<a>", b"plain"]


@given(st.binary(max_size=400), st.sampled_from(["multipart/mixed; boundary=b", "", "x"]))
def test_any_bytes_are_parts_or_malformed(body: bytes, declared: str) -> None:
    try:
        found = whole(b"--b\r\n" + body, declared)
    except Malformed:
        return
    assert sum(len(one.body) for one in found) <= len(body)


@pytest.mark.parametrize(
    "bomb",
    [
        b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><l>&b;</l>',
        b'<!DOCTYPE l SYSTEM "http://127.0.0.1:1/x"><l/>',
        b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><l>&x;</l>',
        b"<a>" * 100_000,
        b"",
        b"\x00\x00",
    ],
)
def test_xml_that_is_an_attack_is_refused(bomb: bytes) -> None:
    with pytest.raises(_xml.Malformed):
        _xml.parse(bomb)
