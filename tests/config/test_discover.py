"""`gated discover`: what it asks, prints and says where nobody answers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator

import pytest
import yaml

from adapters.onvif import Config, discovery
from adapters.simulator.onvif_discovery import Discoverable, Responder
from gated.cli import discover
from gated.cli.discover import Interface, chosen, interfaces
from gated.cli.output import Failed
from tests.config.conftest import Run

DEVICES = [
    Discoverable(
        "urn:uuid:4d454930-0000-1000-8000-a41437000001",
        "http://127.0.0.1:8000/onvif/device_service",
        name="HIKVISION 东门",
        hardware="DS-TCG405",
        location="city/tianjin",
    ),
    Discoverable("urn:uuid:00000000-0000-4000-8000-000000000002", name="second", hardware="X1"),
]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Responder]:
    """Two devices that answer where the multicast group would be, in a thread of their own."""
    responder, up, loop = Responder(DEVICES), threading.Event(), asyncio.new_event_loop()

    async def live() -> None:
        async with responder:
            up.set()
            await down.wait()

    down = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(live()))
    thread.start()
    assert up.wait(5)
    monkeypatch.setattr(discovery, "TARGET", ("127.0.0.1", responder.port))
    yield responder
    loop.call_soon_threadsafe(down.set)
    thread.join(5)
    loop.close()


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A network where nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setattr(discovery, "TARGET", silent.getsockname())
        yield


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("interface", ["127.0.0.1", "lo"])
def test_a_table_and_sections(gated: Run, interface: str) -> None:
    code, out, err = gated("discover", "--interface", interface, "--timeout", "0.3")
    assert code == 0, err
    head, _, sections = out.partition("devices:\n")
    lines = head.splitlines()
    assert lines[0].split() == [
        "address",
        "地址",
        "name",
        "名称",
        "hardware",
        "型号",
        "MAC",
        "location",
        "位置",
    ]
    assert "HIKVISION 东门" in head
    assert "a4:14:37:00:00:01" in head
    assert "2 devices" in head
    assert "发现 2 台" in head
    assert "type: hikvision" in sections
    devices = [Config.model_validate(each) for each in yaml.safe_load("devices:\n" + sections)["devices"]]
    assert sorted((each.id, each.effective_port) for each in devices) == [
        ("onvif-127-0-0-1", 80),
        ("onvif-127-0-0-1-8000", 8000),
    ]
    assert all(each.password is not None and each.password.env for each in devices)


@pytest.mark.usefixtures("network")
def test_json(gated: Run) -> None:
    code, out, _ = gated("discover", "--interface", "127.0.0.1", "--timeout", "0.3", "--json")
    said = json.loads(out)
    assert code == 0
    assert [each["address"] for each in said["interfaces"]] == ["127.0.0.1"]
    assert {each["name"] for each in said["found"]} == {"HIKVISION 东门", "second"}
    first = next(each for each in said["found"] if each["name"] != "second")
    assert first["service"] == {
        "host": "127.0.0.1",
        "port": 8000,
        "path": "/onvif/device_service",
        "tls": False,
    }
    assert "type: onvif" in first["snippet"]


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_to_do_where_nobody_answers(gated: Run, form: list[str]) -> None:
    code, out, err = gated("discover", "--interface", "127.0.0.1", "--timeout", "0.1", *form)
    assert code == 1
    assert (json.loads(out)["found"] == []) if form else (out == "")
    for words in (
        "没有设备应答",
        "同一网段",
        "no ONVIF device answered",
        "network segment",
        "write its host",
    ):
        assert words in err


@pytest.mark.usefixtures("network")
def test_without_a_name_everybody_is_asked(gated: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        Interface("lo", "127.0.0.1", True),
        Interface("eth0", "203.0.113.77", True),
        Interface("down0", "127.0.0.9", False),
    ]
    monkeypatch.setattr(discover, "interfaces", lambda: there)
    code, out, err = gated("discover", "--timeout", "0.3")
    assert code == 0
    assert "HIKVISION" in out
    assert "lo 127.0.0.1: asking 查找" in err
    assert "down0 127.0.0.9: not asked 跳过" in err
    assert "203.0.113.77 cannot be asked 无法查询" in err


def test_interfaces_of_this_machine() -> None:
    there = interfaces()
    assert Interface("lo", "127.0.0.1", False) in there
    for each in there:
        assert socket.inet_aton(each.address)


def test_which_are_meant() -> None:
    there = [
        Interface("lo", "127.0.0.1", False),
        Interface("eth0", "192.0.2.2", True),
        Interface("eth0:1", "10.0.0.2", True),
    ]
    assert chosen(None, there) == there[1:]
    assert chosen("eth0", there) == there[1:]
    assert chosen("10.0.0.2", there) == there[2:]
    assert chosen("lo", there) == there[:1]
    with pytest.raises(Failed, match="没有这个网口") as failed:
        chosen("wlan0", there)
    assert "eth0 (192.0.2.2)" in failed.value.hint
    with pytest.raises(Failed, match="没有可用的网口"):
        chosen(None, there[:1])


def test_an_interface_that_is_not_there(gated: Run) -> None:
    code, _, err = gated("discover", "--interface", "nope0")
    assert code == 2
    assert "lo (127.0.0.1)" in err
