"""Checks of the machine that gated runs on: its clock, who may read the secrets, which packages Python finds.

Reads only; each function returns results and raises nothing for what it finds.
"""

from __future__ import annotations

import ctypes
import importlib.util
import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

from gated.check.results import Result, State
from gated.config import SiteConfig, secrets_of
from gated.config.errors import dotted
from gated.ports import ConfigError, Secret, pushes

_BUILT = 2024
"""No box that runs this code can honestly be in an earlier year."""

_NAMES = ("gated", "adapters", "rules")
_SHORT_TOKEN = 12
_KNOWN_PASSWORDS = frozenset({"admin", "12345", "123456", "12345678", "password", "888888", "gated"})


def clock(config: SiteConfig, now: datetime, synchronised: Callable[[], bool | None]) -> Iterator[Result]:
    """Whether the box's clock can be judged by. `synchronised`: see `kernel_synchronised`."""
    local = now.astimezone(config.site.zone)
    details = {"utc": now.isoformat(timespec="seconds"), "local": local.isoformat(timespec="seconds")}
    shown = f"{local:%Y-%m-%d %H:%M:%S} in {config.site.timezone}"
    if now.year < _BUILT:
        hint = "set it (timedatectl set-time ...), then let NTP keep it: passes are judged by this clock"
        yield Result(
            "clock", "system", State.FAILED, f"the clock says {shown}, which cannot be", hint, details
        )
        return
    synced = synchronised()
    if synced is False:
        hint = (
            "timedatectl set-ntp true, or point chrony at the site's time server; without it hours and "
            "validity drift"
        )
        yield Result("clock", "system", State.WARNING, f"{shown}, not synchronised by NTP", hint, details)
    else:
        how = "synchronised" if synced else "the kernel does not tell whether it is synchronised"
        yield Result("clock", "system", State.OK, f"{shown}, {how}", "", details)


def kernel_synchronised() -> bool | None:
    """Whether the kernel says that NTP keeps its clock (adjtimex(2)); None where it cannot be asked."""
    size, status_at, sta_unsync, time_error = 512, 5 * ctypes.sizeof(ctypes.c_long), 0x40, 5
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = ctypes.create_string_buffer(size)  # modes = 0: only read
        state = libc.adjtimex(timex)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    status = ctypes.c_int.from_buffer(timex, status_at).value
    return state != time_error and not status & sta_unsync


def secrets(config: SiteConfig) -> Iterator[Result]:
    """Whether every secret can be read, and only by those who should. A place that many devices share is
    looked at once; one line when all is well."""
    users: dict[Secret, list[str]] = {}
    tokens: set[Secret] = set()
    for path, secret in secrets_of(config):
        subject = dotted(path)
        if path[0] == "devices":
            device = config.devices[int(path[1])]
            subject = f"{device.id}.{dotted(path[2:])}"
            if pushes(device) is not None and path[-1] == "token":
                tokens.add(secret)
        users.setdefault(secret, []).append(subject)
    found = [
        result
        for secret, names in users.items()
        for result in _secret(secret, names[0], len(names) - 1, token=secret in tokens)
    ]
    if found:
        yield from found
    else:
        yield Result("secrets", f"{len(users)} secrets", State.OK, "all can be read")


def _secret(secret: Secret, user: str, others: int, *, token: bool) -> Iterator[Result]:
    subject = f"{user} and {others} more" if others else user
    try:
        value = secret.value()
    except ConfigError as error:
        hint = (
            f"put it into the daemon's environment (systemd: EnvironmentFile=) as {secret.env}"
            if secret.env
            else "create the file, readable by the user who runs gated"
        )
        yield Result("secrets", subject, State.MISCONFIGURED, str(error), hint)
        return
    if secret.file is not None:
        yield from _modes(subject, secret.file)
    if value.lower() in _KNOWN_PASSWORDS:
        hint = "change it on the device and here: it is on every list that is tried first"
        yield Result("secrets", subject, State.WARNING, "is a password that everybody knows", hint)
    elif token and len(value) < _SHORT_TOKEN:
        hint = "make one with: openssl rand -hex 16"
        yield Result("secrets", subject, State.WARNING, "is a short token: it can be guessed", hint)


def _modes(subject: str, path: Path) -> Iterator[Result]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        what = "changed" if mode & (stat.S_IWOTH | stat.S_IWGRP) else "read"
        message = f"{path} can be {what} by others (mode {mode:04o})"
        hint = f"chmod 0640 {path}; chown root:gated {path}"
        yield Result("secrets", subject, State.WARNING, message, hint)


def config_file(path: Path) -> Iterator[Result]:
    """Whether others may change the configuration."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IWOTH:
        message = f"everybody on this machine may change it (mode {mode:04o})"
        yield Result("config", str(path), State.WARNING, message, f"chmod 0644 {path}")


def install() -> Iterator[Result]:
    """Whether Python finds our three packages, and not others of the same names."""
    owners = metadata.packages_distributions()
    home = Path(__file__).resolve().parents[2]
    clean = True
    for name in _NAMES:
        others = sorted(set(owners.get(name, [])) - {"gated"})
        spec = importlib.util.find_spec(name)
        origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if others:
            clean = False
            hint = f"pip uninstall {' '.join(others)}, or give gated a virtual environment of its own"
            message = f"the package {name!r} is also in the distribution {', '.join(others)}"
            yield Result("install", name, State.FAILED, message, hint)
        elif origin is None or home not in origin.parents:
            clean = False
            hint = "start gated from its own virtual environment, without PYTHONPATH"
            message = f"the package {name!r} is found at {origin}, not beside gated at {home}"
            yield Result("install", name, State.FAILED, message, hint)
    if clean:
        yield Result("install", "packages", State.OK, f"gated, adapters and rules are those in {home}")


def drift_words(drift: timedelta | None) -> str:
    """A device's clock against ours, for a person: `clock 2.1 s ahead`."""
    if drift is None:
        return ""
    seconds = drift.total_seconds()
    return f"clock {abs(seconds):.1f} s {'ahead' if seconds >= 0 else 'behind'}"
