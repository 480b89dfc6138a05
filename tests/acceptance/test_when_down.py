"""A lane with `fail_mode: list`, with the real daemon and a simulated Hikvision camera: its list follows the
passes; gated is killed; what the camera opened for by itself comes back, opens nothing, and is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

from adapters.simulator.hikvision import HikvisionCamera
from tests.acceptance.daemon import daemon, issue, site, until

RESIDENT, STRANGER = "津A12345", "津B99999"


async def test_the_list_follows_the_passes_and_openings_alone_come_back(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("right")
    async with HikvisionCamera() as camera:
        config = site(tmp_path, lanes=1, fail_mode="list")
        config["devices"] = [
            {
                "id": "cam-0", "type": "hikvision", "host": "127.0.0.1", "port": camera.server.port,
                "username": "admin", "password": {"file": str(tmp_path / "pw")},
            }
        ]  # fmt: skip
        with daemon(tmp_path, config, start=False) as gated:
            await asyncio.to_thread(gated.start)
            token = await asyncio.to_thread(gated.token)
            await issue(gated.url, token, [RESIDENT])
            await until(lambda: RESIDENT in camera.list, 20, "the camera's list has the pass")
            await camera.see(RESIDENT)
            await until(lambda: len(camera.boom.openings) == 1, 10, "it opens")

            gated.kill()
            camera.asked.clear()
            await asyncio.to_thread(gated.start)
            await asyncio.wait_for(camera.asked.wait(), 20)
            # while gated was away the camera let in both: the stranger's pass had been typed into it
            await camera.see(RESIDENT, retransmitted=True, listed="allowList", ago_s=3600)
            await camera.see(STRANGER, retransmitted=True, listed="allowList", ago_s=3500)

            def told() -> list[str]:
                return [row["text_en"] for row in gated.rows("SELECT text_en FROM alerts")]

            await until(lambda: any(STRANGER in text for text in told()), 10, "somebody is told")
            assert not any(RESIDENT in text for text in told())
            reads = gated.rows("SELECT disposition, credential, details FROM reads ORDER BY n")
            assert [(row["disposition"], row["credential"]) for row in reads] == [
                ("backlog", RESIDENT),
                ("backlog", STRANGER),
            ]
            assert '"covered_by":"nothing"' in reads[1]["details"].replace(" ", "")
            assert len(camera.boom.openings) == 1, "what is past opens nothing"
