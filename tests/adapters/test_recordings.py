"""Recordings of devices (`record:` in gated.yaml) that lie in `recordings/`: each is played to its adapter,
which must make the same of it. Put another one there, and it is tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.tape import play

FOLDER = Path(__file__).with_name("recordings")
FILES = sorted(FOLDER.glob("*.jsonl"))


def test_there_are_recordings() -> None:
    assert FILES


@pytest.mark.mosquitto
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_the_same_is_made_of_a_recording(file: Path, tmp_path: Path) -> None:
    recorded, made = await play(file, tmp_path)
    assert made == recorded
