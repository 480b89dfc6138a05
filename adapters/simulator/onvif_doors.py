"""The doors and access points of a simulated ONVIF controller (Profile C): who asks, and who decides.

An access point that asks (`Request`) waits for ExternalAuthorization, then gives up. It never
opens by itself unless it is told to (`grant`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from lxml import etree

from adapters.simulator import onvif_soap as soap
from adapters.simulator.boom import Boom
from adapters.simulator.faults import Faults
from adapters.simulator.onvif_events import Operation
from adapters.simulator.onvif_quirks import Quirks
from adapters.simulator.onvif_wire import Peer


class Host(Protocol):
    """What the doors need of their device."""

    faults: Faults
    quirks: Quirks
    boom: Boom | None

    def say(self, peer: Peer, body: str, action: str = "") -> None: ...
    def push_event(
        self,
        topic: str,
        *,
        source: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        operation: str | None = None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class DoorOpening:
    """A door that was opened for a moment. `at`: seconds, monotonic. `by`: "AccessDoor",
    "ExternalAuthorization", or "own" decision."""

    at: float
    door: str
    milliseconds: int
    by: str


@dataclass(slots=True)
class _Waiting:
    credential: str
    timer: asyncio.TimerHandle


class Doors:
    """All doors and access points of one controller. `points`: access point -> its door. `authorizations`:
    every ExternalAuthorization that was received: access point, credential token, decision."""

    def __init__(self, host: Host, doors: tuple[str, ...], points: Mapping[str, str]) -> None:
        self._host = host
        self.openings: list[DoorOpening] = []
        self.authorizations: list[tuple[str, str, str]] = []
        self.points = dict(points)
        self._states: dict[str, str | None] = dict.fromkeys(doors)
        self._waiting: dict[str, _Waiting] = {}
        self.operations: dict[str, Operation] = {
            "GetDoorInfoList": self._door_list,
            "GetAccessPointInfoList": self._point_list,
            "GetDoorState": self._door_state,
            "AccessDoor": self._access_door,
            "ExternalAuthorization": self._authorize,
        }

    def forget(self) -> None:
        """Off: nobody waits any more."""
        for each in self._waiting.values():
            each.timer.cancel()
        self._waiting.clear()

    # --- what happens in front of it ------------------------------------------------------------------

    def present(
        self, point: str, *, credential: str = "", number: str = "", decides: str = "ask", name: str = ""
    ) -> None:
        """Somebody presents a card that it knows by its token (`credential`) or by its `number`, or just
        presses the button. `decides`: "ask" waits for an answer, "grant" and "deny" are its own."""
        kind, data = "Anonymous", {}
        if number:
            kind = "Identifier"
            data = {"IdentifierType": "pt:Card", "FormatType": "WIEGAND26", "IdentifierValue": number}
        if credential:
            kind = "Credential"
            data |= {"CredentialToken": credential, "CredentialHolderName": name}
        if decides == "ask":
            self._say("Request", kind, point, data)
            self._wait(point, credential)
        elif decides == "grant":
            self._say("AccessGranted", kind, point, {"External": "false", **data})
            self._open(self.points[point], 1000, "own")
        else:
            reason = "CredentialNotFound" if number else "Other"
            self._say("Denied", kind, point, {"External": "false", **data, "Reason": reason})

    def set_state(self, door: str, state: str) -> None:
        """The door's own contact says where it is ("Open", "Closed", "Fault")."""
        self._states[door] = state
        self._host.push_event(
            "tns1:Door/State/DoorPhysicalState",
            source={"DoorToken": door},
            data={"State": state},
            operation="Changed",
        )

    def alarm(self, door: str, kind: str, state: str) -> None:
        """`kind`: "DoorAlarm", "DoorTamper" or "DoorFault"."""
        self._host.push_event(
            f"tns1:Door/State/{kind}", source={"DoorToken": door}, data={"State": state}, operation="Changed"
        )

    # --- parts ----------------------------------------------------------------------------------------

    def _say(self, step: str, kind: str, point: str, data: Mapping[str, str]) -> None:
        topic = f"tns1:AccessControl/{step}/{kind}"
        self._host.push_event(topic, source={"AccessPointToken": point}, data=data, operation=None)

    def _wait(self, point: str, credential: str) -> None:
        before = self._waiting.pop(point, None)
        if before is not None:
            before.timer.cancel()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._host.quirks.answer_s, lambda: self._give_up(point))
        self._waiting[point] = _Waiting(credential, timer)

    def _give_up(self, point: str) -> None:
        self._waiting.pop(point, None)
        self._say("Request", "Timeout", point, {})

    def _open(self, door: str, milliseconds: int, by: str) -> None:
        self.openings.append(DoorOpening(time.monotonic(), door, milliseconds, by))
        boom = self._host.boom
        if boom is not None:
            boom.stuck = self._host.faults.stuck
            boom.pulse(milliseconds)

    def _done(self, peer: Peer, body: str) -> None:
        """Answers a command that was carried out, or fails to."""
        if self._host.faults.hang:
            return
        if self._host.quirks.deaf:
            peer.hang_up()
        else:
            self._host.say(peer, body)

    # --- requests -------------------------------------------------------------------------------------

    def _door_list(self, peer: Peer, _t: str, _r: etree._Element, operation: etree._Element) -> None:
        override = str(self._host.quirks.door_timing).lower()
        self._page(
            peer, operation, "tdc:GetDoorInfoList", list(self._states),
            lambda token: soap.door_info(token, momentary=self._host.quirks.momentary, override=override),
        )  # fmt: skip

    def _point_list(self, peer: Peer, _t: str, _r: etree._Element, operation: etree._Element) -> None:
        self._page(
            peer, operation, "tac:GetAccessPointInfoList", list(self.points),
            lambda token: soap.access_point_info(token, self.points[token]),
        )  # fmt: skip

    def _page(
        self, peer: Peer, operation: etree._Element, name: str, tokens: list[str], each: Callable[[str], str]
    ) -> None:
        start = operation.findtext("{*}StartReference", "")
        if not self._host.quirks.lists:
            peer.reply(400, soap.fault("ActionNotSupported", code="Receiver"))
            return
        begin = int(start) if start.isdigit() else 0
        end = begin + self._host.quirks.page
        prefix = name.partition(":")[0]
        more = (
            f"<{prefix}:NextStartReference>{end}</{prefix}:NextStartReference>" if end < len(tokens) else ""
        )
        items = "".join(each(token) for token in tokens[begin:end])
        self._host.say(peer, f"<{name}Response>{more}{items}</{name}Response>")

    def _door_state(self, peer: Peer, _t: str, _r: etree._Element, operation: etree._Element) -> None:
        token = operation.findtext("{*}Token", "")
        if token not in self._states:
            peer.reply(400, soap.fault("NotFound", "no such door"))
            return
        state = self._states[token]
        if state is None:
            boom = self._host.boom
            state = "Open" if boom is not None and boom.open_contact else "Closed"
        self._host.say(peer, soap.door_state(state))

    def _access_door(self, peer: Peer, _t: str, _r: etree._Element, operation: etree._Element) -> None:
        token, told = operation.findtext("{*}Token", ""), operation.findtext("{*}AccessTime")
        if token not in self._states:
            peer.reply(400, soap.fault("NotFound", "no such door"))
            return
        own = self._host.quirks.door_ms
        milliseconds = round(soap.seconds(told) * 1000) if told and self._host.quirks.door_timing else own
        self._open(token, milliseconds, "AccessDoor")
        self._done(peer, "<tdc:AccessDoorResponse/>")

    def _authorize(self, peer: Peer, _t: str, _r: etree._Element, operation: etree._Element) -> None:
        point = operation.findtext("{*}AccessPointToken", "")
        credential = operation.findtext("{*}CredentialToken", "")
        decision = operation.findtext("{*}Decision", "")
        self.authorizations.append((point, credential, decision))
        if not self._host.quirks.authorizes:
            peer.reply(400, soap.fault("ActionNotSupported", "not here", "Receiver"))
            return
        waiting = self._waiting.pop(point, None)
        if waiting is None or waiting.credential != credential:
            peer.reply(400, soap.fault("InvalidArgVal", "nobody waits there"))
            return
        waiting.timer.cancel()
        kind = "Credential" if credential else "Anonymous"
        data = {"External": "true"} | ({"CredentialToken": credential} if credential else {})
        if decision == "Granted":
            self._open(self.points[point], self._host.quirks.door_ms, "ExternalAuthorization")
            self._say("AccessGranted", kind, point, data)
        else:
            self._say("Denied", kind, point, data)
        self._done(peer, "<tac:ExternalAuthorizationResponse/>")
