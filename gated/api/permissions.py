"""Who may do what: one table, from a permission to the least role that has it.

Roles are ordered (`gated.domain.Role`): each may do all that those before it may.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gated.domain import Role


class Permission(StrEnum):
    """Something that a route does."""

    SITE_READ = "site:read"
    LANES_READ = "lanes:read"
    LANES_OPEN = "lanes:open"
    ALERTS_READ = "alerts:read"
    PASSAGES_READ = "passages:read"
    PASSES_READ = "passes:read"
    PASSES_WRITE = "passes:write"
    REGISTER_READ = "register:read"
    REGISTER_WRITE = "register:write"
    DECISIONS_TRY = "decisions:try"
    DEVICES_READ = "devices:read"
    DEVICES_WRITE = "devices:write"
    METRICS_READ = "metrics:read"
    READINESS_DETAILS = "readiness:details"


LEAST: Final = MappingProxyType(
    {
        Permission.SITE_READ: Role.VOLUNTEER,
        Permission.LANES_READ: Role.VOLUNTEER,
        Permission.LANES_OPEN: Role.VOLUNTEER,
        Permission.ALERTS_READ: Role.VOLUNTEER,
        Permission.PASSAGES_READ: Role.VOLUNTEER,
        Permission.PASSES_READ: Role.STAFF,
        Permission.PASSES_WRITE: Role.STAFF,
        Permission.REGISTER_READ: Role.STAFF,
        Permission.REGISTER_WRITE: Role.STAFF,
        Permission.DECISIONS_TRY: Role.STAFF,
        Permission.DEVICES_READ: Role.OPERATOR,
        Permission.DEVICES_WRITE: Role.OPERATOR,
        Permission.METRICS_READ: Role.OPERATOR,
        Permission.READINESS_DETAILS: Role.OPERATOR,
    }
)

_RANK: Final = MappingProxyType({role: rank for rank, role in enumerate(Role)})


def allowed(role: Role, permission: Permission) -> bool:
    """Whether `role` has `permission`."""
    return _RANK[role] >= _RANK[LEAST[permission]]
