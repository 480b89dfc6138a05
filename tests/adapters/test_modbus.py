"""The Modbus adapter: frames, answers, timed pulses; beside the project's own board also pymodbus' server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pymodbus import FramerType
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import WriteSingleCoilResponse
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from adapters.modbus import Config, ModbusRelays, codec, create
from adapters.simulator.boom import Boom
from adapters.simulator.modbus import ModbusRelayBoard, crc
from gated.domain import BarrierPosition, InputChanged, OpeningOutcome, PositionChanged
from gated.ports import ConfigError, DeviceUnavailable, Pulse
from tests.adapters.contract import CLOCK, context
from tests.adapters.test_vzenith_codec import fuzz


def adapter(port: int, **settings: Any) -> ModbusRelays:
    values = {"id": "relay-1", "type": "modbus", "host": "127.0.0.1", "port": port, "timeout_ms": 300}
    return create(Config.model_validate(values | {"poll_ms": 20} | settings), context("relay-1"))


@pytest.fixture
async def board() -> AsyncIterator[ModbusRelayBoard]:
    async with ModbusRelayBoard() as board:
        yield board


def order(milliseconds: int = 500, output: str | None = "0") -> Pulse:
    return Pulse(id="01O", milliseconds=milliseconds, output=output)


# --- codec ------------------------------------------------------------------------------------------------

BOARD = codec.Board()


@pytest.mark.parametrize(
    ("request_", "tcp", "rtu"),
    [
        (BOARD.flash(0, 700), "000100000006010502000007", "0105020000078db0"),
        (BOARD.switch(0, True), "00010000000601050000ff00", "01050000ff008c3a"),
        (BOARD.switch(0, False), "000100000006010500000000", "010500000000cdca"),
        (BOARD.coils(0), "000100000006010100000001", "010100000001fdca"),
        (BOARD.inputs(8), "000100000006010200000008", "010200000008 79cc".replace(" ", "")),
        (codec.Board(unit=3, flash_base=0x0100).flash(4, 1500), "00010000000603050104000f", None),
    ],
)
def test_frames(request_: ModbusPDU, tcp: str, rtu: str | None) -> None:
    request_.transaction_id = 1
    assert FramerSocket(DecodePDU(False)).buildFrame(request_).hex() == tcp
    if rtu is not None:
        assert FramerRTU(DecodePDU(False)).buildFrame(request_).hex() == rtu
        assert crc(bytes.fromhex(rtu)[:-2]) == bytes.fromhex(rtu)[-2:]


@pytest.mark.parametrize(("asked", "units"), [(500, 5), (700, 7), (749, 7), (751, 8), (1500, 15), (20, 1)])
def test_flash_counts_units_of_100_ms(asked: int, units: int) -> None:
    assert BOARD.flash(0, asked).encode() == bytes([2, 0, 0, units])


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (WriteSingleCoilResponse(address=0x0200, bits=[True]), OpeningOutcome.ACCEPTED),
        (WriteSingleCoilResponse(address=0x0201, bits=[True]), OpeningOutcome.UNCERTAIN),
        *[(ExceptionResponse(5, code), OpeningOutcome.REJECTED) for code in (1, 2, 3, 4, 6, 8, 10, 77)],
        *[(ExceptionResponse(5, code), OpeningOutcome.UNCERTAIN) for code in (5, 11)],
    ],
)
def test_what_an_answer_means(answer: ModbusPDU, outcome: OpeningOutcome) -> None:
    opened = codec.opened(BOARD.flash(0, 700), answer)
    assert opened.outcome is outcome
    assert opened.detail or outcome is OpeningOutcome.ACCEPTED


@pytest.mark.parametrize(
    ("opened", "closed", "position"),
    [
        (True, False, "open"), (False, True, "closed"), (False, False, "moving"), (True, True, "unknown"),
        (True, None, "open"), (False, None, "unknown"), (None, True, "closed"), (None, False, "unknown"),
        (None, None, "unknown"),
    ],
)  # fmt: skip
def test_position_by_limit_switches(opened: bool | None, closed: bool | None, position: str) -> None:
    assert codec.position(opened, closed) == position


@pytest.mark.parametrize(
    "settings",
    [{"position": {"3": {"open": 0}}, "inputs": 1}, {"position": {"0": {"open": 4}}, "inputs": 4},
     {"position": {"0": {}}, "inputs": 4}, {"outputs": []}, {"pulse": "both"}, {"wires": 2}],
)  # fmt: skip
def test_configuration_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        adapter(502, **settings)


# --- opening ----------------------------------------------------------------------------------------------


async def test_device_timed_pulse_is_one_frame(board: ModbusRelayBoard) -> None:
    async with adapter(board.port, outputs=[0, 3]) as device:
        before = len(board.requests)
        assert (await device.open(order(700, "3"))).outcome is OpeningOutcome.ACCEPTED
        assert [pdu.hex() for pdu in board.requests[before:]] == ["0502030007"]
    assert [(each.relay, each.milliseconds) for each in board.pulses] == [(3, 700)]


async def test_host_timed_pulse_switches_off_also_when_cancelled(board: ModbusRelayBoard) -> None:
    async with adapter(board.port, pulse="host") as device:
        task = asyncio.create_task(device.open(order(600)))
        await asyncio.sleep(0.1)
        assert board.coils == [True] + [False] * 7
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert not any(board.coils), "leaving waits for the pulse to end"
    assert [each.milliseconds for each in board.pulses] == [pytest.approx(600, abs=100)]


async def test_host_timed_pulse_switches_off_over_a_new_connection(board: ModbusRelayBoard) -> None:
    async with adapter(board.port, pulse="host") as device:
        task = asyncio.create_task(device.open(order(500)))
        await asyncio.sleep(0.1)
        assert device._link is not None
        device._link.drop()
        assert (await task).outcome is OpeningOutcome.ACCEPTED
        assert not board.coils[0]


async def test_host_timed_pulse_that_cannot_be_ended_says_so(board: ModbusRelayBoard) -> None:
    async with adapter(board.port, pulse="host") as device:
        task = asyncio.create_task(device.open(order(500)))
        await asyncio.sleep(0.1)
        await board.stop()
        opened = await task
    assert opened.outcome is OpeningOutcome.ACCEPTED
    assert "may still be closed" in opened.detail


async def test_a_relay_left_closed_is_opened_at_connect(board: ModbusRelayBoard) -> None:
    board._switch(0, True)
    async with adapter(board.port, pulse="host"):
        assert not board.coils[0]


async def test_a_board_that_refuses_is_rejected(board: ModbusRelayBoard) -> None:
    async with adapter(board.port) as device:
        board.faults.refuse = True
        opened = await device.open(order())
    assert opened.outcome is OpeningOutcome.REJECTED
    assert "device failure" in opened.detail
    assert board.pulses == []


async def test_a_board_without_flash_is_rejected(board: ModbusRelayBoard) -> None:
    board._flash = False
    async with adapter(board.port) as device:
        assert (await device.open(order())).outcome is OpeningOutcome.REJECTED


@pytest.mark.parametrize("output", ["7", "x", "", "-1"])
async def test_an_output_that_is_not_configured_is_never_pulsed(board: ModbusRelayBoard, output: str) -> None:
    async with adapter(board.port) as device:
        assert (await device.open(order(output=output))).outcome is OpeningOutcome.REJECTED
    assert board.pulses == []


async def test_late_answers_are_not_taken_for_the_next_ones(board: ModbusRelayBoard) -> None:
    async with adapter(board.port) as device:
        board.faults.late_s = 0.5
        assert (await device.open(order())).outcome is OpeningOutcome.UNCERTAIN
        board.faults.late_s = 0
        assert (await device.open(order())).outcome is OpeningOutcome.UNREACHABLE
    assert len(board.pulses) == 1


async def test_openings_on_two_relays_do_not_mix(board: ModbusRelayBoard) -> None:
    async with adapter(board.port, outputs=[0, 1, 2, 3]) as device:
        opened = await asyncio.gather(*[device.open(order(500, str(n))) for n in range(4)])
    assert {each.outcome for each in opened} == {OpeningOutcome.ACCEPTED}
    assert sorted(each.relay for each in board.pulses) == [0, 1, 2, 3]


# --- inputs and position ----------------------------------------------------------------------------------


async def test_inputs_first_as_they_are_then_each_change(board: ModbusRelayBoard) -> None:
    board.set_input(1, True)
    device = adapter(board.port, inputs=3, inverted=[2])
    async with device:
        events = aiter(device.events())
        first = [await anext(events) for _ in range(3)]
        board.set_input(2, True)
        changed = await anext(events)
    assert first == [
        InputChanged(device="relay-1", received_at=CLOCK, input=str(n), active=active, initial=True)
        for n, active in enumerate([False, True, True])
    ]
    assert changed == InputChanged(device="relay-1", received_at=CLOCK, input="2", active=False)


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"outputs": [9]}, ConfigError), ({"inputs": 9}, ConfigError), ({"unit": 2}, DeviceUnavailable)],
)
async def test_what_the_board_does_not_have(
    board: ModbusRelayBoard, settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        await adapter(board.port, **settings).__aenter__()
    assert str(caught.value)


async def test_position_follows_the_boom_and_is_unknown_without_it(board: ModbusRelayBoard) -> None:
    clock = [0.0]
    board.booms[0] = Boom(travel_s=1.0, stay_s=2.0, clock=lambda: clock[0])
    board.limit_inputs[0] = (4, 5)
    settings: dict[str, Any] = {"inputs": 6, "position": {"0": {"open": 4, "closed": 5}}, "outputs": [0, 1]}
    device = adapter(board.port, **settings)
    assert await device.position("0") is BarrierPosition.UNKNOWN
    async with device:
        assert await device.position("0") is BarrierPosition.CLOSED
        await device.open(order(500))
        for now, where in [(0.5, "moving"), (1.5, "open"), (3.5, "moving"), (4.5, "closed")]:
            clock[0] = now
            assert await device.position("0") == where
        assert await device.position("1") is BarrierPosition.UNKNOWN
        await board.stop()
        assert await device.position("0") is BarrierPosition.UNKNOWN


@pytest.mark.parametrize(("outputs", "named"), [([0, 1], "0"), ([0], None)])
async def test_the_boom_is_followed_up_and_down(
    board: ModbusRelayBoard, outputs: list[int], named: str | None
) -> None:
    clock = [0.0]
    board.booms[0] = Boom(travel_s=1.0, stay_s=2.0, clock=lambda: clock[0])
    board.limit_inputs[0] = (4, 5)
    settings: dict[str, Any] = {"inputs": 6, "position": {"0": {"open": 4, "closed": 5}}, "outputs": outputs}
    async with adapter(board.port, **settings) as device:
        events = (event async for event in device.events() if isinstance(event, PositionChanged))
        seen = [await anext(events)]
        await device.open(order(500))
        for now in (0.5, 1.5, 3.5, 4.5):
            clock[0] = now
            seen.append(await anext(events))
    assert [event.position.value for event in seen] == ["closed", "moving", "open", "moving", "closed"]
    assert {event.output for event in seen} == {named}


async def test_a_stuck_boom_takes_the_pulse_and_stays(board: ModbusRelayBoard) -> None:
    board.booms[0] = Boom()
    board.limit_inputs[0] = (4, 5)
    board.faults.stuck = True
    async with adapter(board.port, inputs=6, position={"0": {"open": 4, "closed": 5}}) as device:
        assert (await device.open(order())).outcome is OpeningOutcome.ACCEPTED
        assert await device.position("0") is BarrierPosition.CLOSED
    assert [each.moved for each in board.booms[0].openings] == [False]


# --- pymodbus' own server as the peer ---------------------------------------------------------------------


@contextlib.asynccontextmanager
async def peer(framer: FramerType, port: int, seen: list[ModbusPDU]) -> AsyncIterator[None]:
    def trace(sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if not sending:
            seen.append(pdu)
        return pdu

    def bits(count: int) -> list[SimData]:
        return [SimData(0, values=[False] * count, datatype=DataType.BITS)]

    registers = [SimData(0, values=0, datatype=DataType.REGISTERS)]
    device = SimDevice(id=1, simdata=(bits(0x0210), bits(8), registers, registers))
    server = ModbusTcpServer(device, framer=framer, address=("127.0.0.1", port), trace_pdu=trace)
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("framer", ["tcp", "rtu"])
@pytest.mark.parametrize("timed_by", ["device", "host"])
async def test_against_pymodbus(
    framer: Literal["tcp", "rtu"], timed_by: Literal["device", "host"], unused_tcp_port: int
) -> None:
    seen: list[ModbusPDU] = []
    kind = FramerType.RTU if framer == "rtu" else FramerType.SOCKET
    async with peer(kind, unused_tcp_port, seen):
        device = adapter(unused_tcp_port, framer=framer, pulse=timed_by, inputs=8, timeout_ms=1000)
        async with device:
            seen.clear()
            assert (await device.open(order(500))).outcome is OpeningOutcome.ACCEPTED
            first = await anext(aiter(device.events()))
            assert isinstance(first, InputChanged)
    writes = [(pdu.address, bool(pdu.bits[0])) for pdu in seen if pdu.function_code == 5]
    assert writes == ([(0x0200, True)] if timed_by == "device" else [(0, True), (0, False)])


# --- whatever a board sends -------------------------------------------------------------------------------


@fuzz
@given(st.binary(max_size=64), st.sampled_from(["tcp", "rtu"]))
def test_any_answer(answer: bytes, framer: Literal["tcp", "rtu"]) -> None:
    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await reader.readexactly(8)
                writer.write(answer)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        device = adapter(server.sockets[0].getsockname()[1], framer=framer, timeout_ms=50)
        try:
            async with device:
                pass
        except (DeviceUnavailable, ConfigError):
            pass
        server.close()

    asyncio.run(run())
