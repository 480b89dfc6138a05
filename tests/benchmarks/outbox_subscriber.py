"""The subscriber of the benchmark `outbox`, a stock client in a process of its own.

Run as `python -m tests.benchmarks.outbox_subscriber PORT TOPIC`. For each count on standard input it says
`go`, and when so many messages have come their rate, from the first to the last.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion


class Counter:
    """Counts messages; runs on paho's thread."""

    def __init__(self) -> None:
        self._count = 0
        self._left = 0
        self._first = 0.0

    def expect(self, count: int) -> None:
        self._count = self._left = count
        print("go", flush=True)

    def received(self, *_: Any) -> None:
        now = time.perf_counter()
        if self._left == self._count:
            self._first = now
        self._left -= 1
        if self._left == 0:
            print(json.dumps({"rate": (self._count - 1) / (now - self._first)}), flush=True)


def main(port: int, topic: str) -> None:
    counter = Counter()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = counter.received
    client.on_connect = lambda *_: client.subscribe(topic, 1)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for line in sys.stdin:
        counter.expect(int(line))
    client.disconnect()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
