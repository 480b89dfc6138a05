"""A platform of the district (视图库) that is told of passages: registered, kept alive, told in lists.

It is told the plate, when, where and which way; no picture, no name, no pass.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

from adapters._camera import Answer, CameraConfig, HttpLink
from adapters.gat1400 import codec
from gated.ports import DeviceRefused, DeviceUnavailable, Secret, SentPassage


class Settings(Protocol):
    """What is configured of a platform: `gated.config`'s section `district`."""

    @property
    def url(self) -> str: ...
    @property
    def number(self) -> str: ...
    @property
    def username(self) -> str | None: ...
    @property
    def password(self) -> Secret: ...
    @property
    def certificate(self) -> Path | None: ...
    @property
    def keepalive_s(self) -> float: ...
    @property
    def timeout_ms(self) -> int: ...


class DistrictPlatform:
    """`gated.ports.Platform`. `zone`: of the times that it is told."""

    def __init__(self, settings: Settings, zone: tzinfo) -> None:
        self._settings, self._zone = settings, zone
        parts = urlsplit(settings.url)
        self._base = parts.path.rstrip("/")
        self._link = HttpLink(
            CameraConfig(
                id="district",
                type="gat1400",
                host=parts.hostname or "",
                port=parts.port,
                tls=parts.scheme == "https",
                certificate=settings.certificate,
                username=settings.username or settings.number,
                password=settings.password,
                timeout_ms=settings.timeout_ms,
            )
        )
        self._beat: asyncio.Task[None] | None = None
        self._lost: str | None = None

    async def __aenter__(self) -> Self:
        """Registers. Raises DeviceRefused if the platform does not know us, or not with this password."""
        await self._link.__aenter__()
        try:
            body = codec.registration(self._settings.number)
            answer = await self._post("System/Register", body)
            _, code, words = _verdicts(answer)[0]
            if code != codec.OK:
                raise DeviceRefused(f"the platform does not register {self._settings.number}: {words}")
        except BaseException:
            await self._link.__aexit__()
            raise
        self._lost = None
        self._beat = asyncio.create_task(self._keep_alive(), name="district keepalive")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        beat, self._beat = self._beat, None
        if beat is not None:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
        if kind is None or not issubclass(kind, DeviceUnavailable):
            with contextlib.suppress(DeviceUnavailable, DeviceRefused):
                body = codec.registration(self._settings.number, "UnRegister")
                await self._post("System/UnRegister", body)
        await self._link.__aexit__()

    async def send(self, passages: Sequence[SentPassage]) -> Mapping[str, str]:
        """See `gated.ports.Platform`."""
        if self._lost is not None:
            raise DeviceUnavailable(self._lost)
        if not passages:
            return {}
        answer = await self._known("MotorVehicles", codec.sent(passages, self._zone))
        said = _verdicts(answer)
        ids = {codec.vehicle_id(one, self._zone): one.id for one in passages}
        if len(said) == len(passages) and not any(id_ in ids for id_, _, _ in said):
            each = list(zip((one.id for one in passages), said, strict=True))  # in order, without our ids
        else:
            each = [(ids.get(one[0], ""), one) for one in said]
        refused: dict[str, str] = {}
        for passage, (_, code, words) in each:
            if code == codec.OK:
                continue
            if code not in codec.NEVER:
                raise DeviceUnavailable(f"the platform answers: {words}")
            if not passage and len(passages) > 1:  # about all of them: which one it is, it says of each alone
                for one in passages:
                    refused |= await self.send([one])
                return refused
            refused[passage or passages[0].id] = words
        return refused

    # --- pieces -----------------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        body = codec.registration(self._settings.number, "Keepalive")
        while True:
            await asyncio.sleep(self._settings.keepalive_s)
            try:
                _, code, words = _verdicts(await self._known("System/Keepalive", body))[0]
                if code != codec.OK:
                    raise DeviceUnavailable(f"the platform answers to a keepalive: {words}")
            except DeviceUnavailable as error:
                self._lost = str(error)
                return

    async def _known(self, what: str, body: bytes) -> Answer:
        """A request by somebody who is registered. Whoever is refused now has been forgotten, not locked
        out: he registers anew."""
        try:
            return await self._post(what, body)
        except DeviceRefused:
            raise DeviceUnavailable("the platform does not know us any more") from None

    async def _post(self, what: str, body: bytes) -> Answer:
        answer = await self._link.ask(
            "POST",
            f"{self._base}/VIID/{what}",
            body=body,
            content_type=f"{codec.CONTENT_TYPE};charset=utf-8",
            headers={"User-Identify": self._settings.number},
        )
        if answer.status != 200:
            raise DeviceUnavailable(f"the platform answers {answer.status} to {what}")
        return answer


def _verdicts(answer: Answer) -> list[tuple[str, int, str]]:
    try:
        return codec.verdicts(answer.body)
    except codec.Malformed as error:
        raise DeviceUnavailable(f"the platform's answer cannot be read: {error}") from None
