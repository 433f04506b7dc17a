"""The life of a deletion request: one pure machine, every step resumable."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from implio_pipeline.domain.errors import IllegalMove
from implio_pipeline.domain.scope import Scope
from implio_pipeline.domain.sensitive import sensitive
from implio_pipeline.domain.words import Channel, RequestId, RequestKind, TeamId


class RequestState(StrEnum):
    """Where a request is."""

    ACCEPTED = "accepted"
    """Its tombstone stands: the items are hidden from every read."""
    PLANNED = "planned"
    """The files it touches are known."""
    REWRITING = "rewriting"
    """Some of its files are rewritten and their old keys destroyed."""
    SHREDDED = "shredded"
    """Every file is verified, every old key destroyed; the receipt is still to be written."""
    COMPLETED = "completed"
    """The receipt is in the ledger and the sealed scope is destroyed."""
    FAILED = "failed"
    """The last attempt ended early; it is tried again after its back-off."""
    UNVERIFIED = "unverified"
    """A rewritten file did not prove right: nothing of it was committed, a person must look."""


S = RequestState

_MOVES: Mapping[RequestState, frozenset[RequestState]] = {
    S.ACCEPTED: frozenset({S.PLANNED, S.FAILED}),
    S.PLANNED: frozenset({S.PLANNED, S.REWRITING, S.SHREDDED, S.FAILED, S.UNVERIFIED}),
    S.REWRITING: frozenset({S.PLANNED, S.REWRITING, S.SHREDDED, S.FAILED, S.UNVERIFIED}),
    S.SHREDDED: frozenset({S.COMPLETED, S.FAILED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset({S.PLANNED, S.FAILED}),
    S.UNVERIFIED: frozenset({S.PLANNED, S.FAILED}),
}

OPEN_STATES = frozenset(RequestState) - {S.COMPLETED}
_NEXT_STEP: Mapping[RequestState, str] = {
    S.ACCEPTED: "find the files it touches",
    S.PLANNED: "rewrite the files it touches",
    S.REWRITING: "rewrite the remaining files",
    S.SHREDDED: "write the receipt",
    S.COMPLETED: "nothing: it is done",
    S.FAILED: "try again after its back-off",
    S.UNVERIFIED: "a person looks at the file it names, then `implio erase --resume`",
}
_LONGEST_BACKOFF = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestDraft:
    """A request as it comes through the door, before it is accepted."""

    team: TeamId
    scope: Scope
    channel: Channel
    received_at: datetime
    idempotency_key: str | None = sensitive(default=None)
    asked_by: str | None = sensitive(default=None)
    reason: str | None = sensitive(default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """An accepted request, free of personal data but for its sealed part."""

    request_id: RequestId
    team: TeamId
    kind: RequestKind
    channel: Channel
    state: RequestState
    received_at: datetime
    accepted_at: datetime
    due_at: datetime
    scope_pseudonym: str
    """Keyed pseudonym of the scope, hexadecimal; tells nothing without the team's pseudonym key."""
    tombstone_sequence: int
    queue_removed: int = 0
    erased_at: datetime | None = None
    completed_at: datetime | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    error_code: str | None = None
    policy: str | None = None
    sealed: bytes | None = sensitive(default=None)


def moved(request: Request, to: RequestState) -> Request:
    """Return the request in another state.

    Raises:
        IllegalMove: no such step exists.
    """
    if to not in _MOVES[request.state]:
        raise IllegalMove(f"a request cannot go from {request.state} to {to}")
    return replace(request, state=to)


def next_step(request: Request) -> str:
    """Return in words what happens to the request next."""
    return _NEXT_STEP[request.state]


def is_ready(request: Request, *, now: datetime) -> bool:
    """Tell whether the request may be worked on now."""
    if request.state in (S.COMPLETED, S.UNVERIFIED):
        return False
    return request.next_attempt_at is None or request.next_attempt_at <= now


def is_overdue_request(request: Request, *, now: datetime) -> bool:
    """Tell whether an open request is past the day it was due."""
    return request.state in OPEN_STATES and request.due_at < now


def failed(request: Request, *, code: str, now: datetime) -> Request:
    """Return the request after a failed attempt, with its next one put off: 30 s, doubling, at most an hour."""
    attempts = request.attempts + 1
    wait = min(_LONGEST_BACKOFF, timedelta(seconds=30 * 2 ** min(attempts - 1, 16)))
    after = moved(request, S.UNVERIFIED if code == "unverified" else S.FAILED)
    return replace(after, attempts=attempts, error_code=code, next_attempt_at=now + wait)
