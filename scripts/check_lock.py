"""Tells whether the lock files were made from the dependencies that pyproject.toml names now."""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-run.lock")


def fingerprint(pyproject: bytes) -> str:
    """A hash of what a lock depends on: the dependency tables, not the tools' settings or the version."""
    data = tomllib.loads(pyproject.decode())
    project = data["project"]
    parts = [
        data["build-system"]["requires"],
        project["requires-python"],
        project["dependencies"],
        project["optional-dependencies"],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def main() -> int:
    """Prints what is wrong; 1 if anything is."""
    now = fingerprint((TOP / "pyproject.toml").read_bytes())
    if "--print" in sys.argv:
        print(now)
        return 0
    wrong = 0
    for name in LOCKS:
        text = (TOP / name).read_text(encoding="utf-8")
        if f"# dependencies: {now}\n" not in text:
            print(f"{name} was not made from the dependencies in pyproject.toml: run scripts/lock")
            wrong = 1
        for line in text.splitlines():
            if "==" in line and line[0].isalnum() and not line.endswith("\\"):
                print(f"{name}: no hash for {line}")
                wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
