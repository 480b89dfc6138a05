"""What the ONVIF tests share: the bench around the double, and adapters pointed at it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adapters.onvif import Config, OnvifDevice, create
from adapters.simulator.boom import Boom
from adapters.simulator.onvif import OnvifCamera, Quirks
from gated.ports import DeviceContext
from tests.adapters.contract import Bench, Unparsed, context

PLATE = "津A12345"


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class OnvifBench(Bench):
    """The double, with its password in a file, as a site has it. `parts`: other relays, inputs, doors."""

    no_silence = "a pull may be silent for a minute: its time-outs have tests of their own in test_device.py"

    def __init__(
        self,
        folder: Path,
        *,
        tls: ssl.SSLContext | None = None,
        parts: Mapping[str, Any] | None = None,
        **quirks: Any,
    ) -> None:
        self.camera = OnvifCamera(
            quirks=Quirks(**quirks), boom=Boom(travel_s=0.1, stay_s=0.3), tls=tls, **(parts or {})
        )
        self.faults = self.camera.faults
        self.folder = folder
        self.unparsed = Unparsed()
        (folder / "right").write_text("simulated")
        (folder / "wrong").write_text("not it")

    async def __aenter__(self) -> Self:
        await self.camera.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.camera.stop()

    def config(self, **changes: Any) -> Config:
        settings: dict[str, Any] = {
            "id": "cam",
            "type": "onvif",
            "host": "127.0.0.1",
            "port": self.camera.port,
            "username": "gated",
            "password": {"file": self.folder / "right"},
            "relay": "RelayOut_1",
            "pull_s": 5,
            "timeout_s": 1.5,
        }
        return Config.model_validate({**settings, **changes})

    def make(self, ctx: DeviceContext | None = None, **changes: Any) -> OnvifDevice:
        return create(self.config(**changes), ctx or context("cam", self.unparsed))

    def device(self) -> OnvifDevice:
        return self.make()

    def unwelcome(self) -> OnvifDevice:
        return self.make(password={"file": self.folder / "wrong"})

    def nobody(self) -> OnvifDevice:
        return self.make(port=free_port())

    async def emit(self) -> None:
        self.camera.push_plate(PLATE)

    async def vanish(self) -> None:
        await self.camera.stop()

    async def revive(self) -> None:
        self.faults.hang = False
        await self.camera.start()

    def failed_logins(self) -> int:
        return self.camera.refusals

    def pulses(self) -> list[int]:
        return [opening.milliseconds for opening in self.camera.openings]
