"""The recipes of the guide: each piece, put into the village policy, does what its cases say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gated.config.source import parse
from gated.policy import default_text, load
from rules.build import SiteNames
from rules.cases import CasesModel, run
from tests.rules.policies import SHANGHAI

PAGE = Path(__file__).parents[2] / "docs" / "policy-recipes.md"
ANYWHERE = SiteNames(zone=SHANGHAI, checked=False)
_BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def recipes() -> dict[str, tuple[str, str]]:
    """Title to piece and cases."""
    found = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        piece, cases = _BLOCK.findall(part)
        found[part.partition("\n")[0]] = (piece, cases)
    return found


def with_piece(piece: str) -> str:
    """The village policy with a piece put in where it says."""
    policy: dict[str, Any] = parse(default_text().encode(), "default").data
    added: dict[str, Any] = parse(piece.encode(), "piece").data
    before = re.match(r"# before: (\w+)\n", piece)
    for section, value in added.items():
        if section == "rules":
            assert before is not None
            ids = [rule["id"] for rule in policy["rules"]]
            place = ids.index(before[1])
            policy["rules"][place:place] = value
        elif isinstance(value, dict):
            policy[section] = {**policy.get(section, {}), **value}
        else:
            policy[section] = [*policy.get(section, []), *value]
    return yaml.safe_dump(policy, allow_unicode=True, sort_keys=False)


@pytest.mark.parametrize(("piece", "cases"), recipes().values(), ids=[*recipes()])
def test_a_recipe_works_as_it_stands(piece: str, cases: str) -> None:
    policy = load(with_piece(piece), ANYWHERE, name="recipe")
    defaults = {
        "entrance": "east",
        "direction": "in",
        "at": "2026-11-18T12:00",
        "plate": "津A12345",
        "confidence": 0.95,
    }
    table = CasesModel.model_validate(
        {"cases": 1, "defaults": defaults, **parse(cases.encode(), "cases").data}
    )
    report = run(policy, [table], ANYWHERE)
    assert [(one.case, one.differences) for one in report.failed] == []
    own = {rule["id"] for rule in parse(piece.encode(), "piece").data.get("rules", [])}
    assert not own & set(report.uncovered)
