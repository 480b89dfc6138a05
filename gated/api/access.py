"""What routes ask of a request: that its bearer may do this, and who that is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from gated.api import problems
from gated.api.permissions import LEAST, Permission, allowed
from gated.api.problems import Problem
from gated.api.tokens import Principal
from gated.registry import Actor


class Permit(SecurityBase):
    """A dependency: the bearer, if its role has the permission (None: any token). Raises Problem 403.

    That there is a bearer at all was seen to by `gated.api.guard`.
    """

    def __init__(self, permission: Permission | None) -> None:
        self.permission = permission
        self.scheme_name = "token"
        self.model = HTTPBearer(
            bearerFormat="gated_ID_SECRET",
            description="Made with `gated token create --role ROLE --name NAME`.",
        )

    async def __call__(self, request: Request) -> Principal:
        found: Principal = request.state.principal
        if self.permission is not None and not allowed(found.role, self.permission):
            least = LEAST[self.permission]
            raise Problem(
                problems.FORBIDDEN,
                f"This needs {self.permission.value}, which a token of the role {least.value} has;"
                f" this one has the role {found.role.value}.",
                f"需要 {least.value} 或更高角色的令牌，当前角色为 {found.role.value}。",
            )
        return found


def actor(principal: Principal) -> Actor:
    """The bearer as the audit keeps it."""
    return Actor(id=principal.token_id, name=principal.name)


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,128}$",
        description="Chosen by the client, new for each intention (a UUID is good). A repeat with the same"
        " key and body gets the first reply again and does nothing.",
    ),
]
