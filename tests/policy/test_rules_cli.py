"""`gated rules`: an operator checks, tests, replays, activates and takes back a policy; what is refused, and
how."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gated.policy import default_text, load
from gated.store import Store, policies
from gated.store import passes as stored
from rules.build import SiteNames
from tests.config.conftest import Run
from tests.config.ports import free_port
from tests.policy.day import book_of, day, villagers
from tests.rules.policies import SHANGHAI

SITE = """\
site: {{id: village, name: {{zh: 村, en: Village}}}}
store: {{url: "sqlite:///gated.db"}}
api: {{port: {port}}}
grids: [{{id: all, name: all}}]
entrances: [{{id: east, name: 东门, grid: all}}, {{id: west, name: 西门, grid: all}}]
lanes:
  - {{id: east-in, entrance: east, direction: in, cameras: [cam-east], watch_only: true}}
  - {{id: west-in, entrance: west, direction: in, cameras: [cam-west], watch_only: true}}
devices:
  - {{id: cam-east, type: webhook, token: {{file: reader.secret}}}}
  - {{id: cam-west, type: webhook, token: {{file: reader.secret}}}}
"""
NOW = datetime.now(UTC).replace(microsecond=0)
NIGHT_VANS = """\
  - id: night_vans
    when: >-
      passage.vehicle_class == 'van' && (time.clock >= '22:00' || time.clock < '05:00')
      && !('removal_notice' in pass.attestations)
    then: refer
    only: { entrances: west, direction: in }
    say: { zh: "夜间面包车{subject}不得从本口进入。", en: "No vans here at night; {subject} is one." }
    alert: notice

"""
CASES = """\
cases: 1
defaults: { lane: west-in, plate: 津A12345, confidence: 0.95 }
table:
  - { case: a van at night, vehicle: van, at: "2026-11-18T23:00", pass: true, expect: refer night_vans }
  - { case: a van at five, vehicle: van, at: "2026-11-18T05:00", pass: true, expect: grant pass_valid }
"""
PASSAGES = 96
"""A day, one every quarter of an hour."""


async def _fill(url: str) -> None:
    store = await Store.open(url)
    try:
        people = villagers(50, NOW)
        await store.write(partial(stored.insert_many, given=people))
        policy = load(default_text(), SiteNames(zone=SHANGHAI, checked=False))
        text = policy.text
        await store.write(lambda conn: policies.activate(conn, NOW, "test", "live", text))
        start = NOW - timedelta(hours=24)
        step = timedelta(minutes=15)
        for record in day(policy, book_of(people), PASSAGES, start, step=step):
            await store.record(record)
    finally:
        await store.close()


@pytest.fixture
def config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A site with two entrances, a policy in force and a recorded day."""
    (tmp_path / "reader.secret").write_text("long enough to be one\n")
    (tmp_path / "reader.secret").chmod(0o600)
    file = tmp_path / "gated.yaml"
    file.write_text(SITE.format(port=free_port()))
    asyncio.run(_fill(f"sqlite:///{tmp_path}/gated.db"))
    capsys.readouterr()
    return file


@pytest.fixture
def with_vans(config: Path) -> Path:
    """The policy in force with the rule about vans, beside it its cases."""
    file = config.with_name("policy.yaml")
    file.write_text(default_text().replace("  - id: pass_in_grace", NIGHT_VANS + "  - id: pass_in_grace"))
    file.with_name("policy.cases.yaml").write_text(CASES)
    return file


def history(gated: Run, config: Path) -> list[dict[str, Any]]:
    return list(json.loads(gated("rules", "history", "-c", config, "--json")[1]))


