"""A store, a broker, subscribers that check every message against the AsyncAPI document."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gated.domain import OpeningOutcome
from gated.mqtt.answers import Hooks
from gated.mqtt.client import Backoff, Mqtt
from gated.mqtt.requests import LaneCommand
from gated.mqtt.settings import MqttSettings
from gated.ports import NotRecorded
from gated.store.records import OpeningRecord, OutboxMessage
from gated.store.store import Store
from tests.mqtt.brokers import Certificates, certificates_in
from tests.mqtt.contract import Contract
from tests.peers.mosquitto import Mosquitto, require

SITE = "village"
ROOT = f"gated/{SITE}/"
QUICK = Backoff(first=0.1, most=0.3, refused=0.3)
DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
USERS = {"gated": "pw-gated", "desk": "pw-desk", "worker-g01": "pw-worker"}
"""Of the deployed broker, with their passwords."""


def now() -> datetime:
    return datetime.now(UTC)


async def until(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Waits for `condition`; `what` names it when it never comes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Got:
    topic: str
    payload: bytes
    retain: bool
    correlation: bytes | None

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Subscriber:
    """A stock client in its own thread. Everything that it gets is checked against the contract."""

    def __init__(
        self,
        port: int,
        contract: Contract,
        topics: Sequence[str] = (ROOT + "#",),
        *,
        version: str = "5",
        client_id: str = "",
        username: str | None = None,
        password: str | None = None,
        session: bool = False,
        retain_as_published: bool = True,
        configure: Callable[[paho.Client], None] | None = None,
        patience: float = 10.0,
    ) -> None:
        five = version == "5"
        self.got: list[Got] = []
        self.breaches: list[str] = []
        self.version = version
        self._contract = contract
        self._topics = list(topics)
        self._subscribed = threading.Event()
        self._session = session
        # brokers without this option of MQTT 5 (rumqttd) clear the flag on live messages
        self._sees_retain = five and retain_as_published
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            clean_session=None if five else not session,
        )
        if username is not None:
            self.client.username_pw_set(username, password)
        if configure is not None:
            configure(self.client)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._received
        self._port = port
        self._patience = patience

    def start(self) -> None:
        if self.version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 3600 if self._session else 0
            self.client.connect(
                "127.0.0.1", self._port, 5, clean_start=not self._session, properties=properties
            )
        else:
            self.client.connect("127.0.0.1", self._port, 5)
        self.client.loop_start()
        if not self._subscribed.wait(self._patience):
            self.stop()
            raise AssertionError("not subscribed")

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        for end in ("_sockpairR", "_sockpairW"):  # paho leaves them to the garbage collector
            pair = getattr(self.client, end)
            if pair is not None:
                pair.close()
                setattr(self.client, end, None)

    def _connected(self, *_: Any) -> None:
        if self.version == "5":
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            self.client.subscribe([(topic, options) for topic in self._topics])
        else:
            self.client.subscribe([(topic, 1) for topic in self._topics])

    def _received(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        retain = bool(message.retain)
        if message.topic.startswith(ROOT) and not message.topic.endswith(("/command", "/replay")):
            try:
                self._contract.check(message.topic, payload, retain=retain if self._sees_retain else None)
            except AssertionError as error:
                self.breaches.append(str(error))
        correlation = getattr(message.properties, "CorrelationData", None)
        self.got.append(Got(message.topic, payload, retain, correlation))

    def on(self, topic: str) -> list[Got]:
        return [got for got in list(self.got) if got.topic == ROOT + topic]

    def seqs(self, topic: str) -> list[int]:
        return [got.json["seq"] for got in self.on(topic)]

    def ask(
        self,
        topic: str,
        payload: object,
        *,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        retain: bool = False,
    ) -> None:
        """Publishes a request; a `bytes` payload goes out as it is."""
        properties = None
        if self.version == "5" and response_topic is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ResponseTopic = response_topic
            if correlation is not None:
                properties.CorrelationData = correlation
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.client.publish(ROOT + topic, body, qos=1, retain=retain, properties=properties)


@dataclass
class App:
    """What the app would be: the hooks, and what they were called with."""

    lanes: set[str] = field(default_factory=lambda: {"east-in", "east-out"})
    tokens: dict[str, str] = field(default_factory=lambda: {"right": "Li Wei"})
    announced: int = 0
    commands: list[LaneCommand] = field(default_factory=list)
    outcome: OpeningOutcome | type[Exception] = OpeningOutcome.ACCEPTED
    on_announce: Callable[[], Awaitable[None]] | None = None

    def hooks(self) -> Hooks:
        return Hooks(
            announce=self._announce,
            lanes=lambda: self.lanes,
            authorize=self._authorize,
            on_lane_command=self._open,
        )

    async def _announce(self) -> None:
        self.announced += 1
        if self.on_announce is not None:
            await self.on_announce()

    async def _authorize(self, token: str, _lane: str) -> str | None:
        return self.tokens.get(token)

    async def _open(self, command: LaneCommand) -> OpeningOutcome:
        self.commands.append(command)
        if isinstance(self.outcome, OpeningOutcome):
            return self.outcome
        raise self.outcome("not now") if self.outcome is NotRecorded else self.outcome


_numbers = itertools.count(1)


async def put(store: Store, messages: Sequence[OutboxMessage]) -> None:
    """Brings messages into the outbox the way the daemon does: with a record, in its transaction."""
    await store.record_opening(
        OpeningRecord(
            id=f"opening-{next(_numbers)}",
            lane="east-in",
            cause="override",
            outcome=OpeningOutcome.ACCEPTED,
            requested_at=now(),
            finished_at=now(),
            person="Li Wei",
            reason="test",
            messages=tuple(messages),
        )
    )


@pytest.fixture(scope="session")
def contract() -> Contract:
    return Contract()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite:///{tmp_path}/gated.db")
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates_in(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "mosquitto") as running:
        yield running


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Mosquitto]:
    """The configuration of deploy/, with its paths in a folder of the test and the site `village`."""
    passwords = tmp_path / "passwd"
    passwords.touch(mode=0o600)
    for user, password in USERS.items():
        subprocess.run([require("mosquitto_passwd"), "-b", str(passwords), user, password], check=True)
    acl = tmp_path / "acl"
    acl.write_text((DEPLOY / "acl").read_text().replace("liuanzhuang", SITE))
    folder = tmp_path / "broker"
    config = (
        (DEPLOY / "mosquitto.conf")
        .read_text()
        .replace("/etc/mosquitto/gated.passwd", str(passwords))
        .replace("/etc/mosquitto/gated.acl", str(acl))
        .replace("/var/lib/mosquitto/", f"{folder}/")
    )
    assert "listener 1883 127.0.0.1\n" in config
    listener = "listener {port} 127.0.0.1\n"
    with Mosquitto(folder, config.replace("listener 1883 127.0.0.1\n", ""), listener=listener) as broker:
        yield broker


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def gated(store: Store, app: App, deployed: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> Mqtt:
    """Our side for the deployed broker, not started."""
    monkeypatch.setenv("MQTT_PASSWORD", USERS["gated"])
    settings = MqttSettings.model_validate(
        {"port": deployed.port, "username": "gated", "password": {"env": "MQTT_PASSWORD"}}
    )
    return Mqtt(settings, SITE, store, now, app.hooks(), backoff=QUICK)


@pytest.fixture
def subscribe(contract: Contract) -> Iterator[Callable[..., Subscriber]]:
    """Makes and starts subscribers; at the end none may have seen a breach of the contract."""
    made: list[Subscriber] = []

    def make(port: int, *args: Any, **options: Any) -> Subscriber:
        subscriber = Subscriber(port, contract, *args, **options)
        subscriber.start()
        made.append(subscriber)
        return subscriber

    yield make
    for subscriber in made:
        subscriber.stop()
    assert [breach for subscriber in made for breach in subscriber.breaches] == []


@asynccontextmanager
async def running(store: Store, app: App, **settings: Any) -> AsyncIterator[Mqtt]:
    """Our side, connected to the broker on `port`."""
    mqtt = Mqtt(MqttSettings(**settings), SITE, store, now, app.hooks(), backoff=QUICK)
    async with mqtt:
        await until(lambda: mqtt.connected, "connected")
        yield mqtt
