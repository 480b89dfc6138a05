"""onvif-zeep behind one door: its WSDL documents describe requests and read replies; it is given no network.

Imported here and nowhere else, for its import changes the process (logging), its constructor changes the
environment and opens subscriptions, and every camera of its own would cost 12 MB. Here each document is
loaded once for the process, all work runs in one thread that never waits for a device, and the bytes travel
over `adapters.onvif.http`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

_lock = threading.Lock()
_bindings: dict[str, Any] = {}
_built: dict[tuple[str, str, str], Operation] = {}
_worker: ThreadPoolExecutor | None = None


class Unreadable(ValueError):
    """The reply does not follow its WSDL."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A request that is ready to send. `body`: what goes into the envelope's body. `action`: its SOAP
    action."""

    service: str
    name: str
    body: str
    action: str


async def build(service: str, name: str, **arguments: object) -> Operation:
    """A request by its WSDL, for example `build("deviceio", "GetRelayOutputs")`. Kept: the same request is
    built once."""
    key = (service, name, repr(sorted(arguments.items())))
    ready = _built.get(key)
    return ready if ready is not None else await _in_worker(_build, key, arguments)


async def read(operation: Operation, root: etree._Element) -> Any:
    """A reply by its WSDL, as plain dicts and lists. Raises Unreadable."""
    return await _in_worker(_read, operation, root)


async def _in_worker(work: Any, *arguments: object) -> Any:
    global _worker  # noqa: PLW0603 - one thread for the process, made when it is first needed
    if _worker is None:
        _worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="onvif-zeep")
    return await asyncio.get_running_loop().run_in_executor(_worker, work, *arguments)


def _build(key: tuple[str, str, str], arguments: dict[str, object]) -> Operation:
    service, name, _ = key
    operation = _binding(service).get(name)
    message = operation.create(**arguments)
    body = next(child for child in message.content if child.tag.endswith("}Body"))
    made = Operation(
        service=service,
        name=name,
        body="".join(etree.tostring(child, encoding="unicode") for child in body),
        action=operation.soapaction or "",
    )
    if len(_built) < 1000:
        _built[key] = made
    return made


def _read(operation: Operation, root: etree._Element) -> Any:
    from zeep import helpers

    plain: Any = helpers.serialize_object
    try:
        return plain(_binding(operation.service).get(operation.name).process_reply(root), dict)
    except Exception as error:  # zeep raises whatever its parts raise: AttributeError, TypeError, its own ...
        raise Unreadable(f"{operation.name}: {type(error).__name__}: {str(error)[:200]}") from None


def _binding(service: str) -> Any:
    with _lock:
        found = _bindings.get(service)
        if found is None:
            found = _bindings[service] = _load(service)
        return found


def _load(service: str) -> Any:
    onvif, zeep = _libraries()
    name, file, binding = _definition(service)
    folder = Path(onvif.__file__).parent.parent / "wsdl"
    # a transport of its own: zeep's default one keeps a cache under the home folder
    client = zeep.Client(
        str(folder / file),
        transport=zeep.Transport(cache=None, timeout=1, operation_timeout=1),
        settings=zeep.Settings(strict=False, xml_huge_tree=False),
    )
    return client.wsdl.bindings[f"{{{name}}}{binding}"]


def _definition(service: str) -> tuple[str, str, str]:
    onvif, _ = _libraries()
    found = onvif.SERVICES[service]
    return found["ns"], found["wsdl"], found["binding"]


@cache
def _libraries() -> tuple[Any, Any]:
    """onvif-zeep and zeep, without what importing them does to the process: onvif-zeep calls
    `logging.basicConfig(INFO)`, which does nothing where the root logger has a handler, and silences
    zeep's logger. (That it drops `http_proxy` and caches under the home folder is its constructor's doing,
    unused here.)"""
    root, quiet, shield = logging.getLogger(), logging.getLogger("zeep.client"), logging.NullHandler()
    level = quiet.level
    root.addHandler(shield)
    try:
        import onvif
        import zeep
    finally:
        root.removeHandler(shield)
        quiet.setLevel(level)
    return onvif, zeep
