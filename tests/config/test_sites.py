"""The sample sites that operators copy from can be used as they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gated.config import SiteConfig, load, secrets_of
from gated.ports import pushes
from gated.wiring import load_adapter

SITES = Path(__file__).parents[2] / "deploy/sites"


@pytest.fixture(scope="module")
def village() -> SiteConfig:
    return load(SITES / "liuanzhuang/gated.yaml", load_adapter)


def test_the_village_has_the_size_of_the_field(village: SiteConfig) -> None:
    cameras = [device for device in village.devices if device.type != "modbus"]
    assert len(village.entrances) == 12
    assert len(village.lanes) == 24
    assert len(cameras) == 38
    assert len(village.grids) == 23
    assert Counter(lane.direction.value for lane in village.lanes) == {"in": 12, "out": 12}


def test_the_village_mixes_all_device_types(village: SiteConfig) -> None:
    assert {device.type for device in village.devices} == {"onvif", "vzenith", "webhook", "modbus"}


def test_eight_junctions_and_six_high_mounted_cameras_only_watch(village: SiteConfig) -> None:
    watching = [device.id for device in village.devices if not village.lanes_of_device(device.id)]
    assert Counter(id_.partition("-")[0] for id_ in watching) == {"jct": 8, "high": 6}


def test_every_lane_opens_a_barrier_of_its_own(village: SiteConfig) -> None:
    outputs = Counter((lane.barrier.device, lane.barrier.output) for lane in village.lanes if lane.barrier)
    assert len(outputs) == 24


def test_no_two_devices_listen_at_the_same_address(village: SiteConfig) -> None:
    called = [device for device in village.devices if pushes(device) is None]
    addresses = Counter((device.host, device.port) for device in called)  # type: ignore[attr-defined]
    assert max(addresses.values()) == 1
    assert {host for host, _ in addresses} == {"127.0.0.1"}


def test_the_simulators_secrets_are_there(village: SiteConfig) -> None:
    values = {secret.value() for _, secret in secrets_of(village)}
    assert len(values) == 3
    assert all(value.startswith("simulated-") for value in values)


def test_the_minimal_site() -> None:
    config = load(SITES / "minimal/gated.yaml", load_adapter)
    assert [lane.id for lane in config.lanes] == ["gate-in"]
    assert [device.type for device in config.devices] == ["onvif", "modbus"]
    assert all(secret.env for _, secret in secrets_of(config))
