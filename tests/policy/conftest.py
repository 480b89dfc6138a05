"""The command line in this process, as the tests of the configuration have it."""

from __future__ import annotations

from tests.config.conftest import gated

__all__ = ["gated"]
