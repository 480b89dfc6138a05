"""Policies for tests: the one that gated ships with, and small ones made of a few rules."""

from __future__ import annotations

import functools
from zoneinfo import ZoneInfo

from gated.domain import Direction, Text
from gated.policy import default_text, load
from rules import Policy
from rules.build import LaneName, SiteNames

SHANGHAI = ZoneInfo("Asia/Shanghai")
SITE = SiteNames(
    zone=SHANGHAI,
    entrances={"east": Text("东门", "East Gate"), "west": Text("西大门", "West Gate")},
    lanes={
        "east-in": LaneName("east", Direction.IN, Text("东进", "East in")),
        "east-out": LaneName("east", Direction.OUT, Text("东出", "East out")),
        "west-in": LaneName("west", Direction.IN, Text("西进", "West in")),
    },
    grids=["village", "g1"],
)
HEAD = "policy: 1\nname: t\n"
LAST = "  - {id: otherwise, then: refer, say: ask}\n"


@functools.cache
def default_policy(**limits: bool | float) -> Policy:
    """The policy that gated ships with, for the site of these tests."""
    policy = load(default_text(), SITE)
    return policy.with_limits(limits) if limits else policy


def policy_of(rules: str, head: str = "", *, site: SiteNames = SITE, last: str = LAST) -> Policy:
    """A policy of a few rules, each a line of YAML such as `{id: a, when: pass.live, then: grant}`."""
    lines = "".join(f"  - {line.strip()}\n" for line in rules.strip().splitlines())
    return load(f"{HEAD}{head}rules:\n{lines}{last}", site, name="policy.yaml")
