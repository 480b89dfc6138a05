"""Plays a recording of a device to its adapter: what came over the wire comes again.

What it can play: devices that gated asks or reads over HTTP, that push, that are at a broker, and that are on
a serial line; frames of binary protocols are for the eye.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import tty
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.simulator._http import Request, Response
from adapters.simulator._mqtt import MqttDouble
from adapters.simulator._stream import CameraServer, Stream
from adapters.simulator.faults import Faults
from gated.domain import DeviceEvent, Heartbeat
from gated.ports import Device, DeviceError, Handled, Push, Receiver
from gated.recording.recorder import SECRET_ENV, told
from gated.wiring import load_adapter
from tests.acceptance.daemon import until
from tests.adapters.contract import CLOCK, context
from tests.peers.mosquitto import Mosquitto, require

_REQUEST = re.compile(r"(GET|PUT|POST|DELETE) (\S+) ?(.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    way: str
    what: str
    data: bytes | None
    exchange: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording: the device's section, what went over the wire, and what was made of it."""

    section: dict[str, Any]
    wire: list[Entry]
    events: list[dict[str, Any]]


def load(file: Path) -> Recorded:
    """Reads a recording."""
    head, *lines = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    assert head["recording"] == 1, f"{file.name} is no recording"
    found = Recorded(head["section"], [], [])
    for line in lines:
        if "event" in line:
            found.events.append({key: value for key, value in line.items() if key != "at"})
        else:
            found.wire.append(Entry(line["way"], line["what"], _data(line), line.get("exchange", 0)))
    return found


def _data(line: dict[str, Any]) -> bytes | None:
    if "text" in line:
        return str(line["text"]).encode(line.get("encoding", "utf-8"))
    return bytes.fromhex(line["hex"]) if "hex" in line else None


