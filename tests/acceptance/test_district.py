"""The real daemon tells a platform of the district: all of it, also over an outage and a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.simulator.gat1400 import DistrictOffice
from tests.acceptance.daemon import daemon, issue, push_body, site, until

LANE = "31011500001310000001"


@pytest.mark.timeout(90)
async def test_every_passage_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "district").write_text("right")
    config = site(tmp_path, lanes=2)
    async with DistrictOffice() as office:
        config["district"] = {
            "url": office.url, "number": "31011500001190000009", "username": "gated",
            "password": {"file": str(tmp_path / "district")}, "lanes": {"lane-0": LANE},
        }  # fmt: skip
        with daemon(tmp_path, config) as gated:
            await issue(gated.url, gated.token(), ["津A00001"])
            await until(lambda: office.registered != set())

            async def drive(numbers: range) -> None:
                for number in numbers:
                    for lane in range(2):
                        await gated.camera(lane).push(push_body(f"津A{number:05d}", number))

            await drive(range(1, 6))
            await until(lambda: len(office.vehicles) == 5)
            await office.server.stop()
            await drive(range(6, 11))
            gated.kill()
            await office.server.start()
            gated.start()
            await drive(range(11, 16))
            await until(lambda: len(office.vehicles) == 15, 40)
            assert "right" not in gated.log
        plates = [vehicle["PlateNo"] for vehicle in office.vehicles.values()]
        assert plates == [f"津A{number:05d}" for number in range(1, 16)], "in order, and of that lane alone"
        assert {vehicle["DeviceID"] for vehicle in office.vehicles.values()} == {LANE}
        assert office.server.logins_failed == 0
