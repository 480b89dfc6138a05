"""Bytes that no camera should send: nothing but the codec's own error, and at the rim nothing but device
errors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.onvif.camera import Camera
from adapters.onvif.codec import Pulled, Reader
from adapters.onvif.digest import challenge
from adapters.onvif.envelope import Fault, NotSoap
from adapters.onvif.times import http_date, utc
from adapters.simulator import onvif_soap as soap
from gated.domain import OpeningOutcome
from gated.ports import DeviceError, Pulse
from tests.adapters.onvif.support import OnvifBench

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.xml"))
NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
READER = Reader("cam")
# what XML can carry at all; the codec sees nothing else
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=60)


def read(body: bytes) -> Pulled | Fault | None:
    try:
        found = READER.read(body, NOW)
    except NotSoap:
        return None
    if isinstance(found, Pulled):
        assert found.messages == len(found.events) + len(found.ignored) + len(found.unparsed)
    return found


def mutated(body: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, or a piece cut out, doubled or moved."""
    piece = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(piece))
        length = rng.choice((1, 1, 3, 20, 200))
        match rng.randrange(5):
            case 0:
                piece[at : at + length] = rng.randbytes(length)
            case 1:
                del piece[at : at + length]
            case 2:
                piece[at:at] = piece[at : at + length]
            case 3:
                other = rng.randrange(len(piece))
                piece[at : at + length] = piece[other : other + length]
            case _:
                junk = (b"<!DOCTYPE x>", b"&lol;", b"]]>", b"<a>", b"\xff\xfe", b"\0", b'"', b"xmlns:tt=''")
                piece[at:at] = rng.choice(junk)
        if not piece:
            return b""
    return bytes(piece)


@given(st.binary(max_size=400))
def test_any_bytes(body: bytes) -> None:
    assert read(body) is None


@settings(max_examples=600)
@given(st.sampled_from(RECORDINGS), st.integers(0, 2**32))
def test_mutated_recordings(path: Path, seed: int) -> None:
    read(mutated(path.read_bytes(), random.Random(seed)))


@settings(max_examples=300)
@given(
    topic=st.one_of(
        TEXT,
        st.sampled_from(
            [
                "tns1:RuleEngine/Recognition/LicensePlate",
                "tns1:Device/Trigger/DigitalInput",
                "tns1:Door/State/DoorAlarm",
                "tns1:Door/State/",
                "tns1:AccessControl/Denied/Credential",
                "tns1:AccessControl/",
                "tns1:AccessControl/Request/Credential",
                "tns1:AccessControl/AccessGranted/Identifier",
                "tns1:Door/State/DoorPhysicalState",
                "tnsaxis:CameraApplicationPlatform/ALPV.AllPlates",
                "tns1:RuleEngine/VehicleDetector/tnshik:Vehicle",
            ]
        ),
    ),
    utc_time=TEXT,
    operation=st.one_of(st.none(), st.sampled_from(["Initialized", "Changed", "Deleted", "?"])),
    items=st.dictionaries(
        st.one_of(
            TEXT,
            st.sampled_from(
                ["PlateNumber", "text", "State", "InputToken", "IdentifierValue", "carID", "CredentialToken"]
            ),
        ),
        TEXT,
        max_size=8,
    ),
)
def test_any_well_formed_message(
    topic: str, utc_time: str, operation: str | None, items: dict[str, str]
) -> None:
    message = soap.notification(
        topic,
        utc_time.replace('"', "").replace("<", "").replace("&", ""),
        operation=operation,
        source=items,
        data=items,
    )
    found = read(soap.envelope(soap.messages(utc_time[:0], "", [message])))
    assert isinstance(found, Pulled)
    assert found.messages == 1


@given(TEXT)
def test_times_and_challenges(text: str) -> None:
    utc(text)
    http_date(text)
    challenge([text, f"Digest {text}", f'Digest nonce="{text}"'])


@given(st.text(max_size=80))
def test_any_address(tmp_path_factory: pytest.TempPathFactory, address: str) -> None:
    camera = _camera(tmp_path_factory)
    for made in (address, f"http://[{address}", f"http://{address}/x", f"http://h/{address}"):
        path = camera.target(made, "/default").path
        assert path.startswith("/")
        assert path.isascii()
        assert not any(character <= " " for character in path)


_cameras: list[Camera] = []


def _camera(factory: pytest.TempPathFactory) -> Camera:
    if not _cameras:
        _cameras.append(Camera(OnvifBench(factory.mktemp("fuzz")).config(), lambda: NOW))
    return _cameras[0]


# --- at the rim -------------------------------------------------------------------------------------------


class _Liar(asyncio.Protocol):
    """Stands between the adapter and the camera, and spoils some of the answers."""

    def __init__(self, port: int, spoil: Callable[[bytes], bytes]) -> None:
        self._port = port
        self._spoil = spoil
        self._upstream: asyncio.Transport | None = None
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        liar = self

        class Upstream(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                liar._transport.write(liar._spoil(data))

            def connection_lost(self, error: Exception | None) -> None:
                liar._transport.close()

        loop = asyncio.get_running_loop()
        try:
            self._upstream, _ = await loop.create_connection(Upstream, "127.0.0.1", self._port)
        except OSError:
            self._transport.abort()
            return
        for data in self._waiting:
            self._upstream.write(data)

    def data_received(self, data: bytes) -> None:
        if self._upstream is None:
            self._waiting.append(data)
        else:
            self._upstream.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._upstream is not None:
            self._upstream.abort()


@pytest.mark.parametrize("seed", range(12))
async def test_spoiled_answers_are_device_errors(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    def spoil(data: bytes) -> bytes:
        return mutated(data, rng) if rng.random() < 0.15 else data

    loop = asyncio.get_running_loop()
    async with OnvifBench(tmp_path, http_digest=bool(seed % 2)) as bench:
        server = await loop.create_server(lambda: _Liar(bench.camera.port, spoil), "127.0.0.1", 0)
        device = bench.make(port=server.sockets[0].getsockname()[1], timeout_s=0.3, pull_s=0.2)
        for _ in range(3):
            events = 0
            try:
                async with asyncio.timeout(3), device:
                    await bench.emit()
                    found = await device.open(Pulse(id="01", milliseconds=700))
                    assert isinstance(found.outcome, OpeningOutcome)
                    async for _event in device.events():
                        await bench.emit()
                        events += 1
                        if events > 8:
                            break
            except (DeviceError, TimeoutError):
                continue
        assert len(bench.camera.openings) <= 3
        server.close()
    await asyncio.sleep(0.02)
