"""Simulated readers that send text: on a pseudo-terminal, by HTTP push, through an MQTT broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tty
from abc import abstractmethod
from typing import Literal
from urllib.parse import urlencode

from adapters.simulator._http import HttpPoster
from adapters.simulator._mqtt import MqttDouble
from adapters.simulator._switch import Switched
from adapters.simulator.faults import Faults

Form = Literal["text", "json", "form"]


class Reader(Switched):
    """What all of them do. `heartbeat` is sent every `heartbeat_s`, 0 is never. Faults: `hang` says nothing
    any more, heartbeats neither."""

    def __init__(self, faults: Faults | None, heartbeat: str, heartbeat_s: float) -> None:
        self.faults = faults or Faults()
        self._heartbeat, self._heartbeat_s = heartbeat, heartbeat_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Switched on."""
        if self._heartbeat_s > 0:
            self._task = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Switched off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def present(self, text: str) -> None:
        """A card or code is held in front of it; subject to `faults`."""
        for _ in range(self.faults.copies()):
            if self.faults.hang:
                return
            if self.faults.late_s > 0:
                await asyncio.sleep(self.faults.late_s)
            await self._send(self.faults.take_garbage() or text.encode(), self.faults.take_death())

    @abstractmethod
    async def _send(self, text: bytes, dies: bool) -> None: ...

    async def _beat(self) -> None:
        while True:
            if not self.faults.hang:
                with contextlib.suppress(OSError):
                    await self._send(self._heartbeat.encode(), False)
            await asyncio.sleep(self._heartbeat_s)


class SerialReader(Reader):
    """On a serial line; `path` is the line's other end, as long as it is plugged in."""

    def __init__(
        self,
        *,
        ending: bytes = b"\r\n",
        faults: Faults | None = None,
        heartbeat: str = "",
        heartbeat_s: float = 0,
    ) -> None:
        super().__init__(faults, heartbeat, heartbeat_s)
        self._ending = ending
        self._ours = self._theirs = -1
        self.path = ""

    async def start(self) -> None:
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)
        await super().start()

    async def stop(self) -> None:
        """Unplugged."""
        await super().stop()
        for end in (self._ours, self._theirs):
            if end >= 0:
                os.close(end)
        self._ours = self._theirs = -1

    def write(self, data: bytes) -> None:
        """Any bytes. Raises ConnectionError once it is unplugged."""
        if self._ours < 0:
            raise ConnectionError("the simulated reader is unplugged")
        os.write(self._ours, data)

    async def _send(self, text: bytes, dies: bool) -> None:
        line = text + self._ending
        self.write(line[: len(line) // 2] if dies else line)
        if dies:
            await self.stop()


class HttpReader(Reader):
    """Pushes to `url`. `form` and `field`: its body; its number stands in the field "device"."""

    def __init__(
        self, url: str, *, form: Form = "text", field: str = "code", number: str = "R-1",
        faults: Faults | None = None, heartbeat: str = "", heartbeat_s: float = 0,
    ) -> None:  # fmt: skip
        super().__init__(faults, heartbeat, heartbeat_s)
        self._poster, self._form, self._field, self._number = HttpPoster(url, {}), form, field, number
        self.answers: list[tuple[int, bytes]] = []

    async def stop(self) -> None:
        await super().stop()
        self._poster.close()

    async def _send(self, text: bytes, dies: bool) -> None:
        body, kind = self._body(text)
        answer = await self._poster.post(body, kind, cut=dies)
        if answer is not None:
            self.answers.append((answer.status, answer.body))

    def _body(self, text: bytes) -> tuple[bytes, str]:
        return body(text, self._form, self._field, self._number)


class MqttReader(Reader):
    """Publishes to `topic` at a broker on this host."""

    def __init__(
        self, port: int, *, topic: str = "readers/1", form: Form = "text", field: str = "code",
        faults: Faults | None = None, heartbeat: str = "", heartbeat_s: float = 0,
        username: str | None = None, password: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(faults, heartbeat, heartbeat_s)
        self._topic, self._form, self._field = topic, form, field
        self._client = MqttDouble(
            "127.0.0.1", port, f"reader-{id(self)}", [f"{topic}/down"], lambda _topic, _payload: None,
            username=username, password=password,
        )  # fmt: skip

    async def start(self) -> None:
        await self._client.start()
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        await self._client.die()

    async def _send(self, text: bytes, dies: bool) -> None:
        content, _ = body(text, self._form, self._field, "R-1")
        if dies:  # the broker takes no half message
            await self._client.die()
        else:
            self._client.publish(self._topic, content)


def body(text: bytes, form: Form, field: str, number: str) -> tuple[bytes, str]:
    """The body that carries a text, and its content type."""
    if form == "text":
        return text, "text/plain"
    fields = {field: text.decode("utf-8", "replace"), "device": number}
    if form == "json":
        return json.dumps(fields).encode(), "application/json"
    return urlencode(fields).encode(), "application/x-www-form-urlencoded"
