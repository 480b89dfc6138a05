"""`docs/mqtt.md` as it is read: its commands are run as they stand there, against the deployed configuration.

Changed are only the broker's address (a port of loopback, without TLS), what the page leaves out (passwords,
the token) and the site's name.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gated.domain import OpeningOutcome
from gated.mqtt.client import Mqtt
from gated.outbox import alert_message
from gated.store.store import Store
from tests.mqtt.conftest import SITE, USERS, App, put, until
from tests.mqtt.contract import Contract
from tests.mqtt.samples import alert
from tests.peers.mosquitto import Mosquitto, require

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "mqtt.md").read_text().replace("liuanzhuang", SITE)
CONSOLE = re.findall(r"^\$ (mosquitto_.+?)\n((?:gated/|\{).+?)^```", PAGE, re.DOTALL | re.MULTILINE)
"""Commands, and what the page shows as their output."""
(SUB, SUB_OUTPUT), (REPLAY, _), (OPEN, OPEN_OUTPUT) = CONSOLE
(SUB_ALL,) = re.findall(r"`(mosquitto_\w+ -[^`]+)`", PAGE)
SESSIONS = re.findall(r"`(-c -i [^`]+)`", PAGE)
TOPIC = f"gated/{SITE}/grids/g01/alerts"


def _shell(command: str, port: int, options: str) -> str:
    words = command.replace("-h box.village -p 8883 --cafile ca.crt ", "")
    for user, password in USERS.items():
        words = words.replace(f"-u {user} -P ...", f"-u {user} -P {password}")
    words = words.replace('"token":"..."', '"token":"right"').replace("-i ...", "-i phone")
    program, _, rest = words.partition(" ")
    assert " ... " not in rest
    return f"{require(program)} -p {port} {options} {rest}"


async def _run(command: str, broker: Mosquitto, options: str) -> str:
    """What it prints."""
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", _shell(command, broker.port, options), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await shell.communicate()
    return printed.decode()


def test_every_command_of_the_page_is_tested_here() -> None:
    assert len(CONSOLE) + 1 == len(re.findall(r"mosquitto_\w+ -", PAGE))
    assert len(SESSIONS) == 2


@pytest.mark.mosquitto
@pytest.mark.parametrize("command", [SUB, SUB_ALL], ids=["a grid's alerts", "everything"])
async def test_watching(
    store: Store, deployed: Mosquitto, gated: Mqtt, contract: Contract, command: str
) -> None:
    async with gated:
        await until(lambda: gated.connected, "connected")
        watching = asyncio.create_task(_run(command, deployed, "-C 1 -W 10"))
        while not watching.done():  # nothing tells when it has subscribed
            await put(store, [alert_message(alert(), "new")])
            await asyncio.sleep(0.1)
    topic, _, payload = watching.result().partition(" ")
    contract.check(topic, payload.strip().encode())
    if command == SUB:
        shown_on, _, shown = SUB_OUTPUT.partition(" ")
        assert topic == shown_on
        assert json.loads(payload).keys() == json.loads(shown).keys()


@pytest.mark.mosquitto
@pytest.mark.parametrize("session", SESSIONS)
async def test_keeping_a_place(store: Store, deployed: Mosquitto, gated: Mqtt, session: str) -> None:
    command = SUB.replace(" -v", f" {session} -v")
    async with gated:
        await until(lambda: gated.connected, "connected")
        await _run(command, deployed, "-W 1")
        await put(store, [alert_message(alert(), "new")])
        await until(lambda: gated.counters.acknowledged == 2, "acknowledged")
        assert (await _run(command, deployed, "-C 1 -W 10")).startswith(f"{TOPIC} {{")


@pytest.mark.mosquitto
async def test_asking_for_a_replay(
    store: Store, deployed: Mosquitto, gated: Mqtt, contract: Contract
) -> None:
    async with gated:
        await until(lambda: gated.connected, "connected")
        await put(store, [alert_message(alert(), "new")] * 118)
        printed = await _run(REPLAY, deployed, "-W 10")
    answer = json.loads(printed)
    contract.check(f"gated/{SITE}/replies/desk/1", printed.encode())
    assert (answer["ok"], answer["topic"], answer["next_seq"]) == (True, TOPIC, 119)
    assert [message["seq"] for message in answer["messages"]] == [115, 116, 117, 118]


@pytest.mark.mosquitto
async def test_opening_a_lane(deployed: Mosquitto, app: App, gated: Mqtt) -> None:
    app.outcome = OpeningOutcome.ACCEPTED
    async with gated:
        await until(lambda: gated.connected, "connected")
        assert await _run(OPEN, deployed, "-W 10") == OPEN_OUTPUT
    assert [(command.lane, command.reason) for command in app.commands] == [("east-in", "ambulance")]


def test_the_consumer_in_the_page() -> None:
    """A second copy and a gap."""
    (code,) = re.findall(r"^```python\n(.+?)^```", PAGE, re.DOTALL | re.MULTILINE)
    handled: list[int] = []
    asked: list[int] = []
    names: dict[str, Any] = {
        "last": {},
        "ask_replay": lambda _topic, from_seq: asked.append(from_seq),
        "handle": lambda message: handled.append(message["seq"]),
    }
    exec(code, names)  # noqa: S102 - it is ours
    for seq in (1, 2, 2, 1, 3, 7, 8):
        names["received"]("topic", {"seq": seq})
    assert (handled, asked) == ([1, 2, 3, 7, 8], [4])
