"""RPC2: the JSON calls by which firmware Web 5.0 is opened, in a session of its own.

`POST /RPC2_Login`, twice: a challenge, then MD5 over it; `POST /RPC2` with the session in the body, a cookie
and a header. A wrong password is tried once; after it nothing is sent until the device is entered anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from adapters._camera import HttpLink, NoAnswer, NotSent
from gated.domain import OpeningOutcome
from gated.ports import DeviceRefused, DeviceUnavailable, Opened

_LOCKED = 268632081
_INVALID_SESSION = frozenset({287637504, 287637505})
KEEP_S = 20.0
"""How often a session is kept alive; the camera ends it after 60 s."""


class Unsupported(Exception):
    """This firmware has no RPC2, or none of what is wanted."""


def answer(user: str, password: str, realm: str, random: str) -> str:
    """What answers a challenge: MD5 over MD5, in upper case."""
    inner = _md5(f"{user}:{realm}:{password}")
    return _md5(f"{user}:{random}:{inner}")


def _md5(words: str) -> str:
    return hashlib.md5(words.encode(), usedforsecurity=False).hexdigest().upper()


def error_of(content: Mapping[str, Any]) -> tuple[int, str]:
    """Code and words of an error; 0 and nothing where there is none."""
    error = content.get("error")
    if not isinstance(error, dict):
        return 0, ""
    code, words = error.get("code"), error.get("message")
    shown = "".join(c for c in str(words or "")[:120] if c.isprintable())
    return code if type(code) is int else -1, shown


class Rpc2:
    """A session with one camera, over the link that it shares with everything else. `channel`: from 0."""

    def __init__(self, link: HttpLink, user: str, password: str, channel: int) -> None:
        self._link = link
        self._user, self._password, self._channel = user, password, channel
        self._session: str | int | None = None
        self._object: object = None
        self._number = 0
        self._refused: str | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Rpc2(user={self._user!r})"

    async def ready(self) -> None:
        """Logs in and gets hold of the barrier, which does not move it; does nothing if that is so already.
        Raises Unsupported, DeviceRefused, DeviceUnavailable."""
        async with self._turn:
            if self._object is not None:
                return
            await self._login()
            told = await self._call("trafficSnap.factory.instance", {"channel": self._channel})
            found = told.get("result")
            if not found or isinstance(found, bool):
                _, words = error_of(told)
                raise Unsupported(words or "its RPC2 knows no trafficSnap")
            self._object = found

    async def open(self, open_type: str, plate: str) -> Opened:
        """One opening, sent once. Only one that was answered with "no such session" is sent again, in a new
        session: it certainly did nothing."""
        info = {"info": {"openType": open_type, "plateNumber": plate}}
        for renewed in (False, True):
            try:
                await self.ready()
            except (Unsupported, DeviceRefused) as error:
                return Opened(OpeningOutcome.REJECTED, str(error))
            except DeviceUnavailable as error:
                self.forget()
                return Opened(OpeningOutcome.UNREACHABLE, f"no session ({error}); the opening was not sent")
            try:
                told = await self._call("trafficSnap.openStrobe", info, at=self._object)
            except NotSent as error:
                return Opened(OpeningOutcome.UNREACHABLE, f"{error}; nothing was sent")
            except DeviceRefused as error:
                return Opened(OpeningOutcome.REJECTED, str(error))
            except DeviceUnavailable as error:
                self.forget()
                return Opened(OpeningOutcome.UNCERTAIN, str(error))
            except Unsupported as error:
                return Opened(OpeningOutcome.REJECTED, str(error))
            code, words = error_of(told)
            if told.get("result") is True and code == 0:
                return Opened(OpeningOutcome.ACCEPTED)
            if code not in _INVALID_SESSION or renewed:
                break
            self.forget()
        return Opened(OpeningOutcome.REJECTED, words or f"it says no ({code})")

    async def keep(self) -> None:
        """Keeps the session; one that is lost is begun anew, so that the next opening is one call."""
        try:
            if self._session is not None:
                told = await self._call("global.keepAlive", {"timeout": 300, "active": True})
                if told.get("result") is not True:
                    self.forget()
            await self.ready()
        except (DeviceUnavailable, DeviceRefused, Unsupported):
            self.forget()

    async def leave(self, within_s: float) -> None:
        """Gives everything back, as far as the camera still answers."""
        session, at = self._session, self._object
        if session is None:
            return
        try:
            if at is not None:
                await self._call("trafficSnap.destroy", None, at=at, timeout_s=within_s)
            await self._call("global.logout", None, timeout_s=within_s)
        except (DeviceUnavailable, DeviceRefused, Unsupported):
            pass
        finally:
            self.forget()

    def forget(self) -> None:
        """The session is over."""
        self._session = self._object = None

    async def _login(self) -> None:
        if self._refused is not None:
            raise DeviceRefused(self._refused)
        self.forget()
        who = {"userName": self._user, "clientType": "Web3.0", "loginType": "Direct"}
        first = await self._call("global.login", {**who, "password": ""}, path="/RPC2_Login")
        code, words = error_of(first)
        params = first.get("params")
        if code == _LOCKED:
            raise self._refusal(code, words)
        if not isinstance(params, dict) or not params.get("random"):
            raise NoAnswer(f"its RPC2 gives no challenge ({words or code})")
        scheme = params.get("encryption", "Default")
        if scheme != "Default":
            raise Unsupported(f"its RPC2 wants a login of the kind {str(scheme)[:32]!r}")
        self._session = _session(first)
        realm, random = str(params.get("realm", "")), str(params["random"])
        secret = answer(self._user, self._password, realm, random)
        told = {**who, "password": secret, "authorityType": "Default", "passwordType": "Default"}
        second = await self._call("global.login", told, path="/RPC2_Login")
        if second.get("result") is not True:
            self.forget()
            raise self._refusal(*error_of(second))
        self._session = _session(second) or self._session

    def _refusal(self, code: int, words: str) -> DeviceRefused:
        why = words or "wrong user or password"
        self._refused = f"it refuses the login ({'account locked' if code == _LOCKED else why})"
        return DeviceRefused(self._refused)

    async def _call(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        *,
        at: object = None,
        path: str = "/RPC2",
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        self._number += 1
        call: dict[str, Any] = {"method": method, "id": self._number}
        if params is not None:
            call["params"] = params
        if at is not None:
            call["object"] = at
        headers = {}
        if self._session is not None:
            call["session"] = self._session
            headers = {
                "x-api-session": str(self._session),
                "Cookie": f"WebClientHttpSessionID={self._session}",
            }
        got = await self._link.ask(
            "POST",
            path,
            body=orjson.dumps(call),
            content_type="application/json",
            timeout_s=timeout_s,
            headers=headers,
        )
        if got.status in (404, 405, 501):
            raise Unsupported("this firmware has no RPC2")
        try:
            content = orjson.loads(got.body) if got.status == 200 else None
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            raise NoAnswer(f"{method}: an answer that is none (HTTP {got.status})")
        return content


def _session(content: Mapping[str, Any]) -> str | int | None:
    """Older firmware numbers its sessions, newer has a text; only what a header can hold is taken."""
    found = content.get("session")
    if type(found) is int:
        return found
    if isinstance(found, str) and found.isascii() and found.isalnum() and len(found) <= 128:
        return found
    return None
