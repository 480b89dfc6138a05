"""The configured devices, each with its task: started, stopped, found, asked how they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from gated.api.ingest import hash_secret
from gated.api.services import DeviceAuth
from gated.api.viid import DigestLogin, login
from gated.clocks import BoxClock
from gated.config import LoadAdapter
from gated.devices.recording import Recording
from gated.devices.supervised import Alarm, Site, Supervised
from gated.logs import Unparsed
from gated.ports import DeviceConfig, DeviceContext, Handle, NumberedConfig, Receiver, pushes
from gated.status import DeviceStatus

_STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Around:
    """What a device's task works with: who takes its events, who is told of its troubles, and who announces
    it as online or offline."""

    site: Site
    alarm: Alarm
    announce: Callable[[str, bool], None]


class Devices:
    """The configured devices, supervised. Implements `gated.api.services.DeviceControl`."""

    def __init__(self, load_adapter: LoadAdapter, clock: BoxClock) -> None:
        self._load_adapter = load_adapter
        self._clock = clock
        self._supervised: dict[str, Supervised] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._recordings: dict[str, Recording] = {}
        self._receivers: dict[str, tuple[Receiver, Handle, DeviceAuth]] = {}
        self._numbered: dict[str, str] = {}
        self._unparsed = Unparsed()

    def start(self, config: DeviceConfig, around: Around, *, max_body: int, drift_limit: timedelta) -> None:
        """Builds a device and begins to connect it; returns at once. Raises ConfigError."""
        site, wire = around.site, None
        recording = Recording(config, config.record, self._clock) if config.record is not None else None
        if recording is not None:
            site, wire = recording.site(site), recording.wire
        context = DeviceContext(id=config.id, now=self._clock.now, unparsed=self._unparsed, wire=wire)
        device = self._load_adapter(config.type).create(config, context)
        one = Supervised(device, config.type, site, around.alarm, self._clock, around.announce, drift_limit)
        if recording is not None:
            self._recordings[config.id] = recording
            recording.begin(device)
        token = pushes(config)
        if isinstance(device, Receiver) and token is not None:
            auth = DeviceAuth(hash_secret(token.value()), max_body, self._digest(config, token.value()))
            receiver = device if recording is None else recording.receiver(device)
            self._receivers[config.id] = (receiver, one.handle, auth)
        self._supervised[config.id] = one
        around.announce(config.id, False)
        self._tasks[config.id] = asyncio.create_task(one.run(), name=f"device {config.id}")

    async def stop(self, device_id: str) -> None:
        """Disconnects a device and forgets it."""
        self._receivers.pop(device_id, None)
        self._numbered = {name: id_ for name, id_ in self._numbered.items() if id_ != device_id}
        self._supervised.pop(device_id, None)
        task = self._tasks.pop(device_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=_STOP_S)
        recording = self._recordings.pop(device_id, None)
        if recording is not None:
            await recording.end()

    async def stop_all(self) -> None:
        """Disconnects all devices, at once."""
        await asyncio.gather(*(self.stop(device_id) for device_id in list(self._tasks)))

    def find(self, device_id: str) -> object | None:
        """The device, if a command may be handed to it now."""
        one = self._supervised.get(device_id)
        return one.device if one is not None and one.commandable else None

    def numbered(self, number: str) -> str | None:
        """The device that calls itself so, or logs in as that user, at `/VIID/`."""
        return self._numbered.get(number)

    def _digest(self, config: DeviceConfig, password: str) -> DigestLogin | None:
        if not isinstance(config, NumberedConfig):
            return None
        username = config.username or config.number
        self._numbered |= {config.number: config.id, username: config.id}
        return login(config.number, username, password)

    def statuses(self) -> list[DeviceStatus]:
        return [one.status() for one in self._supervised.values()]

    def receiver(self, device_id: str) -> tuple[Receiver, Handle, DeviceAuth] | None:
        return self._receivers.get(device_id)

    @property
    def online(self) -> int:
        return sum(one.online for one in self._supervised.values())

    def __len__(self) -> int:
        return len(self._supervised)
