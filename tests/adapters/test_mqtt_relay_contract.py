"""The contract of adapters, kept by `adapters.mqtt_relay` against simulated relays at a real mosquitto."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import pytest

from adapters.mqtt_relay import Config, create
from adapters.simulator.faults import Faults
from adapters.simulator.mqtt_relay import MqttRelay
from gated.domain import InputChanged, OpeningOutcome
from gated.ports import ConfigError, Device, Secret
from tests.adapters.contract import Bench, Contract, Session, Unparsed, context, pulse, timed
from tests.peers.mosquitto import Mosquitto, require

OUTPUTS = {"shelly": "0", "tasmota": "1", "esphome": "gate"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    require()
    folder = tmp_path_factory.mktemp("relays")
    # user gated, password "right": made by mosquitto_passwd
    passwords = folder / "passwords"
    passwords.touch()
    program = require("mosquitto_passwd")
    subprocess.run([program, "-b", str(passwords), "gated", "right"], check=True, capture_output=True)
    config = f"allow_anonymous false\npassword_file {passwords}\npersistence false\n"
    with Mosquitto(folder / "broker", config) as running:
        yield running


class RelayBench(Bench):
    def __init__(self, broker: Mosquitto, firmware: str, folder: Path, **settings: Any) -> None:
        self.faults = Faults()
        self.unparsed = Unparsed()
        self.broker, self.firmware, self.settings = broker, firmware, settings
        self.output = OUTPUTS[firmware]
        if firmware == "esphome":
            self.no_silence = "ESPHome cannot be asked for anything"
        (folder / "right").write_text("right")
        (folder / "wrong").write_text("wrong")
        self.folder = folder
        self.seen: list[int] = []
        self.relay: MqttRelay | None = None
        self.pressed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()

    def _adapter(self, file: str = "right", **settings: Any) -> Device:
        values = {
            "id": "relay-1", "type": "mqtt_relay", "firmware": self.firmware, "topic": "relay",
            "outputs": [self.output], "timeout_ms": 400, "alive_ms": 300,
            "broker": {"port": self.broker.port, "username": "gated",
                       "password": Secret(file=self.folder / file)},
        }  # fmt: skip
        return create(
            Config.model_validate(values | self.settings | settings), context("relay-1", self.unparsed)
        )

    def device(self) -> Device:
        return self._adapter()

    def unwelcome(self) -> Device:
        return self._adapter("wrong")

    def failed_logins(self) -> int:
        return self.broker.log.count("not authorised")

    def nobody(self) -> Device:
        return self._adapter(topic="another")

    async def prepare(self) -> None:
        if self.relay is None:
            await self.revive()

    async def emit(self) -> None:
        assert self.relay is not None
        lost = self.faults.garbage or self.faults.die_mid_message
        self.relay.press(not self.pressed)
        self.pressed = self.pressed if lost else not self.pressed
        self.relay.input = self.pressed

    async def vanish(self) -> None:
        if self.relay is not None:
            self.seen += [opening.milliseconds for opening in self.relay.boom.openings]
            await self.relay.stop()
            self.relay = None

    async def revive(self) -> None:
        own = None if self.settings.get("pulse") == "host" else 700
        self.relay = MqttRelay(
            self.broker.port, self.firmware, own_pulse_ms=own, faults=self.faults,
            username="gated", password="right",
        )  # fmt: skip
        self.relay.input = self.pressed
        await self.relay.start()

    def pulses(self) -> list[int]:
        here = self.relay.boom.openings if self.relay else []
        return self.seen + [opening.milliseconds for opening in here]


class Relay:
    """What each firmware is tried with beside the contract."""

    firmware = ""
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    async def bench(self, broker: Mosquitto, tmp_path: Path) -> AsyncIterator[Bench]:
        async with RelayBench(broker, self.firmware, tmp_path, **self.settings) as bench:
            yield bench

    def expected(self, milliseconds: int) -> int:
        return milliseconds

    async def test_inputs(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            (event,) = await session.reports()
            assert isinstance(event, InputChanged)
            assert event.active

    @pytest.mark.parametrize("milliseconds", [500, 1000])
    async def test_opens_with_one_pulse(self, bench: Bench, milliseconds: int) -> None:
        device = bench.device()
        async with Session(bench, device):
            opened = await timed(bench, device, pulse(bench, milliseconds))
            assert opened.outcome is OpeningOutcome.ACCEPTED
            # the device times it: it ends after the answer
            await asyncio.sleep(self.expected(milliseconds) / 1000 + 0.15)
        assert bench.pulses() == [pytest.approx(self.expected(milliseconds), abs=150)]

    async def test_two_openings_are_two_pulses(self, bench: Bench) -> None:
        device = bench.device()
        async with Session(bench, device):
            for _ in range(2):
                await timed(bench, device, pulse(bench, 500))
                await asyncio.sleep(0.75)
        assert len(bench.pulses()) == 2

    async def test_no_answer_is_uncertain(self, bench: Bench) -> None:
        device = bench.device()
        async with Session(bench, device):
            bench.faults.hang = True
            assert (await timed(bench, device, pulse(bench))).outcome is OpeningOutcome.UNCERTAIN


class TestShellyContract(Relay, Contract):
    firmware = "shelly"

    async def test_says_no(self, bench: Bench) -> None:
        device = bench.device()
        async with Session(bench, device):
            bench.faults.refuse = True
            opened = await timed(bench, device, pulse(bench))
            assert opened.outcome is OpeningOutcome.REJECTED
            assert "overtemp" in opened.detail

    async def test_has_no_such_output(self, bench: Bench) -> None:
        assert isinstance(bench, RelayBench)
        await bench.prepare()
        with pytest.raises(ConfigError, match="no output 3"):
            async with bench._adapter(outputs=["3"]):
                pass

    async def test_tells_its_clock(self, bench: Bench) -> None:
        device = bench.device()
        async with Session(bench, device):
            assert device.info.clock_drift is not None


class TestEsphomeTimedByTheHostContract(Relay, Contract):
    firmware = "esphome"
    settings: ClassVar[dict[str, Any]] = {"pulse": "host"}


class TestTasmota(Relay):
    firmware = "tasmota"


class TestEsphome(Relay):
    """The switch turns itself off after 700 ms, whatever was asked."""

    firmware = "esphome"

    def expected(self, milliseconds: int) -> int:
        return 700
