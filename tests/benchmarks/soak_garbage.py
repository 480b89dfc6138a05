"""Broken pushes without end, to every kind of device that pushes: is the daemon still itself afterwards?

Two devices of each kind send messages of their protocol that were damaged: bytes, values, structure,
encoding, content type. Meanwhile a sound camera at a lane of its own sees a vehicle with a pass every half
second. Asked for: no 5xx and no push without an answer, a log that does not grow with the garbage, memory
that stays where it was, and every sound passage opened.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.acceptance.daemon import SECRET, Camera, Daemon, daemon, issue, opens, push_body, site
from tests.benchmarks.path_world import CACHE, broker
from tests.benchmarks.report import emit, fault, say

PLATE = "津A12345"
_EVERY_S = 0.5
_WARM = 0.3  # the share of the time after which memory is looked at for the first time
_GROWTH_MB = 16.0
_LINES = 200  # each device tells of twenty kinds of messages, and of a few more things once

_HEARTBEAT = "".join(
    f'------b0\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
    for name, value in {"device_name": "IVS", "user_name": "admin", "pass_wd": "x", "serialno": "s-1"}.items()
).encode()
_CAMERA: list[Any] = [
    json.loads(push_body("冀B54321", 7)),
    {"AlarmGioIn": {"serialno": "s-1", "result": {"TriggerResult": {"source": 0, "value": 1}}}},
    {"SerialData": {"serialno": "s-1", "channel": 0, "serialChannel": 1, "data": "aGVsbG8=", "dataLen": 5}},
    {"name": "keep_alive", "sn": "s-1", "timestamp": 1795248000, "payload": {"body": {}}},
    {"name": "barr_gate_status", "sn": "s-1", "timestamp": 1795248000, "payload": {"body": {"status": 1}}},
]
_WEBHOOK: list[Any] = [
    {"type": "read", "kind": "plate", "value": "冀B54321", "confidence": 0.9, "id": "7",
     "time": "2026-11-21T16:03:04.123+08:00", "direction": "in", "details": {"plate_color": "blue"}},
    {"type": "read", "kind": "card", "value": "0a:1b", "id": "8", "backlog": True},
    {"type": "input", "input": "loop", "active": True},
    {"type": "position", "position": "closed", "output": "0"},
    {"type": "heartbeat", "model": "ESP32", "firmware": "1.4", "time": "2026-11-21T08:03:04Z"},
]  # fmt: skip
_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 64, 1 << 53, 1 << 80, 1.5, 1e300, "", " ", "1", "x", "_无_", "津A12345",
    "\x00", "津" * 5000, "9" * 400, [], {}, [[]], {"a": {}}, ["x"] * 300, {"Timeval": {"sec": 1, "usec": -1}},
]  # fmt: skip
_JSON = "application/json"
_TYPES = (_JSON, "", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "x/\xff")


class Garbage:
    """Damaged messages, made from a seed. `seeds`: sound ones of one protocol."""

    def __init__(self, seeds: list[Any], forms: list[bytes], seed: int) -> None:
        self._seeds, self._forms, self._rng = seeds, forms, random.Random(seed)

    def push(self) -> tuple[str, bytes]:
        """A content type and a body; sometimes nothing about them is wrong."""
        rng = self._rng
        if self._forms and rng.random() < 0.2:
            boundary = rng.choice(("----b0", "b", ""))
            return f"multipart/form-data; boundary={boundary}", self._torn(rng.choice(self._forms))
        message = copy.deepcopy(rng.choice(self._seeds))
        for _ in range(rng.randint(0, 3)):
            self._change(message)
        text = json.dumps(message, ensure_ascii=rng.random() < 0.5)
        body = text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-8", "gb18030", "utf-16")), "replace")
        content_type = rng.choice(_TYPES) if rng.random() < 0.2 else _JSON
        return content_type, self._torn(body) if rng.random() < 0.25 else body

    def _change(self, message: Any) -> None:
        """One value, somewhere in it, is replaced, left out or added."""
        rng, place = self._rng, message
        while isinstance(place, (dict, list)) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.8:
                place = place[key]
                continue
            kind = rng.random()
            if kind < 0.2:
                del place[key]
            elif kind < 0.4 and isinstance(place, dict):
                place[f"new-{rng.randrange(1000)}"] = copy.deepcopy(rng.choice(_VALUES))
            elif kind < 0.6:
                place[key] = rng.randrange(10**6)
            else:
                place[key] = copy.deepcopy(rng.choice(_VALUES))
            return

    def _torn(self, body: bytes) -> bytes:
        """Bytes replaced, cut out, doubled; or a very deep or very long something."""
        rng, torn = self._rng, bytearray(body)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(torn) + 1)
            match rng.randrange(6):
                case 0 | 1 | 2:
                    torn[at : at + 1] = bytes([rng.randrange(256)])
                case 3:
                    del torn[at : at + rng.randrange(40)]
                case 4:
                    torn[at:at] = torn[:200]
                case _:
                    torn[at:at] = rng.choice((b"{", b"[", b'"', b"\x00", b"\n--")) * rng.choice(
                        (1, 50, 20_000)
                    )
        return bytes(torn)


def run(seconds: float) -> None:
    """Sends for so long and reports; see the module's docstring."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="soak-", dir=CACHE) as name,
        broker(Path(name) / "broker") as mosquitto,
    ):
        config = site(Path(name), lanes=3, mqtt_port=mosquitto.port)
        config["log"]["level"] = "warning"  # at info every passage has its line, and is meant to
        for device in ("webhook-0", "webhook-1"):
            lane = {"id": f"lane-{device}", "cameras": [device], "barrier": {"device": device}}
            config["lanes"].append(config["lanes"][0] | lane)
            token = {"env": "GATED_TEST_SECRET"}
            config["devices"].append({"id": device, "type": "webhook", "token": token})
        with daemon(Path(name), config) as gated:
            asyncio.run(_soak(gated, seconds))


