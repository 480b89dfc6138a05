"""Where the services of a device are: GetServices, else GetCapabilities, which older devices have."""

from __future__ import annotations

from typing import Any

import structlog

from adapters.onvif import library
from adapters.onvif.camera import Camera, Faulted, Nonsense, Target
from adapters.onvif.envelope import local

log = structlog.get_logger()
_NAMESPACES = {
    "http://www.onvif.org/ver10/device/wsdl": "devicemgmt",
    "http://www.onvif.org/ver10/deviceIO/wsdl": "deviceio",
    "http://www.onvif.org/ver10/events/wsdl": "events",
    "http://www.onvif.org/ver10/media/wsdl": "media",
    "http://www.onvif.org/ver10/doorcontrol/wsdl": "doorcontrol",
    "http://www.onvif.org/ver10/accesscontrol/wsdl": "accesscontrol",
}
_CAPABILITIES = {"Events": "events", "Media": "media", "DeviceIO": "deviceio"}


async def find_services(camera: Camera, path: str, device_id: str) -> dict[str, Target]:
    """By the names that this adapter uses; `path`: of the device service. Raises as `Camera.call`."""
    device = Target(path)
    services = {"devicemgmt": device}
    try:
        found: Any = await camera.ask("devicemgmt", device, "GetServices", IncludeCapability=False)
        for each in found or []:
            name = _NAMESPACES.get(str(each.get("Namespace")))
            if name is not None and name not in services:
                services[name] = camera.target(str(each.get("XAddr") or ""), path)
    except (Faulted, Nonsense) as error:
        log.debug("onvif_no_get_services", device=device_id, why=str(error))
    if "events" not in services:
        for name, target in (await _ask_capabilities(camera, device, device_id)).items():
            services.setdefault(name, target)
    return services


async def _ask_capabilities(camera: Camera, device: Target, device_id: str) -> dict[str, Target]:
    """Reads the addresses from the XML: by the schema, a wildcard in the extension swallows DeviceIO."""
    services: dict[str, Target] = {}
    try:
        operation = await library.build("devicemgmt", "GetCapabilities", Category=["All"])
        answer = await camera.call(device, operation.body, operation.action)
        root = answer.root()
    except (Faulted, Nonsense) as error:
        log.debug("onvif_no_get_capabilities", device=device_id, why=str(error))
        return services
    for element in root.iter("{*}XAddr"):
        parent = element.getparent()
        name = _CAPABILITIES.get("" if parent is None else local(parent))
        if name is not None and element.text:
            services.setdefault(name, camera.target(element.text, device.path))
    return services
