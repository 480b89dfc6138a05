"""The QR codes of others beside the checkout (`../shared/fixtures/qr`), where they are present: each text
comes through a reader as it is, whatever way it takes. The texts stay there."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from adapters.reader import codec
from gated.domain import CredentialKind
from gated.plates import credential

QR = Path(__file__).parents[3] / "shared" / "fixtures" / "qr"
CODE = codec.Style(CredentialKind.CODE, prefix="]Q1")

pytestmark = pytest.mark.skipif(
    not QR.is_dir(), reason=f"no recordings of others at {QR}: they are not part of the project"
)


def texts() -> list[str]:
    return [each["text"] for each in json.loads((QR / "expected.json").read_bytes()).values()]


def test_every_text_comes_through_a_serial_line() -> None:
    lines = codec.Lines("any", 1.0)
    found = lines.feed(b"".join(b"]Q1" + text.encode() + b"\r\n" for text in texts()), 0.0)
    shown = [codec.text(each, CODE) for each in found if isinstance(each, bytes)]
    assert shown == texts()
    for text in texts():
        assert credential(CredentialKind.CODE, text).value == text


def test_every_text_comes_through_every_body() -> None:
    for text in texts():
        bodies = {
            "text": text.encode(),
            "json": json.dumps({"code": text}).encode(),
            "form": urlencode({"code": text}).encode(),
        }
        for form, data in bodies.items():
            value = codec.body(data, form, "code" if form != "text" else "")  # type: ignore[arg-type]
            assert codec.text(value.raw, CODE) == text
