"""`gated devices`: what is at an address, and whether a configured device does what it should."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import os
import ssl
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from gated import logs
from gated.cli import output, setting
from gated.config import SiteConfig
from gated.config.models import LogSettings
from gated.domain import (
    DeviceEvent,
    Heartbeat,
    InputChanged,
    Observed,
    OpeningOutcome,
    PositionChanged,
    Read,
)
from gated.ids import new_id
from gated.logs import Unparsed
from gated.ports import (
    AllowList,
    Barrier,
    ConfigError,
    Device,
    DeviceContext,
    DeviceError,
    DeviceRefused,
    Opened,
    Position,
    Probed,
    Pulse,
    Receiver,
    Snapshots,
)
from gated.store import OpeningRecord, Store
from gated.wiring import adapter_types, load_adapter

_POWERS = (
    (Barrier, "opens", "开闸"),
    (Position, "knows where its boom is", "闸杆位置"),
    (Snapshots, "takes pictures", "抓图"),
    (AllowList, "holds a list of its own", "白名单"),
    (Receiver, "pushes", "主动推送"),
)


# --- what is at an address --------------------------------------------------------------------------------


def probe(
    address: str, *, username: str | None, password_file: Path | None, timeout: float, json: bool
) -> None:
    """Asks each adapter that can tell whether its kind of device is at the address; with a login, enters
    it."""
    _quiet()
    found = asyncio.run(_probe(address, timeout))
    if not found:
        output.fail(
            f"at {address} nothing answers that is known ({', '.join(_probing())} were tried)",
            "is it powered, and in this network? For ONVIF cameras try `gated discover`; a device that only "
            "pushes cannot be found: see its page in docs/devices. 未发现已知设备，请检查电源和网络。",
        )
    facts, parts = [], []
    for one in found:
        section = _section(one, username, password_file)
        told: dict[str, Any] = {"type": one.type, "said": one.said, "section": section}
        lines = [f"{address}: {one.said}"]
        if one.login and password_file is None:
            lines.append("give --username and --password-file to ask for model, firmware and clock")
        else:
            told |= asyncio.run(_entered(section, timeout))
            lines += _told_lines(told)
        lines += ["", "devices:", *_indented(section)]
        facts.append(told)
        parts.append("\n".join(lines))
    output.data(facts, "\n\n".join(parts), as_json=json)


def _probing() -> list[str]:
    return [type_ for type_ in adapter_types() if hasattr(load_adapter(type_), "probe")]


async def _probe(address: str, timeout_s: float) -> list[Probed]:
    modules: list[Any] = [load_adapter(type_) for type_ in _probing()]
    found = await asyncio.gather(*(module.probe(*_address(address), timeout_s) for module in modules))
    return [one for one in found if one is not None]


def _section(found: Probed, username: str | None, password_file: Path | None) -> dict[str, Any]:
    name = "".join(c if c.isalnum() else "-" for c in str(found.settings.get("host", found.type)).lower())
    section: dict[str, Any] = {"id": f"{found.type}-{name}"[:63], "type": found.type, **found.settings}
    if found.login:
        section["username"] = username or "gated"
        section["password"] = {"file": str(password_file or f"/etc/gated/secrets/{section['id']}")}
    return section


async def _entered(section: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    module = load_adapter(section["type"])
    try:
        device = module.create(module.Config.model_validate(section), _context(section["id"]))
        async with asyncio.timeout(timeout_s):
            await device.__aenter__()
    except (DeviceError, ValidationError, TimeoutError) as error:
        return {"error": _words(error)}
    try:
        return _known(device)
    finally:
        await device.__aexit__(None, None, None)


def _known(device: Device) -> dict[str, Any]:
    info = device.info
    return {
        "vendor": info.vendor,
        "model": info.model,
        "firmware": info.firmware,
        "serial": info.serial,
        "clock_drift_s": None if info.clock_drift is None else round(info.clock_drift.total_seconds(), 3),
        "powers": [en for power, en, _ in _POWERS if isinstance(device, power)],
        "powers_zh": [zh for power, _, zh in _POWERS if isinstance(device, power)],
    }


def _told_lines(told: dict[str, Any]) -> list[str]:
    if "error" in told:
        return [f"but: {told['error']}"]
    named = [told[name] for name in ("vendor", "model", "firmware") if told[name]]
    lines = [" ".join(named) + (f", serial number {told['serial']}" if told["serial"] else "")]
    if told["clock_drift_s"] is not None:
        lines.append(f"its clock is {told['clock_drift_s']:+.1f} s from this box's 时钟偏差")
    able = ", ".join(f"{en} {zh}" for en, zh in zip(told["powers"], told["powers_zh"], strict=True))
    lines.append(f"it {able}" if able else "it only reports 只上报")
    return lines


def _indented(section: dict[str, Any]) -> list[str]:
    text = yaml.safe_dump([section], sort_keys=False, allow_unicode=True)
    return [f"  {line}" for line in text.splitlines()]


def certificate(address: str, file: Path, *, timeout: float) -> None:
    """Saves what a device presents. It is trusted for being there now: the fingerprint has to be compared."""
    host, port = _address(address)
    try:
        pem = ssl.get_server_certificate((host, port or 443), timeout=timeout)
        file.write_text(pem)
    except ssl.SSLError as error:
        output.fail(
            f"{address} speaks no TLS: {error.reason}", "switch HTTPS on in the device 请在设备上启用 HTTPS"
        )
    except (OSError, ValueError) as error:
        output.fail(f"{address}: {error}", "is it powered, and is this its HTTPS port? 请检查地址和端口。")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    shown = ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
    _say(
        f"{file}: SHA-256 {shown}",
        "compare it with the device's own page, then: 请与设备页面上的指纹核对，然后：",
        f"    tls: true\n    certificate: {file}",
    )


# --- a configured device ----------------------------------------------------------------------------------


def try_out(
    config: Path, device_id: str, *, seconds: float, picture: Path | None, pulse: bool, timeout: float
) -> None:
    """Enters a device, says what it is, shows what it reports for a while, takes a picture, and, asked twice,
    pulses its barrier."""
    site = setting.site(config)
    try:
        section = site.device(device_id)
    except KeyError:
        known = ", ".join(device.id for device in site.devices)
        output.fail(f"no device is called {device_id!r}", f"there are: {known}")
    device = load_adapter(section.type).create(section, _context(device_id))
    if isinstance(device, Receiver):
        output.fail(
            f"{device_id} pushes to gated: only the running daemon hears it",
            "let gated run, and look at /api/v1/devices; open by POST /api/v1/lanes/ID/open. "
            "此设备主动推送，请在 gated 运行时查看。",
        )
    outputs = _outputs(site, device_id)
    if pulse:
        if not isinstance(device, Barrier) or not outputs:
            output.fail(f"{device_id} is no lane's barrier", "only what a lane may open is pulsed here")
        _asked_twice(device_id, outputs)
    _quiet()
    try:
        work = _try_out(device, outputs if pulse else {}, seconds, picture, timeout, site.store.url)
        setting.stored(work) if pulse else asyncio.run(work)
    except DeviceRefused as error:
        output.fail(f"{device_id} refuses: {error}", "check its user and password; it is not tried again")
    except ConfigError as error:
        output.fail(f"{device_id}: {error}", f"correct its section; see docs/devices/{section.type}.md")
    except (DeviceError, TimeoutError) as error:
        output.fail(f"{device_id}: {_words(error)}", "is it powered and on the network? 请检查电源和网络。")


def _outputs(site: SiteConfig, device_id: str) -> dict[str, tuple[str | None, int]]:
    """Lanes whose barrier it is: output and pulse length."""
    return {
        lane.id: (lane.barrier.output, lane.pulse_ms)
        for lane in site.lanes
        if lane.barrier is not None and lane.barrier.device == device_id
    }


def _asked_twice(device_id: str, outputs: dict[str, tuple[str | None, int]]) -> None:
    """A barrier opens now, with nobody at the gate who knows of it: two answers by hand, from a terminal."""
    if not sys.stdin.isatty():
        output.fail("a pulse is asked for twice, at a terminal", "run it by hand, and look at the boom")
    lanes = ", ".join(outputs)
    sys.stderr.write(
        f"即将开启道闸：{lanes}。This opens the barrier of {lanes}, for real. 是否继续 Go on? [yes] "
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        output.fail("nothing was sent", "answer yes to go on")
    sys.stderr.write(f"再次输入设备编号确认 Type the device's id to confirm: {device_id}\n> ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != device_id:
        output.fail("nothing was sent", f"the id is {device_id}")


async def _try_out(
    device: Device,
    outputs: dict[str, tuple[str | None, int]],
    seconds: float,
    picture: Path | None,
    timeout_s: float,
    store_url: str,
) -> None:
    async with AsyncExitStack() as stack:
        store: Store | None = None
        if outputs:  # no barrier opens without its record; the store of a running daemon is not to be had
            store = await Store.open(store_url)
            stack.push_async_callback(store.close)
        async with asyncio.timeout(timeout_s):
            await device.__aenter__()
        stack.push_async_exit(device.__aexit__)
        _say(*_told_lines(_known(device)))
        if isinstance(device, Snapshots):
            image = await device.snapshot()
            if picture is not None:
                await asyncio.to_thread(picture.write_bytes, image)
            _say(f"picture 抓图: {len(image)} bytes{f', in {picture}' if picture else ''}")
        if isinstance(device, Position):
            _say(f"boom 闸杆: {(await device.position()).value}")
        listening = asyncio.create_task(_listen(device))
        try:
            for lane, (name, milliseconds) in outputs.items():
                assert isinstance(device, Barrier)  # noqa: S101 - asked before
                assert store is not None  # noqa: S101
                order = Pulse(new_id(datetime.now(UTC)), milliseconds, name)
                opened = await _pulse(store, device, lane, order)
                _say(f"pulse 开闸 {lane}: {opened.outcome.value} {opened.detail}".rstrip())
            _say(f"what it reports in the next {seconds:g} s 事件:")
            await asyncio.wait([listening], timeout=seconds)
            if listening.done():
                listening.result()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _pulse(store: Store, device: Barrier, lane: str, pulse: Pulse) -> Opened:
    """One opening by hand, on record before it is sent and after."""
    record = OpeningRecord(
        id=pulse.id, lane=lane, cause="override", outcome=OpeningOutcome.PENDING,
        requested_at=datetime.now(UTC), finished_at=None, person=getpass.getuser(),
        reason="gated devices test",
    )  # fmt: skip
    await store.record_opening(record)
    opened = await device.open(pulse)
    done = replace(record, outcome=opened.outcome, finished_at=datetime.now(UTC), detail=opened.detail)
    await store.record_opening(done)
    return opened


async def _listen(device: Device) -> None:
    alive = False
    async for event in device.events():
        if not (alive and isinstance(event, Heartbeat)):  # one of a row is enough
            _say(f"  {_event_words(event)}")
        alive = isinstance(event, Heartbeat)


def _event_words(event: DeviceEvent) -> str:
    at = event.device_time.astimezone().strftime("%H:%M:%S") if event.device_time else "--:--:--"
    if isinstance(event, Read):
        plate = event.credential.value if event.credential else event.raw or "no plate 无牌"
        sure = "" if event.confidence is None else f" {event.confidence:.0%}"
        return f"{at} read 识读 {plate}{sure}{' backlog' if event.backlog else ''}"
    if isinstance(event, InputChanged):
        return f"{at} input 输入 {event.input} {'active' if event.active else 'inactive'}"
    if isinstance(event, PositionChanged):
        return f"{at} boom 闸杆 {event.position.value}"
    if isinstance(event, Observed):
        return f"{at} {event.what} {'' if event.active else 'over'}".rstrip()
    return f"{at} {'alive 心跳' if isinstance(event, Heartbeat) else type(event).__name__}"


def _address(text: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[IPv6]:port` or an IPv6 address alone."""
    plain = text.count(":") < 2 or text.startswith("[")
    try:
        parts = urlsplit(f"//{text}" if plain else f"//[{text}]")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or any(c.isspace() or c == "/" for c in text):
        output.fail(f"{text!r} is no address", "write it like 192.0.2.21 or 192.0.2.21:8080")
    return host, port


# --- pieces -----------------------------------------------------------------------------------------------


def _context(device_id: str) -> DeviceContext:
    return DeviceContext(id=device_id, now=lambda: datetime.now(UTC), unparsed=Unparsed())


def _quiet() -> None:
    logs.configure(LogSettings(level="warning", format="auto"))


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + os.linesep)
    sys.stdout.flush()


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
