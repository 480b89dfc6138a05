"""How makes of ONVIF cameras are peculiar, for the simulated one. Pure data; `Faults` are what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Quirks:
    """One make of camera; every field may be changed while it runs.

    Authentication: `http_digest`: takes HTTP Digest only. `time_needs_password`: even GetSystemDateAndTime.
    `tolerance_s`: of a digest's time. `no_onvif`: answers every request with a web page and status 200.

    Addresses: `services`: False knows only GetCapabilities. `xaddr`: the base address that it advertises.
    `references`: hands out ReferenceParameters and insists on getting them back.

    Subscriptions: `subscriptions`: how many at once. `busy_creates`: so many are answered with 400 first.
    `renews`: False faults at Renew. `life_s`: longest life of one. `waits`: False answers polls at once.
    `plates`: "profile_m", "hikvision" or "axis". `bombs`, `floods`: so many pulls are answered with an entity
    bomb, with 100 MB.

    Relays: `relays_on`: "deviceio", "device", or "" (not supported). `monostable`: False takes no settings.
    `deaf`: carries the command out and hangs up instead of answering.

    Doors: `doors`: False has neither service. `lists`: False cannot list them. `page`: items of one answer.
    `momentary`: False knows no AccessDoor. `door_timing`: takes an AccessTime; else it is `door_ms`.
    `answer_s`: how long an access point waits for an answer. `authorizes`: False does not know
    ExternalAuthorization.
    """

    http_digest: bool = False
    time_needs_password: bool = False
    tolerance_s: float = 60.0
    no_onvif: bool = False
    services: bool = True
    xaddr: str | None = None
    references: bool = False
    subscriptions: int = 10
    busy_creates: int = 0
    renews: bool = True
    life_s: float = 600.0
    waits: bool = True
    plates: str = "profile_m"
    bombs: int = 0
    floods: int = 0
    relays_on: str = "deviceio"
    monostable: bool = True
    deaf: bool = False
    doors: bool = True
    lists: bool = True
    page: int = 100
    momentary: bool = True
    door_timing: bool = True
    door_ms: int = 1000
    answer_s: float = 10.0
    authorizes: bool = True
