"""Looks whether a Dahua camera is at an address, without a password."""

from __future__ import annotations

import httpx

from gated.ports import Probed

_CGI = "/cgi-bin/magicBox.cgi?action=getSystemInfo"


async def probe(host: str, port: int | None, timeout_s: float) -> Probed | None:
    """Its CGI wants a digest whose realm is "Login to " and its serial number."""
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}" if port is None else f"http://{name}:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=timeout_s, trust_env=False) as client:
            answer = await client.get(_CGI)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    wants = answer.headers.get("www-authenticate", "").lower()
    if answer.status_code != 401 or "digest" not in wants or 'realm="login to ' not in wants:
        return None
    settings: dict[str, object] = {"host": host} if port is None else {"host": host, "port": port}
    return Probed("dahua", "answers as Dahua's CGI (大华)", settings, login=True)
