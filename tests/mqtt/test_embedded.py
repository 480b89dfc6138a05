"""The embedded broker of the demo: real clients of both versions, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gated.mqtt.embedded import EmbeddedBroker
from gated.store.store import Store
from tests.mqtt.conftest import App, Subscriber, put, running, until
from tests.mqtt.samples import passages

pytest.importorskip("iotcore", reason="the embedded broker comes with gated[demo]")

Subscribe = Callable[..., Subscriber]


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("gated-broker-*"))


async def test_both_versions_at_once_and_nothing_left(store: Store, subscribe: Subscribe) -> None:
    before, folders = set(psutil.Process().children()), _folders()
    async with EmbeddedBroker() as broker:
        assert broker.port != broker.port_311
        five = subscribe(broker.port, retain_as_published=False)
        old = subscribe(broker.port_311, version="3.1.1")
        async with running(store, App(), port=broker.port) as mqtt:
            assert mqtt.protocol == "5"
            await put(store, passages(200, lanes=1))
            for subscriber in (five, old):
                await until(lambda one=subscriber: 200 in one.seqs("lanes/lane-0/passages"), "the last")
                assert subscriber.seqs("lanes/lane-0/passages") == list(range(1, 201))
        for subscriber in (five, old):
            subscriber.stop()
    assert set(psutil.Process().children()) == before
    assert _folders() == folders
    assert _free(broker.port)
    assert _free(broker.port_311)


async def test_falls_back_on_the_port_of_the_old_version(store: Store, subscribe: Subscribe) -> None:
    async with EmbeddedBroker() as broker:
        subscriber = subscribe(broker.port_311, version="3.1.1")
        async with running(store, App(), port=broker.port_311) as mqtt:
            assert mqtt.protocol == "3.1.1"
            await put(store, passages(200, lanes=1))
            await until(lambda: 200 in subscriber.seqs("lanes/lane-0/passages"), "the last")
        subscriber.stop()
    assert subscriber.seqs("lanes/lane-0/passages") == list(range(1, 201))


async def test_a_taken_port_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        folders = _folders()
        with pytest.raises((OSError, RuntimeError)):
            async with EmbeddedBroker(port=taken.getsockname()[1]):
                pass
        assert _folders() == folders


_PARENT = """
import asyncio
from gated.mqtt.embedded import EmbeddedBroker

async def main():
    async with EmbeddedBroker() as broker:
        print(broker.port, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_it_ends_with_its_parent(how: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PARENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert parent.stdout is not None
    port = int(await parent.stdout.readline())
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # Ctrl-C reaches the whole group
    else:
        os.kill(parent.pid, how)
    await parent.communicate()
    await until(lambda: not any(child.is_running() for child in children), "ended")
    await until(lambda: _free(port), "port free")
