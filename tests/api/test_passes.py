"""Passes over HTTP: issue, read, list, patch, renew, revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from gated.domain import CredentialKind, PassState, Role
from gated.plates import credential
from gated.store import tables
from gated.times import iso, parse_iso
from tests.api.conftest import START, Gate, wanted_pass

PASSES = "/api/v1/passes"


async def issued(gate: Gate, **changes: Any) -> dict[str, Any]:
    reply = await gate.ask("POST", PASSES, wanted_pass(**changes))
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


async def test_issue_and_read(gate: Gate) -> None:
    reply = await gate.ask("POST", PASSES, wanted_pass())
    assert reply.status_code == 201, reply.text
    made = reply.json()
    assert reply.headers["location"] == f"{PASSES}/{made['id']}"
    assert reply.headers["etag"] == '"1"'
    assert len(made["id"]) == 26
    assert {**made, "id": "", "created_at": "", "updated_at": ""} == {
        "id": "",
        "kind": "resident",
        "holder": {"name": "王小明", "phone": "13800000000", "dwelling_id": "d-1"},
        "credentials": [{"kind": "plate", "value": "津A12345"}],
        "entrances": ["east"],
        "valid_from": "2026-10-31T16:00:00.000Z",
        "valid_until": "2027-10-31T16:00:00.000Z",
        "hours": [{"days": ["mon", "sun"], "since": "06:00", "until": "22:00"}],
        "limits": {"per_day": 4},
        "attestations": [],
        "state": "active",
        "version": 1,
        "created_at": "",
        "updated_at": "",
        "revoked_at": None,
        "revoked_reason": None,
        "warnings": [],
    }
    assert parse_iso(made["created_at"]) - START < timedelta(seconds=1)
    again = await gate.ask("GET", f"{PASSES}/{made['id']}")
    assert (again.status_code, again.json(), again.headers["etag"]) == (200, made, '"1"')
    assert [found.id for found in gate.applied] == [made["id"]]
    plate = credential(CredentialKind.PLATE, "津a 12345")
    assert [found.facts.pass_id for found in gate.passbook.match(plate)] == [made["id"]]


async def test_the_least_that_a_pass_needs(gate: Gate) -> None:
    body = wanted_pass(holder={"name": " 李 "}, credentials=[{"kind": "card", "value": "04:a2:ff"}])
    for name in ("entrances", "hours", "limits"):
        del body[name]
    made = (await gate.ask("POST", PASSES, body)).json()
    assert made["holder"] == {"name": "李", "phone": None, "dwelling_id": None}
    assert made["credentials"] == [{"kind": "card", "value": "04A2FF"}]
    assert (made["entrances"], made["hours"], made["limits"]) == (None, [], {})


REFUSED = [
    ("no body", None, 422, "body", "missing"),
    ("a list", [], 422, "body", "model_attributes_type"),
    ("unknown field", {"colour": "red"}, 422, "colour", "extra_forbidden"),
    ("no kind", {"kind": None}, 422, "kind", "string_type"),
    ("kind", {"kind": "Resident!"}, 422, "kind", "string_pattern_mismatch"),
    ("blank name", {"holder": {"name": "  "}}, 422, "holder.name", "string_pattern_mismatch"),
    ("control", {"holder": {"name": "a\x00b"}}, 422, "holder.name", "string_pattern_mismatch"),
    ("no credentials", {"credentials": []}, 422, "credentials", "too_short"),
    (
        "kind of credential",
        {"credentials": [{"kind": "face", "value": "x"}]},
        422,
        "credentials[0].kind",
        "enum",
    ),
    (
        "empty plate",
        {"credentials": [{"kind": "card", "value": "77"}, {"kind": "plate", "value": " · "}]},
        422,
        "credentials[1].value",
        "credential",
    ),
    (
        "long plate",
        {"credentials": [{"kind": "plate", "value": "津A" + "1" * 40}]},
        422,
        "credentials[0].value",
        "credential",
    ),
    ("entrance", {"entrances": ["east", "north"]}, 422, "entrances[1]", "unknown-entrance"),
    ("no entrances", {"entrances": []}, 422, "entrances", "too_short"),
    ("a number for a time", {"valid_from": 1}, 422, "valid_from", "moment"),
    ("no zone", {"valid_from": "2026-11-01T00:00:00"}, 422, "valid_from", "moment"),
    ("no such day", {"valid_from": "2026-02-30T00:00:00Z"}, 422, "valid_from", "moment"),
    ("year 0 in UTC", {"valid_from": "0001-01-01T00:00:00+14:00"}, 422, "valid_from", "moment"),
    ("order", {"valid_until": "2026-10-01T00:00:00Z"}, 422, "valid_until", "ends-before-start"),
    ("hour", {"hours": [{"days": ["mon"], "since": "24:00", "until": "06:00"}]}, 422, "hours[0].since", None),
    ("day", {"hours": [{"days": ["mo"], "since": "22:00", "until": "06:00"}]}, 422, "hours[0].days[0]", None),
    (
        "day twice",
        {"hours": [{"days": ["mon", "mon"], "since": "22:00", "until": "06:00"}]},
        422,
        "hours[0]",
        None,
    ),
    ("a text for a number", {"limits": {"per_day": "4"}}, 422, "limits.per_day", "int_type"),
    ("negative", {"limits": {"per_day": -1}}, 422, "limits.per_day", "greater_than_equal"),
]


@pytest.mark.parametrize(
    ("changes", "status", "field", "code"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
async def test_refused(gate: Gate, changes: Any, status: int, field: str, code: str | None) -> None:
    body = wanted_pass(**changes) if isinstance(changes, dict) else changes
    reply = await gate.ask("POST", PASSES, body)
    assert reply.status_code == status, reply.text
    problem = reply.json()
    assert problem["type"] == "/problems/invalid"
    assert problem["errors"][0]["field"] == field
    assert code in {None, problem["errors"][0]["code"]}
    assert problem["errors"][0]["message_zh"]
    assert gate.applied == []


async def test_all_faults_are_told_at_once(gate: Gate) -> None:
    body = wanted_pass(
        entrances=["north", "east", "south"],
        credentials=[{"kind": "plate", "value": "··"}],
        valid_until="2020-01-01T00:00:00Z",
    )
    problem = (await gate.ask("POST", PASSES, body)).json()
    assert [error["field"] for error in problem["errors"]] == [
        "credentials[0].value",
        "entrances[0]",
        "entrances[2]",
        "valid_until",
    ]


async def test_warnings(gate: Gate) -> None:
    first = await issued(gate)
    second = await issued(
        gate,
        credentials=[{"kind": "plate", "value": "津Ａ １２３４５"}, {"kind": "plate", "value": "ABC123"}],
        valid_until=iso(START - timedelta(days=1)),
    )
    codes = {item["code"]: item["text"] for item in second["warnings"]}
    assert set(codes) == {"plate-unusual", "credential-shared", "ended"}
    assert first["id"] in codes["credential-shared"]["zh"]
    assert "ABC123" in codes["plate-unusual"]["en"]
    # the other has ended, so for the first there is nothing to share
    assert (await gate.ask("GET", f"{PASSES}/{first['id']}")).json()["warnings"] == []


async def test_patch_with_versions(gate: Gate) -> None:
    made = await issued(gate)
    path = f"{PASSES}/{made['id']}"
    first = await gate.ask("PATCH", path, {"kind": "tenant"}, if_match='"1"')
    assert (first.status_code, first.headers["etag"], first.json()["kind"]) == (200, '"2"', "tenant")
    stale = await gate.ask("PATCH", path, {"kind": "guest"}, if_match='"1"')
    assert stale.status_code == 412
    assert (stale.json()["type"], stale.json()["current_version"]) == ("/problems/version-conflict", 2)
    assert (await gate.ask("PATCH", path, {"kind": "guest"}, if_match="nonsense")).status_code == 412
    any_version = await gate.ask("PATCH", path, {"entrances": None}, if_match="*")
    assert (any_version.status_code, any_version.json()["entrances"]) == (200, None)
    whole = await gate.ask(
        "PATCH",
        path,
        {
            "holder": {"name": "赵"},
            "credentials": [{"kind": "code", "value": "abc"}],
            "hours": [],
            "limits": {},
            "valid_until": "2027-01-01T00:00:00Z",
        },
    )
    found = whole.json()
    assert whole.status_code == 200, whole.text
    assert found["holder"] == {"name": "赵", "phone": None, "dwelling_id": None}
    assert found["credentials"] == [{"kind": "code", "value": "abc"}]
    assert (found["hours"], found["limits"], found["version"]) == ([], {}, 4)
    assert gate.passbook.match(credential(CredentialKind.PLATE, "津A12345")) == []
    assert len(gate.passbook.match(credential(CredentialKind.CODE, "abc"))) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"kind": None}, "kind"),
        ({"valid_until": "2001-01-01T00:00:00Z"}, "valid_until"),
        ({"entrances": ["nowhere"]}, "entrances[0]"),
        ({"id": "x"}, "id"),
        ({"state": "revoked"}, "state"),
    ],
)
async def test_patch_refused(gate: Gate, body: Any, field: str) -> None:
    made = await issued(gate)
    reply = await gate.ask("PATCH", f"{PASSES}/{made['id']}", body)
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, field)
    assert (await gate.ask("GET", f"{PASSES}/{made['id']}")).json() == made


async def test_renew(gate: Gate) -> None:
    made = await issued(gate)
    path = f"{PASSES}/{made['id']}/renew"
    later = await gate.ask("POST", path, {"valid_until": "2028-01-01T00:00:00+08:00"})
    assert (later.status_code, later.json()["valid_until"]) == (200, "2027-12-31T16:00:00.000Z")
    assert later.json()["version"] == 2
    same = await gate.ask("POST", path, {"valid_until": "2028-01-01T00:00:00+08:00"})
    assert (same.status_code, same.json()["version"]) == (200, 2)
    for until, code in [("2027-12-01T00:00:00Z", "shortens"), ("2020-01-01T00:00:00Z", "ends-in-past")]:
        refused = await gate.ask("POST", path, {"valid_until": until})
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, code)
    assert (
        await gate.ask("POST", path, {"valid_until": "2029-01-01T00:00:00Z"}, if_match='"1"')
    ).status_code == 412


async def test_revoke_is_idempotent_and_final(gate: Gate) -> None:
    made = await issued(gate)
    path = f"{PASSES}/{made['id']}"
    first = await gate.ask("POST", f"{path}/revoke", {"reason": "搬离本村"})
    assert first.status_code == 200
    found = first.json()
    assert (found["state"], found["revoked_reason"], found["version"]) == ("revoked", "搬离本村", 2)
    assert found["revoked_at"]
    again = await gate.ask("POST", f"{path}/revoke", {"reason": "other"})
    assert (again.status_code, again.json()) == (200, found)
    for method, suffix, body in [
        ("POST", "/renew", {"valid_until": "2029-01-01T00:00:00Z"}),
        ("PATCH", "", {"kind": "guest"}),
    ]:
        refused = await gate.ask(method, path + suffix, body)
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/pass-revoked")
        assert "注销" in refused.json()["detail_zh"]
    plate = credential(CredentialKind.PLATE, "津A12345")
    assert [found.facts.state for found in gate.passbook.match(plate)] == [PassState.REVOKED]
    for body in ({}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 201}):
        assert (await gate.ask("POST", f"{path}/revoke", body)).status_code == 422


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"kind": "guest"}),
        ("POST", "/renew", {"valid_until": "2029-01-01T00:00:00Z"}),
        ("POST", "/revoke", {"reason": "x"}),
    ],
)
async def test_no_such_pass(gate: Gate, method: str, suffix: str, body: Any) -> None:
    reply = await gate.ask(method, f"{PASSES}/nothing{suffix}", body)
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/pass-not-found")
    assert (await gate.ask(method, f"{PASSES}/a%00b{suffix}", body)).status_code == 422


async def test_every_write_leaves_who_and_what(gate: Gate) -> None:
    made = await issued(gate)
    path = f"{PASSES}/{made['id']}"
    await gate.ask("PATCH", path, {"kind": "guest"}, role=Role.OPERATOR)
    await gate.ask("POST", f"{path}/renew", {"valid_until": "2029-01-01T00:00:00Z"})
    await gate.ask("POST", f"{path}/revoke", {"reason": "搬离"})
    await gate.ask("POST", f"{path}/revoke", {"reason": "搬离"})  # changes nothing, leaves nothing
    table = tables.audit
    rows = await gate.store.read(
        lambda conn: conn.execute(
            select(table.c.action, table.c.who).where(table.c.subject == made["id"]).order_by(table.c.n)
        ).all()
    )
    assert [row.action for row in rows] == ["pass.issue", "pass.patch", "pass.renew", "pass.revoke"]
    assert [row.who.split(" (")[0] for row in rows] == [
        "staff 一号",
        "operator 一号",
        "staff 一号",
        "staff 一号",
    ]


async def ids(gate: Gate, query: str) -> list[str]:
    reply = await gate.ask("GET", f"{PASSES}?{query}")
    assert reply.status_code == 200, reply.text
    return [item["id"] for item in reply.json()["items"]]


async def test_filters(gate: Gate) -> None:
    wang = (await issued(gate))["id"]
    zhao = (
        await issued(
            gate, kind="guest", holder={"name": "赵大海"}, credentials=[{"kind": "card", "value": "77"}]
        )
    )["id"]
    await gate.ask("POST", f"{PASSES}/{zhao}/revoke", {"reason": "x"})
    assert sorted(await ids(gate, "")) == sorted([wang, zhao])
    assert await ids(gate, "credential=津a·12345") == [wang]
    assert await ids(gate, "credential=77") == []
    assert await ids(gate, "credential=77&credential_kind=card") == [zhao]
    assert await ids(gate, "holder=大海") == [zhao]
    assert await ids(gate, "holder=%25") == []  # a sign of LIKE is a sign like any other
    assert await ids(gate, "holder=_") == []
    assert await ids(gate, "state=revoked") == [zhao]
    assert await ids(gate, "state=active&kind=guest") == []
    assert await ids(gate, "kind=guest") == [zhao]


@pytest.mark.parametrize(
    "query",
    [
        "state=expired",
        "limit=0",
        "limit=201",
        "limit=x",
        "stat=active",
        "credential=%20",
        "kind=A",
        "holder=%00",
    ],
)
async def test_wrong_filters_are_told(gate: Gate, query: str) -> None:
    reply = await gate.ask("GET", f"{PASSES}?{query}")
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid")


async def test_pages_hold_still_while_passes_are_added(gate: Gate) -> None:
    first = [(await issued(gate, credentials=[{"kind": "card", "value": str(n)}]))["id"] for n in range(10)]
    seen: list[str] = []
    cursor = ""
    while True:
        reply = (await gate.ask("GET", f"{PASSES}?limit=3{cursor}")).json()
        seen += [item["id"] for item in reply["items"]]
        assert len(reply["items"]) <= 3
        if reply["next"] is None:
            break
        cursor = f"&cursor={reply['next']}"
        await issued(gate, credentials=[{"kind": "card", "value": f"late{len(seen)}"}])
    assert [one for one in seen if one in set(first)] in (first, first[::-1])
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "%00", "a" * 400, "====", "津"])
async def test_a_wrong_cursor_is_told(gate: Gate, cursor: str) -> None:
    reply = await gate.ask("GET", f"{PASSES}?cursor={cursor}")
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/bad-cursor")


async def test_a_cursor_belongs_to_its_filters(gate: Gate) -> None:
    for n in range(3):
        await issued(gate, credentials=[{"kind": "card", "value": str(n)}])
    cursor = (await gate.ask("GET", f"{PASSES}?limit=1")).json()["next"]
    assert (await gate.ask("GET", f"{PASSES}?limit=2&cursor={cursor}")).status_code == 200
    assert (await gate.ask("GET", f"{PASSES}?kind=guest&cursor={cursor}")).status_code == 400
    assert (await gate.ask("GET", f"/api/v1/passages?cursor={cursor}")).status_code == 400


async def test_extreme_times_come_back_as_they_went(gate: Gate) -> None:
    made = await issued(gate, valid_from="0001-01-01T00:00:00Z", valid_until="9999-12-31T23:59:59.999Z")
    found = (await gate.ask("GET", f"{PASSES}/{made['id']}")).json()
    assert (found["valid_from"], found["valid_until"]) == (
        "0001-01-01T00:00:00.000Z",
        "9999-12-31T23:59:59.999Z",
    )
    assert datetime.now(UTC) > parse_iso(found["valid_from"])
