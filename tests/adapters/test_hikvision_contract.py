"""The contract of adapters, kept by `adapters.hikvision` against a simulated camera."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import pytest

from adapters.hikvision import Config, create
from adapters.simulator.faults import Faults
from adapters.simulator.hikvision import HikvisionCamera
from gated.domain import BarrierPosition, OpeningOutcome, Read
from gated.ports import Device, DeviceUnavailable, Position, Receiver, Secret, Snapshots
from tests.adapters.contract import Bench, Contract, Session, Unparsed, context, pulse, timed
from tests.adapters.rig import Ingest


class HikvisionBench(Bench):
    def __init__(self, folder: Path, events: str = "stream", **camera: Any) -> None:
        self.faults = Faults()
        self.unparsed = Unparsed()
        self.ingest = Ingest()
        self.events, self.settings = events, camera
        self.output = "1"
        self.folder = folder
        for name in ("right", "wrong"):
            (folder / name).write_text(name)
        self.camera: HikvisionCamera | None = None
        self.running = False

    async def __aenter__(self) -> Self:
        await self.ingest.__aenter__()
        self.camera = HikvisionCamera(
            faults=self.faults,
            push_to=self.ingest.url("cam-1") if self.events == "push" else None,
            **{"pulse_ms": 700} | self.settings,
        )
        await self.revive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()
        await self.ingest.__aexit__(kind, error, trace)
        assert self.ingest.errors == []

    @property
    def double(self) -> HikvisionCamera:
        assert self.camera is not None
        return self.camera

    def adapter(self, file: str = "right", **settings: Any) -> Device:
        values = {
            "id": "cam-1", "type": "hikvision", "host": "127.0.0.1", "port": self.double.server.port,
            "password": Secret(file=self.folder / file), "events": self.events, "timeout_ms": 500,
            "silent_after_s": 0.6, "poll_ms": 200,
        }  # fmt: skip
        if self.events == "push":
            values["token"] = Secret(file=Path("unused"))
        return create(Config.model_validate(values | settings), context("cam-1", self.unparsed))

    def device(self) -> Device:
        return self.adapter()

    def unwelcome(self) -> Device:
        return self.adapter("wrong")

    def nobody(self) -> Device:
        return self.adapter(port=1)

    def stranger(self) -> Device:
        return self.adapter(serial="DS-ANOTHER")

    def failed_logins(self) -> int:
        return self.double.server.logins_failed

    def attach(self, session: Session) -> None:
        if isinstance(session.device, Receiver):
            self.ingest.route(session.device.id, session.device, session.handle)

    async def prepare(self) -> None:
        self.double.asked.clear()
        if not self.running:
            await self.revive()

    async def listening(self) -> None:
        """Until the adapter has asked for events."""
        if self.events != "push" and not self.faults.garbage and not self.faults.die_mid_message:
            async with asyncio.timeout(5):
                await self.double.asked.wait()

    async def emit(self) -> None:
        await self.listening()
        await self.double.see("津A12345")

    async def emit_old(self, ago_s: float) -> None:
        if self.events == "poll":
            pytest.skip("a poll gives what the camera has, in the order of its pictures")
        await self.listening()
        await self.double.see("津A12345", retransmitted=True, ago_s=ago_s)

    async def error_inside(self) -> None:
        self.double.status = (3, "Device Error", "deviceError")

    async def vanish(self) -> None:
        self.running = False
        await self.double.stop()

    async def revive(self) -> None:
        self.running = True
        await self.double.start()

    def pulses(self) -> list[int]:
        return [opening.milliseconds for opening in self.double.boom.openings]


class HikvisionContract(Contract):
    events = "stream"
    camera: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with HikvisionBench(tmp_path, self.events, **self.camera) as bench:
            yield bench

    @pytest.mark.parametrize("milliseconds", [500, 1500])
    async def test_opens_with_one_pulse(self, bench: Bench, milliseconds: int) -> None:
        """ISAPI knows no length of a pulse: it is as long as the camera's own page says."""
        device = bench.device()
        async with Session(bench, device):
            opened = await timed(bench, device, pulse(bench, milliseconds))
            assert opened.outcome is OpeningOutcome.ACCEPTED
        assert bench.pulses() == [700]


