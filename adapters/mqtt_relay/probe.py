"""Looks whether a Shelly or a Tasmota is at an address: both tell about themselves over HTTP, and with it the
topic under which they are to be found at the broker.

Sources: Shelly's API documents ("/shelly", answered to anybody), Tasmota's ("/cm?cmnd=Status", unless its
page has a password). ESPHome tells nothing over HTTP unless it was built to.
"""

from __future__ import annotations

import re
from typing import Any

import httpx

from gated.ports import Probed

_TOPIC = re.compile(r"[^#+\s/][^#+\s]{0,127}")


async def probe(host: str, port: int | None, timeout_s: float) -> Probed | None:
    """A Shelly of the second generation or later, or a Tasmota."""
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}" if port is None else f"http://{name}:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=timeout_s, trust_env=False) as client:
            return _shelly(await _told(client, "/shelly")) or _tasmota(await _told(client, "/cm?cmnd=Status"))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None


async def _told(client: httpx.AsyncClient, target: str) -> dict[str, Any]:
    answer = await client.get(target)
    if answer.status_code != 200 or len(answer.content) > 65536 or answer.content.lstrip()[:1] != b"{":
        return {}
    told = answer.json()
    return told if isinstance(told, dict) else {}


def _shelly(told: dict[str, Any]) -> Probed | None:
    generation, topic = told.get("gen"), told.get("id")
    if not isinstance(generation, int) or generation < 2 or not _fits(topic):
        return None
    said = f"a Shelly {told.get('app', '')} ({told.get('model', '')}, {told.get('ver', '')})"
    return Probed("mqtt_relay", said, {"firmware": "shelly", "topic": topic})


def _tasmota(told: dict[str, Any]) -> Probed | None:
    status = told.get("Status")
    topic = status.get("Topic") if isinstance(status, dict) else None
    if not _fits(topic):
        return None
    return Probed("mqtt_relay", "a Tasmota", {"firmware": "tasmota", "topic": topic})


def _fits(topic: object) -> bool:
    return isinstance(topic, str) and _TOPIC.fullmatch(topic) is not None
