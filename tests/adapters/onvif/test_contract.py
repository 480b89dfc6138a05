"""The ONVIF adapter keeps the contract, with each kind of authentication and each make of relay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.contract import Contract
from tests.adapters.onvif.support import OnvifBench


class TestOnvif(Contract):
    """A camera as the standard has it."""

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[OnvifBench]:
        async with OnvifBench(tmp_path) as bench:
            yield bench


class TestPeculiar(Contract):
    """HTTP Digest only, relays on the device service, references to be handed back, plates as Hikvision
    says them, another address than the one it is reached by."""

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[OnvifBench]:
        async with OnvifBench(
            tmp_path,
            http_digest=True,
            time_needs_password=True,
            relays_on="device",
            references=True,
            services=False,
            plates="hikvision",
            xaddr="http://10.99.99.99:8000",
        ) as bench:
            yield bench
