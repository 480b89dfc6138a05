"""Looks whether a Dahua camera is at an address, without a password."""

from __future__ import annotations

import httpx

from gated.ports import Probed

_CGI = "/cgi-bin/magicBox.cgi?action=getSystemInfo"


async def probe(host: str, timeout_s: float) -> Probed | None:
    """Its CGI wants a digest whose realm is "Login to " and its serial number."""
    name = f"[{host}]" if ":" in host and not host.startswith("[") and host.count(":") > 1 else host
    try:
        async with httpx.AsyncClient(base_url=f"http://{name}", timeout=timeout_s, trust_env=False) as client:
            answer = await client.get(_CGI)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    wants = answer.headers.get("www-authenticate", "").lower()
    if answer.status_code != 401 or "digest" not in wants or 'realm="login to ' not in wants:
        return None
    bare, _, port = host.rpartition(":") if host.count(":") == 1 else (host, "", "")
    settings: dict[str, object] = {"host": bare}
    if port.isdigit():
        settings["port"] = int(port)
    return Probed("dahua", "answers as Dahua's CGI (大华)", settings, login=True)
