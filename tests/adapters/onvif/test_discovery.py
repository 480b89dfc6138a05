"""Finding devices: probes, answers as devices write them, merging, sections for gated.yaml; the socket."""

from __future__ import annotations

import asyncio
import socket
from importlib.util import find_spec
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from adapters.onvif import Config
from adapters.onvif.discovery import MAX_DATAGRAM, MAX_FOUND, Found, discover, merged, probes, read, snippet
from adapters.simulator.faults import Faults
from adapters.simulator.onvif_discovery import GROUP, Discoverable, Responder

PEER = "192.0.2.20"
URN = "urn:uuid:4d454930-0000-1000-8000-a41437000001"


def found(**said: Any) -> Found:
    [one] = read(Discoverable(**{"endpoint": URN, **said}).matches("urn:uuid:1"), PEER)
    return one


# --- what is asked ----------------------------------------------------------------------------------------


def test_probes() -> None:
    asked = []
    for number, each in enumerate(probes(iter(["urn:uuid:a", "urn:uuid:b", "urn:uuid:c"]).__next__)):
        root = etree.fromstring(each)
        assert root.findtext("{*}Header/{*}Action", "").endswith("/2005/04/discovery/Probe")
        assert root.findtext("{*}Header/{*}MessageID") == f"urn:uuid:{'abc'[number]}"
        types = root.find("{*}Body/{*}Probe/{*}Types")
        prefix, _, name = ("" if types is None else types.text or "").partition(":")
        asked.append((name, "" if types is None else types.nsmap[prefix]))
    assert asked == [
        ("NetworkVideoTransmitter", "http://www.onvif.org/ver10/network/wsdl"),
        ("Device", "http://www.onvif.org/ver10/device/wsdl"),
        ("", ""),
    ]


# --- what is answered -------------------------------------------------------------------------------------


def test_what_a_device_says() -> None:
    one = found(
        name="HIKVISION DS-TCG405",
        hardware="DS-TCG405-E",
        location="city/hangzhou",
        xaddrs="http://192.0.2.20:8000/onvif/device_service http://[fe80::1]/onvif/device_service",
        scopes=("onvif://www.onvif.org/MAC/A4-14-37-00-00-01", "http://other/scope", "onvif://x"),
    )
    assert (one.name, one.hardware, one.location) == ("HIKVISION DS-TCG405", "DS-TCG405-E", "city/hangzhou")
    assert (one.address, one.mac, one.brand) == (PEER, "a4:14:37:00:00:01", "hikvision")
    assert one.types == ("NetworkVideoTransmitter", "Device")
    assert one.service == (PEER, 8000, "/onvif/device_service", False)


@pytest.mark.parametrize(
    ("endpoint", "mac"),
    [
        (URN, "a4:14:37:00:00:01"),  # version 1: its last part is the address
        ("uuid:4d454930-0000-1000-8000-a41437000001", "a4:14:37:00:00:01"),
        ("urn:uuid:4d454930-0000-1000-8000-a51437000001", ""),  # multicast bit: made up
        ("urn:uuid:4d454930-0000-4000-8000-a41437000001", ""),
        ("urn:uuid:2419d68a-2dd2-21b2-a205-a41437000001", ""),
        ("http://device", ""),
        ("", ""),
    ],
)
def test_mac_by_the_endpoint(endpoint: str, mac: str) -> None:
    one = found(endpoint=endpoint)
    assert (one.mac, one.endpoint) == (mac, endpoint or PEER)


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ("onvif://www.onvif.org/name/%E4%B8%9C%E9%97%A8", "东门"),
        ("ONVIF://www.onvif.org/Name/%B6%AB%C3%C5", "东门"),  # GB 18030
        ("onvif://www.onvif.org/name/a%0Ab%1B%5B31mc%E2%80%A8d", "a b [31mc d"),
        ("onvif://www.onvif.org/name/" + "x" * 500, "x" * 64),
        ("onvif://www.onvif.org/name/%FF%FF", "��"),
        ("onvif://www.onvif.org/name/", ""),
    ],
)
def test_names(scope: str, name: str) -> None:
    assert found(name="", scopes=(scope,)).name == name


