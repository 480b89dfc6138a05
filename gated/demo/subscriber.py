"""A stock MQTT client that takes in the demo's passages and alerts, as a desk would.

It knows the `seq` of what it has of each topic. Whenever it or gated was cut off it asks for the rest
(docs/mqtt.md, "Gaps and replay"): the demo's broker keeps no queue for anybody over an end of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

_RECONNECT_S = 1


@dataclass(slots=True)
class _Have:
    """Which numbers of a topic have arrived: all up to `upto`, and those `beyond` a gap."""

    upto: int = 0
    beyond: set[int] = field(default_factory=set)

    def add(self, seq: int) -> None:
        if seq > self.upto:
            self.beyond.add(seq)
        while self.upto + 1 in self.beyond:
            self.upto += 1
            self.beyond.remove(self.upto)

    @property
    def count(self) -> int:
        return self.upto + len(self.beyond)

    @property
    def missing(self) -> int:
        return max(self.beyond, default=self.upto) - self.count


class Subscriber:
    """Connected to the broker at `port` (MQTT 3.1.1) for the length of an `async with`. `root`:
    `gated/SITE/`; `topics` below it, each with a `seq` of its own."""

    def __init__(self, host: str, port: int, root: str, topics: Iterable[str]) -> None:
        self._address = (host, port)
        self._root = root
        self._status = f"{root}status"
        self._replies = f"{root}replies/demo"
        self._have = {root + topic: _Have() for topic in topics}
        self._to_ask: deque[str] = deque()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="demo", protocol=paho.MQTTv311)
        self._client.reconnect_delay_set(_RECONNECT_S, _RECONNECT_S)
        self._client.on_connect = self._connected
        self._client.on_message = self._received

    def count(self, ending: str) -> int:
        """Messages of the topics that end so, each counted once."""
        return sum(have.count for topic, have in self._have.items() if topic.endswith(ending))

    @property
    def missing(self) -> int:
        """Messages that have not arrived though a later one of their topic has."""
        return sum(have.missing for have in self._have.values())

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._client.connect, *self._address)
        self._client.loop_start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    # --- in paho's thread -------------------------------------------------------------------------------

    def _connected(self, *_: object) -> None:
        self._client.subscribe([(topic, 1) for topic in (*self._have, self._replies, self._status)])

    def _ask_next(self) -> None:
        """One topic after the other: gated answers only so many requests at once."""
        if self._to_ask:
            topic = self._to_ask.popleft()
            self._ask(topic, self._have[topic].upto + 1)

    def _ask(self, topic: str, from_seq: int) -> None:
        request = {"topic": topic, "from_seq": from_seq, "response_topic": self._replies}
        self._client.publish(f"{self._root}replay", json.dumps(request), qos=1)

    def _received(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if message.topic == self._status:
            if message.payload == b"online":  # both are here now: nothing is missed from this moment on
                self._to_ask = deque(self._have)
                self._ask_next()
            return
        content: dict[str, Any] = json.loads(message.payload)
        if message.topic != self._replies:
            self._have[message.topic].add(content["seq"])
        elif content["ok"]:
            for one in content["messages"]:
                self._have[content["topic"]].add(one["seq"])
            if content["more"]:
                self._ask(content["topic"], content["next_seq"])
            else:
                self._ask_next()
