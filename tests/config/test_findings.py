"""The report of `gated check` on terminals and in pipes: short however much is wrong, and nothing is lost."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from gated import logs
from gated.check import Result, State
from gated.check.devices import devices
from gated.cli.findings import Findings
from gated.clocks import system_now
from gated.config import load
from gated.wiring import load_adapter

VILLAGE = Path(__file__).resolve().parents[2] / "deploy/sites/liuanzhuang/gated.yaml"


def shown(results: list[Result], width: int = 80, *, terminal: bool = True) -> list[str]:
    out = io.StringIO()
    Findings(Console(file=out, width=width, force_terminal=terminal, no_color=True, highlight=False)).print(
        results
    )
    return [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in out.getvalue().splitlines()]


async def everything_offline() -> list[Result]:
    """The sample village; its devices are on ports where nobody listens."""
    config = load(VILLAGE, load_adapter)
    return await devices(config, load_adapter, now=system_now, unparsed=logs.Unparsed(), timeout_s=2)


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_a_line_a_device_and_what_to_do_once(width: int) -> None:
    results = await everything_offline()
    lines = shown(results, width)
    text = "\n".join(lines)
    assert max(map(cell_len, lines)) <= width
    assert [line for line in lines if line.startswith("  device   ")] == [
        line for line in lines if any(f" {result.subject} " in line for result in results)
    ]
    assert len(lines) <= len(results) + 20
    assert "offline 离线: 29" in lines
    assert "waiting 等待: 14" in lines
    assert text.count("检查电源") == text.count("Look at power") == 1
    assert text.count("推送地址设为") == text.count("Set its push address") == 1
    assert lines[-1] == "29 problems (14 waiting, 29 offline). 有问题需要处理。"


async def test_nothing_is_cut_off_where_nobody_watches() -> None:
    results = await everything_offline()
    lines = shown(results, terminal=False)
    for result in results:
        assert any(result.subject in line and line.endswith(result.message) for line in lines)
    assert not any("\x1b" in line or "…" in line for line in lines)


def test_what_only_one_has_says_itself_what_to_do() -> None:
    long = "is of the unknown version 0099 " * 5
    results = [
        Result("config", "/etc/gated/a-folder/gated.yaml:7", State.MISCONFIGURED, "no grid 'g9'",
               "did you mean 'g1'?", {"zh": "没有编号为 'g9' 的网格"}),
        Result("store", "/var/lib/gated/gated.db", State.MISCONFIGURED, long.strip(), "install it again"),
        Result("clock", "system", State.OK, "is right", "a hint that nobody needs"),
    ]  # fmt: skip
    lines = shown(results)
    assert max(map(cell_len, lines)) <= 80
    at = next(number for number, line in enumerate(lines) if "gated.yaml:7" in line)
    assert [line.strip() for line in lines[at + 1 : at + 4]] == [
        "no grid 'g9'",
        "没有编号为 'g9' 的网格",
        "-> did you mean 'g1'?",
    ]
    assert " ".join(" ".join(lines).split()).count("unknown version 0099") == 5, "told whole"
    assert "nobody needs" not in " ".join(lines)
    assert lines[-1] == "2 problems (1 ok, 2 misconfigured). 有问题需要处理。"


def test_all_is_well() -> None:
    assert shown([Result("clock", "system", State.OK, "is right")])[-1] == "No problem (1 ok). 检查通过。"


def test_the_json_is_what_programs_know() -> None:
    known = {"part", "subject", "state", "problem", "message", "hint", "details"}
    assert set(Result("clock", "system", State.OK, "is right").as_dict()) == known
