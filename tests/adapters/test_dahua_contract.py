"""The contract of adapters, kept by `adapters.dahua` against a simulated camera, in each configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import pytest

from adapters.dahua import Config, create
from adapters.simulator.dahua import DahuaCamera
from adapters.simulator.faults import Faults
from gated.domain import DeviceEvent, Direction, Heartbeat, InputChanged, Observed, OpeningOutcome, Read
from gated.ports import (
    ConfigError,
    Device,
    DeviceUnavailable,
    Handled,
    Opened,
    Pulse,
    Receiver,
    Secret,
    Snapshots,
)
from tests.adapters.contract import Bench, Contract, Session, Unparsed, context, pulse, timed
from tests.adapters.rig import Ingest


class DahuaBench(Bench):
    def __init__(self, folder: Path, settings: dict[str, Any], **camera: Any) -> None:
        self.faults = Faults()
        self.unparsed = Unparsed()
        self.ingest = Ingest()
        self.settings, self.made = settings, camera
        self.output = "1"
        self.folder = folder
        for name in ("right", "wrong"):
            (folder / name).write_text(name)
        self.camera: DahuaCamera | None = None
        self.running = False

    @property
    def pushes(self) -> bool:
        return self.settings.get("events") == "push"

    @property
    def by_reply(self) -> bool:
        return self.pushes and "control" not in self.settings

    async def __aenter__(self) -> Self:
        await self.ingest.__aenter__()
        urls = {
            kind: self.ingest.url("cam-1", f"/NotificationInfo/{kind}")
            for kind in ("DeviceInfo", "KeepAlive", "TollgateInfo")
        }
        self.camera = DahuaCamera(faults=self.faults, push_to=urls if self.pushes else None, **self.made)
        await self.revive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()
        await self.ingest.__aexit__(kind, error, trace)
        assert self.ingest.errors == []

    @property
    def double(self) -> DahuaCamera:
        assert self.camera is not None
        return self.camera

    def adapter(self, file: str = "right", **settings: Any) -> Device:
        values: dict[str, Any] = {"id": "cam-1", "type": "dahua", "silent_after_s": 0.6, "reply_wait_ms": 500}
        if not self.by_reply:
            values |= {
                "host": "127.0.0.1", "port": self.double.server.port, "timeout_ms": 500,
                "password": Secret(file=self.folder / file),
            }  # fmt: skip
        if self.pushes:
            values["token"] = Secret(file=Path("unused"))
        values |= self.settings | settings
        return create(Config.model_validate(values), context(values["id"], self.unparsed))

    def device(self) -> Device:
        return self.adapter()

    def unwelcome(self) -> Device:
        return self.stranger() if self.by_reply else self.adapter("wrong")

    def nobody(self) -> Device:
        return self.adapter(id="cam-2") if self.by_reply else self.adapter(port=1)

    def stranger(self) -> Device:
        return self.adapter(device_id="another") if self.by_reply else self.adapter(serial="another")

    def failed_logins(self) -> int:
        if self.by_reply:
            pytest.skip("gated never connects to it")
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
        if not self.pushes and not self.faults.garbage and not self.faults.die_mid_message:
            async with asyncio.timeout(5):
                await self.double.asked.wait()

    async def emit(self) -> None:
        await self.listening()
        await self.double.see("津A12345")

    async def emit_old(self, ago_s: float) -> None:
        await self.listening()
        await self.double.see("津A12345", ago_s=ago_s)

    async def error_inside(self) -> None:
        if self.by_reply:
            pytest.skip("the camera says nothing of what it was told in a reply")
        self.double.error = True

    async def vanish(self) -> None:
        self.running = False
        await self.double.stop()

    async def revive(self) -> None:
        self.running = True
        await self.double.start()

    def pulses(self) -> list[int]:
        return [opening.milliseconds for opening in self.double.boom.openings]


class DahuaContract(Contract):
    settings: ClassVar[dict[str, Any]] = {}
    camera: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with DahuaBench(tmp_path, self.settings, **self.camera) as bench:
            yield bench

    @pytest.mark.parametrize("milliseconds", [500, 1500])
    async def test_opens_with_one_pulse(self, bench: Bench, milliseconds: int) -> None:
        """openStrobe knows no length of a pulse: it is as long as the camera's own page says."""
        device = bench.device()
        async with Session(bench, device):
            opened = await timed(bench, device, pulse(bench, milliseconds))
            assert opened.outcome is OpeningOutcome.ACCEPTED
        assert bench.pulses() == [700]

    async def test_another_output_is_not_opened(self, bench: Bench) -> None:
        device = bench.device()
        bench.output = "2"
        async with Session(bench, device):
            opened = await timed(bench, device, pulse(bench))
            assert opened.outcome is OpeningOutcome.REJECTED
        assert bench.pulses() == []


