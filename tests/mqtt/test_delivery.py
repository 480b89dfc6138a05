"""From the outbox to a subscriber through a real mosquitto that stops, is killed and comes back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from gated.mqtt.client import Mqtt
from gated.mqtt.settings import MqttSettings
from gated.outbox import alert_message, lane_state_message
from gated.store import outbox
from gated.store.records import OutboxMessage
from gated.store.store import Store
from tests.mqtt.conftest import QUICK, ROOT, SITE, App, Subscriber, now, put, running, until
from tests.mqtt.samples import alert, lane_status, passages
from tests.peers.mosquitto import Mosquitto

pytestmark = pytest.mark.mosquitto

Subscribe = Callable[..., Subscriber]

KEEPS = """\
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
"""


def _ordered(seqs: list[int]) -> list[int]:
    """The sequence as a consumer sees it that drops what it has seen: each number must be new or known."""
    seen: list[int] = []
    for seq in seqs:
        if not seen or seq > seen[-1]:
            seen.append(seq)
    return seen


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_messages_arrive_once_in_order_without_gaps(
    store: Store, broker: Mosquitto, subscribe: Subscribe, protocol: str
) -> None:
    subscriber = subscribe(broker.port)
    async with running(store, App(), port=broker.port, protocol=protocol) as mqtt:
        assert mqtt.protocol == protocol
        for start in range(0, 300, 30):
            await put(store, passages(30, lanes=3, first=start))
        await put(store, [alert_message(alert(), "new")])
        await until(lambda: len(subscriber.on("grids/g01/alerts")) == 1, "the alert")
    for lane in range(3):
        assert subscriber.seqs(f"lanes/lane-{lane}/passages") == list(range(1, 101))
    assert await store.read(outbox.backlog) == 0


async def test_a_message_goes_out_as_soon_as_it_is_committed(
    store: Store, broker: Mosquitto, subscribe: Subscribe
) -> None:
    subscriber = subscribe(broker.port)
    async with running(store, App(), port=broker.port):
        for number in range(10):
            began = time.monotonic()
            await put(store, passages(1, lanes=1, first=number))
            await until(lambda n=number: len(subscriber.on("lanes/lane-0/passages")) == n + 1, "it")
            assert time.monotonic() - began < 1.0, "it waited for a timer"


async def test_broker_away_and_back(store: Store, broker: Mosquitto, subscribe: Subscribe) -> None:
    broker.stop()
    app = App()
    mqtt = Mqtt(MqttSettings(port=broker.port), SITE, store, now, app.hooks(), backoff=QUICK)
    async with mqtt:
        await until(lambda: mqtt.state.state == "unreachable", "noticed")
        assert mqtt.state.error is not None
        await put(store, passages(50, lanes=1))
        assert await store.read(outbox.backlog) == 50
        broker.start()
        # mosquitto forgets clean sessions, so the first messages may come before our subscriber is there
        await until(lambda: mqtt.connected and mqtt.counters.acknowledged >= 50, "delivered")
        subscriber = subscribe(broker.port)
        broker.stop()
        await until(lambda: not mqtt.connected, "noticed again")
        await put(store, passages(50, lanes=1, first=50))
        broker.start()
        subscriber_again = subscribe(broker.port)
        await until(lambda: mqtt.connected, "connected again")
        await put(store, passages(50, lanes=1, first=100))
        await until(lambda: mqtt.counters.acknowledged >= 150 + 2, "delivered again")
        await until(
            lambda: (
                150
                in subscriber.seqs("lanes/lane-0/passages") + subscriber_again.seqs("lanes/lane-0/passages")
            ),
            "the last",
        )
    assert app.announced == 2


async def test_nothing_is_lost_while_the_broker_is_stopped_under_load(
    store: Store, tmp_path: Path, subscribe: Subscribe
) -> None:
    folder = tmp_path / "keeps"
    with Mosquitto(folder, KEEPS.format(folder=folder)) as broker:
        subscriber = subscribe(broker.port, (ROOT + "lanes/#",), client_id="worker", session=True)
        async with running(store, App(), port=broker.port) as mqtt:
            for round_ in range(3):
                for start in range(0, 200, 20):
                    await put(store, passages(20, lanes=1, first=round_ * 200 + start))
                    await asyncio.sleep(0.01)
                    if start == 100:
                        broker.stop()
                broker.start()
                await until(lambda: mqtt.connected, "connected again")
            await until(lambda: 600 in subscriber.seqs("lanes/lane-0/passages"), "the last", 30)
        seqs = subscriber.seqs("lanes/lane-0/passages")
        assert set(seqs) == set(range(1, 601))
        assert _ordered(seqs) == list(range(1, 601))


@pytest.mark.parametrize("kills", [3])
async def test_killed_with_the_deployed_persistence(
    store: Store, tmp_path: Path, subscribe: Subscribe, kills: int
) -> None:
    """SIGKILL of a broker configured as in deploy/: what it lost is found by the gap in seq, and replayed."""
    folder = tmp_path / "keeps"
    total = kills * 100
    topic = "lanes/lane-0/passages"
    with Mosquitto(folder, KEEPS.format(folder=folder)) as broker:
        subscriber = subscribe(broker.port, (ROOT + "#",), client_id="hub", session=True)
        async with running(store, App(), port=broker.port) as mqtt:
            for round_ in range(kills):
                for start in range(0, 100, 10):
                    await put(store, passages(10, lanes=1, first=round_ * 100 + start))
                broker.kill()
                await until(lambda: not mqtt.connected, "noticed")
                broker.start()
                await until(lambda: mqtt.connected, "connected again")
            await until(lambda: total in subscriber.seqs(topic), "the last", 30)
            seen = set(subscriber.seqs(topic))
            missing = sorted(set(range(1, total + 1)) - seen)
            for seq in missing:
                subscriber.ask(
                    "replay",
                    {"topic": topic, "from_seq": seq, "limit": 1},
                    response_topic=ROOT + "replies/hub",
                )
            await until(lambda: len(subscriber.on("replies/hub")) >= len(missing), "replayed")
            for answer in subscriber.on("replies/hub"):
                seen |= {message["seq"] for message in answer.json["messages"]}
            assert seen == set(range(1, total + 1))
            print(f"{len(missing)} of {total} messages lost by {kills} kills of the broker, all replayed")


async def test_every_reconnect_announces_everything_anew(
    store: Store, broker: Mosquitto, subscribe: Subscribe
) -> None:
    app = App()

    async def lanes() -> None:
        await put(store, [lane_state_message(lane_status(lane)) for lane in ("east-in", "east-out")])

    app.on_announce = lanes
    async with running(store, app, port=broker.port) as mqtt:
        mqtt.availability("cam-1", True)
        mqtt.availability("cam-2", True)
        mqtt.availability("cam-2", False)
        for times in (1, 2, 3):
            # a broker without persistence comes back empty: what it has now was announced just now
            latecomer = subscribe(broker.port)
            await until(lambda one=latecomer: len(one.on("lanes/east-out/state")) == 1, "states")
            await until(lambda one=latecomer: len(one.on("devices/cam-2/availability")) >= 1, "devices")
            assert latecomer.on("status")[-1].payload == b"online"
            assert latecomer.on("devices/cam-1/availability")[-1].payload == b"online"
            assert latecomer.on("devices/cam-2/availability")[-1].payload == b"offline"
            assert latecomer.seqs("lanes/east-in/state") == [times]
            assert all(got.retain for got in latecomer.got)
            broker.stop()
            await until(lambda: not mqtt.connected, "noticed")
            broker.start()
            await until(lambda: mqtt.connected, "connected again")
        watcher = subscribe(broker.port)
        mqtt.forget_device("cam-1")
        gone = f"{ROOT}devices/cam-1/availability"
        await until(lambda: (gone, b"") in [(got.topic, got.payload) for got in watcher.got], "gone")
        last = subscribe(broker.port)
        await until(lambda: last.on("devices/cam-2/availability"), "devices")
        assert last.on("devices/cam-1/availability") == []


async def test_a_good_end_says_offline(store: Store, broker: Mosquitto, subscribe: Subscribe) -> None:
    subscriber = subscribe(broker.port)
    async with running(store, App(), port=broker.port) as mqtt:
        await put(store, passages(5, lanes=1))
    assert mqtt.state.state == "stopped"
    await until(lambda: len(subscriber.on("status")) == 2, "both")
    assert [got.payload for got in subscriber.on("status")] == [b"online", b"offline"]
    assert subscriber.seqs("lanes/lane-0/passages") == [1, 2, 3, 4, 5]


_DIES = """
import asyncio, sys
from datetime import datetime, UTC
from gated.mqtt.answers import Hooks
from gated.mqtt.client import Mqtt
from gated.mqtt.settings import MqttSettings
from gated.store.store import Store

