"""The project's texts, locks and scripts: links lead somewhere, pages can be reached, scripts start."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

TOP = Path(__file__).resolve().parent.parent


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOP / "scripts" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_docs = _script("check_docs")
check_lock = _script("check_lock")


def test_the_texts_of_the_project_are_whole() -> None:
    assert check_docs.problems(TOP) == []


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("see [that](gone.md)", "gone.md does not exist"),
        ("see [that](../../outside.md)", "does not exist"),
        ("see [that](other.md#nowhere)", "other.md has no heading for #nowhere"),
        ("see [that](#nowhere)", "no heading for #nowhere"),
        ("[that]: gone.md", "gone.md does not exist"),
        ('<img src="gone.svg">', "gone.svg does not exist"),
        ("text\n\nTODO later", "TODO in a text for users"),
    ],
)
def test_what_is_wrong_in_a_text_is_found(tmp_path: Path, page: str, problem: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "other.md").write_text("# Other\n")
    (docs / "index.md").write_text(f"# Index\n\n[other](other.md)\n\n{page}\n")
    wrong = check_docs.problems(tmp_path)
    assert len(wrong) == 1
    assert problem in wrong[0]


@pytest.mark.parametrize(
    "page",
    [
        "see [that](other.md#the-second-part)",
        "see [中文](other.md#中文)",
        "see [twice](other.md#twice-1)",
        "see [elsewhere](https://example.org/gone.md)",
        "`[code](gone.md)`",
        "```\n[code](gone.md) TODO\n```",
    ],
)
def test_what_is_right_in_a_text_passes(tmp_path: Path, page: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "other.md").write_text("# Other\n\n## The second part\n\n## 中文\n\n## Twice\n\n## Twice\n")
    (docs / "index.md").write_text(f"# Index\n\n[other](other.md)\n\n{page}\n")
    assert check_docs.problems(tmp_path) == []


def test_a_page_that_no_link_leads_to_is_found(tmp_path: Path) -> None:
    docs = tmp_path / "docs" / "devices"
    docs.mkdir(parents=True)
    (tmp_path / "docs" / "index.md").write_text("# Index\n")
    (docs / "acme.md").write_text("# Acme\n")
    assert check_docs.problems(tmp_path) == ["docs/devices/acme.md:1: cannot be reached from docs/index.md"]


def test_the_locks_were_made_from_the_dependencies_of_today() -> None:
    now = check_lock.fingerprint((TOP / "pyproject.toml").read_bytes())
    for lock in check_lock.LOCKS:
        assert f"# dependencies: {now}\n" in (TOP / lock).read_text(encoding="utf-8")


SCRIPTS = sorted(path.name for path in (TOP / "scripts").iterdir() if path.is_file() and not path.suffix)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_executable_and_parses(script: str) -> None:
    path = TOP / "scripts" / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)
