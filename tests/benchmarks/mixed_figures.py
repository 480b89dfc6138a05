"""What the benchmark `mixed_devices` notes, and how it is matched: reads that were sent beside what became of
them at the subscriber, in the database and at the barriers."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.benchmarks.mixed_site import SITE, Lane
from tests.benchmarks.report import fault


class Message(NamedTuple):
    """One message about a lane. `what`: the last part of its topic. `at`: seconds since 1970."""

    at: float
    lane: str
    what: str
    content: dict[str, Any]


class Subscriber:
    """Notes when each message on the lanes' topics comes; paho's thread runs it."""

    def __init__(self, port: int) -> None:
        self._came: list[tuple[float, str, bytes | bytearray]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._message
        self._client.on_connect = self._connected
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _connected(self, *_: Any) -> None:
        self._client.subscribe(f"gated/{SITE}/lanes/#", 1)

    def _message(self, _client: Any, _user: Any, message: paho.MQTTMessage) -> None:
        self._came.append((time.time(), message.topic, message.payload))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def take(self) -> list[Message]:
        """What came since the last time."""
        taken, self._came = self._came, []
        return [
            Message(at, topic.split("/")[3], topic.rpartition("/")[2], json.loads(payload))
            for at, topic, payload in taken
        ]


@dataclass(slots=True)
class Load:
    """One drive: seconds late by vendor. `reads`: until the subscriber had the record; `arrived`: until the
    daemon had the read; `opened`: until the barrier's contact was closed, by the vendor that closes it;
    `loops`: until the subscriber had the lane's new state, by the vendor of the input."""

    sent: int
    seconds: float
    reads: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    arrived: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    opened: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    loops: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    late: list[float] = field(default_factory=list)
    generator: float = 0.0  # cores
    cores: float = 0.0


def arrivals(database: Path) -> dict[str, float]:
    """When the daemon had the read of each credential, of those that are on disk."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        rows = connection.execute("SELECT credential, received_at FROM passages ORDER BY n")
        return {credential: received_at / 1e6 for credential, received_at in rows}


def matched(
    told: Mapping[str, Any],
    messages: Sequence[Message],
    arrived: Mapping[str, float] | None,
    lanes: Sequence[Lane],
    cores: float,
) -> Load:
    """What the doubles say that they sent and saw, beside what the subscriber got. `arrived`: what is on
    disk, where that can be looked up. Notes a fault for what is missing."""
    by_id = {lane.id: lane for lane in lanes}
    load = Load(len(told["reads"]), told["seconds"], late=told["late"], generator=told["cores"], cores=cores)
    lost: Counter[str] = Counter()
    came = {
        one.content["credential"]["value"]: one
        for one in messages
        if one.what == "passages" and one.content["credential"] is not None
    }
    openings: dict[str, list[float]] = defaultdict(list)
    for lane_id, at in told["openings"]:
        openings[lane_id].append(at)
    for lane_id, shown, sent in told["reads"]:
        lane, message = by_id[lane_id], came.get(shown)
        if message is None:
            lost[f"messages of reads of {lane.sees}"] += 1
            continue
        load.reads[lane.sees].append(message.at - sent)
        if arrived is not None and shown in arrived:
            load.arrived[lane.sees].append(arrived[shown] - sent)
        elif arrived is not None:
            lost[f"records of reads of {lane.sees}"] += 1
        if message.content["outcome"] != "grant":
            lost[f"grants to reads of {lane.sees}"] += 1
        elif lane.opens is not None:
            _note(load.opened[lane.opens], openings[lane_id], sent, lost, f"openings by {lane.opens}")
    _match_loops(load, told["loops"], messages, by_id, lost)
    for what, count in lost.items():
        fault(f"{count} {what} are missing, of {load.sent} reads in all")
    for name in sorted(set(told["failed"])):
        fault(f"a double could not send: {name}")
    return load


def _match_loops(
    load: Load,
    loops: Sequence[tuple[str, bool, float]],
    messages: Sequence[Message],
    by_id: Mapping[str, Lane],
    lost: Counter[str],
) -> None:
    states: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for one in messages:
        if one.what == "state" and one.content["occupied"] is not None:
            states[one.lane, one.content["occupied"]].append(one.at)
    for lane_id, active, sent in loops:
        by = by_id[lane_id].tells or ""
        _note(load.loops[by], states[lane_id, active], sent, lost, f"inputs of {by}")


def _note(into: list[float], times: list[float], sent: float, lost: Counter[str], what: str) -> None:
    """The first of `times` (ascending) that is not before `sent`."""
    index = bisect_left(times, sent)
    if index < len(times):
        into.append(times[index] - sent)
    else:
        lost[what] += 1


class Metrics:
    """The daemon's own figures."""

    def __init__(self, port: int, token: str) -> None:
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )

    def text(self) -> str:
        return self._client.get("/metrics").raise_for_status().text

    def value(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.text(), re.MULTILINE)
        if found is None:
            raise RuntimeError(f"no {name} in /metrics")
        return float(found[1])

    def buckets(self) -> dict[float, float]:
        """Passages that were recorded within so many seconds, counted up."""
        found = re.findall(r'^gated_decision_seconds_bucket\{le="(\S+)"\} (\S+)$', self.text(), re.MULTILINE)
        return {float(upto): float(count) for upto, count in found}


def quantile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float:
    """A quantile of a histogram's growth, as Prometheus works it out: evenly spread within a bucket."""
    grown = [(upto, after[upto] - before.get(upto, 0.0)) for upto in sorted(after)]
    wanted, below, since = share * grown[-1][1], 0.0, 0.0
    for upto, count in grown:
        if count >= wanted:
            return since if math.isinf(upto) else since + (upto - since) * (wanted - below) / (count - below)
        below, since = count, upto
    return since
