"""Where the secrets of a configuration are named: for the check, the redaction of logs, and reloads.

Never keeps a secret's value: what is compared between two loads is a keyed hash that only this process can
make.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from pydantic import BaseModel

from gated.config.errors import Path
from gated.ports import ConfigError, Secret

_KEY = os.urandom(32)


def secrets_of(section: object, path: Path = ()) -> Iterator[tuple[Path, Secret]]:
    """Every `Secret` inside a model, a list or a mapping, with its path."""
    if isinstance(section, Secret):
        yield path, section
    elif isinstance(section, BaseModel):
        for name in type(section).model_fields:
            yield from secrets_of(getattr(section, name), (*path, name))
    elif isinstance(section, (list, tuple)):
        for index, item in enumerate(section):
            yield from secrets_of(item, (*path, index))
    elif isinstance(section, dict):
        for name, item in section.items():
            yield from secrets_of(item, (*path, str(name)))


def fingerprint(section: object) -> bytes:
    """Tells whether any secret in `section` has another value than at the last load; worthless elsewhere."""
    digest = hashlib.blake2b(key=_KEY, digest_size=16)
    for path, secret in secrets_of(section):
        try:
            value = secret.value().encode()
        except ConfigError:
            value = b"\x00unreadable"
        digest.update(repr((path, value)).encode())
    return digest.digest()


def values_of(section: object) -> set[str]:
    """The values of all secrets that can be read, for the redaction of logs."""
    found = set()
    for _, secret in secrets_of(section):
        try:
            found.add(secret.value())
        except ConfigError:
            continue
    return found