async def play(file: Path, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The events that were recorded, and those that are made now. `folder`: for a broker."""
    recorded = load(file)
    os.environ[SECRET_ENV] = "secret-of-the-recording"
    try:
        for way in (_Pushed, _AtBroker, _OnALine, _Asked):
            if way.fits(recorded):
                return recorded.events, await way.play(recorded, folder)
    finally:
        del os.environ[SECRET_ENV]
    pytest.skip("its frames cannot be played: they are for the eye")


# --- the ways ---------------------------------------------------------------------------------------------


class _Pushed:
    """Its pushes, one after the other; the replies must be the same."""

    @staticmethod
    def fits(recorded: Recorded) -> bool:
        return "token" in recorded.section

    @staticmethod
    async def play(recorded: Recorded, _folder: Path) -> list[dict[str, Any]]:
        device = _device(recorded.section)
        assert isinstance(device, Receiver)
        events: list[dict[str, Any]] = []
        answers = {each.exchange: each for each in recorded.wire if each.way == "out"}

        async def handle(event: DeviceEvent) -> Handled:
            _told(events, event)
            return Handled()

        for each in recorded.wire:
            if each.way == "in" and (request := _REQUEST.fullmatch(each.what)) is not None:
                method, path, kind = request.groups()
                headers = {"content-type": kind} if kind else {}
                push = Push(method, path.lstrip("/"), headers, each.data or b"", CLOCK)
                reply = await device.receive(push, handle)
                assert f"{reply.status} {reply.content_type}".rstrip() == answers[each.exchange].what
        return events


class _AtBroker:
    """Its messages, at a broker."""

    @staticmethod
    def fits(recorded: Recorded) -> bool:
        return any(each.what.startswith("MQTT ") for each in recorded.wire)

    @staticmethod
    async def play(recorded: Recorded, folder: Path) -> list[dict[str, Any]]:
        require()
        with Mosquitto(folder / "broker") as broker:
            login = {"host": "127.0.0.1", "port": broker.port}
            sender = MqttDouble("127.0.0.1", broker.port, "tape", ["none"], lambda _topic, _payload: None)
            await sender.start()
            came = [each for each in recorded.wire if each.way == "in"]
            for each in came:
                if each.what.startswith("MQTT retained "):
                    topic = each.what.removeprefix("MQTT retained ")
                    await sender.told(topic, each.data or b"", retain=True)

            async def send() -> None:
                for each in came:
                    if not each.what.startswith("MQTT retained "):
                        await sender.told(each.what.removeprefix("MQTT "), each.data or b"")

            device = _device({**recorded.section, "broker": login})
            events = await _listened(device, len(recorded.events), send)
            await sender.die()
            return events


class _OnALine:
    """What it wrote to its line."""

    @staticmethod
    def fits(recorded: Recorded) -> bool:
        return any(each.what == "line" for each in recorded.wire)

    @staticmethod
    async def play(recorded: Recorded, _folder: Path) -> list[dict[str, Any]]:
        ours, theirs = os.openpty()
        tty.setraw(theirs)

        async def send() -> None:
            for each in recorded.wire:
                if each.way == "in":
                    os.write(ours, each.data or b"")
                    await asyncio.sleep(0.02)

        device = _device({**recorded.section, "port": os.ttyname(theirs)})
        try:
            return await _listened(device, len(recorded.events), send)
        finally:
            os.close(ours)
            os.close(theirs)


@dataclass(slots=True)
class _Asked:
    """It answers requests as it did then, in their order; of those that were made more often now, as the
    last time."""

    answers: dict[str, deque[list[Entry]]] = field(default_factory=lambda: defaultdict(deque))

    @staticmethod
    def fits(recorded: Recorded) -> bool:
        return any(each.way == "out" and _REQUEST.fullmatch(each.what) for each in recorded.wire)

    @staticmethod
    async def play(recorded: Recorded, _folder: Path) -> list[dict[str, Any]]:
        tape = _Asked()
        came: dict[int, list[Entry]] = defaultdict(list)
        for each in recorded.wire:
            if each.way == "in":
                came[each.exchange].append(each)
            else:
                tape.answers[each.what].append(came[each.exchange])
        async with CameraServer(tape.answer, Faults(), login=None) as server:
            section = {
                key: value for key, value in recorded.section.items() if key not in ("tls", "certificate")
            }
            device = _device({**section, "host": "127.0.0.1", "port": server.port})
            return await _listened(device, len(recorded.events), _nothing)

    async def answer(self, request: Request) -> Response | Stream | None:
        waiting = self.answers.get(f"{request.method} {request.target}")
        if not waiting:
            return Response(404)
        came = waiting[0] if len(waiting) == 1 else waiting.popleft()
        if not came:
            return None
        if came[0].what.startswith("part"):
            return Stream(_parts(came), "multipart/mixed; boundary=tape")
        status, _, kind = came[0].what.partition(" ")
        return Response(int(status), came[0].data or b"", kind or "text/plain")


async def _parts(came: list[Entry]) -> AsyncGenerator[bytes, None]:
    for each in came:
        body = each.data if each.data is not None else b"\xff\xd8\xff\xd9"
        kind = each.what.removeprefix("part").strip()
        yield (
            f"--tape\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n"
        )
    yield b"--tape\r\n"
    await asyncio.sleep(3600)


# --- pieces -----------------------------------------------------------------------------------------------


def _device(section: dict[str, Any]) -> Device:
    module = load_adapter(section["type"])
    device: Device = module.create(module.Config.model_validate(section), context(section["id"]))
    return device


def _told(events: list[dict[str, Any]], event: DeviceEvent) -> None:
    if not isinstance(event, Heartbeat):
        events.append(json.loads(json.dumps(told(event))))


async def _nothing() -> None:
    return None


@contextlib.asynccontextmanager
async def _listening(device: Device, events: list[dict[str, Any]]) -> AsyncIterator[asyncio.Task[None]]:
    async def listen() -> None:
        with contextlib.suppress(DeviceError):
            async for event in device.events():
                _told(events, event)

    task = asyncio.create_task(listen())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listened(device: Device, count: int, send: Callable[[], Any]) -> list[dict[str, Any]]:
    """What the device reports, until there are so many, or nothing more comes."""
    events: list[dict[str, Any]] = []
    entering = asyncio.ensure_future(device.__aenter__())
    await asyncio.wait([entering], timeout=0.2)
    sending = asyncio.create_task(send())  # some are entered only once they were heard
    await entering
    async with _listening(device, events):
        await sending
        with contextlib.suppress(AssertionError):
            await until(lambda: len(events) >= count, 5)
        await asyncio.sleep(0.1)  # and no more than that
    await device.__aexit__(None, None, None)
    return events