def test_the_whole_way_of_a_change(gated: Run, config: Path, with_vans: Path) -> None:
    code, out, _ = gated("rules", "show", "-c", config)
    assert code == 0
    assert gated("rules", "check", with_vans, "-c", config)[0] == 0
    code, out, _ = gated("rules", "test", with_vans, "-c", config)
    assert code == 0
    assert "2 of 2 cases pass" in out
    code, out, _ = gated("rules", "replay", "--policy", with_vans, "-c", config, "--format", "json")
    replayed = json.loads(out)
    assert replayed["summary"]["passages"] == PASSAGES
    assert {one["rule"] for one in replayed["differences"]} <= {"night_vans"}
    assert all((one["was"], one["now"]) == ("grant", "refer") for one in replayed["differences"])
    code, out, _ = gated("rules", "activate", with_vans, "-c", config, "--note", "no vans")
    assert (code, "+ night_vans" in out, "2 cases passed" in out) == (0, True, True)
    assert history(gated, config)[0]["note"] == "no vans"
    assert gated("rules", "take-back", "-c", config)[0] == 0
    assert [one["n"] for one in history(gated, config)] == [3, 2, 1]
    assert history(gated, config)[0]["hash"] == history(gated, config)[2]["hash"]
    code, _, err = gated("rules", "take-back", "-c", config)
    assert (code, "no earlier policy" in err) == (1, True)


def test_a_half_edited_file_changes_nothing_and_says_where(gated: Run, config: Path, with_vans: Path) -> None:
    text = with_vans.read_text()
    for broken, said in (
        (
            text.replace("passage.vehicle_class", "passage.vehicle_clas"),
            "did you mean 'passage.vehicle_class'",
        ),
        (text[: text.index("only: { entrances: west") + 12], "policy.yaml:"),
        (text.replace("entrances: west", "entrances: wst"), "did you mean 'west'"),
    ):
        with_vans.write_text(broken)
        code, _, err = gated("rules", "activate", with_vans, "-c", config)
        assert (code, said in err, "policy.yaml:" in err) == (1, True, True), err
        assert "what is in force stays so" in err
    assert len(history(gated, config)) == 1


def test_a_case_that_fails_keeps_a_policy_from_being_activated(
    gated: Run, config: Path, with_vans: Path
) -> None:
    with_vans.write_text(with_vans.read_text().replace("'05:00'", "'06:00'"))
    code, _, err = gated("rules", "activate", with_vans, "-c", config)
    assert (code, "a van at five" in err, "decided by night_vans" in err) == (1, True, True)
    assert len(history(gated, config)) == 1
    assert gated("rules", "activate", with_vans, "-c", config, "--without-cases")[0] == 0


def test_cases_that_cannot_be_read_are_told_with_their_line(
    gated: Run, config: Path, with_vans: Path
) -> None:
    with_vans.with_name("policy.cases.yaml").write_text(CASES.replace("vehicle: van", "vehicel: van", 1))
    code, _, err = gated("rules", "test", with_vans, "-c", config)
    assert (code, "policy.cases.yaml:4:" in err, "did you mean 'vehicle'" in err) == (1, True, True), err


def test_the_policy_that_ships_passes_its_cases(gated: Run) -> None:
    code, out, _ = gated("rules", "test", "--json", "--min-coverage", "100")
    found = json.loads(out)
    assert (code, found["failed"], found["uncovered"], found["coverage"]) == (0, [], [], 100.0)
    assert found["rules"] >= 20


def test_activating_what_is_in_force_changes_nothing_to_take_back(gated: Run, config: Path) -> None:
    same = config.with_name("same.yaml")
    same.write_text(default_text())
    code, out, _ = gated("rules", "activate", same, "-c", config)
    assert (code, "Already in force" in out) == (0, True)
    assert len(history(gated, config)) == 1


def test_what_would_be_decided_of_a_van_at_night(gated: Run, config: Path, with_vans: Path) -> None:
    asked = (
        "rules",
        "explain",
        "--lane",
        "west-in",
        "--plate",
        "津A00001",
        "--policy",
        with_vans,
        "-c",
        config,
    )
    for vehicle, at, rule in (
        ("van", "23:00", "night_vans"),
        ("van", "12:00", "pass_valid"),
        ("car", "23:00", "pass_valid"),
    ):
        code, out, _ = gated(*asked, "--vehicle", vehicle, "--at", f"{NOW:%Y-%m-%d}T{at}", "--json")
        assert (code, json.loads(out)["rule"]) == (0, rule)
    assert gated("rules", "replay", "--policy", with_vans, "--lane", "west", "-c", config)[0] == 2


def test_too_little_coverage_fails(gated: Run, config: Path, with_vans: Path) -> None:
    code, out, _ = gated("rules", "test", with_vans, "-c", config, "--min-coverage", "50")
    assert (code, "reached by no case" in out) == (1, True)


