"""The demo as somebody tries it, and its fault "broker away" on the real wires."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gated.demo.outage import Outages
from gated.demo.subscriber import Subscriber
from gated.mqtt.embedded import EmbeddedBroker
from tests.acceptance.daemon import daemon, issue, opens, push_body, site, until
from tests.peers.mosquitto import require

pytest.importorskip("iotcore", reason="the embedded broker comes with gated[demo]")

PLATE = "津A12345"


@contextlib.contextmanager
def _demo(tmp_path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "gated", "demo", "--speed", "60", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # what it started ends with it


@pytest.mark.timeout(120)
def test_the_demo(tmp_path: Path) -> None:
    with _demo(tmp_path, "--duration", "8", "--json") as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err[-3000:]
    summary = json.loads(out)
    counts = (
        "passages granted referred denied openings alerts mqtt_delivered decision_p99_ms broker_outages "
        "mqtt_missing"
    )
    assert list(summary) == counts.split()
    assert summary["passages"] > 30
    assert summary["granted"] > summary["referred"] > 0
    assert summary["openings"] > 0
    assert summary["broker_outages"] == 1
    assert summary["mqtt_delivered"] == summary["passages"]
    assert summary["mqtt_missing"] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.mosquitto
@pytest.mark.timeout(90)
def test_the_lines_that_it_prints_work_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    curl, mosquitto_sub = require("curl"), require("mosquitto_sub")
    with _demo(tmp_path) as process:
        assert process.stdout is not None
        told: list[str] = []
        while not told or "mosquitto_sub" not in told[-1]:
            told.append(process.stdout.readline())
            assert process.poll() is None, "it ended before it said how to watch"
        for_api, for_alerts = (shlex.split(line) for line in told[-2:])
        lanes = subprocess.run([curl, *for_api[2:]], capture_output=True, check=True)
        assert len(json.loads(lanes.stdout)["items"]) == 24
        watch = [mosquitto_sub, *for_alerts[3:], "-C", "1", "-W", "30"]
        topic, _, alert = subprocess.run(watch, capture_output=True, check=True).stdout.partition(b" ")
        assert topic.startswith(b"gated/liuanzhuang/grids/")
        assert json.loads(alert)["text"]["zh"]
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches the whole group
        out, err = process.communicate(timeout=40)
    assert process.returncode == 0
    assert "The demo is over" in out
    assert err == ""
    assert list(tmp_path.iterdir()) == []


async def test_passages_go_on_while_the_broker_is_away_and_then_every_message_arrives(
    tmp_path: Path,
) -> None:
    async with EmbeddedBroker() as broker:
        with daemon(tmp_path, site(tmp_path, lanes=2, mqtt_port=broker.port)) as gated:
            await issue(gated.url, gated.token(), [PLATE])
            topics = [f"lanes/lane-{n}/passages" for n in range(2)]
            topics += [f"grids/{grid['id']}/alerts" for grid in gated.config["grids"]]
            outages = Outages(broker)

            async def drive(lane: int, first: int) -> None:
                camera = gated.camera(lane)
                for number in range(first, first + 20):
                    known = number % 2 == 0
                    plate = PLATE if known else f"京B{number:05}"
                    _, reply = await camera.push(push_body(plate, number)) or (0, {})
                    assert opens(reply) is known

            await asyncio.gather(*(drive(lane, 0) for lane in range(2)))
            async with Subscriber(broker.host, broker.port_311, "gated/testville/", topics) as desk:
                await until(lambda: desk.count("/passages") == 40)  # it asked for what it had missed
                away = asyncio.create_task(outages.away(1.0))
                await until(lambda: "mqtt_unreachable" in gated.log)
                assert outages.on
                await asyncio.gather(*(drive(lane, 100) for lane in range(2)))
                assert outages.on, "they went on without it"
                assert desk.count("/passages") == 40
                await away
                await until(lambda: desk.count("/passages") == 80, 20)
                await until(lambda: desk.count("/alerts") == 40, 20)
                assert desk.missing == 0


async def test_an_outage_that_is_cut_short_brings_the_broker_back() -> None:
    async with EmbeddedBroker() as broker:
        outages, ports = Outages(broker), (broker.port, broker.port_311)
        away = asyncio.create_task(outages.away(3600))
        await asyncio.sleep(0)
        away.cancel()
        await asyncio.wait([away])
        assert away.cancelled()
        for port in ports:
            _, writer = await asyncio.open_connection(broker.host, port)
            writer.close()