async def nothing(*_): return None

async def main():
    store = await Store.open(sys.argv[1])
    hooks = Hooks(announce=nothing, lanes=set, authorize=nothing, on_lane_command=nothing)
    now = lambda: datetime.now(UTC)
    async with Mqtt(MqttSettings(port=int(sys.argv[2])), "village", store, now, hooks):
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_our_death_is_announced_by_the_broker(
    tmp_path: Path, broker: Mosquitto, subscribe: Subscribe
) -> None:
    import sys

    subscriber = subscribe(broker.port)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _DIES, f"sqlite:///{tmp_path}/child.db", str(broker.port)
    )
    try:
        await until(lambda: [got.payload for got in subscriber.on("status")] == [b"online"], "online")
    finally:
        process.kill()
        await process.wait()
    await until(lambda: subscriber.on("status")[-1].payload == b"offline", "the will")
    latecomer = subscribe(broker.port)
    await until(lambda: latecomer.on("status"), "retained")
    assert latecomer.on("status")[0].payload == b"offline"


async def test_ten_thousand_messages_while_the_broker_is_away(
    store: Store, broker: Mosquitto, subscribe: Subscribe
) -> None:
    broker.stop()
    mqtt = Mqtt(MqttSettings(port=broker.port), SITE, store, now, App().hooks(), backoff=QUICK)
    async with mqtt:
        await put(store, passages(1000, lanes=4))  # warm
        before = psutil.Process(os.getpid()).memory_info().rss
        for start in range(1000, 10_000, 1000):
            await put(store, passages(1000, lanes=4, first=start))
        assert await store.read(outbox.backlog) == 10_000
        broker.start()
        # its own process would be fairer on memory: what the subscriber keeps counts against us
        counter = subscribe(broker.port, (ROOT + "lanes/lane-0/#",))
        await until(lambda: mqtt.counters.acknowledged >= 10_000, "acknowledged", 60)
        grown = psutil.Process(os.getpid()).memory_info().rss - before
        await until(lambda: 2500 in counter.seqs("lanes/lane-0/passages"), "the last")
        print(f"grown by {grown / 1024 / 1024:.1f} MB for 10,000 messages")
        assert grown < 24 * 1024 * 1024, f"{grown / 1024 / 1024:.1f} MB"
    assert await store.read(outbox.backlog) == 0


