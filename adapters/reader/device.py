"""A reader over HTTP, and what all readers share: from a text to a read, once.

The serial line is in `line`, MQTT in `mqtt`; what the bytes mean in `codec`.
"""

from __future__ import annotations

import asyncio
import hmac
from datetime import datetime

from adapters._push import PushDevice
from adapters._repeats import Repeats
from adapters.reader import codec
from adapters.reader.config import Config
from gated.domain import Read
from gated.plates import credential
from gated.ports import BadPush, Device, DeviceContext, DeviceInfo, Handle, Push, PushReply

_QUIET_S = 86_400.0  # a gate that nobody used since yesterday


def create(config: Config, context: DeviceContext) -> Device:
    """The device for a configuration; does no I/O."""
    if config.transport == "http":
        return PushReader(config, context)
    if config.transport == "serial":
        from adapters.reader.line import SerialReader

        return SerialReader(config, context)
    from adapters.reader.mqtt import MqttReader

    return MqttReader(config, context)


class Reading:
    """From what a reader sent to a read; tells the context what it cannot parse."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        self._config = config
        self._context = context
        self._style = config.style
        self._repeats = Repeats(config.repeat_ms / 1000)

    def body(self, data: bytes) -> codec.Value:
        """The text in a message, not yet looked at. Raises codec.Malformed."""
        config = self._config
        try:
            return codec.body(data, config.body, config.field, config.serial_field, config.key_field)
        except codec.Malformed as error:
            self.unparsed(data, str(error))
            raise

    def read(self, value: codec.Value, received_at: datetime) -> Read | None:
        """The read, or None where nothing was presented: a heartbeat, a repeat. Raises codec.Malformed."""
        try:
            text = codec.text(value.raw, self._style)
            if text is None:
                return None
            shown = codec.presented(text, self._style)
        except codec.Malformed as error:
            self.unparsed(value.raw, str(error))
            raise
        if self._repeats.repeated(shown, asyncio.get_running_loop().time()):
            return None
        return Read(
            device=self._context.id,
            received_at=received_at,
            key=value.key,
            credential=credential(self._style.kind, shown),
            raw=text,
        )

    def not_recorded(self, read: Read) -> None:
        """The reader will send it again, and that is no repeat."""
        if read.credential is not None:
            self._repeats.forget(read.credential.value)

    def unparsed(self, raw: bytes, why: str) -> None:
        """Logs it without what may be most of a credential."""
        kind = f"reader: {self._config.transport}"
        self._context.unparsed(self._context.id, kind, codec.sample(raw), why)


class PushReader(PushDevice):
    """`Device` and `Receiver`. It cannot open: the reply is always the same."""

    def __init__(self, config: Config, context: DeviceContext) -> None:
        super().__init__(context.id, config.silent_after_s or _QUIET_S)
        self._config = config
        self._reading = Reading(config, context)
        self._turn = asyncio.Lock()  # a repeat is answered after what it repeats is recorded
        self._info = DeviceInfo(model="reader over HTTP", serial=config.serial or "")

    async def receive(self, push: Push, handle: Handle) -> PushReply:
        """Answers one push, after its read is durable. Raises BadPush, and what `handle` raises."""
        async with self._turn:
            try:
                value = self._reading.body(push.body)
                if self._stranger(value):
                    return PushReply(status=403, body=b'{"error":"another reader is expected here"}')
                self.presence.heard()
                read = self._reading.read(value, push.received_at)
            except codec.Malformed as error:
                raise BadPush(str(error)) from None
            if read is not None:
                try:
                    await handle(read)
                except BaseException:
                    self._reading.not_recorded(read)
                    raise
        kind = "application/json" if self._config.reply.startswith("{") else "text/plain; charset=utf-8"
        return PushReply(body=self._config.reply.encode(), content_type=kind)

    def _stranger(self, value: codec.Value) -> bool:
        expected = self._config.serial
        if expected is None or hmac.compare_digest(expected.encode(), (value.serial or "").encode()):
            return False
        said = "".join(c for c in value.serial or "" if c.isprintable())[:64]
        self.presence.stranger(f"a reader with number {said or '(none)'} pushes here, not {expected}")
        return True
