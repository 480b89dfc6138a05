"""The site of the benchmark `mixed_devices`: which vendors there are, and a configuration of so many devices.

No measuring here. To add a vendor add a line to `VENDORS`; its double is the one that the simulated site has
for its type (`adapters.simulator.doubles`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from adapters.simulator.people import card_of
from gated.api.tokens import create_token
from gated.domain import CredentialKind, Holder, Pass, Role
from gated.ids import new_id
from gated.plates import credential
from gated.store import Store, passes
from tests.benchmarks.path_world import plates

Section = dict[str, Any]

SECRET_ENV = "GATED_BENCH_SECRET"
SECRET = "secret-of-the-benchmark"
SITE = "bench"
_LOGIN: Section = {"username": "gated", "password": {"env": SECRET_ENV}}
_PUSHES: Section = {"token": {"env": SECRET_ENV}}
_CARDS: Section = {"type": "reader", "transport": "http", "reads": "card"}
_SHELLY: Section = {"type": "mqtt_relay", "firmware": "shelly"}
_LANES_AT_AN_ENTRANCE = 2
_GRIDS = 23
_BATCH = 2000


@dataclass(frozen=True, slots=True)
class Place:
    """Where one device is. `address`: host and a port of its own; `broker`: where it speaks MQTT."""

    id: str
    number: int
    ports: Iterator[int]
    mqtt_port: int

    @property
    def address(self) -> Section:
        return {"host": "127.0.0.1", "port": next(self.ports)}

    @property
    def broker(self) -> Section:
        return {"broker": {"host": "127.0.0.1", "port": self.mqtt_port}}


@dataclass(frozen=True, slots=True)
class Vendor:
    """One kind of device. `section`: of its configuration, beside `id`. `sees`: it has reads; `cards`: of
    cards, not plates. `opens`: it drives the barrier of its own lane. `output`, `contact`: a relay's, for a
    lane whose camera cannot open. `silent`: it says nothing before somebody presents something.
    `told_after`: its double notes a pulse when it ends, not when it begins."""

    name: str
    section: Callable[[Place], Section]
    sees: bool = True
    cards: bool = False
    opens: bool = True
    output: str | None = None
    contact: str | None = None
    silent: bool = False
    told_after: bool = False


def _relay(name: str, section: Callable[[Place], Section], *, told_after: bool = False) -> Vendor:
    return Vendor(name, section, sees=False, opens=False, output="0", contact="0", told_after=told_after)


VENDORS: tuple[Vendor, ...] = (
    Vendor("hikvision", lambda at: {"type": "hikvision", **at.address, **_LOGIN}),
    Vendor("dahua", lambda at: {"type": "dahua", **at.address, **_LOGIN}),
    Vendor("vzenith_http", lambda _: {"type": "vzenith", **_PUSHES}),
    Vendor("vzenith_mqtt", lambda at: {"type": "vzenith", **at.broker, "serial": f"51a7-{at.number:08x}"}),
    Vendor("webhook", lambda _: {"type": "webhook", **_PUSHES}),
    Vendor("onvif", lambda at: {"type": "onvif", **at.address, **_LOGIN}, opens=False),
    Vendor("reader_http", lambda _: {**_CARDS, **_PUSHES}, cards=True, opens=False, silent=True),
    _relay("modbus", lambda at: {"type": "modbus", **at.address, "inputs": 4}),
    _relay("mqtt_relay", lambda at: {**_SHELLY, **at.broker, "topic": at.id}, told_after=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane as the doubles and the figures know it: the vendors of what sees and of what opens, and the
    relay whose contact its loop is wired to (device, input)."""

    id: str
    camera: str
    sees: str
    cards: bool
    barrier: str | None = None
    output: str | None = None
    opens: str | None = None
    told_after: bool = False
    loop: tuple[str, str] | None = None
    tells: str | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """`config`: the content of gated.yaml. `silent`: devices that must be shown something to be known."""

    config: Section
    lanes: tuple[Lane, ...]
    silent: tuple[str, ...]
    vendors: Mapping[str, int]

    @property
    def devices(self) -> list[Section]:
        devices: list[Section] = self.config["devices"]
        return devices


