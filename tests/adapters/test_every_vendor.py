"""What every adapter must have: the module's interface, a test that runs the contract, a page of its own."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic import ValidationError

import adapters
from gated.ports import DeviceConfig

ROOT = Path(__file__).parents[2]
VENDORS = sorted(
    module.name
    for module in pkgutil.iter_modules(adapters.__path__)
    if not module.name.startswith("_") and module.name != "simulator"
)


def test_there_are_vendors() -> None:
    assert {"modbus", "vzenith", "webhook"} <= set(VENDORS)


@pytest.mark.parametrize("vendor", VENDORS)
def test_has_config_and_create(vendor: str) -> None:
    module = import_module(f"adapters.{vendor}")
    config = module.Config
    assert issubclass(config, DeviceConfig)
    type_ = config.model_fields["type"].annotation
    assert get_origin(type_) is Literal
    assert get_args(type_) == (vendor,)
    assert config.model_config.get("extra") == "forbid"
    with pytest.raises(ValidationError, match="xyzzy"):
        config.model_validate({"id": "a", "type": vendor, "xyzzy": 1})
    assert callable(module.create)
    assert module.__doc__


@pytest.mark.parametrize("vendor", VENDORS)
def test_keeps_the_contract(vendor: str) -> None:
    tests = ROOT / "tests" / "adapters"
    files = [*tests.glob("test_*.py"), *tests.glob("*/test_*.py")]
    sources = [path.read_text(encoding="utf-8") for path in files]
    assert any(
        f"adapters.{vendor}" in source and "Contract)" in source and "contract import" in source
        for source in sources
    ), f"no test file runs tests.adapters.contract.Contract against adapters.{vendor}"


@pytest.mark.parametrize("vendor", VENDORS)
def test_has_a_double(vendor: str) -> None:
    assert import_module(f"adapters.simulator.{vendor}").__doc__


@pytest.mark.parametrize("vendor", [*VENDORS, "simulator"])
def test_has_a_page(vendor: str) -> None:
    page = (ROOT / "docs" / "devices" / f"{vendor}.md").read_text(encoding="utf-8")
    if vendor != "simulator":
        assert f"type: {vendor}" in page, "the page shows how it is configured"
        assert "hardware" in page, "the page says what was never seen on hardware"