@pytest.mark.parametrize(
    ("said", "is_one"),
    [
        ({"types": "pub:Computer", "name": "", "hardware": "", "xaddrs": "http://192.0.2.9:5357/x"}, False),
        ({"types": "", "name": "", "hardware": "", "xaddrs": ""}, False),
        ({"types": "", "name": "", "hardware": ""}, True),  # by the path
        ({"types": "", "xaddrs": ""}, True),  # by its scopes
        ({"types": "tds:Device", "name": "", "hardware": "", "xaddrs": ""}, True),
    ],
)
def test_only_onvif(said: dict[str, str], is_one: bool) -> None:
    assert len(read(Discoverable(**said).matches("x"), PEER)) == is_one


@pytest.mark.parametrize(
    ("xaddrs", "service"),
    [
        ("", (PEER, 80, "/onvif/device_service", False)),
        ("http://192.0.2.20/onvif/x", (PEER, 80, "/onvif/x", False)),
        ("https://192.0.2.20/o http://192.0.2.20:81/o", (PEER, 81, "/o", False)),
        ("https://192.0.2.20/o", (PEER, 443, "/o", True)),
        ("http://10.9.9.9:8080/o", (PEER, 8080, "/o", False)),
        ("https://10.9.9.9:8443/o http://192.0.2.20/o", (PEER, 80, "/o", False)),
        (
            "ftp://192.0.2.20/o http://[::1 http://x:99999/ http://:80/",
            (PEER, 80, "/onvif/device_service", False),
        ),
    ],
)
def test_where_its_service_is(xaddrs: str, service: tuple[str, int, str, bool]) -> None:
    assert found(xaddrs=xaddrs).service == service


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><e:Envelope xmlns:e="x"><e:Body>&a;</e:Body></e:Envelope>'


@pytest.mark.parametrize(
    "datagram", [b"", b"\0", b"<x/>", BOMB, b"<html/>", probes(lambda: "urn:x")[0], b" " * (MAX_DATAGRAM + 1)]
)
def test_what_is_no_answer(datagram: bytes) -> None:
    assert read(datagram, PEER) == []


@given(st.binary(max_size=300))
def test_any_bytes(datagram: bytes) -> None:
    read(datagram, PEER)


@given(st.lists(st.text(max_size=40), min_size=5, max_size=5), st.integers(0, 2000), st.integers(0, 255))
def test_any_words(words: list[str], at: int, byte: int) -> None:
    """Whatever a device says: it is read or is not, and its section is YAML that the adapter takes."""
    words = ["".join(each for each in word if each.isprintable()) for word in words]
    endpoint, xaddrs, types, name, scope = words
    whole = Discoverable(
        endpoint,
        f"http://192.0.2.20/{xaddrs}",
        f"dn:{types}",
        name,
        scopes=(f"onvif://www.onvif.org/{scope}",),
    ).matches("x")
    broken = bytearray(whole)
    broken[at % len(broken)] = byte
    for each in (*read(whole, PEER), *read(bytes(broken), PEER)):
        [section] = yaml.safe_load("devices:\n" + snippet(each))["devices"]
        assert Config.model_validate(section).host == PEER
        assert each.name.isprintable()


# --- merging ----------------------------------------------------------------------------------------------


def test_one_for_each_endpoint() -> None:
    first = Found("urn:a", "192.0.2.20", ("http://192.0.2.20/o",), ("Device",), name="cam")
    again = Found("urn:a", "192.0.2.20", ("http://192.0.2.20/o",), ("NetworkVideoTransmitter",), mac="m")
    through = Found("urn:a", "10.0.0.5", ("http://192.0.2.20/o", "http://10.0.0.5/o"))
    [one] = merged([first, again, through])
    assert one == Found(
        "urn:a",
        "192.0.2.20",
        ("http://192.0.2.20/o", "http://10.0.0.5/o"),
        ("Device", "NetworkVideoTransmitter"),
        name="cam",
        mac="m",
    )


def test_cameras_made_with_one_endpoint_stay_apart() -> None:
    twins = [Found("urn:a", f"192.0.2.{n}", (f"http://192.0.2.{n}/o",)) for n in (100, 21, 3)]
    assert [each.address for each in merged([*twins, *twins])] == ["192.0.2.3", "192.0.2.21", "192.0.2.100"]


