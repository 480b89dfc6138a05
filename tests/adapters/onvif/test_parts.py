"""The pure parts below the codec: times, digests, envelopes; and onvif-zeep behind its door."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from lxml import etree
from pydantic import ValidationError

from adapters.onvif import Config, envelope, library
from adapters.onvif.digest import Digest, challenge
from adapters.onvif.subscription import create_body
from adapters.onvif.times import duration, http_date, utc
from adapters.simulator import onvif_soap as soap


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T08:00:04Z", datetime(2026, 11, 21, 8, 0, 4, tzinfo=UTC)),
        (" 2026-11-21T08:00:04.123456789Z ", datetime(2026, 11, 21, 8, 0, 4, 123456, tzinfo=UTC)),
        ("2026-11-21T16:00:04+08:00", datetime(2026, 11, 21, 8, 0, 4, tzinfo=UTC)),
        ("2026-11-21T08:00:04", datetime(2026, 11, 21, 8, 0, 4, tzinfo=UTC)),
        ("2017-12-31T16:01:21Z", datetime(2017, 12, 31, 16, 1, 21, tzinfo=UTC)),  # a clock that lost its time
        ("10-05-2025T22:41:27Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("0000-00-00T00:00:00Z", None),
        ("2026-02-30T00:00:00Z", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("", None),
        (None, None),
        ("now", None),
    ],
)
def test_utc(text: str | None, moment: datetime | None) -> None:
    assert utc(text) == moment


def test_other_times() -> None:
    assert http_date("Sat, 21 Nov 2026 08:00:04 GMT") == datetime(2026, 11, 21, 8, 0, 4, tzinfo=UTC)
    assert http_date("soon") is None
    assert http_date(None) is None
    assert [duration(0.7), duration(600), duration(1.5)] == ["PT0.7S", "PT600S", "PT1.5S"]


def test_password_digest() -> None:
    """The example of the ONVIF Application Programmer's Guide."""
    nonce = base64.b64decode("LKqI6G/AikKCQrN0zqZFlg==")
    made = envelope.password_digest(nonce, "2010-09-16T07:50:45Z", "userpassword")
    assert made == "tuOSpGlFlIXsozq4HFNeeGeFLEI="


def test_http_digest_of_the_rfc() -> None:
    """RFC 7616, 3.9.1."""
    header = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    found = challenge([header.format("MD5")])
    assert found is not None
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    made = found.authorization("GET", "/dir/index.html", "Mufasa", "Circle of Life", cnonce)
    assert 'response="8ca523f5e9506fed4657c9700eebdbec"' in made
    assert "nc=00000001" in made
    both = challenge([header.format("MD5"), header.format("SHA-256")])
    assert both is not None
    made = both.authorization("GET", "/dir/index.html", "Mufasa", "Circle of Life", cnonce)
    assert 'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"' in made


def test_http_digest_in_chinese() -> None:
    """What is hashed are the bytes that the device sent and expects, whatever they mean."""
    found = challenge(['Digest realm="登录", nonce="n"'.encode().decode("latin-1")])
    assert found is not None
    made = found.authorization("POST", "/onvif", "管理员", "口令", "c")

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    expected = md5(":".join([md5("管理员:登录:口令"), "n", md5("POST:/onvif")]))
    assert f'response="{expected}"' in made
    assert 'username="管理员", realm="登录"'.encode() in made.encode("latin-1")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ['Basic realm="x"'],
        ["Digest"],
        ['Digest nonce="x", algorithm=WHIRLPOOL'],
        ['Digest nonce="x", qop="auth-int"'],
    ],
)
def test_no_challenge_that_is_understood(headers: list[str]) -> None:
    assert challenge(headers) is None


def test_old_digest_without_qop() -> None:
    found = challenge(['Digest realm="ipcam", nonce="abc"'])
    assert found == Digest(realm="ipcam", nonce="abc")
    assert "qop" not in found.authorization("GET", "/", "u", "p", "c")


def test_envelopes_are_well_formed_whatever_is_in_them() -> None:
    made = envelope.envelope(
        "<x/>",
        envelope.addressing("urn:a&b", "http://h/<>", "urn:uuid:1"),
        envelope.security("a<b>&", "p&", created="2026-11-21T08:00:04.000Z", nonce=b"0" * 16),
    )
    root = etree.fromstring(made)
    assert root.findtext("{*}Header/{*}Security/{*}UsernameToken/{*}Username") == "a<b>&"


