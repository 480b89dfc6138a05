"""RPC2 of a simulated Dahua camera: the login in two steps, sessions, and the barrier."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import orjson

from adapters.simulator._http import Request, Response
from adapters.simulator._stream import LOCKED_AFTER

if TYPE_CHECKING:
    from adapters.simulator.dahua import DahuaCamera

_REALM = "Login to SIM0D00A0000001"


class Rpc2Server:
    """`sessions`: those that are logged in; clear it and the camera has forgotten them. `known`: whether it
    has a barrier to get hold of. `calls`: the methods that it was called by."""

    def __init__(self, camera: DahuaCamera) -> None:
        self.sessions: dict[str, str] = {}
        self.known = True
        self.calls: list[str] = []
        self._camera = camera
        self._objects: set[int] = set()

    def answer(self, path: str, request: Request) -> Response:
        """One call."""
        try:
            call = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            return Response(400)
        method, number = call.get("method", ""), call.get("id", 0)
        self.calls.append(method)
        session = call.get("session")
        if path == "/RPC2_Login":
            told = self._login(call.get("params") or {}, session)
        elif self.sessions.get(session or "") != "in" or request.headers.get("x-api-session") != session:
            told = _error(287637505, "Invalid session in request data!")
        else:
            told = self._called(method, call.get("params") or {}, call.get("object"), session)
        return Response(200, orjson.dumps({"id": number, "session": session, **told}), "application/json")

    def _login(self, params: dict[str, Any], session: str | None) -> dict[str, Any]:
        server = self._camera.server
        if server.logins_failed >= LOCKED_AFTER:
            return _error(268632081, "Component error: User locked!")
        if not params.get("password"):
            session, random = secrets.token_hex(16), str(secrets.randbelow(10**9))
            self.sessions[session] = random
            challenge = {"realm": _REALM, "random": random, "encryption": "Default"}
            told = _error(268632079, "Component error: login challenge!")
            return told | {"params": challenge, "session": session}
        user, password = server.login or ("", "")
        random = self.sessions.get(session or "", "")
        inner = _md5(f"{user}:{_REALM}:{password}")
        right = _md5(f"{user}:{random}:{inner}")
        named = params.get("userName") == user
        if not random or not named or params["password"] != right or self._camera.faults.refuse:
            server.logins_failed += 1
            return _error(268632085, "Component error: User or password not valid!")
        self.sessions[session or ""] = "in"
        return {"result": True, "params": {"keepAliveInterval": 60}}

    def _called(self, method: str, params: dict[str, Any], at: object, session: str) -> dict[str, Any]:
        camera = self._camera
        if method == "global.logout":
            del self.sessions[session]
            return {"result": True}
        if method == "global.keepAlive":
            return {"result": True, "params": {"timeout": 300}}
        if method == "trafficSnap.factory.instance" and self.known and params.get("channel") == 0:
            self._objects.add(number := 4096 + len(self.calls))
            return {"result": number}
        if method == "trafficSnap.destroy" and at in self._objects:
            self._objects.discard(int(str(at)))
            return {"result": True}
        if method == "trafficSnap.openStrobe" and at in self._objects and not camera.error:
            info = params.get("info", {})
            camera.opened(info.get("openType", ""), info.get("plateNumber", ""))
            return {"result": True}
        return _error(268894210, "Request invalid param!" if self.known else "Method not found!")


def _error(code: int, message: str) -> dict[str, Any]:
    return {"result": False, "error": {"code": code, "message": message}}


def _md5(words: str) -> str:
    return hashlib.md5(words.encode(), usedforsecurity=False).hexdigest().upper()
