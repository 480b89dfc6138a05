"""The demo's village as a configuration: 12 entrances, 24 lanes, 38 cameras, 23 grids.

Pure: it makes what an operator would have written, and the daemon reads it as it reads any `gated.yaml`.
Half of the lanes have VZ cameras, opened by the reply to their push; a third ONVIF cameras with a Modbus
relay board at each entrance; the rest a small controller that speaks the webhook's JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SECRET_ENV = "GATED_DEMO_SECRET"  # noqa: S105 - the name of a variable
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
_VZENITH, _ONVIF = range(6), range(6, 10)
_GRIDS = 23
_JUNCTIONS, _HIGH_POSTS = 8, 6


def village(*, data: str, mqtt_port: int, api_port: int, ports: Iterator[int]) -> dict[str, Any]:
    """The content of a `gated.yaml`. `data`: folder of the database. `ports`: free ones on loopback, one for
    each device that listens."""
    lanes: list[dict[str, Any]] = []
    devices: list[dict[str, Any]] = []
    for number, (entrance, _, _) in enumerate(ENTRANCES):
        if number in _ONVIF:
            devices.append(_relay_board(f"relay-{entrance}", next(ports)))
        for output, way in enumerate(("in", "out")):
            camera = f"cam-{entrance}-{way}"
            lane: dict[str, Any] = {
                "id": f"{entrance}-{way}", "entrance": entrance, "direction": way, "cameras": [camera],
            }  # fmt: skip
            if number in _VZENITH:
                devices.append(
                    {
                        "id": camera,
                        "type": "vzenith",
                        "token": {"env": SECRET_ENV},
                        "poll": True,
                        "silent_after_s": 15,
                    }
                )
                lane["barrier"] = {"device": camera}
            elif number in _ONVIF:
                devices.append(_onvif(camera, next(ports)))
                lane["barrier"] = {"device": f"relay-{entrance}", "output": str(output)}
                lane["position"] = {"device": f"relay-{entrance}", "input": str(output)}
            else:
                devices.append(
                    {"id": camera, "type": "webhook", "token": {"env": SECRET_ENV}, "silent_after_s": 15}
                )
                lane["barrier"] = {"device": camera}
            lanes.append(lane)
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


def _onvif(camera: str, port: int) -> dict[str, Any]:
    return {
        "id": camera, "type": "onvif", "host": "127.0.0.1", "port": port, "username": USER,
        "password": {"env": SECRET_ENV}, "pull_s": 10,
    }  # fmt: skip


def _relay_board(device: str, port: int) -> dict[str, Any]:
    return {
        "id": device, "type": "modbus", "host": "127.0.0.1", "port": port, "outputs": [0, 1], "inputs": 4,
        "poll_ms": 250,
    }  # fmt: skip
