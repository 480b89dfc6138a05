"""The little MQTT client that simulated devices need: a will, topics, and dying without a word.

Not for the daemon. paho's own thread runs it; what comes is handed to the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion


class MqttDouble:
    """One device at a broker. `heard` is called on the loop with topic and payload of what comes."""

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        topics: Sequence[str],
        heard: Callable[[str, bytes], None],
        *,
        will: tuple[str, bytes] | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._address = (host, port)
        self._id = client_id
        self._topics = list(topics)
        self._heard = heard
        self._will = will
        self._login = (username, password)
        self._client: paho.Client | None = None

    async def start(self) -> None:
        """Connects and subscribes."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        client = self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self._id, protocol=MQTTProtocolVersion.MQTTv311
        )
        if self._login[0] is not None:
            client.username_pw_set(*self._login)
        if self._will is not None:
            client.will_set(*self._will, qos=1, retain=True)

        def message(_c: Any, _u: Any, came: paho.MQTTMessage) -> None:
            with contextlib.suppress(RuntimeError):  # the loop of a test that is over
                loop.call_soon_threadsafe(self._heard, came.topic, bytes(came.payload))

        def subscribed(*_: Any) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ready.set)

        def connected(*_: Any) -> None:
            client.subscribe([(topic, 1) for topic in self._topics])

        client.on_message, client.on_subscribe, client.on_connect = message, subscribed, connected
        await asyncio.to_thread(client.connect, *self._address, keepalive=15)
        client.loop_start()
        async with asyncio.timeout(5):
            await ready.wait()

    def publish(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        """Sends, QoS 1. Raises ConnectionError once it is gone."""
        if self._client is None:
            raise ConnectionError("the simulated device is off")
        self._client.publish(topic, payload, qos=1, retain=retain)

    async def told(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        """Sends, and returns once the broker has it. Raises ConnectionError once it is gone."""
        if self._client is None:
            raise ConnectionError("the simulated device is off")
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        await asyncio.to_thread(sent.wait_for_publish, 5)

    async def die(self) -> None:
        """The power goes: no DISCONNECT, so the broker sends its will."""
        client, self._client = self._client, None
        if client is None:
            return
        sock = client.socket()
        client.on_message = None
        client._reconnect_on_failure = False
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)  # type: ignore[attr-defined]
        await asyncio.to_thread(client.loop_stop)
        client._reset_sockets()
