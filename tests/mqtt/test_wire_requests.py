"""Replays and commands over a real mosquitto, with MQTT 5 and 3.1.1 clients, and whatever else arrives."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog

from gated.domain import OpeningOutcome
from gated.outbox import alert_message
from gated.ports import NotRecorded
from gated.store.store import Store
from gated.times import iso
from tests.mqtt.conftest import ROOT, App, Subscriber, now, put, running, until
from tests.mqtt.samples import alert, passages
from tests.peers.mosquitto import Mosquitto

pytestmark = pytest.mark.mosquitto

Subscribe = Callable[..., Subscriber]
REPLIES = "replies/desk"


def command(**changes: Any) -> dict[str, Any]:
    fields = {
        "request_id": "r1",
        "nonce": os.urandom(8).hex(),
        "action": "open",
        "reason": "ambulance",
        "token": "right",
        "expires_at": iso(now() + timedelta(seconds=30)),
    }
    return {key: value for key, value in {**fields, **changes}.items() if value is not None}


async def answer(asker: Subscriber, count: int = 1) -> dict[str, Any]:
    """The latest answer, once there are `count`."""
    await until(lambda: len(asker.on(REPLIES)) >= count, f"answer {count}")
    found: dict[str, Any] = asker.on(REPLIES)[count - 1].json
    return found


# --- replay -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("ours", ["5", "3.1.1"])
async def test_a_replay_page_by_page(
    store: Store, broker: Mosquitto, subscribe: Subscribe, version: str, ours: str
) -> None:
    asker = subscribe(broker.port, (ROOT + "replies/#",), version=version)
    topic = "lanes/lane-0/passages"
    await put(store, passages(250, lanes=1))
    async with running(store, App(), port=broker.port, protocol=ours):
        got: list[int] = []
        page: dict[str, Any] = {"more": True, "next_seq": 31}
        pages = 0
        while page["more"]:
            request = {"topic": ROOT + topic, "from_seq": page["next_seq"], "request_id": f"q{pages}"}
            if version == "5" == ours:
                asker.ask("replay", request, response_topic=ROOT + REPLIES, correlation=b"c%d" % pages)
            else:
                asker.ask("replay", {**request, "response_topic": ROOT + REPLIES})
            page = await answer(asker, pages + 1)
            assert page["request_id"] == f"q{pages}"
            if version == "5" == ours:
                assert asker.on(REPLIES)[pages].correlation == b"c%d" % pages
            got += [message["seq"] for message in page["messages"]]
            assert len(page["messages"]) <= 100
            pages += 1
    assert got == list(range(31, 251))
    assert pages > 2


async def test_a_grid_worker_replays_its_own_grid_only(
    store: Store, broker: Mosquitto, subscribe: Subscribe
) -> None:
    asker = subscribe(broker.port, (ROOT + "replies/#",))
    await put(store, [alert_message(alert(id=f"a{n}"), "new") for n in range(3)])
    await put(store, [alert_message(alert(grid="g02"), "new")])
    async with running(store, App(), port=broker.port):
        asker.ask("grids/g01/alerts/replay", {"from_seq": 2}, response_topic=ROOT + REPLIES)
        page = await answer(asker)
        assert [message["id"] for message in page["messages"]] == ["a1", "a2"]
        other = {"topic": "grids/g02/alerts", "from_seq": 1}
        asker.ask("grids/g01/alerts/replay", other, response_topic=ROOT + REPLIES)
        assert (await answer(asker, 2))["error"] == "forbidden"


async def test_a_replay_of_nothing(store: Store, broker: Mosquitto, subscribe: Subscribe) -> None:
    asker = subscribe(broker.port, (ROOT + "replies/#",))
    async with running(store, App(), port=broker.port):
        asker.ask("replay", {"topic": "lanes/nowhere/passages", "from_seq": 5}, response_topic=ROOT + REPLIES)
        page = await answer(asker)
        assert (page["ok"], page["messages"], page["more"], page["next_seq"]) == (True, [], False, 5)


# --- commands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_command_opens_once(
    store: Store, broker: Mosquitto, subscribe: Subscribe, version: str
) -> None:
    asker = subscribe(broker.port, (ROOT + "replies/#",), version=version)
    app = App()
    async with running(store, app, port=broker.port):
        sent = command(response_topic=ROOT + REPLIES)
        asker.ask("lanes/east-in/command", sent)
        assert await answer(asker) == {"request_id": "r1", "ok": True, "outcome": "accepted"}
        asker.ask("lanes/east-in/command", sent)
        assert (await answer(asker, 2))["error"] == "replayed"
        asker.ask("lanes/east-out/command", sent)
        assert (await answer(asker, 3))["error"] == "replayed"
    (taken,) = app.commands
    assert (taken.lane, taken.person, taken.reason) == ("east-in", "Li Wei", "ambulance")


async def test_a_command_does_not_work_again_after_a_restart(
    store: Store, broker: Mosquitto, subscribe: Subscribe
) -> None:
    asker = subscribe(broker.port, (ROOT + "replies/#",))
    app = App()
    sent = command(response_topic=ROOT + REPLIES)
    for count, error in ((1, None), (2, "replayed")):
        async with running(store, app, port=broker.port) as mqtt:
            await until(lambda one=mqtt: one.counters.acknowledged >= 1, "subscribed")
            asker.ask("lanes/east-in/command", sent)
            assert (await answer(asker, count)).get("error") == error
    assert len(app.commands) == 1


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (OpeningOutcome.CONFIRMED, {"ok": True, "outcome": "confirmed"}),
        (OpeningOutcome.REJECTED, {"ok": False, "outcome": "rejected"}),
        (OpeningOutcome.UNCERTAIN, {"ok": False, "outcome": "uncertain"}),
        (KeyError, {"ok": False, "error": "unknown_lane"}),
        (NotRecorded, {"ok": False, "error": "not_recorded"}),
        (RuntimeError, {"ok": False, "error": "failed"}),
    ],
)
async def test_what_became_of_a_command(
    store: Store,
    broker: Mosquitto,
    subscribe: Subscribe,
    outcome: OpeningOutcome | type[Exception],
    reply: dict[str, Any],
) -> None:
    asker = subscribe(broker.port, (ROOT + "replies/#",))
    async with running(store, App(outcome=outcome), port=broker.port):
        asker.ask("lanes/east-in/command", command(), response_topic=ROOT + REPLIES)
        answered = await answer(asker)
        assert {key: answered[key] for key in reply} == reply


@pytest.mark.parametrize(
    ("lane", "changes", "code"),
    [
        ("east-in", {"token": "wrong"}, "forbidden"),
        ("east-in", {"token": None}, "bad_request"),
        ("east-in", {"expires_at": "2020-01-01T00:00:00Z"}, "expired"),
        ("east-in", {"expires_at": "2099-01-01T00:00:00Z"}, "expires_too_late"),
        ("east-in", {"action": "close"}, "bad_action"),
        ("north", {}, "unknown_lane"),
        ("east-in", {"reason": "x" * 9000}, "too_large"),
    ],
)
async def test_commands_that_are_refused(
    store: Store, broker: Mosquitto, subscribe: Subscribe, lane: str, changes: dict[str, Any], code: str
) -> None:
    asker = subscribe(broker.port, (ROOT + "replies/#",))
    app = App()
    with structlog.testing.capture_logs() as logged:
        async with running(store, app, port=broker.port):
            asker.ask(f"lanes/{lane}/command", command(**changes), response_topic=ROOT + REPLIES)
            assert (await answer(asker))["error"] == code
    assert app.commands == []
    refused = [line for line in logged if line["event"] == "mqtt_request_refused"]
    assert [line["code"] for line in refused] == [code]
    assert "right" not in str(refused)
    assert "wrong" not in str(refused)


async def test_a_retained_command_is_refused(store: Store, broker: Mosquitto, subscribe: Subscribe) -> None:
    asker = subscribe(broker.port, (ROOT + "replies/#",))
    app = App()
    asker.ask("lanes/east-in/command", command(), response_topic=ROOT + REPLIES, retain=True)
    with structlog.testing.capture_logs() as logged:
        async with running(store, app, port=broker.port):
            # one was kept by the broker, the other comes live, sent to be kept
            asker.ask("lanes/east-out/command", command(), response_topic=ROOT + REPLIES, retain=True)
            asker.ask("lanes/east-out/command", command(), response_topic=ROOT + REPLIES)
            await answer(asker)
    assert [taken.lane for taken in app.commands] == ["east-out"]
    assert "retained" in [line.get("code") for line in logged]
    assert len(asker.on(REPLIES)) == 1


async def test_an_answer_is_no_way_to_have_gated_publish(
    store: Store, broker: Mosquitto, subscribe: Subscribe
) -> None:
    watcher = subscribe(broker.port)
    app = App()
    async with running(store, app, port=broker.port) as mqtt:
        for target in ("lanes/east-in/state", "lanes/east-in/command", "status"):
            watcher.ask("replay", {"topic": "x", "from_seq": 1}, response_topic=ROOT + target)
        watcher.ask("lanes/east-in/command", command(), response_topic=ROOT + "status")
        watcher.ask("lanes/east-in/command", command(reason="the last"))
        await until(lambda: app.commands, "the last")
        await until(lambda: mqtt.counters.acknowledged == mqtt.counters.published, "quiet")
    assert [taken.reason for taken in app.commands] == ["the last"]
    assert watcher.on("lanes/east-in/state") == []
    assert [got.payload for got in watcher.on("status")] in ([b"online"], [b"online", b"offline"])


async def test_garbage_harms_nothing(store: Store, broker: Mosquitto, subscribe: Subscribe) -> None:
    noise = random.Random(7)
    asker = subscribe(broker.port, (ROOT + "replies/#",))
    app = App()
    topics = ["replay", "grids/g01/alerts/replay", "lanes/east-in/command", "lanes/x/command"]
    odd: list[Any] = [None, [], {}, 5, "x", True, {"response_topic": 5}, {"from_seq": {}}, {"topic": []}]
    with structlog.testing.capture_logs() as logged:
        async with running(store, app, port=broker.port) as mqtt:
            for number in range(400):
                body = (
                    json.dumps(noise.choice(odd)).encode()
                    if number % 2
                    else noise.randbytes(noise.randrange(200))
                )
                asker.ask(noise.choice(topics), body, response_topic=noise.choice([None, "x", "gated/x"]))
                if number % 16 == 0:
                    await asyncio.sleep(0.01)
            asker.ask("lanes/east-in/command", b"x" * 60_000)
            asker.ask("lanes/east-in/command", b"x" * 200_000)
            asker.ask("lanes/east-in/command", command(), response_topic=ROOT + REPLIES)
            assert (await answer(asker))["ok"]
            assert mqtt.counters.connects == 1
    assert len(app.commands) == 1
    assert len([line for line in logged if line["event"] == "mqtt_request_refused"]) < 5
    assert not [line for line in logged if line["log_level"] in ("error", "critical")]