async def test_a_restart_goes_on_where_the_cursor_is(
    store: Store, broker: Mosquitto, subscribe: Subscribe
) -> None:
    subscriber = subscribe(broker.port)
    for start in (0, 20, 40):
        async with running(store, App(), port=broker.port):
            await put(store, passages(20, lanes=1, first=start))
            await until(lambda n=start: len(subscriber.on("lanes/lane-0/passages")) >= n + 20, "them")
    assert subscriber.seqs("lanes/lane-0/passages") == list(range(1, 61))


async def test_the_loop_is_not_held(store: Store, broker: Mosquitto) -> None:
    """Publishing a backlog leaves the loop to others: its lag stays small."""
    lags: list[float] = []

    async def measure() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - began - 0.001)

    for start in range(0, 3000, 1000):
        await put(store, passages(1000, lanes=4, first=start))
    async with running(store, App(), port=broker.port, inflight=50) as mqtt:
        measuring = asyncio.create_task(measure())
        await until(lambda: mqtt.counters.acknowledged >= 3000, "acknowledged")
        measuring.cancel()
    lags.sort()
    print(f"lag p50 {lags[len(lags) // 2] * 1000:.2f} ms, p99 {lags[int(len(lags) * 0.99)] * 1000:.2f} ms")
    # the scheduler of a busy machine adds 4 ms and its multiples now and then; the median is ours
    assert lags[len(lags) // 2] < 0.005
    assert lags[int(len(lags) * 0.9)] < 0.015


async def test_a_topic_that_the_broker_refuses_stops_the_relay_visibly(
    store: Store, tmp_path: Path, subscribe: Subscribe
) -> None:
    """Nothing is skipped for want of a right: the operator mends the ACL, and everything arrives."""
    acl = tmp_path / "acl"
    acl.write_text(f"topic read {ROOT}#\ntopic write {ROOT}status\n")
    config = f"allow_anonymous true\npersistence false\nacl_file {acl}\n"
    with Mosquitto(tmp_path / "m", config) as broker:
        mqtt = Mqtt(MqttSettings(port=broker.port), SITE, store, now, App().hooks(), backoff=QUICK)
        async with mqtt:
            await put(store, passages(3, lanes=1))
            await until(lambda: mqtt.state.state == "refused", "refused")
            assert "lanes/lane-0/passages" in (mqtt.state.error or "")
            acl.write_text(f"topic readwrite {ROOT}#\n")
            broker.stop()
            broker.start()
            subscriber = subscribe(broker.port)
            await until(lambda: subscriber.seqs("lanes/lane-0/passages") == [1, 2, 3], "delivered")


async def test_a_message_that_no_broker_takes_is_skipped(
    store: Store, tmp_path: Path, subscribe: Subscribe
) -> None:
    config = "allow_anonymous true\npersistence false\nmax_packet_size 2000\n"
    with Mosquitto(tmp_path / "m", config) as broker:
        subscriber = subscribe(broker.port)
        one, two = passages(2, lanes=1)
        too_large = lane_state_message(lane_status(barrier="x" * 3000))
        no_topic = OutboxMessage("lanes/+/state", {})
        async with running(store, App(), port=broker.port) as mqtt:
            await put(store, [one, too_large, no_topic, two])
            await until(lambda: subscriber.seqs("lanes/lane-0/passages") == [1, 2], "the others")
            assert mqtt.counters.skipped == 2
        assert await store.read(outbox.backlog) == 0


async def test_pruning_leaves_no_gap(store: Store, broker: Mosquitto, subscribe: Subscribe) -> None:
    subscriber = subscribe(broker.port)
    topic = "lanes/lane-0/passages"
    async with running(store, App(), port=broker.port):
        await put(store, passages(10, lanes=1))
        await until(lambda: len(subscriber.on(topic)) == 10, "them")
    await store.write(lambda conn: outbox.prune(conn, now() + timedelta(hours=1)))
    async with running(store, App(), port=broker.port):
        await put(store, passages(10, lanes=1, first=10))
        await until(lambda: len(subscriber.on(topic)) >= 20, "more")
        subscriber.ask("replay", {"topic": topic, "from_seq": 1}, response_topic=ROOT + "replies/x")
        await until(lambda: subscriber.on("replies/x"), "an answer")
    assert subscriber.seqs(topic) == list(range(1, 21))
    assert subscriber.on("replies/x")[0].json["messages"][0]["seq"] > 1
