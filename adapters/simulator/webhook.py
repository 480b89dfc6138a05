"""A simulated device that speaks the webhook's JSON: posts events, opens by the reply or by a call to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from adapters.simulator._http import HttpPoster, HttpServer, Request, Response
from adapters.simulator._switch import Switched
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults


class WebhookDevice(Switched):
    """One device. `url`: where it posts, with any `?key=`. `headers`: sent with every post.

    `listens`: it also has an HTTP server of its own (`open_url`) that takes openings with `open_token`.
    `wait_ms`: asks for its heartbeats to be held, so that openings reach it at once. Its heartbeats come
    every `heartbeat_s`. `orders` records every opening it was given, in either way.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        serial: str = "WH-0001",
        heartbeat_s: float = 5.0,
        wait_ms: int = 0,
        listens: bool = False,
        open_token: str = "",
        timeout_s: float = 15.0,
        boom: Boom | None = None,
        faults: Faults | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.boom = boom or Boom()
        self.faults = faults or Faults()
        self.serial = serial
        self.orders: list[dict[str, object]] = []
        self._heartbeat_s, self._wait_ms, self._open_token, self._now = heartbeat_s, wait_ms, open_token, now
        self._poster = HttpPoster(url, headers or {}, timeout_s)
        self._beater = HttpPoster(url, headers or {}, timeout_s)
        self._server = HttpServer(self._opened) if listens else None
        self._sent = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def open_url(self) -> str:
        """Where it takes openings, if it listens."""
        if self._server is None:
            raise ValueError("it was not made to listen")
        return f"{self._server.url}/open"

    async def start(self) -> None:
        """Switched on."""
        if self._server is not None:
            await self._server.start()
        self._task = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Switched off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._poster.close()
        self._beater.close()
        if self._server is not None:
            await self._server.stop()

    async def see(
        self, plate: str | None, *, confidence: float = 0.96, backlog: bool = False, ago_s: float = 0.0
    ) -> bool:
        """A vehicle arrives, or had arrived so long ago; True if the post was answered with 200."""
        value = None if plate is None else self.faults.plate(plate)
        return await self.post({"type": "read", "kind": "plate", "value": value, "confidence": confidence,
                                "backlog": backlog}, ago_s=ago_s)  # fmt: skip

    async def present(self, kind: str, value: str) -> bool:
        """A card or code is presented."""
        return await self.post({"type": "read", "kind": kind, "value": value})

    async def input(self, name: str, active: bool) -> bool:
        """A contact changes."""
        return await self.post({"type": "input", "input": name, "active": active})

    async def post(self, message: dict[str, object], *, ago_s: float = 0.0) -> bool:
        """Sends any message, with an id, its time and serial number added; subject to `faults`."""
        self._sent += 1
        time = self._now() + timedelta(seconds=self.faults.clock_offset_s - ago_s)
        stamp = time.astimezone(UTC).isoformat(timespec="milliseconds")
        content = {"id": f"{self.serial}-{self._sent}", "time": stamp, "serial": self.serial, **message}
        answered = False
        for _ in range(self.faults.copies()):
            if self.faults.late_s > 0:
                await asyncio.sleep(self.faults.late_s)
            answered = await self._send(self._poster, content)
        return answered

    async def _send(self, poster: HttpPoster, content: dict[str, object]) -> bool:
        body = self.faults.take_garbage() or json.dumps(content, ensure_ascii=False).encode()
        deaf = self.faults.hang and self._server is None
        try:
            response = await poster.post(body, "application/json", cut=self.faults.take_death(), deaf=deaf)
        except OSError:
            return False
        if response is None or response.status != 200:
            return False
        order = json.loads(response.body).get("open")
        if order is not None:
            self._obey(order)
        return True

    async def _beat(self) -> None:
        while True:
            beat: dict[str, object] = {"type": "heartbeat", "serial": self.serial, "model": "simulated"}
            if self._wait_ms:
                beat["wait_ms"] = self._wait_ms
            answered = await self._send(self._beater, beat)
            if not (answered and self._wait_ms):
                await asyncio.sleep(self._heartbeat_s)

    async def _opened(self, request: Request) -> tuple[Response, None] | None:
        if request.headers.get("authorization") != f"Bearer {self._open_token}" or self.faults.refuse:
            return Response(401), None
        self._obey(json.loads(request.body))
        if self.faults.late_s > 0:
            await asyncio.sleep(self.faults.late_s)
        if self.faults.take_death():
            return None
        if self.faults.hang:
            await asyncio.sleep(3600)
        return Response(200, b'{"ok":true}'), None

    def _obey(self, order: dict[str, object]) -> None:
        self.orders.append(order)
        self.boom.stuck = self.faults.stuck
        self.boom.pulse(int(str(order["pulse_ms"])))
