"""Looks whether an ONVIF device is at an address: asks for its time, which the standard allows to anybody."""

from __future__ import annotations

from adapters.onvif.camera import TIME_REQUEST
from adapters.onvif.envelope import NotSoap, envelope, fault, local, parse, payload
from adapters.onvif.http import Http, HttpError
from gated.ports import Probed

_PATH = "/onvif/device_service"
_MOST = 64 * 1024
_SOAP = (("Content-Type", "application/soap+xml; charset=utf-8"),)


async def probe(host: str, port: int | None, timeout_s: float) -> Probed | None:
    """Its time, or a SOAP fault that wants a login even for it."""
    http = Http(host, port or 80, max_body=_MOST)
    try:
        reply = await http.request(
            "POST", _PATH, headers=_SOAP, body=envelope(TIME_REQUEST), timeout_s=timeout_s
        )
        root = parse(reply.body)
    except (HttpError, NotSoap):
        return None
    finally:
        http.close()
    said, refused = payload(root), fault(root)
    answers = said is not None and local(said) == "GetSystemDateAndTimeResponse"
    if not answers and (refused is None or not refused.refused):
        return None
    settings: dict[str, object] = {"host": host} if port is None else {"host": host, "port": port}
    return Probed("onvif", "answers as ONVIF", settings, login=True)
