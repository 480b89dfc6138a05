"""A simulated UHPPOTE controller with four doors: UDP and TCP on one port, cards, a log of events with an
index, events pushed to a listener, and remote control that ends when nobody is heard from.

It writes its packets itself, so that it shares no mistake with the library that the adapter uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from adapters.simulator._switch import Switched
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults

SIZE = 64
MAGIC = 0x55AAAA55
HOST_NUMBER = 3922570474
"""What a controller writes as the card of a door that software opened."""
DELETED = 0xFFFFFFFF
ACCEPTED, BY_HOST, UNKNOWN_CARD, BUTTON, OPENED, CLOSED, BY_SOFTWARE = 1, 5, 6, 20, 23, 24, 44
SWIPE, DOOR, OVERWRITTEN = 1, 2, 0xFF


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the log; `at` is local time."""

    index: int
    kind: int
    granted: bool
    door: int
    direction: int
    card: int
    at: datetime
    reason: int

    def packed(self) -> bytes:
        """The 20 bytes that stand in answers and pushes alike."""
        head = struct.pack(
            "<LBBBBL", self.index, self.kind, self.granted, self.door, self.direction, self.card
        )
        return head + bcd(f"{self.at:%Y%m%d%H%M%S}") + bytes([self.reason])


@dataclass(slots=True)
class Door:
    """`mode`: 1 normally open, 2 normally closed, 3 controlled. `delay`: seconds."""

    mode: int = 3
    delay: int = 1
    open: bool = False
    pressed: bool = False
    boom: Boom = field(default_factory=Boom)


