"""A running daemon and its policy: put in force, taken back, in the shadow, and what a restart remembers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from gated.policy import default_text
from tests.acceptance.daemon import Daemon, daemon, issue, opens, push_body, site, until

PLATE = "津A12345"


async def reason(gated: Daemon, number: int, plate: str, camera: Any) -> str:
    """Pushes a vehicle; the reason code of what was decided."""
    before = len(gated.rows("SELECT n FROM passages"))
    await camera.push(push_body(plate, number))
    await until(lambda: len(gated.rows("SELECT n FROM passages")) > before)
    return str(gated.rows("SELECT reason FROM passages ORDER BY n DESC LIMIT 1")[0]["reason"])


async def test_a_policy_is_put_in_force_and_taken_back_while_vehicles_pass(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    rule = "  - {id: closed_today, when: pass.kind == 'resident', then: deny, say: closed}\n"
    file.write_text(default_text().replace("  - id: pass_in_grace", rule + "  - id: pass_in_grace"))
    with daemon(tmp_path, site(tmp_path, lanes=1)) as gated:
        camera = gated.camera(0)
        await issue(gated.url, gated.token("staff"), [PLATE])
        assert await reason(gated, 1, PLATE, camera) == "pass_valid"
        gated.command("rules", "activate", str(file))
        await until(lambda: gated.log.count("policy_in_force") == 2)
        assert await reason(gated, 2, PLATE, camera) == "closed_today"
        # a half-edited file changes nothing
        file.write_text(file.read_text().replace("then: deny, say: closed}", "then: den"))
        refused = gated.command("rules", "activate", str(file), check=False)
        assert refused.returncode == 1
        assert "policy.yaml:" in refused.stderr
        assert await reason(gated, 3, PLATE, camera) == "closed_today"
        gated.command("rules", "take-back")
        await until(lambda: gated.log.count("policy_in_force") == 3)
        assert await reason(gated, 4, PLATE, camera) == "pass_valid"
        # each passage is explained by the policy that decided it
        for row in gated.rows("SELECT id, reason FROM passages ORDER BY n LIMIT 2"):
            said = gated.command("rules", "explain", "--passage", row["id"], "--json")
            found = json.loads(said.stdout)
            assert (found["reason"], found["reproduced"]["same"]) == (row["reason"], True)
        acts = [row["action"] for row in gated.rows("SELECT action FROM audit WHERE action LIKE 'policy%'")]
        assert acts == ["policy.live"] * 3


async def test_the_shadow_decides_nothing_and_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "next.yaml"
    strict = "when: match.kind == 'none'\n    then: "
    file.write_text(default_text().replace(strict + "refer", strict + "deny"))
    with daemon(tmp_path, site(tmp_path, lanes=1)) as gated:
        camera = gated.camera(0)
        gated.command("rules", "shadow", str(file))
        await until(lambda: gated.log.count("policy_in_force") == 2)
        assert await reason(gated, 1, PLATE, camera) == "no_pass"
        [row] = gated.rows("SELECT outcome FROM passages")
        assert row["outcome"] == "refer"
        found = json.loads(gated.command("rules", "shadow", "--report", "--json").stdout)
        [difference] = found["differences"]
        assert (difference["was"], difference["now"], difference["rule"]) == ("refer", "deny", "no_pass")


async def test_visits_lists_and_misreads_survive_a_kill(tmp_path: Path) -> None:
    with daemon(tmp_path, site(tmp_path, lanes=1)) as gated:
        camera, token = gated.camera(0), gated.token("staff")
        await issue(gated.url, token, [PLATE], kind="visitor", limits={"visits": 2})
        await issue(gated.url, token, ["津B80888"])
        assert await reason(gated, 1, PLATE, camera) == "pass_valid"
        async with httpx.AsyncClient(
            base_url=gated.url, headers={"Authorization": f"Bearer {token}"}
        ) as http:
            put = await http.put("/api/v1/lists/block/plate/京C00001", json={"note": "冲岗"})
            assert put.status_code == 201
        gated.kill()
        gated.start()
        camera = gated.camera(0)
        assert await reason(gated, 2, PLATE, camera) == "pass_valid"
        gated.kill()
        gated.start()
        camera = gated.camera(0)
        assert await reason(gated, 3, PLATE, camera) == "visits_used_up"
        assert await reason(gated, 4, "京C00001", camera) == "blocked"
        _, reply = await camera.push(push_body("津B8O888", 5)) or (0, {})
        assert opens(reply)
        assert await reason(gated, 6, "津BB0888", camera) == "near_pass_valid"


async def test_a_policy_that_fits_the_site_no_more_goes_on_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    rule = "  - {id: side, when: pass.kind == 'x', then: deny, say: no, only: {entrances: gate}}\n"
    file.write_text(default_text().replace("  - id: pass_in_grace", rule + "  - id: pass_in_grace"))
    with daemon(tmp_path, site(tmp_path, lanes=1)) as gated:
        camera = gated.camera(0)
        await issue(gated.url, gated.token("staff"), [PLATE])
        gated.command("rules", "activate", str(file))
        await until(lambda: gated.log.count("policy_in_force") == 2)
        gated.config["entrances"][0]["id"] = gated.config["lanes"][0]["entrance"] = "main"
        gated.reload()
        await until(lambda: "policy_does_not_fit" in gated.log)
        assert await reason(gated, 1, PLATE, camera) == "pass_valid"
        about = "SELECT state FROM alerts WHERE reason = 'policy_unfit'"
        await until(lambda: [row["state"] for row in gated.rows(about)] == ["open"])
        checked = gated.command("check", "--no-devices", "--json", check=False)
        assert "no entrance has the id 'gate'" in checked.stdout
        gated.config["entrances"][0]["id"] = gated.config["lanes"][0]["entrance"] = "gate"
        gated.reload()
        await until(lambda: [row["state"] for row in gated.rows(about)] == ["closed"])
