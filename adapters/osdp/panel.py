"""The control panel of one RS-485 line, on libosdp and pyserial, in a thread of its own.

libosdp is asked for nothing but reads. It is not used to open: an output command that stays unanswered is
sent again by the library itself, up to eight times, and an opening is sent once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from adapters._serial import open_line
from adapters.osdp import codec
from gated.ports import ConfigError

_AGAIN_S = 5.0  # libosdp waits five minutes before it tries a lost reader again


class Seen(NamedTuple):
    """An event of a reader. `age_s`: how long the reader had been heard from without a pause. `event`:
    libosdp's dictionary."""

    address: int
    kind: str
    event: Mapping[str, Any]
    age_s: float


class Channel:
    """The line, as libosdp wants it. It is never blocked and raises nothing: `lost` says what went wrong.

    A reader speaks only when it was spoken to, so what comes is from the one that was addressed last.
    """

    id = 0

    def __init__(self, line: Any, silent_s: float) -> None:
        self._line = line
        self._silent = silent_s
        self._asked: int | None = None
        self._challenge = False
        self.lost: str | None = None
        self.heard: dict[int, float] = {}
        self.since: dict[int, float] = {}
        self.challenged: set[int] = set()

    def read(self, max_bytes: int) -> bytes:
        try:
            data = os.read(self._line.fileno(), max_bytes)
        except BlockingIOError:
            return b""
        except (OSError, TypeError, ValueError) as error:
            self.lost = getattr(error, "strerror", None) or "it was closed"
            return b""
        # nothing is no sign of an unplugged line here: that is seen when it is written to
        if data and self._asked is not None:
            now = time.monotonic()
            if now - self.heard.get(self._asked, 0.0) > self._silent:
                self.since[self._asked] = now
            self.heard[self._asked] = now
            if self._challenge and codec.answers(data, self._asked):
                self.challenged.add(self._asked)
        return data

    def write(self, buf: bytes) -> int:
        frame = bytes(buf)
        asked = codec.address(frame)
        if asked is not None:
            self._asked, self._challenge = asked, codec.challenge(frame)
        try:
            return os.write(self._line.fileno(), buf)
        except BlockingIOError:
            return 0
        except (OSError, TypeError, ValueError) as error:
            self.lost = getattr(error, "strerror", None) or "it was closed"
            return len(buf)

    def flush(self) -> None:
        with contextlib.suppress(Exception):
            self._line.reset_input_buffer()


def library() -> Any:
    """libosdp's module. Raises ConfigError where it is not installed."""
    try:
        return import_module("osdp")
    except ImportError:
        raise ConfigError("OSDP needs libosdp: pip install gated[osdp]") from None


class Panel:
    """Polls readers. `keys`: by address; None is a reader without secure channel. `seen` is called in the
    panel's thread. `open`, `close` may block for tens of milliseconds."""

    def __init__(
        self,
        port: str,
        baud: int,
        keys: Mapping[int, bytes | None],
        silent_s: float,
        seen: Callable[[Seen], None],
    ) -> None:
        self._port, self._baud, self._keys, self._silent, self._seen = port, baud, keys, silent_s, seen
        self._addresses = list(keys)
        self._again: dict[int, float] = {}
        self._osdp: Any = None
        self._panel: Any = None
        self._line: Any = None
        self._channel: Channel | None = None

    def open(self) -> None:
        """Opens the line and begins to poll. Raises the three device errors."""
        osdp = self._osdp = library()
        self._line = open_line(self._port, self._baud)
        channel = self._channel = Channel(self._line, self._silent)
        flags = [osdp.LibFlag.EnableNotification]
        try:
            readers = [
                osdp.PDInfo(
                    address, channel, scbk=key, flags=[*flags, osdp.LibFlag.EnforceSecure] if key else flags
                )
                for address, key in self._keys.items()
            ]
            self._panel = osdp.ControlPanel(
                readers, log_level=osdp.LogLevel.Emergency, event_handler=self._event
            )
            self._panel.start()
        except Exception as error:  # libosdp raises bare ones
            self.close()
            raise ConfigError(f"libosdp does not take this configuration ({type(error).__name__})") from None

    def close(self) -> None:
        """Stops polling and closes the line."""
        panel, self._panel = self._panel, None
        if panel is not None and panel.thread is not None:
            panel.teardown()
        line, self._line = self._line, None
        if line is not None:
            line.close()

    @property
    def lost(self) -> str | None:
        """What went wrong with the line, if it did."""
        return None if self._channel is None else self._channel.lost

    def challenged(self, address: int) -> bool:
        """Whether this reader answered when a secure channel was asked for, be it with another key."""
        return self._channel is not None and address in self._channel.challenged

    def online(self, address: int) -> bool:
        """Whether this reader is polled with success, over its secure channel if it has a key. One that is
        not is tried again every few seconds."""
        now = time.monotonic()
        if self._panel.is_online(address):
            assert self._channel is not None  # noqa: S101 - open
            return now - self._channel.heard.get(address, 0.0) < self._silent
        if not self._panel.is_pd_enabled(address):
            self._panel.enable_pd(address)
        elif now - self._again.setdefault(address, now) > _AGAIN_S:
            self._again[address] = now
            self._panel.disable_pd(address)  # and enabled at the next question
        return False

    def says(self, address: int) -> Mapping[str, int]:
        """What a reader says of itself: vendor_code, model, version, serial_number, firmware_version."""
        return dict(vars(self._panel.get_pd_id(address)))

    def status_types(self) -> tuple[int, int]:
        """libosdp's numbers of a report of the reader's own state, and of its inputs."""
        types = self._osdp.StatusReportType
        return types.Local, types.Input

    def _event(self, place: int, event: Mapping[str, Any]) -> int:
        assert self._channel is not None  # noqa: S101 - open
        kinds = self._osdp.Event
        address = self._addresses[place]
        if self._panel is not None:  # libosdp keeps every event for whoever asks for it, without an end
            self._panel.get_event(address, timeout=-1)
        kind = {kinds.CardRead: codec.CARD, kinds.KeyPress: codec.KEYS, kinds.Status: codec.STATUS}.get(
            event.get("event")
        )
        now = time.monotonic()
        if kind is not None:
            self._seen(Seen(address, kind, event, now - self._channel.since.get(address, now)))
        elif event.get("type") == self._osdp.EventNotification.PeripheralDeviceStatus and event.get("arg0"):
            self._channel.since[address] = now
        return 0


async def in_thread(panel: Panel) -> None:
    """Opens the panel in a thread; one that is cancelled meanwhile leaves nothing open."""
    opening = asyncio.ensure_future(asyncio.to_thread(panel.open))
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            panel.close()
        raise


async def closed(panel: Panel) -> None:
    """Closes the panel in a thread, to the end even if the caller is cancelled."""
    await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(panel.close)))
