"""Messages a second from the durable outbox to a QoS 1 subscriber, beside a bare paho client.

Both publish the same bytes on the same topics through the same mosquitto, with the same window, to the same
subscriber in a process of its own; in turn, the order reversed every other round. The rate is counted by the
subscriber, from the first to the last message. The bare client is paho with its own thread and queue, whose
messages are in memory from the start; ours come out of the store, and the cursor behind them goes back in.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import orjson
import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gated.domain import OpeningOutcome
from gated.mqtt.answers import Hooks
from gated.mqtt.client import Mqtt
from gated.mqtt.settings import MqttSettings
from gated.outbox import with_seq
from gated.store.records import OpeningRecord, OutboxMessage
from gated.store.store import Store
from tests.benchmarks import report
from tests.mqtt.samples import passages
from tests.peers.mosquitto import Mosquitto

SITE = "bench"
LANES = 24
LEAST = 0.8
"""Of the bare client's rate."""

_numbers = itertools.count()


class Watcher:
    """The subscriber, seen from the benchmark."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.outbox_subscriber", str(port), f"gated/{SITE}/lanes/#"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect("ready")

    def expect(self, count: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        self._expect("go")

    def rate(self) -> float:
        """Blocks until the last message has come."""
        return float(json.loads(self._line())["rate"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(5)

    def _expect(self, word: str) -> None:
        line = self._line()
        if line != word:
            raise RuntimeError(f"the subscriber said {line!r} instead of {word!r}")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


async def _nothing(*_: object) -> None:
    """No lanes, no tokens."""


def _hooks() -> Hooks:
    async def refuse(_command: object) -> OpeningOutcome:
        return OpeningOutcome.REJECTED

    return Hooks(announce=_nothing, lanes=frozenset, authorize=_nothing, on_lane_command=refuse)


def _now() -> datetime:
    return datetime.now(UTC)


async def _fill(store: Store, messages: list[OutboxMessage]) -> None:
    for start in range(0, len(messages), 500):
        number = next(_numbers)
        await store.record_opening(
            OpeningRecord(
                id=f"opening-{number}",
                lane="lane-0",
                cause="override",
                outcome=OpeningOutcome.ACCEPTED,
                requested_at=_now(),
                finished_at=_now(),
                person="bench",
                reason="bench",
                messages=tuple(messages[start : start + 500]),
            )
        )


async def ours(
    port: int, store: Store, messages: list[OutboxMessage], window: int, watcher: Watcher
) -> float:
    """The rate of the relay: the messages are in the store before it connects."""
    await _fill(store, messages)
    watcher.expect(len(messages))
    settings = MqttSettings(port=port, inflight=window, protocol="5")
    async with Mqtt(settings, SITE, store, _now, _hooks()):
        return await asyncio.to_thread(watcher.rate)


def bare(port: int, messages: list[tuple[str, bytes]], window: int, watcher: Watcher) -> float:
    """The rate of paho with its own thread and queue."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(window)
    client.connect("127.0.0.1", port)
    client.loop_start()
    watcher.expect(len(messages))
    for topic, payload in messages:
        client.publish(topic, payload, 1)
    rate = watcher.rate()
    client.disconnect()
    client.loop_stop()
    return rate


async def run(count: int, rounds: int, window: int) -> None:
    messages = passages(count, lanes=LANES)
    plain = [
        (f"gated/{SITE}/{message.topic}", with_seq(orjson.dumps(message.payload), 1 + number // LANES))
        for number, message in enumerate(messages)
    ]
    rates: dict[str, list[float]] = {"outbox": [], "bare": []}
    with (
        tempfile.TemporaryDirectory(prefix="gated-bench-") as folder,
        Mosquitto(Path(folder) / "m") as broker,
    ):
        watcher = Watcher(broker.port)
        store = await Store.open(f"sqlite:///{folder}/gated.db")
        try:
            for number, side in report.turns(rounds + 1, ("outbox", "bare")):
                if side == "outbox":
                    rate = await ours(broker.port, store, messages, window, watcher)
                else:
                    rate = await asyncio.to_thread(bare, broker.port, plain, window, watcher)
                report.say(
                    f"{'warm-up' if number == 0 else f'round {number}'}: {side} {rate:,.0f} messages/s"
                )
                if number > 0:
                    rates[side].append(rate)
        finally:
            await store.close()
            watcher.close()
    limit = statistics.median(rates["bare"])
    report.emit(
        "outbox.messages",
        statistics.median(rates["outbox"]),
        "messages/s",
        n=count * rounds,
        limit_name=f"{LEAST} x bare paho client",
        limit=LEAST * limit,
        at_most=False,
    )
    report.emit("outbox.bare_paho", limit, "messages/s", n=count * rounds)
    size = len(plain[-1][1])
    report.say(f"payload {size} bytes, window {window}, {rounds} rounds of {count} messages, medians")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.outbox", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000, help="a round and side (default 10,000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=int, default=20, help="messages without an acknowledgement")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    report.note_if_busy()
    asyncio.run(run(options.messages, options.rounds, options.window))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
