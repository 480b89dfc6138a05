"""The site of `mixed_devices` is one that the daemon takes, and what became of a read is matched rightly."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from adapters.simulator.doubles import BUILDERS
from gated.config import loads
from gated.wiring import load_adapter
from tests.benchmarks import mixed_figures, report
from tests.benchmarks.mixed_figures import Message, matched, quantile
from tests.benchmarks.mixed_site import VENDORS, Lane, Site, Vendor, site


def _site(number: int, vendors: tuple[Vendor, ...] = VENDORS) -> Site:
    return site(number, vendors, data="/tmp/x", mqtt_port=1883, api_port=8440, ports=iter(count(20_000)))


@pytest.mark.parametrize("number", [1, len(VENDORS), 100, 300])
def test_the_daemon_takes_it(number: int) -> None:
    made = _site(number)
    config = loads(json.dumps(made.config), load_adapter, name="bench")
    assert len(config.devices) == number
    assert len(config.lanes) == len(made.lanes)
    assert max(made.vendors.values()) - min(made.vendors.values()) <= 1
    assert {device.type for device in config.devices} <= set(BUILDERS)


def test_every_lane_has_a_barrier_and_every_relay_a_lane() -> None:
    made = _site(300)
    assert all(lane.barrier is not None for lane in made.lanes)
    relays = sum(share for name, share in made.vendors.items() if name in {"modbus", "mqtt_relay"})
    assert len({lane.loop for lane in made.lanes if lane.loop}) == relays


def test_a_camera_that_no_relay_is_left_for_only_watches() -> None:
    alone = _site(4, tuple(vendor for vendor in VENDORS if vendor.name == "onvif"))
    assert [lane["watch_only"] for lane in alone.config["lanes"]] == [True] * 4


LANES = (Lane("l0", "c0", "onvif", False, "r0", "0", "modbus", False, ("r0", "0"), "modbus"),)


def _told(**changed: Any) -> dict[str, Any]:
    return {
        "seconds": 1.0, "cores": 0.1, "late": [0.0], "failed": [], "reads": [("l0", "A", 10.0)],
        "loops": [("l0", True, 9.0)], "openings": [("l0", 9.9), ("l0", 10.25)], **changed,
    }  # fmt: skip


def _message(at: float, shown: str = "A", outcome: str = "grant") -> Message:
    return Message(at, "l0", "passages", {"credential": {"value": shown}, "outcome": outcome})


STATE = Message(9.5, "l0", "state", {"occupied": True})


def test_what_became_of_a_read_is_matched() -> None:
    load = matched(_told(), [STATE, _message(10.5)], {"A": 10.125}, LANES, 0.2)
    assert load.reads == {"onvif": [0.5]}
    assert load.arrived == {"onvif": [0.125]}
    assert load.opened == {"modbus": [0.25]}  # not by the opening of before
    assert load.loops == {"modbus": [0.5]}


@pytest.mark.parametrize(("told", "messages", "arrived", "missing"), [
    ({}, [STATE], {"A": 10.1}, "messages of reads of onvif"),
    ({}, [STATE, _message(10.5)], {}, "records of reads of onvif"),
    ({}, [STATE, _message(10.5, outcome="deny")], {"A": 10.1}, "grants to reads of onvif"),
    ({"openings": [("l0", 9.9)]}, [STATE, _message(10.5)], {"A": 10.1}, "openings by modbus"),
    ({}, [_message(10.5)], {"A": 10.1}, "inputs of modbus"),
    ({"failed": ["c0: gone"]}, [STATE, _message(10.5)], {"A": 10.1}, "could not send: c0: gone"),
])  # fmt: skip
def test_what_is_missing_is_a_fault(
    told: dict[str, Any],
    messages: list[Message],
    arrived: dict[str, float],
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults: list[str] = []
    monkeypatch.setattr(mixed_figures, "fault", faults.append)
    matched(_told(**told), messages, arrived, LANES, 0.2)
    assert len(faults) == 1
    assert missing in faults[0]
    assert report.finish() == 0


def test_a_quantile_is_taken_of_what_a_histogram_has_grown_by() -> None:
    inf = float("inf")
    before, after = {0.001: 5.0, 0.002: 5.0, inf: 5.0}, {0.001: 55.0, 0.002: 105.0, inf: 105.0}
    assert quantile(before, after, 0.5) == pytest.approx(0.001)
    assert quantile(before, after, 0.75) == pytest.approx(0.0015)
    assert quantile({}, {0.001: 1.0, inf: 4.0}, 0.99) == 0.001  # beyond the last bound nothing is known
