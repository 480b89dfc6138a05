"""Looks whether a Hikvision camera is at an address, without a password."""

from __future__ import annotations

import httpx

from gated.ports import Probed

_INFO = "/ISAPI/System/deviceInfo"
_NOTHING = "/ISAPI-of-gated-is-not-here"


async def probe(host: str, port: int | None, timeout_s: float) -> Probed | None:
    """ISAPI wants a digest for its own paths and knows no others; a server that wants one for everything is
    something else."""
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}" if port is None else f"http://{name}:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=timeout_s, trust_env=False) as client:
            known = await client.get(_INFO)
            wants = known.headers.get("www-authenticate", "").lower()
            if known.status_code != 401 or "digest" not in wants:
                return None
            if (await client.get(_NOTHING)).status_code == 401:
                return None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    settings: dict[str, object] = {"host": host} if port is None else {"host": host, "port": port}
    return Probed("hikvision", "answers as ISAPI (海康威视)", settings, login=True)
