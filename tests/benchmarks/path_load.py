"""The load generator of the benchmark `path`: 24 cameras on keep-alive connections, a process of its own.

Started by `path.py` with one JSON object as its argument, prints one JSON object. It blocks in select() with
a timeout in microseconds, because an event loop's timers are milliseconds and would be what is measured.

What is measured: from the moment a read is sent to the moment the last byte of the reply has been read.
A read that is due while its camera still waits for the reply before is sent as soon as that came, and is
measured from the moment it was due: the waiting is the server's, and counts (no coordinated omission). If
the generator itself wakes late, that is not the server's: it is measured from the sending, and the lateness
is reported beside it.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

from tests.benchmarks.path_world import CAMERAS, OPENS, Camera, plates, push


@dataclass(slots=True)
class Line:
    """One camera's connection."""

    camera: Camera
    sock: socket.socket
    plate: int
    key: int
    due: deque[float] = field(default_factory=deque)
    sent: float | None = None  # when the read in flight is measured from
    received: bytes = b""


@dataclass(slots=True)
class Tally:
    """What came back: seconds, counts."""

    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    opened: int = 0
    refused: int = 0
    failed: dict[str, int] = field(default_factory=dict)


class Generator:
    """Sends reads over 24 connections and notes the replies."""

    def __init__(self, port: int, passes: int, first_key: int) -> None:
        self._plates = plates(passes)
        self._lines: list[Line] = []
        for camera in CAMERAS:
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # every camera elsewhere in the list, every run too: no plate comes back to its lane soon
            start = (camera.number * len(self._plates) // len(CAMERAS) + first_key) % len(self._plates)
            self._lines.append(Line(camera, sock, start, first_key))
        self._by_socket = {line.sock: line for line in self._lines}
        self._sockets = [line.sock for line in self._lines]
        self.tally = Tally()

    def open_loop(self, rate: float, seconds: float) -> float:
        """Reads at an even pace, the cameras in turn, whatever the server does. Returns the seconds until
        the last reply."""
        count = int(rate * seconds)
        started = time.perf_counter() + 0.05
        index = 0
        waiting = 0
        while index < count or waiting:
            now = time.perf_counter()
            while index < count and started + index / rate <= now:
                line = self._lines[index % len(self._lines)]
                due = started + index / rate
                index += 1
                waiting += 1
                if line.sent is None:
                    self.tally.lateness.append(time.perf_counter() - due)
                    self._send(line, time.perf_counter())
                else:
                    line.due.append(due)
            pause = max(0.0, started + index / rate - time.perf_counter()) if index < count else 10.0
            ready, _, _ = select.select(self._sockets, [], [], pause)
            if not ready and index >= count:
                raise RuntimeError(f"{waiting} replies did not come within 10 s")
            for sock in ready:
                line = self._by_socket[sock]
                if self._receive(line):
                    waiting -= 1
                    if line.due:
                        self._send(line, line.due.popleft())
        return time.perf_counter() - started

    def closed_loop(self, seconds: float) -> float:
        """Every camera sends its next read as soon as it has the reply. Returns the seconds it took."""
        started = time.perf_counter()
        until = started + seconds
        for line in self._lines:
            self._send(line, time.perf_counter())
        waiting = len(self._lines)
        while waiting:
            ready, _, _ = select.select(self._sockets, [], [], 10.0)
            if not ready:
                raise RuntimeError(f"{waiting} replies did not come within 10 s")
            for sock in ready:
                line = self._by_socket[sock]
                if self._receive(line):
                    now = time.perf_counter()
                    if now < until:
                        self._send(line, now)
                    else:
                        waiting -= 1
        return time.perf_counter() - started

    def _send(self, line: Line, measured_from: float) -> None:
        line.sent = measured_from
        line.plate = (line.plate + 1) % len(self._plates)
        line.key += 1
        line.sock.sendall(push(line.camera, self._plates[line.plate], line.key, time.time()))

    def _receive(self, line: Line) -> bool:
        """Reads what is there; True once the reply is whole, which is then tallied."""
        data = line.sock.recv(65536)
        now = time.perf_counter()
        if not data:
            raise RuntimeError(f"the server closed the connection of {line.camera.id}")
        line.received += data
        head, found, body = line.received.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return False
        assert line.sent is not None
        self.tally.latencies.append(now - line.sent)
        line.sent = None
        line.received = b""
        status = head[9:12].decode()
        if status != "200":
            self.tally.failed[status] = self.tally.failed.get(status, 0) + 1
        elif OPENS in body:
            self.tally.opened += 1
        else:
            self.tally.refused += 1
        return True


def _content_length(head: bytes) -> int:
    for field_line in head.split(b"\r\n")[1:]:
        name, _, value = field_line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError(f"a reply without a length: {head[:200]!r}")


def main() -> int:
    """One run as the argument says: `port`, `passes`, `seconds`, `rate` (null: closed loop)."""
    job = json.loads(sys.argv[1])
    generator = Generator(job["port"], job["passes"], first_key=int(time.time() * 1000) % 2**31)
    gc.collect()
    gc.freeze()
    gc.disable()
    before = time.process_time()
    if job["rate"] is None:
        took = generator.closed_loop(job["seconds"])
    else:
        took = generator.open_loop(job["rate"], job["seconds"])
    tally = generator.tally
    json.dump(
        {
            "seconds": took,
            "cpu": time.process_time() - before,
            "latencies": tally.latencies,
            "lateness": tally.lateness,
            "opened": tally.opened,
            "refused": tally.refused,
            "failed": tally.failed,
        },
        sys.stdout,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
