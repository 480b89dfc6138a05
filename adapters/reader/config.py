"""How a reader is configured: one section for the three ways in which it can be connected."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from adapters._mqtt import Broker
from adapters.reader.codec import BodyForm, CardForm, Ending, Style
from gated.domain import CredentialKind
from gated.ports import DeviceConfig, Secret

_ONLY: dict[str, tuple[str, ...]] = {
    "serial": ("port", "baud", "parity", "ending", "gap_ms"),
    "http": ("token", "serial", "serial_field", "key_field", "reply"),
    "mqtt": ("broker", "topic"),
}
_BODIES = ("body", "field")  # http and mqtt


class Config(DeviceConfig):
    """One reader. `transport`: how it is connected. `reads`: what it reads; `card`: how it writes card
    numbers. `prefix`, `suffix`: cut off where they are there. `repeat_ms`: the same text within that time of
    the last is the same read. `heartbeat`: a text by which it only says that it is there. `silent_after_s`:
    offline after so long without anything; needed for nothing but HTTP, where it is a day.

    serial: `ending`: of a line; `gap_ms`: a pause that ends a line by itself. http: `token` is what it
    presents; `serial` and `serial_field`: its number, checked; `key_field`: its own number of the event;
    `reply`: what it gets back, always the same. mqtt: `topic` at `broker`. http and mqtt: `body`, and the
    `field` of it that holds the text.
    """

    type: Literal["reader"]
    transport: Literal["serial", "http", "mqtt"]
    reads: Literal["card", "code"]
    card: CardForm = "decimal"
    prefix: str = Field(default="", max_length=32)
    suffix: str = Field(default="", max_length=32)
    repeat_ms: int = Field(default=3000, ge=0, le=60_000)
    heartbeat: str | None = Field(default=None, min_length=1, max_length=64)
    silent_after_s: float | None = Field(default=None, gt=0, le=7 * 86_400)

    port: str = Field(default="", pattern=r"^(/\S+)?$", max_length=255)
    baud: int = Field(default=9600, ge=300, le=1_000_000)
    parity: Literal["none", "even", "odd"] = "none"
    ending: Ending = "any"
    gap_ms: int | None = Field(default=None, ge=10, le=10_000)

    token: Secret | None = None
    serial: str | None = Field(default=None, min_length=1, max_length=64)
    serial_field: str | None = Field(default=None, min_length=1, max_length=64)
    key_field: str | None = Field(default=None, min_length=1, max_length=64)
    reply: str = Field(default='{"code":0}', max_length=256)

    broker: Broker | None = None
    topic: str = Field(default="", pattern=r"^([^#+\s]{1,255})?$")

    body: BodyForm = "text"
    field: str = Field(default="", max_length=64)

    @model_validator(mode="before")
    @classmethod
    def _only_its_own(cls, values: Any) -> Any:
        transport = values.get("transport") if isinstance(values, dict) else None
        if transport not in _ONLY:
            return values
        for other, keys in _ONLY.items():
            for key in keys:
                if other != transport and key in values:
                    raise ValueError(f"{key} is for transport: {other}; this is {transport}")
        for key in _BODIES:
            if transport == "serial" and key in values:
                raise ValueError(f"{key} is for transport: http and mqtt; a serial line has only lines")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.transport == "serial" and not self.port:
            raise ValueError("give port, such as /dev/ttyUSB0 or better /dev/serial/by-id/...")
        if self.transport == "http" and self.token is None:
            raise ValueError("give token: what the reader presents when it pushes")
        if self.transport == "mqtt" and not self.topic:
            raise ValueError("give topic: where the reader publishes")
        if (self.body == "text") == bool(self.field):
            raise ValueError("give field with body: json and form, and only with them")
        if (self.serial is None) != (self.serial_field is None):
            raise ValueError("give serial and serial_field together")
        if (self.serial_field or self.key_field) and self.body == "text":
            raise ValueError("serial_field and key_field need body: json or form")
        if self.card != "decimal" and self.reads != "card":
            raise ValueError("card is for reads: card")
        return self

    @property
    def style(self) -> Style:
        """What the codec needs of it."""
        return Style(CredentialKind(self.reads), self.card, self.prefix, self.suffix, self.heartbeat)

    @property
    def gap_s(self) -> float:
        """The pause that ends a line: short where nothing else does."""
        if self.gap_ms is not None:
            return self.gap_ms / 1000
        return 0.1 if self.ending == "none" else 1.0
