"""The section `mqtt` of the configuration: how to reach the broker, and as whom.

Only shapes and defaults; reads no secret and opens nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gated.ports import Secret


class TlsSettings(BaseModel):
    """TLS towards the broker. `ca`: a PEM file of the authority that signed its certificate; without it the
    system's authorities count. `cert` and `key`: our own certificate, where the broker asks for one. The
    broker's name is always checked: there is no switch to trust anybody."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate needs both cert and key")
        return self


class MqttSettings(BaseModel):
    """How to reach the broker. `keepalive` in seconds. `protocol`: `auto` asks for MQTT 5 and falls back to
    3.1.1. `inflight`: messages on their way without the broker's acknowledgement. `outbox_days`: how long
    published messages stay in the store for replays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65535)
    username: str | None = None
    password: Secret | None = None
    tls: TlsSettings | None = None
    keepalive: int = Field(default=30, ge=5, le=3600)
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    prefix: str = "gated"
    client_id: str | None = Field(default=None, min_length=1, max_length=128)
    inflight: int = Field(default=20, ge=1, le=50)
    outbox_days: int = Field(default=7, ge=1, le=365)

    @field_validator("protocol", mode="before")
    @classmethod
    def _yaml_number(cls, value: object) -> object:
        # an unquoted 5 in YAML is a number
        return "5" if value in (5, 5.0) else value

    @field_validator("prefix")
    @classmethod
    def _plain_topic(cls, value: str) -> str:
        if not value or value.startswith(("/", "$")) or value.endswith("/") or set(value) & set("+#\0"):
            raise ValueError("a prefix is a topic without + and #, and without / at its ends")
        return value

    @model_validator(mode="after")
    def _password_needs_a_user(self) -> Self:
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_port(cls, value: object) -> object:
        if isinstance(value, dict) and "port" not in value:
            return {**value, "port": 8883 if value.get("tls") is not None else 1883}
        return value
