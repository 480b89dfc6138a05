"""What a record is on disk, column for column: whoever makes writing cheaper must not change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from sqlalchemy import text

from gated.domain import Direction
from gated.store import Store, encode
from tests.store import make

US = 1_795_240_800_000_000
WORDS = '"text":{"zh":"请出示证件","en":"Show your pass, please"}'


def test_a_passage() -> None:
    assert dict(zip(encode.PASSAGE_COLUMNS, encode.passage(make.record(1)).passage or (), strict=True)) == {
        "id": make.passage_id(1),
        "lane": "east-in",
        "entrance": "east",
        "direction": "in",
        "at": US + 1_000_000,
        "decided_at": US + 1_121_000,
        "received_at": US + 1_120_000,
        "device_time": US - 2_000_000,
        "device": "cam",
        "key": "1",
        "channel": None,
        "credential_kind": "plate",
        "credential": "津A00001",
        "raw": "津A00001",
        "confidence": 0.93,
        "outcome": "grant",
        "reason": "valid_pass",
        "rule_id": "r1",
        "pass_id": "P",
        "change": 0,
        "continues": None,
        "details": f"{{{WORDS}}}",
    }


@pytest.mark.parametrize(
    ("details", "written"),
    [
        pytest.param({"plate_color": "blue", "地": "津"}, '{"plate_color":"blue","地":"津"}', id="clean"),
        pytest.param(MappingProxyType({"a": "b"}), '{"a":"b"}', id="no dict"),
        pytest.param({"a\0": "b", "c": "\0"}, '{"a\ufffd":"b","c":"\ufffd"}', id="NUL"),
        pytest.param({"a": "\ud83d", "\ude00": "b"}, '{"a":"?","?":"b"}', id="halves of a surrogate pair"),
        pytest.param({"a": "b\nc\t\u200b"}, '{"a":"b\\nc\\t\u200b"}', id="not printable, but fine"),
        pytest.param({"a": "\\u0000"}, '{"a":"\\\\u0000"}', id="what a NUL looks like in JSON"),
    ],
)
def test_details_of_a_read(details: Mapping[str, str], written: str) -> None:
    given = make.record(1, read={"details": details, "direction": Direction.OUT, "backlog": True})
    row = encode.passage(given).passage
    assert row is not None
    assert row[-1] == f'{{{WORDS},"read":{written},"seen":"out","backlog":true}}'


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("", ""),
        ("津A 1", "津A 1"),
        ("a\nb", "a\nb"),
        ("\0a\0", "\ufffda\ufffd"),
        ("津\ud83d\0", "津?\ufffd"),
        ("\ud83d\ude00", "??"),
        ("😀", "😀"),
    ],
)
def test_text_that_every_store_takes(given: str, written: str) -> None:
    assert encode.clean(given) == written


async def test_types_on_disk(store: Store, url: str) -> None:
    """None is null, a flag what the column says, a payload bytes: also where drivers are spared a look."""
    given = make.record(1, read={"key": None, "device_time": None})
    await store.record(replace(given, messages=(make.message("t", 1), make.message("t", 2, retain=True))))
    kept = await store.read(
        lambda conn: conn.execute(text("SELECT key, device_time, channel, continues FROM passages")).one()
    )
    assert tuple(kept) == (None, None, None, None)
    kind = "typeof" if url.startswith("sqlite") else "pg_typeof"
    columns = ", ".join(f"CAST({kind}({name}) AS text)" for name in ("retain", "landmark", "payload"))
    query = text(f"SELECT {columns}, retain, landmark, payload FROM outbox ORDER BY id")  # noqa: S608
    rows = [tuple(row) for row in await store.read(lambda conn: conn.execute(query).all())]
    types = ("integer", "integer", "blob") if kind == "typeof" else ("boolean", "boolean", "bytea")
    assert rows == [(*types, 0, 1, b'{"number":1}'), (*types, 1, 0, b'{"number":2}')]
