"""A restart while a vehicle stands at the barrier."""

from __future__ import annotations

import time
from pathlib import Path

from tests.acceptance.daemon import daemon, issue, opens, push_body, site, until

PLATE = "津A12345"


async def test_killed_with_a_vehicle_at_the_lane_it_is_not_opened_for_again(tmp_path: Path) -> None:
    """The camera's next look at it is another event, so nothing but the lane's window tells."""
    with daemon(tmp_path, site(tmp_path, lanes=1, merge_ms=20_000, max_age_ms=20_000), start=False) as gated:
        token = gated.token("staff")
        gated.start()
        await issue(gated.url, token, [PLATE, "津B67890"])
        _, reply = await gated.camera(0).push(push_body(PLATE, 1)) or (0, {})
        assert opens(reply)
        gated.kill()
        gated.start()
        _, reply = await gated.camera(0).push(push_body(PLATE, 2)) or (0, {})
        assert not opens(reply)
        _, reply = await gated.camera(0).push(push_body("津B67890", 3)) or (0, {})
        assert opens(reply)


async def test_no_alert_stays_open_about_a_device_that_was_removed_meanwhile(tmp_path: Path) -> None:
    with daemon(tmp_path, site(tmp_path, lanes=2)) as gated:
        for n in range(2):
            await gated.camera(n).push(push_body(PLATE, 1, at=time.time() - 600))
        about = "SELECT device, state FROM alerts WHERE reason = 'reads_late' ORDER BY device"
        await until(lambda: len(gated.rows(about)) == 2)
        gated.stop()
        gated.config["lanes"].pop()
        gated.config["devices"].pop()
        gated.start()
        await until(
            lambda: [tuple(row) for row in gated.rows(about)] == [("cam-0", "open"), ("cam-1", "closed")]
        )
        await gated.camera(0).push(push_body(PLATE, 2))
        await until(lambda: {row["state"] for row in gated.rows(about)} == {"closed"})
