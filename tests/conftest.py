"""What all tests share: real peers are used where they are installed, and demanded where CI runs.

With `GATED_REQUIRE_PEERS=1` (scripts/test sets it) a test that would be skipped for want of a peer fails.
"""

from __future__ import annotations

import os

import pytest

REQUIRED = os.environ.get("GATED_REQUIRE_PEERS") == "1"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Turns a skip of a test marked `postgres` or `mosquitto` into a failure where peers are demanded."""
    outcome = yield
    report = outcome.get_result()
    marks = {mark.name for mark in item.iter_markers()} & {"postgres", "mosquitto"}
    if REQUIRED and report.skipped and marks and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"a peer is missing ({', '.join(sorted(marks))}): {reason}"