def a_passage(config: Path, outcome: str) -> str:
    with sqlite3.connect(config.with_name("gated.db")) as db:
        row = db.execute(
            "select id from passages where outcome = ? order by n limit 1", (outcome,)
        ).fetchone()
    return str(row[0])


@pytest.mark.parametrize("outcome", ["grant", "refer"])
def test_a_passage_is_explained_and_decided_again(gated: Run, config: Path, outcome: str) -> None:
    code, out, _ = gated("rules", "explain", "--passage", a_passage(config, outcome), "-c", config, "--json")
    found = json.loads(out)
    assert (code, found["outcome"], found["reproduced"]["same"]) == (0, outcome, True)
    code, out, _ = gated("rules", "explain", "--passage", a_passage(config, outcome), "-c", config)
    assert (code, "按凭据复核：一致" in out) == (0, True)


def test_a_receipt_that_was_tampered_with_does_not_come_out_the_same(gated: Run, config: Path) -> None:
    passage = a_passage(config, "refer")
    with sqlite3.connect(config.with_name("gated.db")) as db:
        db.execute("update passages set outcome = 'grant' where id = ?", (passage,))
    code, out, _ = gated("rules", "explain", "--passage", passage, "-c", config)
    assert (code, "NOT the same" in out) == (1, True)


def test_what_would_be_decided(gated: Run, config: Path) -> None:
    for plate, outcome, rule in (
        ("津A00001", "grant", "pass_valid"),
        ("津A00003", "refer", "pass_expired"),
        ("津AOO0O1", "grant", "pass_valid"),  # written with O, which plates do not have
        ("沪C99999", "refer", "no_pass"),
    ):
        arguments = ("rules", "explain", "--lane", "east-in", "--plate", plate, "-c", config, "--json")
        code, out, err = gated(*arguments)
        found = json.loads(out)
        assert (code, found["outcome"], found["rule"]) == (0, outcome, rule), (plate, err)
    assert gated("rules", "explain", "--lane", "nowhere", "--plate", "津A00001", "-c", config)[0] == 2
    assert gated("rules", "explain", "-c", config)[0] == 2
    assert gated("rules", "explain", "--passage", "none", "-c", config)[0] == 1


def test_a_replay_as_csv_and_table(gated: Run, config: Path) -> None:
    strict = config.with_name("strict.yaml")
    strict.write_text(
        default_text().replace(
            "    when: match.kind == 'none'\n    then: refer",
            "    when: match.kind == 'none'\n    then: deny",
        )
    )
    code, out, err = gated("rules", "replay", "--policy", strict, "-c", config, "--format", "csv")
    found = list(csv.DictReader(io.StringIO(out)))
    assert (code, len(found)) == (0, PASSAGES // 12)
    assert {(one["was"], one["now"], one["rule"]) for one in found} == {("refer", "deny", "no_pass")}
    assert f"{PASSAGES} passages looked at" in err
    code, out, _ = gated("rules", "replay", "--policy", strict, "-c", config, "--limit", "2")
    assert "refer -> deny: 8 (rule no_pass)" in out
    assert "... and 6 more" in out
    code, out, _ = gated(
        "rules", "replay", "--policy", strict, "-c", config, "--since", "1m", "--format", "json"
    )
    assert json.loads(out)["summary"]["passages"] == 0
    assert gated("rules", "replay", "--policy", strict, "-c", config, "--since", "soon")[0] == 2


def test_the_shadow_comes_and_goes(gated: Run, config: Path, with_vans: Path) -> None:
    assert gated("rules", "shadow", with_vans, "-c", config)[0] == 0
    code, out, _ = gated("rules", "show", "--shadow", "-c", config)
    assert code == 0
    code, out, _ = gated("rules", "shadow", "--report", "-c", config, "--json")
    assert (code, json.loads(out)["differences"]) == (0, [])
    assert gated("rules", "shadow", "--off", "-c", config)[0] == 0
    assert gated("rules", "show", "--shadow", "-c", config)[0] == 1
    assert gated("rules", "shadow", "-c", config)[0] == 2


def test_the_facts_are_listed(gated: Run) -> None:
    code, out, _ = gated("rules", "facts", "--json")
    names = {one["name"] for one in json.loads(out)}
    assert {"pass.live", "match.rivals", "decision.outcome", "presence.entries"} <= names
    assert code == 0