class TestDahuaSnapContract(DahuaContract):
    settings: ClassVar[dict[str, Any]] = {"directions": {"approach": "in"}}

    async def test_a_read_says_what_the_camera_saw(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            (event,) = await session.reports()
        assert isinstance(event, Read)
        assert event.credential is not None
        assert (event.credential.value, event.confidence, event.channel) == ("津A12345", 0.8, "1")
        assert event.direction is Direction.IN
        assert event.details == {
            "plate_color": "blue", "vehicle_class": "car", "moves": "approach", "trigger": "video",
            "vehicle_color": "white", "plate_type": "normal",
        }  # fmt: skip

    async def test_heartbeats_are_told(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            await session.reports()
        assert any(isinstance(event, Heartbeat) for event in session.events)

    async def test_takes_a_picture(self, bench: Bench) -> None:
        device = bench.device()
        assert isinstance(device, Snapshots)
        async with Session(bench, device):
            assert (await device.snapshot()).startswith(b"\xff\xd8")
        with pytest.raises(DeviceUnavailable):
            await device.snapshot()

    async def test_says_what_it_is(self, bench: Bench) -> None:
        bench.faults.clock_offset_s = -300
        device = bench.device()
        async with Session(bench, device):
            info = device.info
        assert info.clock_drift is not None
        assert (info.model, info.serial) == ("DHI-ITC000-SIM", "SIM0D00A0000001")
        assert info.firmware.startswith("2.800")

    async def test_the_camera_is_told_whom_it_opens_for(self, bench: Bench) -> None:
        assert isinstance(bench, DahuaBench)
        device = bench.device()
        async with Session(bench, device) as session:
            await bench.emit()
            (event,) = await session.reports()
            await timed(bench, device, Pulse("01O", 500, "1", answers=event.key))
        assert bench.double.openings == [{"openType": "Normal", "plateNumber": "津A12345"}]

    async def test_probing_for_a_way_opens_nothing(self, bench: Bench) -> None:
        assert isinstance(bench, DahuaBench)
        async with Session(bench, bench.device()):
            pass
        assert not [r for r in bench.double.server.requests if "openStrobe" in r.target]
        assert bench.double.openings == []

    async def test_sockets_are_few(self, bench: Bench) -> None:
        assert isinstance(bench, DahuaBench)
        device = bench.device()
        async with Session(bench, device) as session:
            await bench.listening()
            await asyncio.gather(*(timed(bench, device, pulse(bench)) for _ in range(4)))
            assert len(bench.double.server._tasks) <= 2
            assert not session.said()


class TestDahuaEventContract(DahuaContract):
    settings: ClassVar[dict[str, Any]] = {"events": "event", "control": "cgi"}

    async def test_other_events(self, bench: Bench) -> None:
        assert isinstance(bench, DahuaBench)
        async with Session(bench, bench.device()) as session:
            await bench.listening()
            line = {"Name": "IVS-1", "Object": {"ObjectType": "Human"}, "UTC": 1_795_248_000, "EventID": 7}
            bench.double.tell("CrossLineDetection", "Start", 0, line)
            bench.double.tell("CrossLineDetection", "Stop", 0, line)
            bench.double.tell("AlarmLocal", "Start", 1, {})
            bench.double.tell("NotAskedFor", "Start", 1, {})
            bench.double.tell("VideoBlind", "Start", 0, {})
            crossed, over, contact, tamper = await session.reports(4)
        assert isinstance(crossed, Observed)
        assert isinstance(over, Observed)
        assert (crossed.what, crossed.active, over.active) == ("crossed", True, False)
        assert crossed.details == {"channel": "0", "region": "IVS-1", "target": "human"}
        assert crossed.key != over.key
        assert isinstance(contact, InputChanged)
        assert (contact.input, contact.active) == ("1", True)
        assert isinstance(tamper, Observed)
        assert tamper.what == "tamper"


class TestDahuaRpc2Contract(DahuaContract):
    """Firmware Web 5.0: no openStrobe by CGI; found out at entering."""

    settings: ClassVar[dict[str, Any]] = {"events": "event", "open_type": "Test"}
    camera: ClassVar[dict[str, Any]] = {"cgi": False}

    async def test_a_session_that_is_lost_is_begun_anew(self, bench: Bench) -> None:
        assert isinstance(bench, DahuaBench)
        rpc2 = bench.double.rpc2
        assert rpc2 is not None
        device = bench.device()
        async with Session(bench, device):
            await timed(bench, device, pulse(bench))
            rpc2.sessions.clear()
            opened = await timed(bench, device, pulse(bench))
            assert opened.outcome is OpeningOutcome.ACCEPTED
        assert bench.double.openings == [{"openType": "Test", "plateNumber": ""}] * 2
        assert rpc2.calls.count("trafficSnap.openStrobe") == 3
        assert rpc2.sessions == {}, "it logs out"
        assert rpc2.calls[-2:] == ["trafficSnap.destroy", "global.logout"]

    async def test_no_way_at_all(self, bench: Bench) -> None:
        assert isinstance(bench, DahuaBench)
        assert bench.double.rpc2 is not None
        bench.double.rpc2.known = False
        device = bench.device()
        async with Session(bench, device):
            opened = await timed(bench, device, pulse(bench))
            assert opened.outcome is OpeningOutcome.REJECTED
            assert "neither" in opened.detail
        with pytest.raises(ConfigError):
            async with Session(bench, bench.adapter(control="rpc2")):
                pass


class TestDahuaPushContract(DahuaContract):
    """Pushed and opened by the reply; gated never connects to it."""

    settings: ClassVar[dict[str, Any]] = {"events": "push"}
    camera: ClassVar[dict[str, Any]] = {"cgi": False, "rpc2": False}

    async def _riding(self, bench: Bench, device: Device, order: Pulse) -> Opened:
        """Opens while a vehicle comes: a reply to a plate is the only thing that opens."""
        assert isinstance(bench, DahuaBench)
        opening = asyncio.ensure_future(timed(bench, device, order))
        await asyncio.sleep(0)
        await bench.emit()
        return await opening

    @pytest.mark.parametrize("milliseconds", [500, 1500])
    async def test_opens_with_one_pulse(self, bench: Bench, milliseconds: int) -> None:
        device = bench.device()
        async with Session(bench, device):
            opened = await self._riding(bench, device, pulse(bench, milliseconds))
            assert opened.outcome is OpeningOutcome.ACCEPTED
            await bench.emit()
        assert bench.pulses() == [700]

    async def test_two_openings_are_two_pulses(self, bench: Bench) -> None:
        device = bench.device()
        async with Session(bench, device):
            for _ in range(2):
                await self._riding(bench, device, pulse(bench, 500))
        assert len(bench.pulses()) == 2

    async def test_no_answer_is_uncertain_and_is_not_sent_again(self, bench: Bench) -> None:
        device = bench.device()

        async def later(order: Pulse) -> Opened:
            await asyncio.sleep(0.1)  # by now it has hung up
            return await timed(bench, device, order)

        async with Session(bench, device) as session:
            openings: list[asyncio.Future[Opened]] = []

            def granted(event: DeviceEvent) -> Handled:
                if not isinstance(event, Read):
                    return Handled()
                openings.append(asyncio.ensure_future(later(Pulse("01O", 500, None, answers=event.key))))
                return Handled(granted=True, opening=openings[0], barrier=device.id)

            session.on_event = granted
            bench.faults.hang = True
            await bench.emit()
            await session.reports()
            assert (await openings[0]).outcome is OpeningOutcome.UNCERTAIN
            bench.faults.hang = False
        assert len(openings) == 1
        assert bench.pulses() == []

    async def test_the_read_itself_opens(self, bench: Bench) -> None:
        assert isinstance(bench, DahuaBench)
        device = bench.device()
        async with Session(bench, device) as session:

            def granted(event: DeviceEvent) -> Handled:
                if not isinstance(event, Read):
                    return Handled()
                order = Pulse("01O", 500, None, answers=event.key)
                opening = asyncio.ensure_future(timed(bench, device, order))
                return Handled(granted=True, opening=opening, barrier=device.id)

            session.on_event = granted
            await bench.emit()
        assert bench.pulses() == [700]
        reply = bench.double.replies[-1]
        assert (reply["Result"], reply["OpenStrobe"], reply["PlateNumber"]) == (True, True, "津A12345")

    async def test_what_is_not_recorded_is_sent_again(self, bench: Bench) -> None:
        assert isinstance(bench, DahuaBench)
        bench.double._resends = 1
        async with Session(bench, bench.device()) as session:
            bench.faults.die_mid_message = 1
            await bench.emit()
            assert len(await session.reports()) == 1


class TestDahuaPushAndCgiContract(DahuaContract):
    """Pushed, and opened by a command."""

    settings: ClassVar[dict[str, Any]] = {"events": "push", "control": "auto"}
