"""The demo's village as a configuration: 12 entrances, 24 lanes, 23 grids, another vendor at each entrance.

Pure: it makes what an operator would have written, and the daemon reads it as it reads any `gated.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Section = dict[str, Any]

SECRET_ENV = "GATED_DEMO_SECRET"  # noqa: S105 - the name of a variable
KEY_ENV = "GATED_DEMO_KEY"
"""Names the variable with the key of the card readers' lines: 32 hexadecimal digits."""
USER = "gated"

ENTRANCES = (
    ("east", "东门", "East Gate"),
    ("west", "西门", "West Gate"),
    ("south", "南门", "South Gate"),
    ("north", "北门", "North Gate"),
    ("market", "市场口", "Market"),
    ("school", "学校口", "School"),
    ("canal", "运河桥", "Canal Bridge"),
    ("station", "车站口", "Station"),
    ("temple", "土地庙", "Temple"),
    ("factory", "工业园", "Factory Park"),
    ("orchard", "果园路", "Orchard Road"),
    ("ring", "环村路", "Ring Road"),
)
_GRIDS = 23
_JUNCTIONS, _HIGH_POSTS = 8, 6


PORTS = 70
"""More free ports than its devices need."""


def village(
    *, data: str, mqtt_port: int, api_port: int, ports: Iterator[int], broker_port: int | None = None
) -> dict[str, Any]:
    """The content of a `gated.yaml`. `data`: folder of the database. `ports`: free ones on loopback, one for
    each device that listens. `broker_port`: where devices find the broker, if not at `mqtt_port`."""
    lanes: list[Section] = []
    devices: list[Section] = []
    for entrance, _, _ in ENTRANCES:
        place = _Place(entrance, ports, broker_port or mqtt_port, data)
        made, shared = AT[entrance](place)
        devices += shared
        for way in ("in", "out"):
            lane = {"id": f"{entrance}-{way}", "entrance": entrance, "direction": way}
            for device in made[way].devices:
                devices.append(device)
            lanes.append({**lane, **made[way].lane})
    watching = [f"cam-junction-{n + 1}" for n in range(_JUNCTIONS)]
    watching += [f"cam-post-{n + 1}" for n in range(_HIGH_POSTS)]
    devices += [_onvif(camera, next(ports)) for camera in watching]
    return {
        "site": {
            "id": "liuanzhuang",
            "name": {"zh": "刘安庄村（演示）", "en": "Liu'anzhuang (demo)"},
            "timezone": "Asia/Shanghai",
        },
        "store": {"url": f"sqlite:///{data}/gated.db"},
        "api": {"host": "127.0.0.1", "port": api_port},
        "mqtt": {"host": "127.0.0.1", "port": mqtt_port},
        "log": {"level": "error"},
        "grids": [
            {"id": "village", "name": {"zh": "刘安庄村", "en": "The village"}},
            *(
                {"id": f"g{n:02}", "name": {"zh": f"第{n}网格", "en": f"Grid {n}"}, "parent": "village"}
                for n in range(1, _GRIDS)
            ),
        ],
        "entrances": [
            {"id": entrance, "name": {"zh": zh, "en": en}, "grid": f"g{n:02}"}
            for n, (entrance, zh, en) in enumerate(ENTRANCES, 1)
        ],
        "lanes": lanes,
        "devices": devices,
    }


# --- what is at the entrances -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """An entrance, and what its devices are reached by."""

    entrance: str
    ports: Iterator[int]
    broker_port: int
    data: str

    @property
    def broker(self) -> Section:
        return {"host": "127.0.0.1", "port": self.broker_port}


@dataclass(frozen=True, slots=True)
class _Way:
    """One lane: its devices, and which of them sees and opens."""

    devices: tuple[Section, ...]
    lane: Section


_Made = tuple[Mapping[str, _Way], list[Section]]
"""The lane in and the lane out, and the devices that they share."""


def _each(make: Callable[[str, str], _Way], shared: list[Section] | None = None) -> _Made:
    return {way: make(way, str(output)) for output, way in enumerate(("in", "out"))}, shared or []


def _alone(camera: Section, **lane: Any) -> _Way:
    """A camera that opens the barrier itself."""
    return _Way((camera,), {"cameras": [camera["id"]], "barrier": {"device": camera["id"]}, **lane})


def _vz_http(place: _Place) -> _Made:
    def lane(way: str, _: str) -> _Way:
        return _alone(
            {"id": f"cam-{place.entrance}-{way}", "type": "vzenith", **_PUSHES, "poll": True,
             "silent_after_s": 15}
        )  # fmt: skip

    return _each(lane)


def _vz_mqtt(place: _Place) -> _Made:
    def lane(way: str, output: str) -> _Way:
        return _alone(
            {"id": f"cam-{place.entrance}-{way}", "type": "vzenith", "broker": place.broker,
             "serial": f"51a7ed00-0000b00{output}", "silent_after_s": 15}
        )  # fmt: skip

    return _each(lane)


def _hikvision(place: _Place) -> _Made:
    def lane(way: str, _: str) -> _Way:
        name = f"cam-{place.entrance}-{way}"
        camera = {"id": name, "type": "hikvision", **_at(next(place.ports)), **_LOGIN}
        return _alone(camera, position={"device": name})

    return _each(lane)


