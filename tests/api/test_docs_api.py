"""The snippets of docs/api.md run as they stand."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from gated.domain import Role
from tests.api.conftest import START, Gate, passage_record

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: apt-get install curl")
async def test_the_snippets_run(gate: Gate) -> None:
    await gate.store.record(passage_record(1, START))
    snippets = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(snippets) >= 8
    script = "set -euo pipefail\n" + "\n".join(snippets)
    run = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        env={
            "PATH": "/usr/bin:/bin",
            "GATED": gate.url,
            "TOKEN": gate.tokens[Role.STAFF],
            "LANG": "C.UTF-8",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()[-5000:]
    assert "搬离本村" in output.decode()
    assert gate.lanes.opened == [("east-in", "staff 一号", "救护车进村")]
