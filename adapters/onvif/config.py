"""The section of one ONVIF device in `gated.yaml`. No I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.onvif.topics import PlateTopic
from gated.ports import DeviceConfig, Secret


class PlateTopicConfig(BaseModel):
    """Where a vendor's own topic has its plate, for cameras that are not in the tables yet. `topic`:
    without prefixes, `RuleEngine/Recognition/LicensePlate`. Item names are compared without case. `scale`:
    100 where the confidence counts to a hundred."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str = Field(min_length=1)
    plate: str = "PlateNumber"
    confidence: str = "Likelihood"
    scale: float = Field(default=1.0, gt=0)
    key: str | None = None
    channel: str | None = None
    direction: str | None = None

    def as_topic(self) -> PlateTopic:
        path = "/".join(part.rpartition(":")[2] for part in self.topic.strip("/").split("/"))
        return PlateTopic(
            path, self.plate, self.confidence, self.scale, self.key, self.channel, self.direction
        )


class Config(DeviceConfig):
    """An ONVIF camera or door controller.

    `port`: 80, or 443 with TLS. `path`: of the device service. `tls`: "verify" checks the certificate
    (against `ca` where given), "unverified" encrypts only. `relay`: the token of the output that `open`
    pulses; None takes the device's first one, and sets up nothing until something is opened. `door`: the
    token of the door that `open` opens instead of a relay. `answer_s`: how old a request of an access point
    may be that is still answered by ExternalAuthorization; an older one's door is opened. `pulse_ms`:
    the usual pulse, set up when the device connects so that an opening is one message. `topics`: event
    topics to ask for, such as `tns1:RuleEngine//.`; empty asks for all. `pull_s`: how long one poll waits.
    `timeout_s`: for any other answer.
    """

    type: Literal["onvif"]
    host: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.:\-]+$")
    port: int = Field(default=0, ge=0, le=65535)
    username: str = ""
    password: Secret | None = None
    path: str = Field(default="/onvif/device_service", pattern=r"^/[!-~]*$")
    tls: Literal["off", "verify", "unverified"] = "off"
    ca: Path | None = None
    relay: str | None = None
    door: str | None = Field(default=None, min_length=1, max_length=64)
    answer_s: float = Field(default=5, gt=0, le=60)
    pulse_ms: int = Field(default=700, ge=500, le=1500)
    topics: tuple[str, ...] = ()
    plate_topics: tuple[PlateTopicConfig, ...] = ()
    pull_s: float = Field(default=30, gt=0, le=60)
    timeout_s: float = Field(default=5, gt=0, le=60)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.password is None) != (not self.username):
            raise ValueError("give both username and password, or neither")
        if self.relay is not None and self.door is not None:
            raise ValueError("give relay or door, not both: only one opens without being named")
        if self.door is not None and self.door.startswith("door:"):
            raise ValueError("door is the token alone, without door:")
        if self.ca is not None and self.tls != "verify":
            raise ValueError("ca is only used with tls: verify")
        return self

    @property
    def effective_port(self) -> int:
        return self.port or (80 if self.tls == "off" else 443)
