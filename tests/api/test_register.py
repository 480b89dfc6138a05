"""Dwellings, lists, attestations and receipts over the API: written, read, undone, refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from gated.domain import Credential, CredentialKind, ListName, Role
from gated.store import audit
from tests.api.conftest import Gate, wanted_pass

PLATE = Credential(CredentialKind.PLATE, "津A12345")
ENTRY = "/api/v1/lists/block/plate/" + quote("津A·12345")
HOME = {"name": "东街12号", "grid": "g01", "tenure": "rented", "lease_until": "2027-05-31"}


async def test_a_blocked_plate_counts_at_once_and_can_be_put_back(gate: Gate) -> None:
    note = {"note": "多次冲岗", "until": None}
    first = await gate.ask("PUT", ENTRY, note, Role.STAFF)
    assert (first.status_code, first.json()["credential"]["value"]) == (201, "津A12345")
    assert gate.lists.on(PLATE, gate.clock()) == {ListName.BLOCK}
    again = await gate.ask("PUT", ENTRY, {"note": "已警告", "until": "2027-01-01T00:00:00+08:00"}, Role.STAFF)
    assert (again.status_code, again.json()["until"]) == (200, "2026-12-31T16:00:00.000Z")
    page = (await gate.ask("GET", "/api/v1/lists/block", None, Role.STAFF)).json()
    assert [one["note"] for one in page["items"]] == ["已警告"]
    gone = await gate.ask("DELETE", ENTRY, None, Role.STAFF)
    assert gone.json() == again.json()
    assert gate.lists.on(PLATE, gate.clock()) == frozenset()
    missing = await gate.ask("DELETE", ENTRY, None, Role.STAFF)
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not-on-list")
    acts = [row.action for row in await gate.store.read(lambda conn: audit.page(conn, limit=9))]
    assert acts == ["list.take_off", "list.put", "list.put"]


async def test_lists_are_paged(gate: Gate) -> None:
    for number in range(5):
        await gate.ask("PUT", f"/api/v1/lists/watch/card/A{number}", {"note": "x"}, Role.STAFF)
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await gate.ask("GET", f"/api/v1/lists/watch?limit=2{cursor}", None, Role.STAFF)).json()
        seen += [one["credential"]["value"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == ["A0", "A1", "A2", "A3", "A4"]


async def test_dwellings_are_written_read_and_taken_out(gate: Gate) -> None:
    path = "/api/v1/dwellings/d-0117"
    assert (await gate.ask("GET", path, None, Role.STAFF)).status_code == 404
    first = await gate.ask("PUT", path, HOME, Role.STAFF)
    assert (first.status_code, first.json()) == (201, {"id": "d-0117", **HOME})
    moved = await gate.ask("PUT", path, {"name": "东街12号", "grid": "g02"}, Role.STAFF)
    assert (moved.status_code, moved.json()["tenure"], moved.json()["lease_until"]) == (200, "owned", None)
    page = (await gate.ask("GET", "/api/v1/dwellings?grid=g02", None, Role.STAFF)).json()
    assert [one["id"] for one in page["items"]] == ["d-0117"]
    assert (await gate.ask("DELETE", path, None, Role.STAFF)).json() == moved.json()
    assert (await gate.ask("DELETE", path, None, Role.STAFF)).json()["type"] == "/problems/dwelling-not-found"


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "no such grid": ("/api/v1/dwellings/d1", {**HOME, "grid": "g99"}, "grid"),
    "a lease of one's own": ("/api/v1/dwellings/d1", {**HOME, "tenure": "owned"}, "lease_until"),
    "a day that there is not": ("/api/v1/dwellings/d1", {**HOME, "lease_until": "2027-02-30"}, "lease_until"),
    "an end in the past": (ENTRY, {"note": "x", "until": "2020-01-01T00:00:00Z"}, "until"),
    "no reason": (ENTRY, {"note": " "}, "note"),
    "no such list": ("/api/v1/lists/friends/plate/A", {"note": "x"}, "name"),
    "no plate": ("/api/v1/lists/block/plate/%C2%B7", {"note": "x"}, "value"),
}


@pytest.mark.parametrize(("path", "body", "field"), WRONG.values(), ids=[*WRONG])
async def test_what_cannot_be_written(gate: Gate, path: str, body: dict[str, Any], field: str) -> None:
    answer = await gate.ask("PUT", path, body, Role.STAFF)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/lists/block"), ("PUT", ENTRY), ("DELETE", ENTRY), ("GET", "/api/v1/dwellings")],
)
async def test_volunteers_have_no_business_there(gate: Gate, method: str, path: str) -> None:
    body = {"note": "x"} if method == "PUT" else None
    assert (await gate.ask(method, path, body, Role.VOLUNTEER)).status_code == 403


async def test_a_repeat_with_its_key_does_nothing(gate: Gate) -> None:
    first = await gate.ask("PUT", ENTRY, {"note": "x"}, Role.STAFF, idempotency_key="k1")
    again = await gate.ask("PUT", ENTRY, {"note": "x"}, Role.STAFF, idempotency_key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_repeated_taking_off_with_its_key_gives_the_first_answer(gate: Gate) -> None:
    await gate.ask("PUT", ENTRY, {"note": "x"}, Role.STAFF)
    first = await gate.ask("DELETE", ENTRY, None, Role.STAFF, idempotency_key="k2")
    again = await gate.ask("DELETE", ENTRY, None, Role.STAFF, idempotency_key="k2")
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())


async def test_attestations_are_part_of_a_pass(gate: Gate) -> None:
    proofs = [{"kind": "tenancy", "issued_on": "2026-06-01", "valid_until": "2027-05-31"}]
    made = await gate.ask("POST", "/api/v1/passes", wanted_pass(attestations=proofs), Role.STAFF)
    assert (made.status_code, made.json()["attestations"]) == (201, proofs)
    path = f"/api/v1/passes/{made.json()['id']}"
    more = [*proofs, {"kind": "work_permit", "issued_on": "2026-11-01", "valid_until": None}]
    patched = await gate.ask("PATCH", path, {"attestations": more}, Role.STAFF)
    assert patched.json()["attestations"] == more
    [found] = gate.passbook.match(PLATE)
    assert [one.kind for one in found.facts.attestations] == ["tenancy", "work_permit"]
    wrong = [{"kind": "tenancy", "issued_on": "2026-06-01", "valid_until": "2026-05-31"}]
    refused = await gate.ask("PATCH", path, {"attestations": wrong}, Role.STAFF)
    assert [one["field"] for one in refused.json()["errors"]] == ["attestations[0].valid_until"]


async def test_whoever_issues_a_pass_is_warned_of_a_plate_close_by(gate: Gate) -> None:
    first = await gate.ask("POST", "/api/v1/passes", wanted_pass(), Role.STAFF)
    assert first.json()["warnings"] == []
    close = wanted_pass(credentials=[{"kind": "plate", "value": "津A1Z345"}])
    second = await gate.ask("POST", "/api/v1/passes", close, Role.STAFF)
    [warning] = second.json()["warnings"]
    assert warning["code"] == "plate-near"
    assert "津A12345" in warning["text"]["zh"]
    assert first.json()["id"] in warning["text"]["en"]
    far = wanted_pass(credentials=[{"kind": "plate", "value": "津B67890"}])
    assert (await gate.ask("POST", "/api/v1/passes", far, Role.STAFF)).json()["warnings"] == []


@pytest.mark.parametrize(
    ("value", "warned"),
    [
        ("津A1234S", ["7:S→5"]),  # a look-alike
        ("津A12X45", ["5:X→3"]),  # another character
        ("京A12345", ["1:京→津"]),
        ("津AD12345", ["3:-D"]),
        ("津A12X4S", []),  # 1.5 away: too far for a near match to let in
        ("津A99999", []),
    ],
)
async def test_the_warning_says_which_characters_differ(gate: Gate, value: str, warned: list[str]) -> None:
    await gate.ask("POST", "/api/v1/passes", wanted_pass(), Role.STAFF)
    body = wanted_pass(credentials=[{"kind": "plate", "value": value}])
    made = await gate.ask("POST", "/api/v1/passes", body, Role.STAFF)
    texts = [one["text"]["en"] for one in made.json()["warnings"] if one["code"] == "plate-near"]
    assert [edits in text for edits, text in zip(warned, texts, strict=True)] == [True] * len(warned)


async def test_a_pass_that_is_revoked_or_the_same_is_no_reason_to_warn(gate: Gate) -> None:
    first = await gate.ask("POST", "/api/v1/passes", wanted_pass(), Role.STAFF)
    path = f"/api/v1/passes/{first.json()['id']}"
    await gate.ask("POST", f"{path}/revoke", {"reason": "搬走"}, Role.STAFF)
    both = [{"kind": "plate", "value": value} for value in ("津A1234S", "津A1Z34S")]
    second = await gate.ask("POST", "/api/v1/passes", wanted_pass(credentials=both), Role.STAFF)
    assert second.json()["warnings"] == []
    again = await gate.ask("GET", f"/api/v1/passes/{second.json()['id']}", None, Role.STAFF)
    assert again.json()["warnings"] == []
