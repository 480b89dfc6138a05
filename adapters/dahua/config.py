"""How a Dahua camera is configured."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from adapters._camera import CameraConfig
from gated.domain import Direction
from gated.ports import DeviceConfig, Secret, ZoneName

_CODES = {
    "snap": ("TrafficJunction",),
    "event": (
        "TrafficJunction", "CrossLineDetection", "CrossRegionDetection", "VideoMotion", "VideoBlind",
        "SceneChange", "AlarmLocal",
    ),
    "push": (),
}  # fmt: skip


class Config(DeviceConfig):
    """One camera. `events`: "snap" (snapManager: plates), "event" (eventManager: plates and all else) or
    "push" (ITSAPI: the camera posts to `/ingest/{id}`; give `token`). `control`: how it is opened: "cgi",
    "rpc2" (firmware Web 5.0), "auto" (whichever it has), "reply" (by the reply to its push) or "none".
    `channel`: its video channel, from 1; also the name of its barrier as an output. `codes`: what it is to
    tell of. `open_type`: what an opening calls itself. `serial`: checked if given; `device_id`: the same for
    pushes. `silent_after_s`: the camera beats every 5 s; a stream is dead after so long without a byte, and
    one that pushes is offline. `reply_wait_ms`: how long an opening waits for a push to ride on.
    `directions`: what its words mean at this lane. `timezone`: of times without an offset. `list_capacity`:
    how many plates its own list is given."""

    type: Literal["dahua"]
    events: Literal["snap", "event", "push"] = "snap"
    control: Literal["auto", "cgi", "rpc2", "reply", "none"] | None = None
    token: Secret | None = None
    host: str = Field(default="", max_length=253)
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: bool = False
    certificate: Path | None = None
    username: str = Field(default="admin", min_length=1, max_length=64)
    password: Secret | None = None
    timeout_ms: int = Field(default=8000, ge=50, le=60_000)
    channel: int = Field(default=1, ge=1, le=64)
    codes: tuple[str, ...] = Field(default=(), max_length=32)
    open_type: Literal["Normal", "Test"] = "Normal"
    serial: str | None = Field(default=None, min_length=1, max_length=64)
    device_id: str | None = Field(default=None, min_length=1, max_length=64)
    silent_after_s: float | None = Field(default=None, gt=0, le=86_400)
    reply_wait_ms: int = Field(default=2000, ge=100, le=10_000)
    directions: dict[Literal["approach", "leave", "obverse", "reverse"], Direction] = Field(
        default_factory=dict
    )
    timezone: ZoneName = "Asia/Shanghai"
    list_capacity: int = Field(default=10_000, ge=1, le=110_000)

    @field_validator("codes")
    @classmethod
    def _words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for code in value:
            if not (code.isascii() and code.isalnum() and len(code) <= 64):
                raise ValueError(f"{code!r} is no code of an event; write it like CrossLineDetection")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.events == "push") != (self.token is not None):
            raise ValueError("token belongs to events: push, which needs it")
        if self.control == "reply" and self.events != "push":
            raise ValueError("control: reply opens by the reply to a push: it needs events: push")
        if self.commanded and (not self.host or self.password is None):
            raise ValueError(f"host and password are needed with events: {self.events}, control: {self.way}")
        if self.certificate is not None and not self.tls:
            raise ValueError("certificate is given, but tls is not on")
        return self

    @property
    def way(self) -> str:
        """How it is opened."""
        return self.control or ("reply" if self.events == "push" else "auto")

    @property
    def commanded(self) -> bool:
        """Whether gated connects to the camera at all."""
        return self.way != "reply"

    @property
    def wanted(self) -> tuple[str, ...]:
        """The codes that it is to tell of."""
        return self.codes or _CODES[self.events]

    @property
    def silence_s(self) -> float:
        """`silent_after_s`, or what is usual."""
        return self.silent_after_s or (90.0 if self.events == "push" else 20.0)

    def camera(self) -> CameraConfig:
        """What `adapters._camera.HttpLink` is given."""
        return CameraConfig.model_validate(
            {
                "id": self.id, "type": self.type, "host": self.host, "port": self.port, "tls": self.tls,
                "certificate": self.certificate, "username": self.username, "password": self.password,
                "timeout_ms": self.timeout_ms,
            }
        )  # fmt: skip