def site(
    count: int, vendors: Sequence[Vendor], *, data: str, mqtt_port: int, api_port: int, ports: Iterator[int]
) -> Site:
    """A site of `count` devices, the vendors in turn, so that they are mixed in every list that is walked.

    Every device that sees has a lane. One that cannot open is given a relay for it, if there is one left; the
    relays that are left over then are at other lanes, whose loops they tell of."""
    devices: list[Section] = []
    seeing: list[tuple[str, Vendor]] = []
    relays: list[tuple[str, Vendor]] = []
    silent: list[str] = []
    for number in range(count):
        vendor = vendors[number % len(vendors)]
        name = f"{vendor.name}-{number // len(vendors):03d}"
        devices.append({"id": name, **vendor.section(Place(name, number, ports, mqtt_port))})
        (seeing if vendor.sees else relays).append((name, vendor))
        if vendor.silent:
            silent.append(name)
    needing = [one for one in seeing if not one[1].opens] + [one for one in seeing if one[1].opens]
    relay_of = {camera: relay for (camera, _), relay in zip(needing, relays, strict=False)}
    lanes = tuple(_lane(number, *one, relay_of.get(one[0])) for number, one in enumerate(seeing))
    config: Section = {
        "site": {"id": SITE, "name": SITE, "timezone": "Asia/Shanghai"},
        "store": {"url": f"sqlite:///{data}/gated.db"},
        "api": {"host": "127.0.0.1", "port": api_port},
        "mqtt": {"host": "127.0.0.1", "port": mqtt_port},
        "log": {"level": "warning"},
        "grids": [{"id": f"g{n:02d}", "name": f"grid {n}"} for n in range(_GRIDS)],
        "entrances": [
            {"id": f"e{n:03d}", "name": f"entrance {n}", "grid": f"g{n % _GRIDS:02d}"}
            for n in range(len(lanes) // _LANES_AT_AN_ENTRANCE + 1)
        ],
        "lanes": [_lane_section(number, lane) for number, lane in enumerate(lanes)],
        "devices": devices,
    }
    shares = {vendor.name: 0 for vendor in vendors}
    for number in range(count):
        shares[vendors[number % len(vendors)].name] += 1
    return Site(config, lanes, tuple(silent), shares)


def _lane(number: int, camera: str, vendor: Vendor, relay: tuple[str, Vendor] | None) -> Lane:
    name = f"lane-{number:03d}"
    barrier, output, opens, told_after = camera if vendor.opens else None, None, vendor, vendor.told_after
    if barrier is None and relay is not None:
        barrier, opens = relay[0], relay[1]
        output, told_after = opens.output, opens.told_after
    loop = (relay[0], relay[1].contact) if relay is not None and relay[1].contact is not None else None
    return Lane(
        name, camera, vendor.name, vendor.cards, barrier, output, opens.name if barrier else None, told_after,
        loop, relay[1].name if loop and relay else None,
    )  # fmt: skip


def _lane_section(number: int, lane: Lane) -> Section:
    section: Section = {
        "id": lane.id,
        "entrance": f"e{number // _LANES_AT_AN_ENTRANCE:03d}",
        "direction": "in" if number % 2 == 0 else "out",
        "cameras": [lane.camera],
    }
    if lane.barrier is None:
        section["watch_only"] = True
    else:
        section["barrier"] = {"device": lane.barrier, **({"output": lane.output} if lane.output else {})}
    if lane.loop is not None:
        section["presence"] = {"device": lane.loop[0], "input": lane.loop[1]}
    return section


async def fill(database: str, count: int, now: datetime) -> str:
    """Makes a store with `count` passes, each with a plate and a card and valid at every entrance; returns a
    token that may read the metrics."""
    store = await Store.open(f"sqlite:///{database}")
    try:
        numbered = list(enumerate(plates(count)))
        for start in range(0, count, _BATCH):
            await store.write(partial(_insert, part=numbered[start : start + _BATCH], now=now))
        token, _ = await create_token(store, name="bench", role=Role.OPERATOR, now=now)
        return token
    finally:
        await store.close()


def _insert(connection: Connection, part: list[tuple[int, str]], now: datetime) -> None:
    passes.insert_many(connection, [_pass(number, plate, now) for number, plate in part])


def _pass(number: int, plate: str, now: datetime) -> Pass:
    return Pass(
        id=new_id(now - timedelta(days=30) + timedelta(milliseconds=number)),
        kind="resident",
        holder=Holder(name=f"holder {number}"),
        credentials=(
            credential(CredentialKind.PLATE, plate),
            credential(CredentialKind.CARD, card_of(plate)),
        ),
        entrances=None,
        valid_from=now - timedelta(days=30),
        valid_until=now + timedelta(days=300),
        created_at=now,
        updated_at=now,
    )
