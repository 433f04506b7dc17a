"""Who calls: the API key of a call, its team, and what it may do.

The key selects the team. A call never names a team, so it can never name another one's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader

from implio_pipeline.domain.access import Act, Role, require
from implio_pipeline.domain.accounts import ApiKeyId
from implio_pipeline.domain.errors import ApiKeyRefused
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.accounts.api_keys import authenticate_api_key
from implio_pipeline.wiring import OpenHome

KEY_HEADER = "X-Api-Key"
_SCHEME = APIKeyHeader(name=KEY_HEADER, scheme_name="ApiKey", description="A key of the team.", auto_error=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A customer's server that sent a valid key."""

    team: TeamId
    key_id: ApiKeyId
    acts_for: str
    """Keyed pseudonym of the person who made the key."""


def recognise_caller(request: Request) -> Caller:
    """Return who calls.

    Raises:
        ApiKeyRefused: the call has no key, more than one, or one that is not valid.
        TooManyCalls: the key makes more calls than its rate limit allows.
    """
    opened: OpenHome = request.app.state.opened
    shown = request.headers.getlist(KEY_HEADER)
    if len(shown) != 1:
        raise ApiKeyRefused("the call has no valid API key")
    key = authenticate_api_key(opened, shown[0])
    request.app.state.key_rate.take(key.key_id)
    request.state.key_id = key.key_id
    return Caller(team=key.team, key_id=key.key_id, acts_for=key.made_by)


def who_may(act: Act) -> Callable[..., Caller]:
    """Build a dependency of a route that recognises the caller and refuses those who may not do `act`."""

    def allowed(request: Request, _: Annotated[str | None, Security(_SCHEME)] = None) -> Caller:
        caller = recognise_caller(request)
        require(Role.SERVER, act)
        return caller

    return allowed
