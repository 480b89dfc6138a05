"""The contract of adapters, kept by `adapters.reader` on a pseudo-terminal, over HTTP and at a mosquitto."""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from adapters.reader import Config, create
from adapters.simulator.faults import Faults
from adapters.simulator.reader import HttpReader, MqttReader, Reader, SerialReader
from gated.domain import Read
from gated.ports import Barrier, ConfigError, Device, DeviceRefused, DeviceUnavailable, Receiver
from tests.adapters.contract import Bench, Contract, Session, Unparsed, context
from tests.adapters.rig import Ingest
from tests.peers.mosquitto import Mosquitto, require

BEAT = {"heartbeat": "PING", "silent_after_s": 0.5}


class ReaderBench(Bench):
    barrier = False

    def __init__(self) -> None:
        self.faults = Faults()
        self.unparsed = Unparsed()
        self.reader: Reader | None = None
        self.presented = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()

    @abstractmethod
    def double(self) -> Reader: ...

    def adapter(self, name: str = "reader-1", **settings: Any) -> Device:
        values = {"id": name, "type": "reader", "reads": "code"} | BEAT | settings
        return create(Config.model_validate(values), context(name, self.unparsed))

    async def prepare(self) -> None:
        if self.reader is None:
            await self.revive()

    async def emit(self) -> None:
        if self.reader is None:
            raise ConnectionError("it is off")
        self.presented += 1
        await self.reader.present(f"GP1:PASS {self.presented}")

    async def vanish(self) -> None:
        if self.reader is not None:
            await self.reader.stop()
            self.reader = None

    async def revive(self) -> None:
        self.reader = self.double()
        await self.reader.start()

    def pulses(self) -> list[int]:
        return []


class SerialBench(ReaderBench):
    refusal = ConfigError  # a serial line knows no credentials: "no" is a file that is no serial line

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.link = folder / "reader"  # what udev does: one name, whatever the number of the port

    def double(self) -> Reader:
        return SerialReader(faults=self.faults, heartbeat="PING", heartbeat_s=0.1)

    async def revive(self) -> None:
        await super().revive()
        assert isinstance(self.reader, SerialReader)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(self.reader.path)

    def device(self) -> Device:
        return self.adapter(transport="serial", port=str(self.link))

    def unwelcome(self) -> Device:
        return self.adapter(transport="serial", port="/dev/null")

    def nobody(self) -> Device:
        return self.adapter(transport="serial", port="/dev/ttyUSB-gated-nobody")


class TestSerialReaderContract(Contract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with SerialBench(tmp_path) as bench:
            yield bench

    async def test_only_one_program_reads(self, bench: Bench) -> None:
        async with Session(bench, bench.device()):
            with pytest.raises(DeviceUnavailable, match="another program"):
                async with bench.device():
                    pass

    async def test_it_opens_nothing(self, bench: Bench) -> None:
        assert not isinstance(bench.device(), Barrier)


class HttpBench(ReaderBench):
    def __init__(self) -> None:
        super().__init__()
        self.ingest = Ingest()

    async def __aenter__(self) -> Self:
        await self.ingest.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await self.ingest.__aexit__(kind, error, trace)
        assert self.ingest.errors == []

    def double(self) -> Reader:
        return HttpReader(
            self.ingest.url("reader-1"), form="json", faults=self.faults, heartbeat="PING", heartbeat_s=0.1
        )

    def adapter(self, name: str = "reader-1", **settings: Any) -> Device:
        values = {"transport": "http", "token": {"file": "unused"}, "body": "json", "field": "code"}
        return super().adapter(name, **values | {"serial_field": "device", "serial": "R-1"} | settings)

    def device(self) -> Device:
        return self.adapter()

    def unwelcome(self) -> Device:
        return self.adapter(serial="R-2")

    def stranger(self) -> Device:
        return self.unwelcome()

    def nobody(self) -> Device:
        return self.adapter("reader-2")

    def attach(self, session: Session) -> None:
        assert isinstance(session.device, Receiver)
        self.ingest.route(session.device.id, session.device, session.handle)


class TestHttpReaderContract(Contract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with HttpBench() as bench:
            yield bench


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    require()
    folder = tmp_path_factory.mktemp("readers")
    passwords = folder / "passwords"
    passwords.touch()
    program = require("mosquitto_passwd")
    subprocess.run([program, "-b", str(passwords), "gated", "right"], check=True, capture_output=True)
    config = f"allow_anonymous false\npassword_file {passwords}\npersistence false\n"
    with Mosquitto(folder / "broker", config) as running:
        yield running


class MqttBench(ReaderBench):
    refusal = DeviceRefused

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        super().__init__()
        self.broker, self.folder = broker, folder
        (folder / "right").write_text("right")
        (folder / "wrong").write_text("wrong")

    def double(self) -> Reader:
        return MqttReader(
            self.broker.port, form="json", faults=self.faults, heartbeat="PING", heartbeat_s=0.1,
            username="gated", password="right",
        )  # fmt: skip

    def adapter(self, name: str = "reader-1", **settings: Any) -> Device:
        values: dict[str, Any] = {
            "transport": "mqtt", "topic": "readers/1", "body": "json", "field": "code",
            "broker": {"port": self.broker.port, "username": "gated",
                       "password": {"file": str(self.folder / settings.pop("password", "right"))}},
        }  # fmt: skip
        return super().adapter(name, **values | settings)

    def device(self) -> Device:
        return self.adapter()

    def unwelcome(self) -> Device:
        return self.adapter(password="wrong")

    def nobody(self) -> Device:
        return self.adapter(topic="readers/2")


class TestMqttReaderContract(Contract):
    @pytest.fixture
    async def bench(self, broker: Mosquitto, tmp_path: Path) -> AsyncIterator[Bench]:
        async with MqttBench(broker, tmp_path) as bench:
            yield bench

    async def test_a_lost_broker_is_noticed(self, bench: Bench) -> None:
        async with Session(bench, bench.device()) as session:
            await bench.emit()
            (event,) = await session.reports()
            assert isinstance(event, Read)
            assert event.credential is not None
            assert event.credential.value == "GP1:PASS 1"
