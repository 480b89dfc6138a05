"""The contract of adapters, kept by `adapters.gpio` against gpiozero's mock board."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import pytest
from pydantic import ValidationError

from adapters.gpio import Config, create
from adapters.simulator.faults import Faults
from adapters.simulator.gpio import GpioBoard
from gated.domain import InputChanged, OpeningOutcome
from gated.ports import ConfigError, Device
from tests.adapters.contract import Bench, Contract, Session, context, pulse, timed


class GpioBench(Bench):
    refusal = ConfigError  # a pin that the board has not
    output = "17"
    no_silence = "a pin is read, it does not speak"

    def __init__(self) -> None:
        self.faults = Faults()
        self.board = GpioBoard(faults=self.faults)
        self.there = False

    async def __aenter__(self) -> Self:
        await self.revive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()

    def adapter(self, **settings: Any) -> Device:
        values = {
            "id": "pins", "type": "gpio", "outputs": [17], "inputs": [{"pin": 4, "bounce_ms": 0}],
            "check_ms": 50,
        }  # fmt: skip
        return create(Config.model_validate(values | settings), context("pins"))

    def device(self) -> Device:
        return self.adapter()

    def unwelcome(self) -> Device:
        return self.adapter(outputs=[99])

    def nobody(self) -> Device:
        self.board.unplug()
        self.there = False
        return self.adapter()

    async def emit(self) -> None:
        self.board.toggle(4)

    async def vanish(self) -> None:
        if self.there:
            self.board.unplug()
            self.there = False

    async def revive(self) -> None:
        self.board.plug()
        self.there = True

    def pulses(self) -> list[int]:
        return [opening.milliseconds for opening in self.board.boom.openings]


@pytest.mark.filterwarnings("ignore:Falling back from")
class TestGpioContract(Contract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with GpioBench() as bench:
            yield bench

    async def test_no_answer_is_uncertain_and_is_not_sent_again(self, bench: Bench) -> None:
        pytest.skip("a pin gives no answer that could be missing")

    async def test_outputs_are_off_when_it_begins_and_when_it_ends(self, bench: Bench) -> None:
        assert isinstance(bench, GpioBench)
        device = bench.device()
        async with Session(bench, device):
            task = asyncio.ensure_future(timed(bench, device, pulse(bench, 500)))
            await asyncio.sleep(0.05)
        assert (await task).outcome is OpeningOutcome.ACCEPTED
        assert bench.pulses() == [pytest.approx(500, abs=100)], "stopping waits for the end of a pulse"

    async def test_an_inverted_contact_speaks_when_it_opens(self, bench: Bench) -> None:
        assert isinstance(bench, GpioBench)
        device = bench.adapter(inputs=[{"pin": 4, "bounce_ms": 0, "inverted": True}])
        async with Session(bench, device) as session:
            await bench.emit()
            (event,) = await session.reports()
        assert isinstance(event, InputChanged)
        assert not event.active

    async def test_not_its_output(self, bench: Bench) -> None:
        bench.output = "18"
        device = bench.device()
        async with Session(bench, device):
            opened = await timed(bench, device, pulse(bench))
        assert opened.outcome is OpeningOutcome.REJECTED


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "outputs, inputs or both"),
        ({"outputs": [4], "inputs": [{"pin": 4}]}, "named twice"),
        ({"outputs": [-1]}, "greater than or equal"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Config.model_validate({"id": "g", "type": "gpio"} | settings)
