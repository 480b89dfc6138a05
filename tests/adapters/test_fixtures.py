"""The recordings of others beside the checkout (`../shared/fixtures`), where they are present: all of what is
this adapter's wire parses, and nothing of it is lost. Their plates stay there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadCoilsRequest

from adapters.modbus import codec as modbus
from adapters.vzenith import codec as vz
from gated.domain import CredentialKind, Heartbeat, InputChanged, Observed, Read
from gated.ports import Pulse
from tests.adapters.contract import CLOCK

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
VZ, MODBUS = FIXTURES / "vz", FIXTURES / "modbus"

pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no recordings of others at {FIXTURES}: they are not part of the project"
)

PUSHES = {
    "http_AlarmInfoPlate_R5_2023.json": Read,
    "http_AlarmInfoPlate_noplate_2018.json": Read,
    "alphadigi_AlarmInfoPlate.json": Read,
    "mqtt_up_ivs_result_vzicloud.json": Read,
    "http_AlarmGioIn.json": InputChanged,
    "http_SerialData.json": Observed,
    "mqtt_up_barr_gate_status.json": Observed,
    "http_device_register_multipart.txt": Heartbeat,
}
REPLIES = {
    "http_reply_open.json",
    "http_reply_ioctl_voice.json",
    "http_reply_offline_continue.json",
    "alphadigi_reply.json",
}
NOT_THIS_WIRE = {
    "mqtt_down_gpio_out_open.json",  # commands over the vendor's own broker
    "mqtt_down_gpio_out_reply.json",
    "tcp_getsn.bin",  # the vendor's own TCP protocol on port 8131
    "tcp_heartbeat.bin",
    "tcp_ioctl_pulse.bin",
    "tcp_ivsresult_enable.bin",
}


def content(name: str) -> Any:
    return json.loads((VZ / name).read_bytes())


def parse(name: str) -> vz.Message:
    body = (VZ / name).read_bytes()
    if name.endswith(".txt"):
        body = body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return vz.parse(body, "", "cam-1", CLOCK, vz.Reading())


def test_every_recording_is_accounted_for() -> None:
    assert {path.name for path in VZ.iterdir()} == set(PUSHES) | REPLIES | NOT_THIS_WIRE


@pytest.mark.parametrize(("name", "kind"), PUSHES.items())
def test_pushes_parse(name: str, kind: type) -> None:
    message = parse(name)
    assert message.unparsed is None
    assert [type(event) for event in message.events] == [kind]
    assert message.serial


@pytest.mark.parametrize("name", [name for name, kind in PUSHES.items() if kind is Read])
def test_reads_lose_nothing(name: str) -> None:
    recorded = content(name)
    alarm = recorded.get("payload", recorded)["AlarmInfoPlate"]
    result = alarm["result"]["PlateResult"]
    (event,) = parse(name).events
    assert isinstance(event, Read)
    stamp = result["timeStamp"]["Timeval"]
    assert event.device_time is not None
    assert event.device_time.timestamp() == pytest.approx(stamp["sec"] + stamp["usec"] / 1e6, abs=1e-5)
    assert event.key is not None
    assert str(result.get("plateid", stamp["sec"])) in event.key
    assert event.channel == str(alarm["channel"])
    assert event.confidence == (result["confidence"] / 100 or None)
    assert not event.backlog
    if result["license"] == "_无_":
        assert event.credential is None
    else:
        assert event.credential is not None
        assert event.credential.kind is CredentialKind.PLATE
        if "payload" not in recorded:
            assert event.raw == event.credential.value == result["license"]
        else:
            assert len(event.raw) == 7


def test_heartbeat_drops_the_password() -> None:
    message = parse("http_device_register_multipart.txt")
    assert message.model == "IVS"
    assert "admin" not in repr(message)


def test_replies_have_the_recorded_shape() -> None:
    pulse = Pulse(id="01O", milliseconds=500, output="0")

    def ours(**how: Any) -> Any:
        return json.loads(vz.reply_plate(**({"opens_by_info": False, "pulse": None} | how)))

    name = "Response_AlarmInfoPlate"
    recorded = content("http_reply_ioctl_voice.json")[name]["ivs_ioctrl"]
    assert ours(pulse=pulse)[name]["ivs_ioctrl"] == recorded
    recorded = content("http_reply_offline_continue.json")[name]["ContinuePushOffline"]
    plate = recorded["plateid"]
    assert ours(backlog=True, backlog_id=plate)[name]["ContinuePushOffline"] == recorded
    for file in ("http_reply_open.json", "alphadigi_reply.json"):
        assert ours(pulse=pulse, opens_by_info=True)[name]["info"] == content(file)[name]["info"]
    assert ours()[name]["content"] == content("alphadigi_reply.json")[name]["content"]


def test_modbus_frames() -> None:
    frames = json.loads((MODBUS / "frames.json").read_bytes())
    board = modbus.Board()
    tcp, rtu = FramerSocket(DecodePDU(False)), FramerRTU(DecodePDU(False))
    for name, number, request in [
        ("tcp_write_coil0_on", 1, board.switch(0, True)),
        ("tcp_read_discrete0_8", 4, board.inputs(8)),
    ]:
        request.transaction_id = number
        sent, answered = frames[name]
        assert tcp.buildFrame(request).hex() == sent
        _, answer = tcp.handleFrame(bytes.fromhex(answered), 1, number)
        assert answer is not None
        assert modbus.exception(answer) is None
        assert answer.function_code == request.function_code
    assert rtu.buildFrame(board.switch(0, True)).hex() == frames["rtu_coil0_on"]
    assert rtu.buildFrame(board.switch(0, False)).hex() == frames["rtu_coil0_off"]
    assert rtu.buildFrame(board.flash(0, 700)).hex() == frames["rtu_flash_on_700ms_relay0"]
    read = ReadCoilsRequest(address=0, count=8, dev_id=1)
    assert rtu.buildFrame(read).hex() == frames["rtu_read_8"]
    read.transaction_id = 2
    assert tcp.buildFrame(read).hex() == frames["tcp_read_coils0_8"][0]
    _, answer = tcp.handleFrame(bytes.fromhex(frames["tcp_read_coils0_8"][1]), 1, 2)
    assert answer is not None
    assert list(answer.bits) == [True] + [False] * 7
