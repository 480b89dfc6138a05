"""The recordings of others beside the checkout, where they are present: those of GA/T 1400 parse."""

from __future__ import annotations

import json

import pytest

from adapters.gat1400 import codec
from tests.adapters.test_fixtures import FIXTURES
from tests.adapters.test_gat1400 import ZONE

GAT = FIXTURES / "gat1400"
NOT_THIS_WIRE = {"VIID_APEs.json", "VIID_Community_DoorInfos.json"}  # lists of equipment

pytestmark = pytest.mark.skipif(not GAT.is_dir(), reason=f"no recordings of others at {GAT}")


def test_every_recording_is_accounted_for() -> None:
    assert {file.name for file in GAT.iterdir()} == NOT_THIS_WIRE | {
        "ResponseStatusList.json", "System_Keepalive.json", "System_Register.json", "VIID_MotorVehicles.json",
    }  # fmt: skip


def test_vehicles() -> None:
    content = codec.load((GAT / "VIID_MotorVehicles.json").read_bytes())
    found = [codec.vehicle(one, ZONE) for one in codec.objects(content)]
    assert found
    for given, one in zip(content["MotorVehicleListObject"]["MotorVehicleObject"], found, strict=True):
        assert one.raw == given["PlateNo"]
        assert (one.credential is None) == (given["HasPlate"] != "1")
        assert one.at is not None
        assert one.at.astimezone(ZONE).strftime("%Y%m%d%H%M%S") == given["PassTime"]


@pytest.mark.parametrize("name", ["Register", "Keepalive"])
def test_registrations(name: str) -> None:
    content = codec.load((GAT / f"System_{name}.json").read_bytes())
    assert len(codec.number_of(content, f"{name}Object")) == 20


def test_statuses() -> None:
    body = (GAT / "ResponseStatusList.json").read_bytes()
    said = json.loads(body)["ResponseStatusListObject"]["ResponseStatusObject"]
    assert codec.verdicts(body) == [(one["Id"], int(one["StatusCode"]), one["StatusString"]) for one in said]
