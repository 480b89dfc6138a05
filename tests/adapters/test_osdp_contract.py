"""The contract of adapters, kept by `adapters.osdp` against libosdp's own reader on a pseudo-terminal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

pytest.importorskip("osdp", reason="libosdp is not installed: pip install gated[osdp]")

from adapters.osdp import Config, create, panel
from adapters.simulator.faults import Faults
from adapters.simulator.osdp import OsdpReader
from gated.domain import Credential, CredentialKind, InputChanged, Observed, Read
from gated.ports import Barrier, ConfigError, Device, DeviceUnavailable
from tests.adapters.contract import Bench, Contract, Session, Unparsed, context

KEY = bytes.fromhex("00112233445566778899aabbccddeeff")
OTHER = bytes.fromhex("ffeeddccbbaa99887766554433221100")
SETTLED_S = 1.05


class OsdpBench(Bench):
    barrier = False

    def __init__(self, folder: Path) -> None:
        self.faults = Faults()
        self.unparsed = Unparsed()
        self.folder = folder
        self.link = folder / "rs485"  # what udev does: one name, whatever the number of the port
        (folder / "right").write_text(KEY.hex())
        (folder / "wrong").write_text(OTHER.hex())
        (folder / "install").write_text(bytes(range(0x30, 0x40)).hex())
        self.reader: OsdpReader | None = None
        self.number = 1000

    async def __aenter__(self) -> Self:
        await self.revive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()

    def adapter(self, key: str = "right", address: int = 1, **settings: Any) -> Device:
        reader = {"address": address, "key": {"file": str(self.folder / key)}}
        values = {
            "id": "osdp-1", "type": "osdp", "port": str(self.link), "readers": [reader], "silent_ms": 400,
            "timeout_ms": 3000,
        }  # fmt: skip
        return create(Config.model_validate(values | settings), context("osdp-1", self.unparsed))

    def device(self) -> Device:
        return self.adapter()

    def unwelcome(self) -> Device:
        return self.adapter("wrong", timeout_ms=500)

    def nobody(self) -> Device:
        return self.adapter(address=9, timeout_ms=300)

    async def emit(self) -> None:
        if self.reader is None:
            raise ConnectionError("it is unplugged")
        self.number += 1
        self.reader.present(self.number)

    async def vanish(self) -> None:
        if self.reader is not None:
            await self.reader.stop()
            self.reader = None

    async def revive(self) -> None:
        self.reader = OsdpReader(key=KEY, faults=self.faults)
        await self.reader.start()
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(self.reader.path)

    def pulses(self) -> list[int]:
        return []


class TestOsdpContract(Contract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with OsdpBench(tmp_path) as bench:
            yield bench

    async def test_cards_codes_tamper_and_inputs(self, bench: Bench) -> None:
        assert isinstance(bench, OsdpBench)
        assert bench.reader is not None
        device = bench.device()
        assert not isinstance(device, Barrier)
        async with Session(bench, device) as session:
            assert device.info.serial == "01020304"
            await asyncio.sleep(SETTLED_S)
            bench.reader.present(0x123456)
            bench.reader.present(0xDEADBEEF, 32)
            bench.reader.press("99*12")
            bench.reader.press("34#")
            bench.reader.tamper(True)
            bench.reader.tamper(False)
            card, uid, code, off, on = await session.reports(5)
            bench.reader.input(b"\1\0")
            bench.reader.input(b"\0\0")
            changed = (await session.reports(6))[-1]
        assert isinstance(card, Read)
        assert card.credential == Credential(CredentialKind.CARD, str(0x123456))
        assert (card.channel, card.backlog, card.details["bits"]) == ("1", False, "26")
        assert isinstance(uid, Read)
        assert uid.credential == Credential(CredentialKind.CARD, str(0xDEADBEEF))
        assert isinstance(code, Read)
        assert code.credential == Credential(CredentialKind.CODE, "1234")
        assert isinstance(off, Observed)
        assert isinstance(on, Observed)
        assert [(each.what, each.active) for each in (off, on)] == [("tamper", True), ("tamper", False)]
        assert isinstance(changed, InputChanged)
        assert (changed.input, changed.active) == ("1:0", False)

    async def test_what_a_reader_kept_while_nobody_asked_opens_nothing(self, bench: Bench) -> None:
        async with Session(bench, bench.device()):
            pass
        await bench.emit()
        async with Session(bench, bench.device()) as session:
            with contextlib.suppress(AssertionError):  # or it forgot it, which is as good
                (event,) = await session.reports(within=1)
                assert isinstance(event, Read)
                assert event.backlog
            await asyncio.sleep(SETTLED_S)
            await bench.emit()
            event = (await session.reports(len(session.said()) + 1))[-1]
            assert isinstance(event, Read)
            assert not event.backlog

    async def test_one_of_two_readers_is_not_there(self, bench: Bench) -> None:
        assert isinstance(bench, OsdpBench)
        readers = [{"address": number, "key": {"file": str(bench.folder / "right")}} for number in (2, 1)]
        async with Session(bench, bench.adapter(readers=readers)) as session:
            await bench.emit()
            await session.reports()
            missing = next(event for event in session.events if isinstance(event, Observed))
        assert (missing.what, missing.active, missing.initial) == ("offline", True, True)
        assert missing.details == {"channel": "2"}

    async def test_the_key_of_install_mode_is_refused(self, bench: Bench) -> None:
        assert isinstance(bench, OsdpBench)
        with pytest.raises(ConfigError, match="install mode") as caught:
            async with bench.adapter("install"):
                pass
        assert "3031" not in str(caught.value)

    async def test_a_lost_reader_is_tried_again(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        assert isinstance(bench, OsdpBench)
        assert bench.reader is not None
        monkeypatch.setattr(panel, "_AGAIN_S", 0.8)
        bench.reader.rekey(OTHER)
        entering = asyncio.create_task(bench.device().__aenter__())
        await asyncio.sleep(0.4)
        assert not entering.done()
        bench.reader.rekey(KEY)
        device = await entering
        await device.__aexit__(None, None, None)

    async def test_without_a_key(self, bench: Bench) -> None:
        assert isinstance(bench, OsdpBench)
        async with OsdpReader(address=3) as reader:
            device = bench.adapter(readers=[{"address": 3}], insecure=True, port=reader.path)
            async with Session(bench, device) as session:
                reader.present(77)
                (event,) = await session.reports()
                assert isinstance(event, Read)
                assert event.channel == "3"

    async def test_no_serial_line(self, bench: Bench, tmp_path: Path) -> None:
        assert isinstance(bench, OsdpBench)
        for port, error in (("/dev/null", ConfigError), (str(tmp_path / "no"), DeviceUnavailable)):
            with pytest.raises(error):
                async with bench.adapter(port=port):
                    pass

    async def test_entering_is_cancelled(self, bench: Bench) -> None:
        for after_s in (0.0, 0.01, 0.1):
            entering = asyncio.create_task(bench.nobody().__aenter__())
            await asyncio.sleep(after_s)
            entering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await entering
        async with Session(bench, bench.device()):
            pass