class UhppoteController(Switched):
    """`async with UhppoteController() as board: board.port`.

    `events` is its log, `register` what its reader put down; `cards[number]` the 16 bytes of a card as they
    came (days, rights, PIN). `requests` counts functions; those in `unknown` are not answered. `deaf`: so
    many answers are lost on their way yet.
    Faults: `refuse` says no to openings; `hang` does what it is told and answers nothing.
    """

    def __init__(
        self,
        *,
        serial: int = 423187757,
        zone: str = "Asia/Shanghai",
        remote_s: float = 30.0,
        faults: Faults | None = None,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.serial, self.host, self.port = serial, host, 0
        self.faults = faults or Faults()
        self.doors = {number: Door() for number in (1, 2, 3, 4)}
        self.events: list[Event] = []
        self.oldest = 1
        self.register = 0
        self.cards: dict[int, bytes] = {}
        self.places: list[int] = []
        self.profiles: set[int] = set()
        self.listener = ("0.0.0.0", 0)  # noqa: S104 - nobody
        self.pc_control = False
        self.requests: dict[int, int] = {}
        self.deaf = 0
        self.unknown: set[int] = set()
        self._zone, self._remote_s, self._clock = ZoneInfo(zone), remote_s, clock
        self._heard = float("-inf")
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sequence = 0

    async def start(self) -> None:
        """Listens; on the same port as before if it was stopped."""
        loop = asyncio.get_running_loop()
        for _ in range(20):  # a port that is free for both
            self._tcp = await asyncio.start_server(self._connected, self.host, self.port)
            port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Packets(self._datagram), local_addr=(self.host, port)
                )
            except OSError:
                self._tcp.close()
                if self.port:
                    raise
                continue
            self.port = port
            return
        raise OSError("no port is free for UDP and TCP")

    async def stop(self) -> None:
        """Power off; the log, the cards and the settings stay."""
        if self._tcp is not None:
            self._tcp.close()
        if self._udp is not None:
            self._udp.close()
        self._tcp = self._udp = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # its sockets are closed by now

    # --- what happens at its doors ------------------------------------------------------------------------

    @property
    def remote(self) -> bool:
        """Whether the host decides now."""
        return self.pc_control and self._clock() - self._heard < self._remote_s

    @property
    def pulses(self) -> list[int]:
        """Milliseconds of every pulse, in order of time."""
        openings = [opening for door in self.doors.values() for opening in door.boom.openings]
        return [each.milliseconds for each in sorted(openings, key=lambda each: each.at)]

    def swipe(self, card: int, door: int = 1, *, direction: int = 1, ago_s: float = 0.0) -> Event:
        """Somebody holds up a card."""
        if self.remote:
            return self.log(SWIPE, False, door, card, BY_HOST, direction=direction, ago_s=ago_s)
        if not self._lets_in(card, door):
            return self.log(SWIPE, False, door, card, UNKNOWN_CARD, direction=direction, ago_s=ago_s)
        self._unlock(door)
        return self.log(SWIPE, True, door, card, ACCEPTED, direction=direction, ago_s=ago_s)

    def press(self, door: int = 1) -> Event:
        """Somebody presses the button of a door, which opens it."""
        self._unlock(door)
        return self.log(DOOR, True, door, 0, BUTTON)

    def contact(self, door: int, is_open: bool) -> Event:
        """A door's contact opens or closes."""
        self.doors[door].open = is_open
        return self.log(DOOR, True, door, 0, OPENED if is_open else CLOSED)

    def log(
        self,
        kind: int,
        granted: bool,
        door: int,
        card: int,
        reason: int,
        *,
        direction: int = 1,
        ago_s: float = 0.0,
        quiet: bool = False,
    ) -> Event:
        """Writes an event down, and pushes it unless it is `quiet`."""
        at = self.now() - timedelta(seconds=ago_s)
        event = Event(len(self.events) + 1, kind, granted, door, direction, card, at, reason)
        self.events.append(event)
        if not quiet:
            for _ in range(self.faults.copies()):
                self._push(event)
        return event

    def forget(self, before: int) -> None:
        """Events below this index are overwritten."""
        self.oldest = before

    def clear(self) -> None:
        """The log begins anew."""
        self.events.clear()
        self.oldest, self.register = 1, 0

    def now(self) -> datetime:
        """Local time of its clock."""
        true = datetime.now(UTC) + timedelta(seconds=self.faults.clock_offset_s)
        return true.astimezone(self._zone).replace(tzinfo=None)

    def _lets_in(self, card: int, door: int) -> bool:
        held = self.cards.get(card)
        if held is None or not held[8 + door - 1]:
            return False
        today = bcd(f"{self.now():%Y%m%d}")
        return held[:4] <= today <= held[4:8]

    def _unlock(self, door: int) -> None:
        self.doors[door].boom.stuck = self.faults.stuck
        self.doors[door].boom.pulse(self.doors[door].delay * 1000)

    # --- the wire -----------------------------------------------------------------------------------------

    def _push(self, event: Event) -> None:
        host, port = self.listener
        if self._udp is None or not port or self.faults.mute:
            return
        for packet in self._faulty(self._packet(0x20, self._state(event))):
            self._udp.sendto(packet, (host, port))

    def _datagram(self, request: bytes, peer: tuple[str, int]) -> None:
        answer = self._answer(request)
        if answer is None or self._udp is None:
            return
        if self.deaf > 0:
            self.deaf -= 1
            return
        for packet in self._faulty(answer):
            for _ in range(max(1, self.faults.copies())):
                asyncio.get_running_loop().call_later(self.faults.late_s, self._send, packet, peer)

    def _send(self, packet: bytes, peer: tuple[str, int]) -> None:
        if self._udp is not None:
            self._udp.sendto(packet, peer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server runs this in a task
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    answer = self._answer(await reader.readexactly(SIZE))
                    if answer is None:
                        continue
                    await asyncio.sleep(self.faults.late_s)
                    dies = self.faults.die_mid_message > 0
                    for packet in self._faulty(answer):
                        writer.write(packet)
                    await writer.drain()
                    if dies:
                        break
        finally:
            self._tasks.discard(task)
            writer.close()

    def _faulty(self, packet: bytes) -> list[bytes]:
        """What is sent instead of a packet."""
        packet = self.faults.take_garbage() or packet
        return [packet[: len(packet) // 2] if self.faults.take_death() else packet]

    def _answer(self, request: bytes) -> bytes | None:
        if len(request) != SIZE or request[0] != 0x17 or self.faults.mute:
            return None
        serial = int.from_bytes(request[4:8], "little")
        function = request[1]
        if serial != self.serial and not (serial == 0 and function == 0x94):
            return None
        if function in self.unknown:
            return None
        self.requests[function] = self.requests.get(function, 0) + 1
        self._heard = self._clock()
        body = self._serve(function, request[8:])
        if body is None or self.faults.hang:
            return None
        return self._packet(function, body)

    def _packet(self, function: int, body: bytes) -> bytes:
        return (bytes([0x17, function, 0, 0]) + self.serial.to_bytes(4, "little") + body).ljust(SIZE, b"\0")

    def _serve(self, function: int, body: bytes) -> bytes | None:
        """What follows the serial number in the answer; None if there is none."""
        number = int.from_bytes(body[:4], "little")
        if function == 0x40:
            return self._open_door(body[0])
        if function in (0x80, 0x82):
            return self._door(function, body)
        if function in (0x50, 0x52, 0x54, 0x58, 0x5A, 0x5C):
            return self._card(function, number, body)
        if function in (0xB0, 0xB2, 0xB4):
            return self._journal(function, number, body)
        return self._about(function, number, body)

    def _about(self, function: int, number: int, body: bytes) -> bytes | None:
        if function == 0x94:
            mac, version, released = bytes.fromhex("00661939aabb"), bytes([0x08, 0x92]), bcd("20180820")
            return bytes([127, 0, 0, 1, 255, 0, 0, 0, 127, 0, 0, 1]) + mac + version + released
        if function == 0x32:
            return bcd(f"{self.now():%Y%m%d%H%M%S}")
        if function == 0x20:
            return self._state(self.events[-1] if self.events else None)
        if function == 0x92:
            return bytes(map(int, self.listener[0].split("."))) + struct.pack("<HB", self.listener[1], 0)
        if function == 0x90:
            self.listener = (".".join(map(str, body[:4])), int.from_bytes(body[4:6], "little"))
            return b"\1"
        if function == 0x98:
            return bytes([body[0] if body[0] in self.profiles else 0])
        if function == 0xA0 and number == MAGIC:
            self.pc_control = body[4] == 1
            return b"\1"
        return None

    def _open_door(self, door: int) -> bytes | None:
        if door not in self.doors:
            return None
        if self.faults.refuse:
            return b"\0"
        self._unlock(door)
        self.log(DOOR, True, door, HOST_NUMBER, BY_SOFTWARE)
        return b"\1"

    def _door(self, function: int, body: bytes) -> bytes | None:
        door = self.doors.get(body[0])
        if door is None:
            return None
        if function == 0x80:
            door.mode, door.delay = body[1], body[2]
        return bytes([body[0], door.mode, door.delay])

    def _card(self, function: int, number: int, body: bytes) -> bytes:
        if function == 0x58:
            return len(self.cards).to_bytes(4, "little")
        if function in (0x5A, 0x5C):
            if function == 0x5C:
                number = self.places[number - 1] if 1 <= number <= len(self.places) else 0
            held = self.cards.get(number)
            if held is None:
                return (number if number == DELETED else 0).to_bytes(4, "little")
            return number.to_bytes(4, "little") + held
        if function == 0x50:
            if number not in self.cards:
                self.places.append(number)
            self.cards[number] = body[4:20]
            return b"\1"
        if function == 0x54:
            self.cards.clear()
            self.places.clear()
            return b"\1"
        if self.cards.pop(number, None) is None:
            return b"\0"
        self.places[self.places.index(number)] = DELETED
        return b"\1"

    def _journal(self, function: int, number: int, body: bytes) -> bytes | None:
        if function == 0xB4:
            return self.register.to_bytes(4, "little")
        if function == 0xB2:
            if int.from_bytes(body[4:8], "little") != MAGIC:
                return None
            changed, self.register = self.register != number, number
            return bytes([changed])
        if not 1 <= number <= len(self.events):
            return bytes(5)
        if number < self.oldest:
            return body[:4] + bytes([OVERWRITTEN])
        return self.events[number - 1].packed()

    def _state(self, event: Event | None) -> bytes:
        now = self.now()
        self._sequence += 1
        doors = [self.doors[number] for number in (1, 2, 3, 4)]
        return (
            (bytes(20) if event is None else event.packed())
            + bytes(door.open for door in doors)
            + bytes(door.pressed for door in doors)
            + b"\0"
            + bcd(f"{now:%H%M%S}")
            + self._sequence.to_bytes(4, "little")
            + bytes(4 + 3)
            + bcd(f"{now:%y%m%d}")
        )


class _Packets(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._received(data, addr)


def bcd(digits: str) -> bytes:
    """Two decimal digits a byte."""
    return bytes.fromhex(digits)
