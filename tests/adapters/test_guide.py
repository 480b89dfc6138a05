"""The guide for a new device (`docs/add-a-device.md`) works as it is printed: its files are loaded from the
page, and its test runs."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "add-a-device.md"
FILES = {
    found[1]: found[0]
    for found in re.findall(r"```python\n(# (\S+\.py)\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
}


def loaded(path: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(FILES[path], f"{PAGE.name}:{path}", "exec"), module.__dict__)  # noqa: S102 - our own page
    return module


acme = loaded("adapters/acme.py", "adapters.acme")
loaded("adapters/simulator/acme.py", "adapters.simulator.acme")
TestAcmeContract = loaded(
    "tests/adapters/test_acme_contract.py", "tests.adapters.test_acme_contract"
).TestAcmeContract


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("OK", "accepted"), ("NO busy", "rejected"), ("OK?", "uncertain"), ("", "uncertain")],
)
def test_answers(answer: str, outcome: str) -> None:
    assert acme.opened(answer).outcome == outcome
