"""What must not be seen is not seen: secrets by key, by shape and by value; plates unless they are wanted."""

from __future__ import annotations

import json
import time

import pytest

from gated.redact import MAX_TEXT, Redactor, mask

SECRET = "hunter2hunter2"
REDACTOR = Redactor([SECRET, "abc"])


@pytest.mark.parametrize(
    ("plate", "masked"),
    [
        ("津A12345", "津A***45"),
        ("津AD12345", "津A***45"),
        ("粤B1234学", "粤B***4学"),
        ("A123", "***"),
        ("", "***"),
    ],
)
def test_mask(plate: str, masked: str) -> None:
    assert mask(plate) == masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing to hide here", "nothing to hide here"),
        (f"it said {SECRET}!", "it said ***!"),
        ("abc is too short to be taken for a secret", "abc is too short to be taken for a secret"),
        ("Authorization: Digest username=\"a\", response=\"b\"", "Authorization: ***"),
        ("sent authorization: Basic YWJj", "sent authorization: ***"),
        ("with Bearer gated_01ABC_0123 it", "with Bearer *** it"),
        ("a basic check of the digest said no", "a basic check of the digest said no"),
        ("http://user:geheim@10.0.0.1/x", "http://user:***@10.0.0.1/x"),
        ("http://10.0.0.1:8080/x", "http://10.0.0.1:8080/x"),
        ("GET /ingest/cam?key=abcd&x=1", "GET /ingest/cam?key=***&x=1"),
        ("password=geheim&user=me", "password=***&user=me"),
        ("loginPwd=geheim", "loginPwd=***"),
        ('{"userPassword": "ge\\"heim", "user": "me"}', '{"userPassword": "***", "user": "me"}'),
        ('{"access_token":12345,"n":1}', '{"access_token":0,"n":1}'),
        (r'"{\"password\":\"geheim\",\"n\":1}"', r'"{\"password\":\"***\",\"n\":1}"'),
        ('<wsse:Password Type="x#PasswordDigest">abc=</wsse:Password>',
         '<wsse:Password Type="x#PasswordDigest">***</wsse:Password>'),
        ("<Nonce>abc</Nonce><Created>x</Created>", "<Nonce>***</Nonce><Created>x</Created>"),
        ("plate 津A12345 seen", "plate 津A***45 seen"),
        ("津A·12345，京AD12345，WJ津12345", "津A***45，京A***45，WJ***45"),
        ("使馆 123456使", "使馆 12***6使"),
        ("\\u6d25A12345", "\\u***45"),
    ],
)  # fmt: skip
def test_text(text: str, shown: str) -> None:
    assert REDACTOR.text(text) == shown


def test_plates_are_left_where_they_are_wanted() -> None:
    assert Redactor(plates=False).text("津A12345 password=x") == "津A12345 password=***"
    assert REDACTOR.text("津A12345", plates=False) == "津A12345"


def test_a_record_is_redacted_by_its_keys() -> None:
    record = {
        "password": "x", "Authorization": "y", "api-key": "z", "device_token": 12345, "secret": b"x",
        "token_id": "01AB", "pass": "01PASS", "pass_id": "01PASS", "tokens": 4,
        "plate": "津A12345", "phone": "13800138000", "credential": "LONG-ENOUGH", "n": 1, "none": None,
        "nested": {"deep": [{"password": "x"}, ("津A12345", SECRET)]},
        "raw_bytes": f"x {SECRET}".encode(),
    }  # fmt: skip
    assert REDACTOR.record(record) == {
        "password": "***", "Authorization": "***", "api-key": "***", "device_token": "***", "secret": "***",
        "token_id": "01AB", "pass": "01PASS", "pass_id": "01PASS", "tokens": 4,
        "plate": "津A***45", "phone": "13***00", "credential": "LO***GH", "n": 1, "none": None,
        "nested": {"deep": [{"password": "***"}, ["津A***45", "***"]]},
        "raw_bytes": "b'x ***'",
    }  # fmt: skip


def test_a_sample_still_parses_as_it_did() -> None:
    sent = {
        "AlarmInfoPlate": {
            "user": "admin", "password": "geheim", "license": "津A12345", "token": 55,
            "said": f"with {SECRET}", "confidence": 99,
        }
    }  # fmt: skip
    for ascii_only in (True, False):
        clean = REDACTOR.sample(json.dumps(sent, ensure_ascii=ascii_only).encode())
        inside = json.loads(clean)["AlarmInfoPlate"]
        assert inside == {
            "user": "admin", "password": "***", "license": "津A00000", "token": 0,
            "said": "with ***", "confidence": 99,
        }  # fmt: skip


def test_a_sample_in_gb2312_keeps_its_bytes() -> None:
    sent = '{"license":"津AD1234F","colour":"绿"}'.encode("gb18030")
    assert REDACTOR.sample(sent).decode("gb18030") == '{"license":"津AA0000A","colour":"绿"}'


def test_a_multipart_password_is_taken_out() -> None:
    sent = (
        b"--b\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nadmin\r\n"
        b"--b\r\nContent-Disposition: form-data; name=\"passwd\"\r\n"
        b"Content-Type: text/plain\r\n\r\ngeheim\r\n--b--\r\n"
    )  # fmt: skip
    assert REDACTOR.sample(sent) == sent.replace(b"geheim", b"***")


def test_what_is_long_is_cut() -> None:
    shown = REDACTOR.text("x" * 1_000_000)
    assert len(shown) < MAX_TEXT + 40
    assert shown.endswith("[991808 more]")


@pytest.mark.parametrize(
    "character", ['"', "<", "=", "a", "{", ":", "name=", "password", '"password', "\r\n"]
)
def test_no_text_takes_long(character: str) -> None:
    began = time.perf_counter()
    REDACTOR.text(character * MAX_TEXT)
    REDACTOR.sample((character * MAX_TEXT).encode()[:MAX_TEXT])
    assert time.perf_counter() - began < 0.5
