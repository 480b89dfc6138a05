"""What reading a vendor's message costs, beside a bare parse of the same bytes.

Messages are those of the doubles: what comes over the wire for one vehicle, or one input. "Bare" is the
library's parser alone (orjson, lxml, struct; splitting lines), which knows nothing of plates, times or keys.

    python -m tests.benchmarks.codecs [--seconds S]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from lxml import etree

from adapters._multipart import Parts
from adapters.dahua import codec as dahua
from adapters.gat1400 import codec as gat1400
from adapters.hikvision import codec as hikvision
from adapters.mqtt_relay.codec import DIALECTS
from adapters.onvif import codec as onvif
from adapters.simulator.hikvision import HikvisionCamera
from adapters.uhppote import codec as uhppote
from adapters.uhppote.meaning import Reading as Swipes
from adapters.vzenith import codec as vzenith
from adapters.webhook import codec as webhook
from tests.adapters.tape import load
from tests.benchmarks.report import emit, finish, note_if_busy, percentile, turns

NOW = datetime.now(UTC)
RECORDINGS = Path(__file__).parents[1] / "adapters" / "recordings"
_ROUNDS = 5


def _vzenith(encoded: bool) -> bytes:
    plate = "津A12345"
    result = {
        "license": base64.b64encode(plate.encode()).decode() if encoded else plate, "confidence": 96,
        "colorType": 1, "direction": 4, "plateid": 7, "isoffline": 0, "triggerType": 8, "type": 1,
        "timeStamp": {"Timeval": {"sec": int(NOW.timestamp()), "usec": 118_000}},
    }  # fmt: skip
    alarm = {"channel": 0, "deviceName": "R5", "serialno": "a-b", "result": {"PlateResult": result}}
    if not encoded:
        return json.dumps({"AlarmInfoPlate": alarm}, ensure_ascii=False).encode()
    content = {"id": "1", "sn": "a-b", "name": "ivs_result", "version": "1.0", "timestamp": 1_800_000_000}
    return json.dumps(content | {"payload": {"AlarmInfoPlate": alarm}}).encode()


async def _hikvision() -> bytes:
    """An alert with its picture, as the stream has it."""
    camera = HikvisionCamera()
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    camera._streams.add(queue)
    await camera.see("津A12345")
    return queue.get_nowait()


def _stream(body: bytes) -> Callable[[], Any]:
    parts = Parts("boundary", keep=0)
    how = hikvision.Reading()

    def one() -> Any:
        found = [part for part in parts.feed(body) if not part.content_type.startswith("image/")]
        return [hikvision.alert(part.body, "cam", NOW, how) for part in found]

    one()
    return one


def _recorded(name: str, what: str) -> bytes:
    """The first message of a recording that has this in it."""
    wire = load(RECORDINGS / f"{name}-double.jsonl").wire
    return next(each.data for each in wire if each.way == "in" and each.data and what.encode() in each.data)


def _gat1400() -> bytes:
    vehicle = {
        "MotorVehicleID": "310115000011900000010220261127120005000010200001", "InfoKind": 1,
        "SourceID": "", "DeviceID": "31011500001190000001", "HasPlate": "1", "PlateColor": "5",
        "PlateClass": "02",
        "PlateNo": "津A12345", "PassTime": "20261127120005", "PlateReliability": "96",
    }  # fmt: skip
    content = {"MotorVehicleListObject": {"MotorVehicleObject": [vehicle]}}
    return json.dumps(content, ensure_ascii=False).encode()


def _uhppote() -> bytes:
    head = struct.pack("<BBHL", 0x17, 0xB0, 0, 423187757) + struct.pack("<LBBBBL", 7, 1, 0, 1, 1, 9764210)
    return (head + bytes.fromhex("20261127120005") + bytes([5])).ljust(64, b"\0")


def _entry(packet: bytes) -> Any:
    return uhppote.event(packet, 7)


def _bare_lines(body: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in body.decode().splitlines() if "=" in line)


def _cases() -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Per vendor: our reading and the bare parse, each of one message."""
    part = asyncio.run(_hikvision())
    xml = next(iter(Parts("boundary").feed(part + part))).body
    push, envelope = _vzenith(False), _vzenith(True)
    how, reading = hikvision.Reading(), vzenith.Reading()
    shelly = DIALECTS["shelly"]("relay", "gated")
    status = b'{"src":"relay","method":"NotifyStatus","params":{"ts":1.8e9,"input:0":{"id":0,"state":true}}}'
    kind = "application/json"
    snap, pull = _recorded("dahua", "TrafficCar"), _recorded("onvif", "NotificationMessage")
    vehicles, packet = _gat1400(), _uhppote()
    zone, dahuas, onvifs = ZoneInfo("Asia/Shanghai"), dahua.Reading(), onvif.Reader("cam")
    swipe = Swipes("board", zone, frozenset({1}))
    hook = b'{"id":"w-1","type":"read","kind":"plate","value":"\xe6\xb4\xa5A12345","confidence":0.96}'
    return {
        "dahua snapManager": (
            lambda: dahua.part(snap, "cam", NOW, dahuas), lambda: _bare_lines(snap)
        ),
        "onvif pull": (lambda: onvifs.read(pull, NOW), lambda: etree.fromstring(pull)),
        "gat1400": (
            lambda: [gat1400.vehicle(one, zone) for one in gat1400.objects(gat1400.load(vehicles))],
            lambda: orjson.loads(vehicles),
        ),
        "uhppote event": (
            lambda: swipe.event(_entry(packet), NOW, past=False),
            lambda: struct.unpack_from("<BBHLLBBBBL", packet),
        ),
        "webhook": (
            lambda: webhook.event(webhook.parse(hook), "wh", NOW), lambda: orjson.loads(hook)
        ),
        "vzenith HTTP": (
            lambda: vzenith.parse(push, kind, "cam", NOW, reading), lambda: orjson.loads(push)
        ),
        "vzenith MQTT": (
            lambda: vzenith.parse(envelope, kind, "cam", NOW, reading), lambda: orjson.loads(envelope)
        ),
        "hikvision alert": (
            lambda: hikvision.alert(xml, "cam", NOW, how), lambda: etree.fromstring(xml)
        ),
        "hikvision stream": (_stream(part), lambda: etree.fromstring(xml)),
        "mqtt_relay shelly": (
            lambda: shelly.heard("relay/events/rpc", status), lambda: orjson.loads(status)
        ),
    }  # fmt: skip


def _rate(one: Callable[[], Any], seconds: float) -> tuple[float, int]:
    count, began = 0, time.perf_counter()
    until = began + seconds
    while time.perf_counter() < until:
        for _ in range(200):
            one()
        count += 200
    return count / (time.perf_counter() - began), count


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.4, help="for each side in each of 5 rounds")
    seconds = parser.parse_args().seconds
    note_if_busy()
    for name, sides in _cases().items():
        rates: dict[int, list[float]] = {0: [], 1: []}
        total = 0
        for _, side in turns(_ROUNDS, (0, 1)):
            rate, count = _rate(sides[side], seconds)
            rates[side].append(rate)
            total += count if side == 0 else 0
        ours, bare = (percentile(rates[side], 0.5) for side in (0, 1))
        # no limit was set: beside the bare parse it tells what our own part is
        emit(f"codecs: {name}", ours, "messages/s", n=total)
        emit(f"codecs: {name}, bare parse of the same bytes", bare, "messages/s", n=total)
    return finish()


if __name__ == "__main__":
    raise SystemExit(main())
