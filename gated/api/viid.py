"""Devices that push to fixed paths, `/VIID/...` (GA/T 1400), and log in by digest, once: who they are.

A device registers (`System/Register`) with HTTP Digest (MD5, as the standard has it) and from then on only
names itself, in the header `User-Identify`. So what a register proved holds for the address that it came
from, for as long as the device is heard from; anybody else is asked to register. No body is read here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PREFIX = "/VIID/"
REGISTER, UNREGISTER = "System/Register", "System/UnRegister"
REALM = "gated"
NONCE_S = 60.0
SESSION_S = 300.0
"""Devices are heard from every 30 to 60 s."""
_SPENT_MOST = 4096
_SESSIONS_MOST = 1024
_PAIR = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class DigestLogin:
    """What a device must prove. `number`: how it names itself. `secret`: MD5 of user, realm and password."""

    number: str
    username: str
    secret: str


def login(number: str, username: str, password: str) -> DigestLogin:
    """What is kept of a device's password."""
    return DigestLogin(number, username, _md5(f"{username}:{REALM}:{password}"))


class Sessions:
    """Who has registered, from where. `now`: seconds, of a clock that only goes forward."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._key = secrets.token_bytes(16)
        self._spent: OrderedDict[str, float] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()

    def challenge(self) -> str:
        """A value for `WWW-Authenticate`."""
        made = f"{self._now():.3f}.{secrets.token_hex(8)}"
        return f'Digest realm="{REALM}", qop="auth", nonce="{made}.{self._sign(made)}", algorithm=MD5'

    def registers(self, proof: DigestLogin, method: str, target: str, authorization: str, peer: str) -> bool:
        """Whether this is the answer to a challenge of ours, given for the first time; then the device is
        known at this address."""
        given = _fields(authorization)
        nonce = given.get("nonce", "")
        if given.get("uri") != target or given.get("username") != proof.username or not self._fresh(nonce):
            return False
        if not _same(given.get("response", ""), _response(proof, method, given)):
            return False
        self._spent[nonce] = self._now()
        while len(self._spent) > _SPENT_MOST:
            self._spent.popitem(last=False)
        self._seen(proof.number, peer)
        return True

    def knows(self, number: str, peer: str) -> bool:
        """Whether it has registered from this address, and was heard from since."""
        last = self._known.get((number, peer))
        if last is None or self._now() - last > SESSION_S:
            return False
        self._seen(number, peer)
        return True

    def forget(self, number: str, peer: str) -> None:
        """It has unregistered."""
        self._known.pop((number, peer), None)

    def _seen(self, number: str, peer: str) -> None:
        self._known[number, peer] = self._now()
        self._known.move_to_end((number, peer))
        while len(self._known) > _SESSIONS_MOST:
            self._known.popitem(last=False)

    def _fresh(self, nonce: str) -> bool:
        made, _, signed = nonce.rpartition(".")
        if not _same(signed, self._sign(made)) or nonce in self._spent:
            return False
        return 0 <= self._now() - float(made.partition(".")[0]) <= NONCE_S + 1

    def _sign(self, made: str) -> str:
        return hmac.new(self._key, made.encode(), hashlib.sha256).hexdigest()[:32]


def username_of(authorization: str) -> str:
    """Who answers a challenge; empty if nobody does."""
    return _fields(authorization).get("username", "")


def _fields(authorization: str) -> Mapping[str, str]:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "digest":
        return {}
    return {name.lower(): quoted or bare for name, quoted, bare in _PAIR.findall(rest)}


def _response(proof: DigestLogin, method: str, given: Mapping[str, str]) -> str:
    """RFC 2617, with `qop=auth` or, from old devices, without."""
    request = _md5(f"{method}:{given.get('uri', '')}")
    if given.get("qop") is None:
        return _md5(f"{proof.secret}:{given.get('nonce', '')}:{request}")
    middle = ":".join(given.get(name, "") for name in ("nonce", "nc", "cnonce", "qop"))
    return _md5(f"{proof.secret}:{middle}:{request}")


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
