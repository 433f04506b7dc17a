"""The life of a deletion request: one pure machine, every step resumable."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from implio_pipeline.domain.errors import ExtensionRefused, IllegalMove, ImplioError, Unverified
from implio_pipeline.domain.faults import MOST_ATTEMPTS, backoff
from implio_pipeline.domain.hold import Withheld
from implio_pipeline.domain.ids import Channel, RequestId, RequestKind, TeamId, sensitive
from implio_pipeline.domain.instants import due_at
from implio_pipeline.domain.outcome import NOT_KNOWN, RequestOutcome
from implio_pipeline.domain.scope import Rule, Scope


class RequestState(StrEnum):
    """Where a request is."""

    RECEIVED = "received"
    """It came through the door and is being looked at; never stored."""
    REFUSED = "refused"
    """It was not accepted, so nothing was hidden; never stored."""
    ACCEPTED = "accepted"
    """Its tombstone stands: the items are hidden from every read."""
    UNAPPROVED = "unapproved"
    """Hidden; a second person must approve before anything is erased."""
    WAITING = "waiting"
    """Hidden; the team's grace period lasts, in which it may be cancelled."""
    CANCELLED = "cancelled"
    """Its tombstone was lifted before anything was erased: the items are readable again."""
    PLANNED = "planned"
    """The files it touches are being found."""
    REWRITING = "rewriting"
    """Its files are being rewritten, and their old keys destroyed."""
    VERIFIED = "verified"
    """Every file it touched was re-read and proved right, and swapped."""
    SHREDDED = "shredded"
    """Every old key is destroyed; the receipt is still to be written."""
    HELD = "held"
    """A legal hold covers all that is left of it: hidden, nothing was erased."""
    PARTLY_WITHHELD = "partly-withheld"
    """Erased but for the items that a legal hold covers; those are hidden."""
    COMPLETED = "completed"
    """The receipt is in the ledger and the sealed scope is destroyed."""
    FAILED = "failed"
    """The last attempt ended early; it is tried again after its back-off."""
    QUARANTINED = "quarantined"
    """Too many attempts failed: it is not tried again by itself; others go on."""
    UNVERIFIED = "unverified"
    """A rewritten file did not prove right: nothing of it was committed, a person must look."""


S = RequestState

