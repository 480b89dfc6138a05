"""What is left of a text in a recording: a table of the forms in which a site's values come."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated.recording import Disguise
from gated.recording.disguise import without_pictures

PLATE, CARD = "津A12345", "3141592653"
KNOWN = Disguise([(PLATE, PLATE), ("津A·D8888", "津AD8888"), (CARD, CARD)], ["SN-00112233"], {"the-password"})


def b64(text: str, encoding: str = "utf-8") -> str:
    return base64.b64encode(text.encode(encoding)).decode()


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("license=津A12345;", "license=京A00001;"),
        ("津A·D8888 and 津AD8888", "京A·00002 and 京A00002"),
        (f"?plate={quote(PLATE)}", f"?plate={quote('京A00001')}"),
        (json.dumps({"p": PLATE}), json.dumps({"p": "京A00001"})),
        ('"\\u6D25A12345"', '"\\u4eacA00001"'),
        (f'{{"license":"{b64(PLATE)}"}}', f'{{"license":"{b64("京A00001")}"}}'),
        (f'{{"license":"{b64(PLATE, "gb18030")}"}}', f'{{"license":"{b64("京A00001", "gb18030")}"}}'),
        ("card 3141592653.", "card 1000000004."),
        ("serial SN-00112233", "serial 10000000005"),
        ("another plate 冀B98765", "another plate 冀B00000"),
        (b64("冀B98765"), b64("冀B00000")),
        ("tel 13911112222", "tel 13800000000"),
        ("from 10.1.2.3 and 127.0.0.1", "from 192.0.2.1 and 127.0.0.1"),
        ("mac 3c:ef:8c:aa:bb:cc", "mac 02:00:5E:00:00:01"),
        ("password=the-password&x=1", "password=***&x=1"),
        ("the-password", "***"),
        ("<Password>abc</Password>", "<Password>***</Password>"),
        (f'{{"img":"{base64.b64encode(bytes([255, 216, 255]) * 400).decode()}"}}', '{"img":""}'),
        ("short 1234 and 2026-11-27T10:00:00", "short 1234 and 2026-11-27T10:00:00"),
    ],
)
def test_texts(said: str, left: str) -> None:
    assert KNOWN.text(said) == left


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"hello", {"text": "hello"}),
        (PLATE.encode("gb18030"), {"text": "京A00001", "encoding": "gb18030"}),
        (b"\xff\xd8\xff\xe0rest", {"omitted": "a picture of 8 bytes"}),
        (b"\x00\x01" + int(CARD).to_bytes(4, "little"), {"hex": "000104ca9a3b"}),
        (b"\x00" * 5000, {"omitted": "5000 bytes"}),
    ],
)  # fmt: skip
def test_bytes(data: bytes, told: dict[str, str]) -> None:
    assert KNOWN.data(data) == told


JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 3 + b"\xff\xd9"


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: 774\r\n\r\n" + JPEG + b"\r\n--b--\r\n",
         b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\nJPEG\r\n--b--\r\n"),
        (b"--b\r\nContent-Length: 774\r\nX: y\r\n\r\n" + JPEG + b"\r\n--b--",
         b"--b\r\nContent-Length: 4\r\nX: y\r\n\r\nJPEG\r\n--b--"),
        (b"--b\n\n" + JPEG + b"\n--b--", b"--b\n\nJPEG\n--b--"),
        (b"no picture", b"no picture"),
        (b"--b\n\n" + JPEG, b"--b\n\n" + JPEG),
        (b"--b\r\nContent-Length: 9\r\n\r\ntext\r\n--b\r\n\r\n" + JPEG + b"\r\n--b--",
         b"--b\r\nContent-Length: 9\r\n\r\ntext\r\n--b\r\n\r\nJPEG\r\n--b--"),
    ],
)  # fmt: skip
def test_pictures_in_forms(body: bytes, left: bytes) -> None:
    assert without_pictures(body) == left


@given(st.binary(max_size=300))
def test_any_bytes_can_be_told(data: bytes) -> None:
    assert KNOWN.data(data)


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.text(st.characters(codec="utf-8"), max_size=60))
def test_a_known_plate_is_never_left(before: str, after: str) -> None:
    assert PLATE not in KNOWN.text(f"{before} {PLATE} {after}")
