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
from gated.ports import ConfigError, DeviceError, DeviceRefused, DeviceUnavailable, Secret, SentPassage

LEAVE_S = 1.0
"""So long is a platform given to hear that we leave."""
_NOT_SO = frozenset({400, 413, 422})
"""HTTP statuses that may be about one object of a list."""


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
        """Raises ConfigError."""
        self._settings, self._zone = settings, zone
        try:
            parts = urlsplit(settings.url)
            if settings.certificate is not None and parts.scheme != "https":
                raise ConfigError("district.certificate is given, but district.url is not https")
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
        except ValueError:
            raise ConfigError("district.url is no address: write it like https://192.0.2.9:8443") from None
        self._beat: asyncio.Task[None] | None = None
        self._lost: str | None = None

    async def __aenter__(self) -> Self:
        """Registers. Raises DeviceRefused if the platform does not know us, or not with this password."""
        await self._link.__aenter__()
        try:
            body = codec.registration(self._settings.number)
            answer = await self._post("System/Register", body)
            if answer.status in (404, 405):
                raise DeviceRefused(f"nothing is at {self._base}/VIID/ there: check district.url")
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
        if kind is None or not issubclass(kind, DeviceError):
            body = codec.registration(self._settings.number, "UnRegister")
            with contextlib.suppress(DeviceError, TimeoutError):
                async with asyncio.timeout(LEAVE_S):  # whoever ends the daemon waits for it
                    await self._post("System/UnRegister", body)
        await self._link.__aexit__()

    async def send(self, passages: Sequence[SentPassage]) -> Mapping[str, str]:
        """See `gated.ports.Platform`.

        What the answer to a list does not tell is asked again with a shorter one. A status that may mean the
        object or the platform ("other error") is taken for the object's if the platform took another one.
        """
        if self._lost is not None:
            raise DeviceUnavailable(self._lost)
        waiting = [list(passages)] if passages else []
        found: dict[str, codec.Verdict] = {}
        while waiting:
            batch = waiting.pop()
            told = await self._tell(batch)
            found |= told
            left = [one for one in batch if one.id not in told]
            if left and not told:
                half = (len(left) + 1) // 2
                waiting += [each for each in (left[half:], left[:half]) if each]
            elif left:
                waiting.append(left)
        well = any(verdict.taken for verdict in found.values())
        refused: dict[str, str] = {}
        for passage, verdict in found.items():
            if verdict.taken:
                continue
            if verdict.code not in codec.NEVER and not well:
                raise DeviceUnavailable(f"the platform answers: {verdict.words}")
            refused[passage] = verdict.words
        return refused

    # --- pieces -----------------------------------------------------------------------------------------

    async def _tell(self, batch: Sequence[SentPassage]) -> dict[str, codec.Verdict]:
        """One list: what is known of which passage. Raises DeviceUnavailable, also if it says "later"."""
        answer = await self._known("MotorVehicles", codec.sent(batch, self._zone))
        if answer.status in _NOT_SO:
            words = f"HTTP {answer.status}"
            return {batch[0].id: codec.Verdict(codec.OTHER, words)} if len(batch) == 1 else {}
        ids = {codec.vehicle_id(one, self._zone): one.id for one in batch}
        told = codec.judged(_verdicts(answer), list(ids))
        if not told and len(batch) == 1:
            raise DeviceUnavailable("the platform does not say what became of what it was told")
        for verdict in told.values():
            if verdict.code in codec.LATER:
                raise DeviceUnavailable(f"the platform answers: {verdict.words}")
        return {ids[id_]: verdict for id_, verdict in told.items()}

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
        return await self._link.ask(
            "POST",
            f"{self._base}/VIID/{what}",
            body=body,
            content_type=f"{codec.CONTENT_TYPE};charset=utf-8",
            headers={"User-Identify": self._settings.number},
        )


def _verdicts(answer: Answer) -> list[tuple[str, int, str]]:
    if not 200 <= answer.status < 300:
        raise DeviceUnavailable(f"the platform answers with HTTP {answer.status}")
    try:
        return codec.verdicts(answer.body)
    except codec.Malformed as error:
        raise DeviceUnavailable(f"the platform's answer cannot be read: {error}") from None
