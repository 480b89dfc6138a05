"""The world of the benchmark `path`: plates, cameras, the bytes of a push, the broker. No measuring here.

Everything is made from a seed, so that gated, its peer and the load generator agree without talking.
"""

from __future__ import annotations

import random
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.peers.mosquitto import Mosquitto, require

CACHE = Path(__file__).resolve().parents[2] / ".cache"  # on the disk of the checkout; not in git
LANES = 24
SEED = 20_221_121
_SERIAL = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # letters I and O are not used
_REGIONS = [province + letter for province in "津京冀鲁晋" for letter in "ABCDEFGHJK"]


def plates(count: int) -> list[str]:
    """`count` different plates. The last character is a check sum of the other four of the serial, so that
    any two of a region differ in two places or more: no plate is a misread of another."""
    chooser = random.Random(SEED)
    size = len(_SERIAL)
    space = len(_REGIONS) * size**4
    made = []
    for number in chooser.sample(range(space), count):
        region, serial = divmod(number, size**4)
        digits = [serial // size**place % size for place in range(4)]
        made.append(
            _REGIONS[region] + "".join(_SERIAL[digit] for digit in digits) + _SERIAL[sum(digits) % size]
        )
    return made


@dataclass(frozen=True, slots=True)
class Camera:
    """One lane's camera: it pushes its reads to gated, and opens its barrier if the reply says so."""

    number: int

    @property
    def id(self) -> str:
        return f"cam-{self.number:02d}"

    @property
    def lane(self) -> str:
        return f"lane-{self.number:02d}"

    @property
    def serial(self) -> str:
        return f"fe71e106-{self.number:08x}"

    @property
    def token(self) -> str:
        return f"camera-{self.number:02d}-of-the-benchmark"

    @property
    def path(self) -> str:
        return f"/ingest/{self.id}?key={self.token}"


CAMERAS = tuple(Camera(number) for number in range(LANES))

# An HTTP push of an R5 camera, without pictures: about 1 KB, as its vendor documents it.
_PUSH = (
    '{"AlarmInfoPlate":{"channel":0,"deviceName":"R5","ipaddr":"192.168.1.%(number)d","result":{"PlateResult":'
    '{"bright":0,"carBright":0,"carColor":255,"car_brand":{"brand":255,"type":255,"year":65535},'
    '"carlocation":{"RECT":{"bottom":0,"left":0,"right":0,"top":0}},"clean_time":0,"colorType":1,'
    '"colorValue":0,"confidence":96,"direction":0,"feature_code":true,"gioouts":[{"ctrltype":0,"ionum":0}],'
    '"imageFile":"","imageFileLen":0,"imageFragmentFile":"","imageFragmentFileLen":0,"is_fake_plate":0,'
    '"isoffline":0,"license":"%(plate)s","license_ext_type":0,"location":{"RECT":{"bottom":674,"left":1002,'
    '"right":1263,"top":565}},"plate_distance":0,"plate_true_width":25,"plateid":%(key)d,"plates":[{"color":1,'
    '"license":"%(plate)s","plate_width":281,"pos":{"bottom":674,"left":1002,"right":1263,"top":565},"type":1}],'
    '"timeStamp":{"Timeval":{"sec":%(sec)d,"usec":%(usec)d}},"timeUsed":0,"triggerType":1,"type":1}},'
    '"rule_id":1,"serialno":"%(serial)s","user_data":""}}'
)
OPENS = b'"ivs_ioctrl"'  # the reply that opens drives an output with this


def push(camera: Camera, plate: str, key: int, at: float) -> bytes:
    """The whole HTTP request for one read at `at` (seconds since 1970)."""
    sec = int(at)
    body = (
        _PUSH
        % {
            "number": camera.number + 10,
            "plate": plate,
            "key": key,
            "sec": sec,
            "usec": int((at - sec) * 1e6),
            "serial": camera.serial,
        }
    ).encode()
    head = (
        f"POST {camera.path} HTTP/1.1\r\nHost: gated\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Returns once somebody listens on `port`; RuntimeError if `process` ended or the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it listened")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not listen on {port} within {seconds:.0f} s")


def end(process: subprocess.Popen[bytes], seconds: float = 10) -> None:
    """Asks a child to stop, and kills it if it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def broker(folder: Path) -> Mosquitto:
    """A mosquitto of its own on loopback, in memory, that drops nothing: a context manager."""
    return Mosquitto(folder, "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n")


class Subscriber:
    """Counts what the broker delivers: a stock mosquitto_sub, QoS 1, that writes one short line a message."""

    def __init__(self, port: int, topic: str, output: Path) -> None:
        self._output = output
        self._file = output.open("wb")
        self._process = subprocess.Popen(
            [require("mosquitto_sub"), "-p", str(port), "-q", "1", "-t", topic, "-F", "%t"], stdout=self._file
        )
        time.sleep(0.5)  # subscribed; it has no way to say so

    def count(self) -> int:
        """Messages so far."""
        return self._output.read_bytes().count(b"\n")

    def wait_for(self, wanted: int, patience: float = 10) -> float:
        """Seconds until `wanted` messages were there; gives up when none came for `patience` seconds."""
        started = last = time.monotonic()
        seen = self.count()
        while seen < wanted and time.monotonic() - last < patience:
            time.sleep(0.02)
            now = self.count()
            if now != seen:
                seen, last = now, time.monotonic()
        return last - started

    def close(self) -> None:
        end(self._process)
        self._file.close()