async def _soak(gated: Daemon, seconds: float) -> None:
    await issue(gated.url, gated.token(), [PLATE])
    assert gated.process is not None
    process = psutil.Process(gated.process.pid)
    until = time.monotonic() + seconds
    statuses: Counter[str] = Counter()
    sound: Counter[bool] = Counter()
    sources = {
        "cam-0": Garbage(_CAMERA, [_HEARTBEAT], 1),
        "cam-1": Garbage(_CAMERA, [_HEARTBEAT], 2),
        "webhook-0": Garbage(_WEBHOOK, [], 3),
        "webhook-1": Garbage(_WEBHOOK, [], 4),
    }
    weighed = asyncio.create_task(_weighed(process, seconds * _WARM))
    await asyncio.gather(
        _pass(gated, sound, until),
        *(_send(gated.url, device, garbage, statuses, until) for device, garbage in sources.items()),
    )
    before = await weighed
    after, lines = _megabytes(process), gated.log.count("\n")
    sent = statuses.total()
    say(f"{sent} pushes of garbage, answered {dict(sorted(statuses.items()))}")
    bad = {status: count for status, count in statuses.items() if not status < "5"}
    if bad:
        fault(f"garbage was answered with {bad}")
    emit("soak.garbage_opened", sound[True], "passages", n=sent, limit_name="sound passages",
         limit=sound.total(), at_most=False)  # fmt: skip
    emit("soak.garbage_memory", after, "MB", n=sent, limit_name=f"after {_WARM:.0%} of the time, and 16 MB",
         limit=before + _GROWTH_MB)  # fmt: skip
    emit("soak.garbage_log", lines, "lines", n=sent, limit_name="lines", limit=_LINES)


async def _send(url: str, device: str, garbage: Garbage, statuses: Counter[str], until: float) -> None:
    """One push after the other. `statuses`: counts the answers."""
    async with httpx.AsyncClient(base_url=url, headers={"X-Device-Token": SECRET}, timeout=30) as client:
        while time.monotonic() < until:
            content_type, body = garbage.push()
            headers = {b"Content-Type": content_type.encode("latin-1")}
            try:
                answer = await client.post(f"/ingest/{device}", content=body, headers=headers)
                statuses[str(answer.status_code)] += 1
            except httpx.HTTPError as error:
                statuses[f"no answer: {type(error).__name__}"] += 1


async def _pass(gated: Daemon, sound: Counter[bool], until: float) -> None:
    """The vehicle with a pass, again and again. `sound`: counts whether it was let in."""
    camera = Camera(gated.config["api"]["port"], "cam-2")
    number = 0
    while time.monotonic() < until:
        number += 1
        _, reply = await camera.push(push_body(PLATE, number)) or (0, {})
        sound[opens(reply)] += 1
        await asyncio.sleep(_EVERY_S)
    camera.close()


async def _weighed(process: psutil.Process, after_s: float) -> float:
    await asyncio.sleep(after_s)
    return _megabytes(process)


def _megabytes(process: psutil.Process) -> float:
    """What the process has for itself."""
    return float(process.memory_full_info().uss) / 1e6
