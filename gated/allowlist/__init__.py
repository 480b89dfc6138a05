"""Devices' own lists (白名单), kept in step with the passes, for the hours in which gated is down.

`plan` says what a list should hold and what has to change, purely; `keeper` carries it out, a device at a
time, off the path of a passage.
"""

from gated.allowlist.keeper import AllowLists, ListReport, Version
from gated.allowlist.plan import Plan, Wanted, changes, wanted

__all__ = ["AllowLists", "ListReport", "Plan", "Version", "Wanted", "changes", "wanted"]
