"""The demo's village: at each entrance the devices of another vendor, on real sockets, lines and a broker; at
each lane somebody with a pass is let in, and somebody without is not."""

from __future__ import annotations

import asyncio
import pkgutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

import adapters
from adapters.simulator.people import card_of
from adapters.simulator.site import SimulatedSite
from gated.app import App
from gated.config import SiteConfig, loads
from gated.demo.ports import reserved
from gated.demo.spec import sim_lanes
from gated.demo.village import AT, ENTRANCES, KEY_ENV, PORTS, SECRET_ENV, village
from gated.domain import CredentialKind, Holder, Outcome, Pass
from gated.ids import new_id
from gated.mqtt.embedded import EmbeddedBroker
from gated.plates import credential
from gated.store import Store, passages, passes
from gated.wiring import load_adapter
from tests.acceptance.daemon import until

pytest.importorskip("iotcore", reason="the embedded broker comes with gated[demo]")
pytest.importorskip("osdp", reason="the card readers come with gated[demo]")

PLATE, STRANGER = "津A12345", "京B99999"
VENDORS = {
    module.name
    for module in pkgutil.iter_modules(adapters.__path__)
    if not module.name.startswith("_") and module.name != "simulator"
}


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def ports() -> Iterator[Iterator[int]]:
    with reserved(PORTS) as found:
        yield found


@pytest.fixture
def config(
    tmp_path: Path, broker: EmbeddedBroker, ports: Iterator[int], monkeypatch: pytest.MonkeyPatch
) -> SiteConfig:
    monkeypatch.setenv(SECRET_ENV, "secret-of-the-test")
    monkeypatch.setenv(KEY_ENV, "5ec2e70f7be8e4c1a23bd2f1e4c7a911")
    content: dict[str, Any] = village(
        data=str(tmp_path), mqtt_port=broker.port, broker_port=broker.port_311, api_port=next(ports),
        ports=ports,
    )  # fmt: skip
    return loads(yaml.safe_dump(content, allow_unicode=True), load_adapter, name="the demo's village")


def test_every_vendor_is_at_an_entrance(config: SiteConfig) -> None:
    assert set(AT) == {entrance for entrance, _, _ in ENTRANCES}
    at_lanes = {camera.device for lane in config.lanes for camera in lane.cameras}
    at_lanes |= {lane.barrier.device for lane in config.lanes if lane.barrier is not None}
    types = {device.type for device in config.devices if device.id in at_lanes}
    assert types == VENDORS - {"gpio"}, "the pins of the box itself cannot be simulated from outside of it"


@pytest.mark.timeout(90)
async def test_each_lane_lets_in_whom_it_should(config: SiteConfig) -> None:
    now = datetime.now(UTC)
    store = await Store.open(config.store.url)
    held = (credential(CredentialKind.PLATE, PLATE), credential(CredentialKind.CARD, card_of(PLATE)))
    one = Pass(
        id=new_id(now), kind="resident", holder=Holder("王伟"), entrances=None, credentials=held,
        valid_from=now - timedelta(1), valid_until=now + timedelta(1), created_at=now, updated_at=now,
    )  # fmt: skip
    await store.write(partial(passes.insert, given=one))
    await store.close()
    async with App(config) as app:
        site = SimulatedSite(config.devices, sim_lanes(config), app.served.url, healthy=True)
        async with site:
            await until(lambda: app.devices.online == len(config.devices), 40)
            await asyncio.gather(*(site.see(lane.cameras[0].device, STRANGER) for lane in config.lanes))
            await asyncio.sleep(1)
            assert not any(boom.openings for boom in site.booms.values())
            await asyncio.gather(*(site.see(lane.cameras[0].device, PLATE) for lane in config.lanes))
            await until(lambda: all(boom.openings for boom in site.booms.values()), 10)
            await asyncio.sleep(1)
        opened = {lane: [each.milliseconds for each in boom.openings] for lane, boom in site.booms.items()}
        assert all(len(each) == 1 and 490 <= each[0] <= 1510 for each in opened.values()), opened
        rows = await app.store.read(partial(passages.page, limit=200))
    told = {(row.passage.lane, row.decision.outcome, row.decision.pass_id) for row in rows}
    for lane in config.lanes:
        assert (lane.id, Outcome.GRANT, one.id) in told
        assert any(row.passage.lane == lane.id and row.decision.outcome is not Outcome.GRANT for row in rows)
    assert len(rows) == 2 * len(config.lanes)