class TestHikvisionStreamContract(HikvisionContract):
    async def test_a_read_says_what_the_camera_saw(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            (event,) = await session.reports()
        assert isinstance(event, Read)
        assert event.credential is not None
        assert event.credential.value == "津A12345"
        assert event.confidence == 0.975
        assert event.details == {
            "plate_color": "blue", "vehicle_class": "car", "moves": "forward", "line": "1",
            "plate_type": "92TypeCivil", "country": "3",
        }  # fmt: skip

    async def test_lasting_events_are_told_once(self, bench: Bench) -> None:
        assert isinstance(bench, HikvisionBench)
        async with Session(bench, bench.device()) as session:
            await bench.listening()
            for _ in range(5):
                await bench.double.alert("linedetection")
            await bench.double.alert("linedetection", active=False)
            await bench.double.alert("linedetection", active=False)
            reports = await session.reports(2)
            await asyncio.sleep(0.05)
            assert session.said() == reports
        assert [(e.what, e.active) for e in reports] == [("crossed", True), ("crossed", False)]  # type: ignore[attr-defined]

    async def test_asks_where_the_boom_is(self, bench: Bench) -> None:
        assert isinstance(bench, HikvisionBench)
        device = bench.device()
        assert isinstance(device, Position)
        async with Session(bench, device):
            assert await device.position("1") is BarrierPosition.CLOSED
            bench.double.boom.travel_s = 0
            await timed(bench, device, pulse(bench))
            assert await device.position() is BarrierPosition.OPEN
            bench.double.signal = False
            assert await device.position() is BarrierPosition.UNKNOWN

    async def test_takes_a_picture(self, bench: Bench) -> None:
        device = bench.device()
        assert isinstance(device, Snapshots)
        async with Session(bench, device):
            assert (await device.snapshot()).startswith(b"\xff\xd8")
        with pytest.raises(DeviceUnavailable):
            await device.snapshot()

    async def test_the_clock_is_measured(self, bench: Bench) -> None:
        bench.faults.clock_offset_s = -300
        device = bench.device()
        async with Session(bench, device):
            assert device.info.clock_drift is not None
            assert device.info.model == "DS-TCG000"


class TestHikvisionOldBarrierRoute(HikvisionContract):
    camera: ClassVar[dict[str, Any]] = {"gate": "barrierGateCtrl"}


class TestHikvisionOutput(HikvisionContract):
    """An alarm output that this host times."""

    camera: ClassVar[dict[str, Any]] = {"gate": "output"}

    @pytest.mark.parametrize("milliseconds", [500, 1500])
    async def test_opens_with_one_pulse(self, bench: Bench, milliseconds: int) -> None:
        await Contract.test_opens_with_one_pulse(self, bench, milliseconds)

    async def test_knows_no_way(self, bench: Bench) -> None:
        assert isinstance(bench, HikvisionBench)
        bench.double.gate = "none"
        device = bench.device()
        async with Session(bench, device):
            opened = await timed(bench, device, pulse(bench))
            assert opened.outcome is OpeningOutcome.REJECTED
            assert "none of the ways" in opened.detail


class TestHikvisionPushContract(HikvisionContract):
    events = "push"


class TestHikvisionPollContract(HikvisionContract):
    events = "poll"

    async def test_what_was_there_before_is_backlog(self, bench: Bench) -> None:
        assert isinstance(bench, HikvisionBench)
        await bench.double.see("津A11111")
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            first, second = await session.reports(2)
        assert isinstance(first, Read)
        assert isinstance(second, Read)
        assert (first.raw, first.backlog) == ("津A11111", True)
        assert (second.raw, second.backlog) == ("津A12345", False)
