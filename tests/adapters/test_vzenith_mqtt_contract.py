"""The contract of adapters, kept by `adapters.vzenith` over MQTT, at a real mosquitto; its list over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from pydantic import ValidationError

from adapters.simulator.faults import Faults
from adapters.simulator.vzenith import VzenithMqttCamera
from adapters.vzenith import Config, create
from gated.domain import CredentialKind, DeviceEvent, Heartbeat, OpeningOutcome, Read
from gated.ports import AllowEntry, AllowList, ConfigError, Device, DeviceUnavailable
from tests.adapters.contract import CLOCK, Bench, Contract, Session, Unparsed, context, pulse, timed
from tests.adapters.test_vzenith_contract import VzenithBench
from tests.peers.mosquitto import Mosquitto, require

SERIAL = "51a7ed00-00000001"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    require()
    with Mosquitto(tmp_path_factory.mktemp("vz") / "broker") as running:
        yield running


class VzenithMqttBench(Bench):
    refusal = ConfigError

    def __init__(self, broker: Mosquitto, **camera: Any) -> None:
        self.faults = Faults()
        self.broker, self.settings = broker, camera
        self.unparsed = Unparsed()
        self.camera: VzenithMqttCamera | None = None
        self.seen: list[int] = []
        self.count = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()

    def adapter(self, **settings: Any) -> Device:
        self.count += 1  # a session of its own at the broker
        values = {
            "id": "cam-1", "type": "vzenith", "serial": SERIAL, "silent_after_s": 0.6,
            "broker": {"port": self.broker.port},
        }  # fmt: skip
        name = f"cam-{id(self) % 10**6}-{self.count}"
        return create(Config.model_validate(values | settings), context(name, self.unparsed))

    def device(self) -> Device:
        return self.adapter()

    def unwelcome(self) -> Device:
        missing = Path("/nonexistent/broker.pem")
        return self.adapter(broker={"port": self.broker.port, "tls": True, "certificate": missing})

    def nobody(self) -> Device:
        return self.adapter(serial="another")

    async def prepare(self) -> None:
        if self.camera is None:
            await self.revive()

    async def emit(self) -> None:
        assert self.camera is not None
        await self.camera.see("津A12345")

    async def emit_old(self, ago_s: float) -> None:
        assert self.camera is not None
        await self.camera.see("津A12345", ago_s=ago_s)

    async def vanish(self) -> None:
        if self.camera is not None:
            self.seen += [opening.milliseconds for opening in self.camera.boom.openings]
            await self.camera.stop()
            self.camera = None

    async def revive(self) -> None:
        self.camera = VzenithMqttCamera(self.broker.port, serial=SERIAL, faults=self.faults, **self.settings)
        await self.camera.start()

    def pulses(self) -> list[int]:
        here = self.camera.boom.openings if self.camera else []
        return self.seen + [opening.milliseconds for opening in here]


class TestVzenithMqttContract(Contract):
    @pytest.fixture
    async def bench(self, broker: Mosquitto) -> AsyncIterator[Bench]:
        async with VzenithMqttBench(broker) as bench:
            yield bench

    async def test_a_read_is_decoded(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            (event,) = await session.reports()
        assert isinstance(event, Read)
        assert event.credential is not None
        assert event.credential.value == "津A12345"

    async def test_says_no(self, bench: Bench) -> None:
        device = bench.device()
        async with Session(bench, device):
            bench.faults.refuse = True
            opened = await timed(bench, device, pulse(bench))
        assert opened.outcome is OpeningOutcome.REJECTED
        assert "500" in opened.detail


async def test_units_that_order_their_topics_otherwise(broker: Mosquitto) -> None:
    async with VzenithMqttBench(broker, other_topics=True) as bench:
        device = bench.device()
        async with Session(bench, device):
            assert (await timed(bench, device, pulse(bench))).outcome is OpeningOutcome.ACCEPTED
        assert bench.pulses() == [700]


async def test_what_the_broker_kept_measures_no_clock(broker: Mosquitto) -> None:
    """A heartbeat that waited with a read would make that read one of now, and open for nobody."""
    async with VzenithMqttBench(broker, heartbeat_s=0.1) as bench:
        await bench.prepare()
        device = bench.adapter(silent_after_s=5.0)
        async with device:
            pass
        await asyncio.sleep(0.3)
        await bench.emit()
        await asyncio.sleep(0.1)
        await bench.vanish()
        got: list[DeviceEvent] = []
        async with asyncio.timeout(5), device:
            async for event in device.events():
                got.append(event)
                if isinstance(event, Read):
                    break
        assert any(isinstance(event, Heartbeat) for event in got)
        assert [event for event in got if isinstance(event, Heartbeat) and event.device_time] == []
        assert got[-1].device_time is not None or (isinstance(got[-1], Read) and got[-1].backlog)


async def test_its_list_is_kept_over_mqtt(broker: Mosquitto) -> None:
    async with VzenithMqttBench(broker) as bench:
        device = bench.device()
        async with Session(bench, device):
            assert isinstance(device, AllowList)
            assert bench.camera is not None
            entries = [
                AllowEntry(CredentialKind.PLATE, f"津A0000{number}", CLOCK, CLOCK + timedelta(days=1))
                for number in range(4)
            ]
            bench.camera.listed_most = 3
            assert list(await device.put(entries)) == ["津A00003"], "it is full, and says so"
            assert bench.camera.list["津A00000"] == "2026-11-22 15:59:59"
            assert list(await device.drop(["津A00000", "津A09999"])) == []
            assert set(bench.camera.list) == {"津A00001", "津A00002"}
            assert await device.held() is None
            bench.faults.hang = True
            with pytest.raises(DeviceUnavailable):
                await device.drop(["津A00001"])
        assert bench.pulses() == [], "a change of the list opens nothing"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "one of the two"),
        ({"token": {"env": "X"}, "broker": {}}, "one of the two"),
        ({"broker": {}}, "give serial"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Config.model_validate({"id": "c", "type": "vzenith"} | settings)


# --- its own list, over HTTP ------------------------------------------------------------------------------


async def until(true: Callable[[], bool]) -> None:
    """The reply is written before the camera has read it."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_list_rides_on_replies() -> None:
    async with VzenithBench() as bench:
        device = bench.device()
        async with Session(bench, device):
            assert isinstance(device, AllowList)
            entries = [
                AllowEntry(CredentialKind.PLATE, f"津A0000{number}", CLOCK, CLOCK + timedelta(days=1))
                for number in range(device.list_batch)
            ]
            assert list(await device.put(entries)) == []
            held = bench.camera.list if bench.camera else {}
            await until(lambda: len(held) == device.list_batch)
            assert held["津A00000"] == "2026-11-22 15:59:59"
            await device.drop(["津A00000"])
            await until(lambda: "津A00000" not in held)
            assert await device.held() is None
        assert bench.pulses() == [], "a change of the list opens nothing"


async def test_a_list_for_a_camera_that_is_away_is_not_lost_silently() -> None:
    async with VzenithBench() as bench:
        device = bench.device()
        assert isinstance(device, AllowList)
        with pytest.raises(DeviceUnavailable):
            await device.put([AllowEntry(CredentialKind.PLATE, "津A00000", CLOCK, CLOCK)])
