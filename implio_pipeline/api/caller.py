"""Who calls: the API key of the call, its team, and what it may do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from implio_pipeline.domain.access import Act, Role, require
from implio_pipeline.domain.accounts import ApiKeyId
from implio_pipeline.domain.errors import ApiKeyRefused
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.accounts.api_keys import recognise
from implio_pipeline.wiring import OpenHome

HEADER = "X-Api-Key"
_SCHEME = APIKeyHeader(name=HEADER, scheme_name="ApiKey", description="A key of the team.", auto_error=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A customer's server that showed a valid key."""

    team: TeamId
    role: Role
    key_id: ApiKeyId
    acts_for: str
    """Keyed pseudonym of the person who made the key."""


def caller(request: Request, _: Annotated[str | None, Security(_SCHEME)] = None) -> Caller:
    """Return who calls.

    Raises:
        ApiKeyRefused: there is no key, more than one, or one that is not valid.
        TooManyCalls: the key is used more often than it may be.
    """
    opened: OpenHome = request.app.state.opened
    shown = request.headers.getlist(HEADER)
    if len(shown) != 1:
        raise ApiKeyRefused("there is no valid API key in the call")
    key = recognise(opened.services, shown[0])
    request.app.state.key_rate.take(key.key_id)
    request.state.key_id = key.key_id
    return Caller(team=key.team, role=Role.SERVER, key_id=key.key_id, acts_for=key.made_by)


def who_may(act: Act) -> Callable[[Caller], Awaitable[Caller]]:
    """Build a dependency that refuses callers who may not do something."""

    async def allowed(who: Annotated[Caller, Depends(caller)]) -> Caller:
        require(who.role, act)
        return who

    return allowed
