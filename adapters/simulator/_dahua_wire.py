"""The words of a simulated Dahua camera, as they are on the wire. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from adapters.simulator._http import Response

JPEG = b"\xff\xd8\xff\xe0" + b"\x00" * 64 + b"\xff\xd9"


def text(words: str) -> Response:
    """A plain answer."""
    return Response(200, words.encode(), "text/plain;charset=utf-8")


def codes_of(value: str) -> set[str]:
    """The codes that a stream was asked for."""
    return set(value.strip("[]").split(","))


def part(body: bytes, kind: str = "text/plain") -> bytes:
    """A part of a stream."""
    head = f"--myboundary\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n"


def attached(code: str, action: str, index: int, data: Mapping[str, Any]) -> bytes:
    """An event as eventManager tells it."""
    words = json.dumps(data, ensure_ascii=False, indent=1)
    return part(f"Code={code};action={action};index={index};data={words}\r\n".encode())


def snapped(code: str, action: str, index: int, data: Mapping[str, Any]) -> bytes:
    """An event as snapManager tells it, with its picture."""
    base = {"EventBaseInfo": {"Code": code, "Action": action, "Index": index}}
    rows = "".join(f"Events[0].{name}={value}\r\n" for name, value in _rows({**base, **data}, ""))
    return part(rows.encode()) + part(JPEG, "image/jpeg")


def _rows(value: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [row for key, each in value.items() for row in _rows(each, f"{name}.{key}" if name else key)]
    if isinstance(value, list):
        return [row for i, each in enumerate(value) for row in _rows(each, f"{name}[{i}]")]
    return [(name, value)]
