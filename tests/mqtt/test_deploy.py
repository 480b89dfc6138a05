"""`deploy/mosquitto/` as it is installed: who may do what, and what survives a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gated.mqtt.client import Mqtt
from gated.outbox import alert_message
from gated.store.store import Store
from tests.mqtt.conftest import USERS, Subscriber, put, until
from tests.mqtt.samples import alert, passages
from tests.mqtt.test_wire_requests import command
from tests.peers.mosquitto import Mosquitto

pytestmark = pytest.mark.mosquitto

Subscribe = Callable[..., Subscriber]


async def test_each_sees_what_it_may(
    store: Store, deployed: Mosquitto, gated: Mqtt, subscribe: Subscribe
) -> None:
    desk = subscribe(deployed.port, username="desk", password=USERS["desk"])
    worker = subscribe(deployed.port, username="worker-g01", password=USERS["worker-g01"])
    async with gated:
        await until(lambda: gated.connected, "connected")
        await put(store, passages(2, lanes=1))
        await put(store, [alert_message(alert(), "new"), alert_message(alert(grid="g02"), "new")])
        await until(lambda: desk.on("grids/g02/alerts"), "the last")
        await until(lambda: worker.on("grids/g01/alerts"), "its alert")
        # a worker asks for its own grid again, and gets no other
        for topic in ("grids/g01/alerts/replay", "grids/g02/alerts/replay", "replay"):
            request = {"topic": topic.removesuffix("/replay"), "from_seq": 1}
            worker.ask(topic, request, response_topic="gated/village/replies/worker-g01/1")
        # and opens nothing, nor does anybody without a token
        worker.ask("lanes/east-in/command", command(), response_topic="gated/village/replies/worker-g01/2")
        desk.ask("lanes/east-in/command", command(token="x"), response_topic="gated/village/replies/desk/1")
        await until(lambda: desk.on("replies/desk/1"), "the desk's answer")
        await asyncio.sleep(0.2)
    assert [got.json["error"] for got in desk.on("replies/desk/1")] == ["forbidden"]
    assert [got.json["topic"] for got in worker.on("replies/worker-g01/1")] == [
        "gated/village/grids/g01/alerts"
    ]
    assert worker.on("replies/worker-g01/2") == []
    topics = {got.topic.removeprefix("gated/village/") for got in worker.got}
    assert topics == {"status", "grids/g01/alerts", "replies/worker-g01/1"}


async def test_nobody_comes_in_without_a_name(deployed: Mosquitto, subscribe: Subscribe) -> None:
    with pytest.raises(AssertionError, match="not subscribed"):
        subscribe(deployed.port, patience=1.0)


async def test_a_kill_loses_no_queue(
    store: Store, deployed: Mosquitto, gated: Mqtt, subscribe: Subscribe
) -> None:
    """A worker's phone is away, messages queue for it in the broker, the power fails: it still gets them."""
    options = {"username": "worker-g01", "password": USERS["worker-g01"], "client_id": "phone"}
    phone = subscribe(deployed.port, ("gated/village/grids/g01/alerts",), session=True, **options)
    phone.stop()
    async with gated:
        await until(lambda: gated.connected, "connected")
        for number in range(50):
            await put(store, [alert_message(alert(id=f"a{number}"), "new")])
        await until(lambda: gated.counters.acknowledged >= 51, "acknowledged")
        await asyncio.sleep(0.2)  # an acknowledgement may be one autosave ahead of the disk
        deployed.kill()
        deployed.start()
        back = subscribe(deployed.port, ("gated/village/grids/g01/alerts",), session=True, **options)
        await until(lambda: len(set(back.seqs("grids/g01/alerts"))) >= 49, "what was queued")
        print(f"{len(set(back.seqs('grids/g01/alerts')))} of 50 queued messages survived the kill")