def test_a_flood_is_bounded() -> None:
    assert len(merged(Found(f"urn:{n}", "192.0.2.1") for n in range(3000))) == MAX_FOUND
    assert len(merged(Found("urn:a", f"192.0.{n // 250}.{n % 250}") for n in range(3000))) < MAX_FOUND


# --- sections ---------------------------------------------------------------------------------------------


def test_a_section() -> None:
    assert snippet(
        found(name="cam", hardware="X1", xaddrs="http://192.0.2.20:8000/onvif/device_service")
    ) == (
        "  # cam X1\n"
        "  - id: onvif-192-0-2-20-8000\n"
        "    type: onvif\n"
        "    host: 192.0.2.20\n"
        "    port: 8000\n"
        "    username: gated\n"
        "    password: {env: GATED_192_0_2_20_8000}\n"
    )
    secure = snippet(found(xaddrs="https://192.0.2.20/other"))
    assert "    tls: unverified\n" in secure
    assert '    path: "/other"\n' in secure
    assert "port:" not in secure


@pytest.mark.parametrize(
    ("name", "hardware", "brand"),
    [
        ("HIKVISION DS-2CD2T47", "DS-2CD2T47", "hikvision"),
        ("IP CAMERA", "DS-TCG225", "hikvision"),
        ("Dahua", "ITC413-PW4D", "dahua"),
        ("gate", "DH-ITC215", "dahua"),
        ("AXIS P1465", "P1465-LE", ""),
        ("NVR", "BDS-1", ""),
    ],
)
def test_brands_with_an_adapter_of_their_own(name: str, hardware: str, brand: str) -> None:
    one = found(name=name, hardware=hardware)
    assert one.brand == brand
    here = bool(brand) and find_spec(f"adapters.{brand}") is not None
    assert (f"type: {brand} does more" in snippet(one)) == here, "only an adapter that there is"


# --- the socket -------------------------------------------------------------------------------------------


async def ask(responder: Responder, timeout_s: float = 0.2) -> list[Found]:
    return await discover("127.0.0.1", timeout_s, target=("127.0.0.1", responder.port))


async def test_asks_for_each_kind_twice() -> None:
    devices = [
        Discoverable("urn:video", name="video", answers_to=("NetworkVideoTransmitter",)),
        Discoverable("urn:device", name="device", answers_to=("Device",)),
        Discoverable("urn:all", name="all", answers_to=("",)),
        Discoverable("urn:printer", types="pub:Printer", name="", hardware="", xaddrs="http://127.0.0.1/p"),
    ]
    async with Responder(devices) as responder:
        seen = await ask(responder)
        assert [each.name for each in seen] == ["all", "device", "video"]
        assert responder.probes == ["NetworkVideoTransmitter", "Device", ""] * 2


async def test_garbage_losses_and_repeats() -> None:
    async with Responder(faults=Faults(garbage=2, twice=1.0)) as responder:
        assert len(await ask(responder)) == 1
    async with Responder(faults=Faults(lost=1.0)) as responder:
        assert await ask(responder, 0.1) == []
        assert len(responder.probes) == 6


async def test_nobody_there_and_not_ours() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert await discover("127.0.0.1", 0.05, target=silent.getsockname()) == []
    with pytest.raises(OSError, match="assign"):
        await discover("203.0.113.77", 0.05)
    with pytest.raises(OSError, match="illegal"):
        await discover("nonsense", 0.05)


async def test_cancelled_leaves_nothing() -> None:
    task = asyncio.ensure_future(discover("127.0.0.1", 30, target=("127.0.0.1", 9)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_multicast_on_loopback() -> None:
    try:
        responder = await Responder(port=3702, multicast=True).__aenter__()
    except OSError as error:
        pytest.skip(f"multicast on loopback does not work here: {error}")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as check:
            check.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            check.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
            check.sendto(probes(lambda: "urn:check")[2], (GROUP, 3702))
        await asyncio.sleep(0.05)
        if not responder.probes:
            pytest.skip("multicast on loopback does not work here: joined, and nothing arrives")
        [one] = await discover("127.0.0.1", 0.2)
        assert (one.name, one.address) == ("gated", "127.0.0.1")
    except OSError as error:
        pytest.skip(f"multicast on loopback does not work here: {error}")
    finally:
        await responder.__aexit__(None, None, None)