def _dahua(place: _Place) -> _Made:
    def lane(way: str, _: str) -> _Way:
        name = f"cam-{place.entrance}-{way}"
        return _alone({"id": name, "type": "dahua", **_at(next(place.ports)), **_LOGIN})

    return _each(lane)


def _dahua_itsapi(place: _Place) -> _Made:
    def lane(way: str, _: str) -> _Way:
        name = f"cam-{place.entrance}-{way}"
        return _alone(
            {"id": name, "type": "dahua", "events": "push", "control": "reply", **_PUSHES,
             "silent_after_s": 15}
        )  # fmt: skip

    return _each(lane)


def _webhook(place: _Place) -> _Made:
    def lane(way: str, _: str) -> _Way:
        return _alone(
            {"id": f"cam-{place.entrance}-{way}", "type": "webhook", **_PUSHES, "silent_after_s": 15}
        )

    return _each(lane)


def _onvif_and_board(place: _Place) -> _Made:
    board = _relay_board(f"relay-{place.entrance}", next(place.ports))

    def lane(way: str, output: str) -> _Way:
        camera = _onvif(f"cam-{place.entrance}-{way}", next(place.ports))
        return _Way((camera,), _by_board(board, camera, output))

    return _each(lane, [board])


def _gat1400_and_controller(place: _Place) -> _Made:
    controller = {
        "id": f"controller-{place.entrance}", "type": "uhppote", **_at(next(place.ports)),
        "controller": 423187757, "doors": [1, 2],
    }  # fmt: skip

    def lane(way: str, output: str) -> _Way:
        camera = {
            "id": f"cam-{place.entrance}-{way}", "type": "gat1400", **_PUSHES,
            "number": f"3101150000119000000{output}", "silent_after_s": 15,
        }  # fmt: skip
        barrier = {"device": controller["id"], "output": str(int(output) + 1)}
        return _Way((camera,), {"cameras": [camera["id"]], "barrier": barrier})

    return _each(lane, [controller])


def _onvif_and_mqtt_relays(place: _Place) -> _Made:
    def lane(way: str, _: str) -> _Way:
        camera = _onvif(f"cam-{place.entrance}-{way}", next(place.ports))
        relay = _mqtt_relay(place, "shelly", way)
        return _Way(
            (camera, relay),
            {"cameras": [camera["id"]], "barrier": {"device": relay["id"], "output": "0"},
             "position": {"device": relay["id"], "input": "0"}},
        )  # fmt: skip

    return _each(lane)


def _readers_and_mqtt_relays(place: _Place) -> _Made:
    def lane(way: str, _: str) -> _Way:
        reader = {
            "id": f"reader-{place.entrance}-{way}", "type": "reader", "transport": "mqtt", "reads": "card",
            "broker": place.broker, "topic": f"readers/{place.entrance}-{way}",
        }  # fmt: skip
        relay = _mqtt_relay(place, "tasmota", way)
        barrier = {"device": relay["id"], "output": "1"}
        return _Way((reader, relay), {"cameras": [reader["id"]], "barrier": barrier})

    return _each(lane)


def _osdp_and_board(place: _Place) -> _Made:
    board = _relay_board(f"relay-{place.entrance}", next(place.ports))

    def lane(way: str, output: str) -> _Way:
        name = f"reader-{place.entrance}-{way}"
        reader = {
            "id": name, "type": "osdp", "port": f"{place.data}/{name}",
            "readers": [{"address": 1, "key": {"env": KEY_ENV}}],
        }  # fmt: skip
        return _Way((reader,), _by_board(board, reader, output))

    return _each(lane, [board])


AT: Mapping[str, Callable[[_Place], _Made]] = {
    "east": _vz_http,
    "west": _vz_mqtt,
    "south": _hikvision,
    "north": _dahua,
    "market": _onvif_and_board,
    "school": _webhook,
    "canal": _gat1400_and_controller,
    "station": _onvif_and_mqtt_relays,
    "temple": _readers_and_mqtt_relays,
    "factory": _osdp_and_board,
    "orchard": _dahua_itsapi,
    "ring": _vz_http,
}
"""Which devices are at which entrance."""


# --- pieces -----------------------------------------------------------------------------------------------

_PUSHES: Section = {"token": {"env": SECRET_ENV}}
_LOGIN: Section = {"username": USER, "password": {"env": SECRET_ENV}}


def _at(port: int) -> Section:
    return {"host": "127.0.0.1", "port": port}


def _onvif(camera: str, port: int) -> Section:
    return {"id": camera, "type": "onvif", **_at(port), **_LOGIN, "pull_s": 10}


def _relay_board(device: str, port: int) -> Section:
    return {"id": device, "type": "modbus", **_at(port), "outputs": [0, 1], "inputs": 4, "poll_ms": 250}


def _by_board(board: Section, camera: Section, output: str) -> Section:
    """A lane whose barrier, and whose boom's contact, are wired to a board."""
    return {
        "cameras": [camera["id"]], "barrier": {"device": board["id"], "output": output},
        "position": {"device": board["id"], "input": output},
    }  # fmt: skip


def _mqtt_relay(place: _Place, firmware: str, way: str) -> Section:
    name = f"relay-{place.entrance}-{way}"
    return {
        "id": name, "type": "mqtt_relay", "firmware": firmware, "broker": place.broker, "topic": name,
    }  # fmt: skip