_FAULTS = frozenset({S.FAILED, S.QUARANTINED, S.UNVERIFIED})
_MOVES: Mapping[RequestState, frozenset[RequestState]] = {
    S.RECEIVED: frozenset({S.ACCEPTED, S.REFUSED}),
    S.REFUSED: frozenset(),
    S.ACCEPTED: frozenset({S.UNAPPROVED, S.WAITING, S.PLANNED, S.FAILED, S.QUARANTINED}),
    S.UNAPPROVED: frozenset({S.ACCEPTED, S.WAITING, S.CANCELLED}),
    S.WAITING: frozenset({S.PLANNED, S.CANCELLED, S.FAILED, S.QUARANTINED}),
    S.CANCELLED: frozenset(),
    S.PLANNED: _FAULTS | {S.PLANNED, S.REWRITING, S.VERIFIED, S.SHREDDED},
    S.REWRITING: _FAULTS | {S.PLANNED, S.REWRITING, S.VERIFIED, S.SHREDDED},
    S.VERIFIED: _FAULTS | {S.PLANNED, S.SHREDDED},
    S.SHREDDED: frozenset({S.COMPLETED, S.HELD, S.PARTLY_WITHHELD, S.FAILED, S.QUARANTINED}),
    S.HELD: frozenset({S.PLANNED, S.FAILED, S.QUARANTINED}),
    S.PARTLY_WITHHELD: frozenset({S.PLANNED, S.FAILED, S.QUARANTINED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset({S.PLANNED, S.FAILED, S.QUARANTINED}),
    S.QUARANTINED: frozenset({S.PLANNED, S.FAILED, S.QUARANTINED}),
    S.UNVERIFIED: frozenset({S.PLANNED, S.FAILED, S.QUARANTINED}),
}

FINAL_STATES = frozenset({S.COMPLETED, S.CANCELLED, S.REFUSED})
"""From here no move leads anywhere."""
WITHHELD_STATES = frozenset({S.HELD, S.PARTLY_WITHHELD})
"""All is done that a legal hold allows."""
NOT_BEGUN_STATES = frozenset({S.RECEIVED, S.REFUSED, S.ACCEPTED, S.UNAPPROVED, S.WAITING, S.CANCELLED})
"""Nothing is erased here, unless a restore brought the request back."""
CARRIED_OUT_STATES = frozenset({S.SHREDDED, S.COMPLETED}) | WITHHELD_STATES
"""A pass has done all that legal holds allow, and counted it."""
OPEN_STATES = frozenset(RequestState) - FINAL_STATES - {S.RECEIVED}
"""Accepted, and not done yet."""
PEOPLE_STATES = frozenset({S.UNAPPROVED, S.UNVERIFIED, S.QUARANTINED})
"""From here only somebody's decision leads on."""
SOON = timedelta(days=7)
"""An open request is soon due when it is due within so long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestDraft:
    """A request as it comes through the door, before it is accepted."""

    team: TeamId
    scope: Scope
    channel: Channel
    received_at: datetime
    idempotency_key: str | None = sensitive(default=None)
    asked_by: str | None = sensitive(default=None)
    """Who asks, in words: the name of a person, or of an API key."""
    acts_for: str | None = None
    """Keyed pseudonym of the person whom it acts for; that of `asked_by` when `None`."""
    reason: str | None = sensitive(default=None)
    is_standing: bool = False
    """Whether the person's later items stay out too, until somebody lifts that; only for one user's items."""


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
    checked_at: datetime | None = None
    """When the last pass had searched every file, erased what it may, and counted what is left."""
    erased_at: datetime | None = None
    """When the last items went, or all was done; `None` while nothing is erased."""
    completed_at: datetime | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    error_code: str | None = None
    error_about: str | None = None
    """Id of the file that the last attempt failed over, where it was one."""
    error_day: date | None = None
    """UTC day of that file's partition."""
    policy: str | None = None
    asked_by: str | None = None
    """Keyed pseudonym of the person who asked, or who made the API key that did; `None` when nobody is known."""
    approved_by: str | None = None
    """Keyed pseudonym of who approved."""
    covered_items: int = 0
    """How many items it covers, as counted last: when it was accepted, and when it was carried out."""
    is_exact: bool = False
    """Whether they were counted by reading; else there may be fewer."""
    is_alone: bool = False
    """Whether who asked decided alone, so that its items count against this person's cap."""
    extended_at: datetime | None = None
    """When its due date was put off, which may happen once."""
    withheld: Withheld | None = None
    """What a legal hold kept from the last erasure; `None` when nothing."""
    outcome: RequestOutcome = NOT_KNOWN
    """What the last pass counted."""
    is_standing: bool = False
    """Whether the person's later items stay out too, from `accepted_at` until it is lifted."""
    standing_lifted_at: datetime | None = None
    """When somebody lifted that; `None` while it is in force, and for a request that never was standing."""
    standing_lifted_by: str | None = None
    """Keyed pseudonym of who lifted it."""
    sealed: bytes | None = sensitive(default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A request that is ready to be stored."""

    request: Request
    rule: Rule
    """What it covers; the catalog moves its end past the newest item when it stores it."""
    key: str
    """Keyed pseudonym of what makes two requests the same: the sender's own id, or scope and instant of receipt."""


def has_receipt(request: Request) -> bool:
    """Tell whether the ledger has a receipt of the request: it is done, or done as far as legal holds allow."""
    return request.state is RequestState.COMPLETED or request.state in WITHHELD_STATES


def moved(request: Request, to: RequestState) -> Request:
    """Return the request in another state.

    Raises:
        IllegalMove: no such step exists.
    """
    if to not in _MOVES[request.state]:
        raise IllegalMove(f"a request cannot go from {request.state} to {to}")
    return replace(request, state=to)


def is_ready(request: Request, *, now: datetime) -> bool:
    """Tell whether the request may be worked on now."""
    if request.state not in OPEN_STATES or request.state in PEOPLE_STATES:
        return False
    return request.next_attempt_at is None or request.next_attempt_at <= now


def may_be_resumed(request: Request, *, now: datetime) -> bool:
    """Tell whether the request may be worked on when a person says so: no back-off counts, but every promise does.

    What waits for a second person or for the end of its grace period goes on waiting.
    """
    if request.state in (S.UNAPPROVED, S.WAITING):
        return is_ready(request, now=now)
    return request.state in OPEN_STATES


def may_be_cancelled(request: Request) -> bool:
    """Tell whether nothing of the request was begun, and somebody may still say no."""
    return S.CANCELLED in _MOVES[request.state]


def keeps_out(request: Request) -> bool:
    """Tell whether the person's new items stay out of the store because of this request."""
    is_lifted = request.standing_lifted_at is not None or request.state is S.CANCELLED
    return request.is_standing and not is_lifted


def is_overdue_request(request: Request, *, now: datetime) -> bool:
    """Tell whether an open request is past the day it was due; what the law withholds is not late."""
    return request.state in OPEN_STATES - WITHHELD_STATES and request.due_at < now


def is_soon_due(request: Request, *, now: datetime) -> bool:
    """Tell whether an open request is due within a week."""
    return request.state in OPEN_STATES - WITHHELD_STATES and now <= request.due_at < now + SOON


def failed(request: Request, error: ImplioError, *, now: datetime) -> Request:
    """Return the request after a failed attempt, with its next one put off: 30 s, doubling, at most an hour.

    After ten it goes to quarantine, so that what cannot be done stops being tried and the queue goes on.
    """
    attempts = request.attempts + 1
    to = S.QUARANTINED if attempts >= MOST_ATTEMPTS else S.FAILED
    is_unproven = error.code == Unverified.code and S.UNVERIFIED in _MOVES[request.state]
    return replace(
        moved(request, S.UNVERIFIED if is_unproven else to),
        attempts=attempts,
        error_code=error.code,
        error_about=error.about,
        error_day=error.day,
        next_attempt_at=now + backoff(attempts),
    )


def fault_text(request: Request) -> str | None:
    """Return in one sentence what the last attempt failed of, with the partition and the file; `None` after none."""
    if request.error_code is None:
        return None
    at = f", day {request.error_day.isoformat()}" if request.error_day else ""
    over = f" at file {request.error_about}" if request.error_about else ""
    return f"the last attempt ended with {request.error_code}{over} of team {request.team}{at}"


def carried_out(
    request: Request, *, now: datetime, outcome: RequestOutcome, withheld: Withheld | None = None
) -> Request:
    """Return a shredded request with what its pass counted; the sealed scope is not needed any more.

    `erased_at` is an instant at which items went, or at which all was done: a pass that a legal hold kept from erasing
    anything leaves it as it was. No instant lies before one that the request had before, whatever the clock says.
    """
    now = max(each for each in (now, request.accepted_at, request.erased_at, request.checked_at) if each is not None)
    is_more_erased = (outcome.erased or 0) > (request.outcome.erased or 0)
    return replace(
        moved(request, S.SHREDDED),
        checked_at=now,
        erased_at=now if withheld is None or is_more_erased else request.erased_at,
        outcome=outcome,
        withheld=withheld,
        error_code=None,
        error_about=None,
        error_day=None,
        next_attempt_at=None,
        sealed=None,
    )


def accepted(request: Request, *, needs_approval: bool, grace: timedelta) -> Request:
    """Return a request just accepted or approved, at the gate it must pass before anything is erased."""
    if needs_approval:
        return moved(request, S.UNAPPROVED)
    if grace:
        return replace(moved(request, S.WAITING), next_attempt_at=request.accepted_at + grace)
    return request if request.state is S.ACCEPTED else moved(request, S.ACCEPTED)


def extended(request: Request, *, days: int, now: datetime) -> Request:
    """Return the request with its due date put off, once, by at most two further months.

    Raises:
        ExtensionRefused: it is done, late or was extended before, or the new date lies too far off.

    Source: GDPR Art. 12(3).
    """
    latest = due_at(due_at(due_at(request.received_at)))
    until = request.due_at + timedelta(days=days)
    if request.state not in OPEN_STATES:
        raise ExtensionRefused("it is not open any more")
    if request.extended_at is not None:
        raise ExtensionRefused("it was extended before, and may be once")
    if request.due_at < now:
        raise ExtensionRefused("it is late already; who asked must be told within the first month")
    if days < 1 or until > latest:
        raise ExtensionRefused(f"the new date must lie after the old one and not after {latest.date().isoformat()}")
    return replace(request, due_at=until, extended_at=now)
