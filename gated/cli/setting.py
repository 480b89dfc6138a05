"""What most commands begin with: the configuration, or a clear end."""

from __future__ import annotations

from pathlib import Path

from gated.cli import output
from gated.config import ConfigErrors, SiteConfig, load
from gated.wiring import load_adapter


def site(path: Path) -> SiteConfig:
    """The configuration in `path`; ends the command, with every problem, if it cannot be used."""
    try:
        return load(path, load_adapter)
    except ConfigErrors as errors:
        count = len(errors.problems)
        problems = "a problem" if count == 1 else f"{count} problems"
        output.fail(
            f"{problems} in the configuration\n{errors}", "correct the file and try again", output.CONFIG
        )