def test_references_come_back_as_headers() -> None:
    root = etree.fromstring(
        b'<w:ReferenceParameters xmlns:w="http://www.w3.org/2005/08/addressing" xmlns:unused="urn:unused">'
        b'<d:SubscriptionId xmlns:d="http://www.axis.com/2009/event">7</d:SubscriptionId></w:ReferenceParameters>'
    )
    [header] = envelope.reference_headers(root)
    assert "7</d:SubscriptionId>" in header
    assert 'IsReferenceParameter="true"' in header
    assert "unused" not in header


def test_filter_declares_its_prefixes() -> None:
    made = create_body(["tns1:RuleEngine//.", "tnshik:X"])
    expression = etree.fromstring(made).find(".//{*}TopicExpression")
    assert expression is not None
    assert expression.text == "tns1:RuleEngine//.|tnshik:X"
    assert expression.nsmap["tns1"] == "http://www.onvif.org/ver10/topics"
    assert b"Filter" not in create_body([]).encode()


@pytest.mark.parametrize(
    ("codes", "reason", "refused"),
    [
        (("Sender", "NotAuthorized"), "", True),
        (("Sender", "FailedAuthentication"), "", True),
        (("Sender", "InvalidSecurity"), "", True),
        (("Sender",), "Sender not Authorized", True),
        (("Receiver",), "Authority failure", True),
        (("Sender", "BlockedThreadUpperLimit"), "", False),
        (("Receiver", "ActionNotSupported"), "", False),
        (("Sender", "InvalidArgVal", "RelayToken"), "", False),
    ],
)
def test_refusals_by_their_subcode(codes: tuple[str, ...], reason: str, refused: bool) -> None:
    assert envelope.Fault(codes, reason).refused is refused


def test_soap_11_faults() -> None:
    body = (
        b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault>'
        b"<faultcode>e:Server</faultcode><faultstring>busy</faultstring></e:Fault></e:Body></e:Envelope>"
    )
    assert envelope.fault(envelope.parse(body)) == envelope.Fault(("Server",), "busy")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"password": "secret"}, "env: NAME"),
        ({"username": ""}, "both"),
        ({"host": "http://192.0.2.1"}, "host"),
        ({"pull_s": 0}, "pull_s"),
        ({"pulse_ms": 5000}, "pulse_ms"),
        ({"ca": "/x.pem"}, "tls"),
        ({"color": "red"}, "color"),
    ],
)
def test_config_says_what_is_wrong(changes: dict[str, object], why: str) -> None:
    good: dict[str, object] = {
        "id": "cam",
        "type": "onvif",
        "host": "192.0.2.1",
        "username": "gated",
        "password": {"env": "CAM"},
    }
    assert Config.model_validate(good).effective_port == 80
    assert Config.model_validate({**good, "tls": "unverified"}).effective_port == 443
    with pytest.raises(ValidationError, match=why):
        Config.model_validate({**good, **changes})


# --- onvif-zeep -------------------------------------------------------------------------------------------


async def test_onvif_zeep_changes_nothing_of_the_process() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), dict(os.environ))
    operation = await library.build("deviceio", "GetRelayOutputs")
    assert operation.body.startswith("<ns0:GetRelayOutputs")
    assert (root.level, list(root.handlers), dict(os.environ)) == before
    assert logging.getLogger("zeep.client").level == logging.NOTSET


def test_importing_the_adapter_imports_neither_zeep_nor_onvif() -> None:
    code = (
        "import sys, adapters.onvif; "
        "print([name for name in ('zeep', 'onvif', 'requests', 'httpx') if name in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"


async def test_replies_that_break_their_wsdl_are_one_error() -> None:
    operation = await library.build("devicemgmt", "GetDeviceInformation")
    for body in (
        "<tds:Other/>",
        "",
        "<tds:GetDeviceInformationResponse><tds:A/></tds:GetDeviceInformationResponse>",
    ):
        root = envelope.parse(soap.envelope(body))
        try:
            await library.read(operation, root)
        except library.Unreadable:
            continue


async def test_documents_are_loaded_once_for_all() -> None:
    first, second = await asyncio.gather(
        library.build("media", "GetProfiles"), library.build("media", "GetProfiles")
    )
    assert first == second
    assert len(library._bindings) <= 5
