"""The life of a deletion request: its states and the moves between them.

Rules:
* Every change of state goes through `Request.moved`, which allows only the moves of one table.
* Work in every state can be repeated: a crash resumes in the state that was stored last.
* A request has no personal data except its sealed part, which is dropped when the request is carried out.
* From acceptance on the items are hidden, whatever happens to the request later. Only cancelling shows them again.
"""

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
    """The state of a request."""

    RECEIVED = "received"
    """It arrived and is being checked; this state is never stored."""
    REFUSED = "refused"
    """It was not accepted, so nothing was hidden; this state is never stored."""
    ACCEPTED = "accepted"
    """Its tombstone is in force: the items are hidden from every read."""
    UNAPPROVED = "unapproved"
    """Hidden. A second person must approve before anything is erased."""
    WAITING = "waiting"
    """Hidden. It can be cancelled until the team's grace period ends."""
    CANCELLED = "cancelled"
    """Its tombstone was lifted before anything was erased: the items can be read again."""
    PLANNED = "planned"
    """The files that it may change are being searched for."""
    REWRITING = "rewriting"
    """Its files are being rewritten, and their old keys destroyed."""
    VERIFIED = "verified"
    """Every changed file was read back, verified and replaced."""
    SHREDDED = "shredded"
    """Every old key is destroyed; the receipt is not written yet."""
    HELD = "held"
    """A legal hold covers everything that is left. It is hidden, and nothing was erased."""
    PARTLY_WITHHELD = "partly-withheld"
    """Erased except for the items that a legal hold covers; those are hidden."""
    COMPLETED = "completed"
    """The receipt is in the ledger, and the sealed scope is destroyed."""
    FAILED = "failed"
    """The last attempt failed; it is tried again after a back-off."""
    QUARANTINED = "quarantined"
    """Too many attempts failed. It is tried again only when somebody asks for it; other requests continue."""
    UNVERIFIED = "unverified"
    """A rewritten file failed its verification. Nothing of it was committed, and a person must look at it."""


_S = RequestState

_FAULTS = frozenset({_S.FAILED, _S.QUARANTINED, _S.UNVERIFIED})
_MOVES: Mapping[RequestState, frozenset[RequestState]] = {
    _S.RECEIVED: frozenset({_S.ACCEPTED, _S.REFUSED}),
    _S.REFUSED: frozenset(),
    _S.ACCEPTED: frozenset({_S.UNAPPROVED, _S.WAITING, _S.PLANNED, _S.FAILED, _S.QUARANTINED}),
    # Cancelling ends where erasing begins: from PLANNED on keys may be destroyed, and nothing brings an item back.
    _S.UNAPPROVED: frozenset({_S.ACCEPTED, _S.WAITING, _S.CANCELLED}),
    _S.WAITING: frozenset({_S.PLANNED, _S.CANCELLED, _S.FAILED, _S.QUARANTINED}),
    _S.CANCELLED: frozenset(),
    # Work is repeated from PLANNED after any interruption; what is already erased is not found again.
    _S.PLANNED: _FAULTS | {_S.PLANNED, _S.REWRITING, _S.VERIFIED, _S.SHREDDED},
    _S.REWRITING: _FAULTS | {_S.PLANNED, _S.REWRITING, _S.VERIFIED, _S.SHREDDED},
    _S.VERIFIED: _FAULTS | {_S.PLANNED, _S.SHREDDED},
    _S.SHREDDED: frozenset({_S.COMPLETED, _S.HELD, _S.PARTLY_WITHHELD, _S.FAILED, _S.QUARANTINED}),
    _S.HELD: frozenset({_S.PLANNED, _S.FAILED, _S.QUARANTINED}),
    _S.PARTLY_WITHHELD: frozenset({_S.PLANNED, _S.FAILED, _S.QUARANTINED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset({_S.PLANNED, _S.FAILED, _S.QUARANTINED}),
    _S.QUARANTINED: frozenset({_S.PLANNED, _S.FAILED, _S.QUARANTINED}),
    _S.UNVERIFIED: frozenset({_S.PLANNED, _S.FAILED, _S.QUARANTINED}),
}

FINAL_STATES = frozenset({_S.COMPLETED, _S.CANCELLED, _S.REFUSED})
"""No move leads out of these states."""
WITHHELD_STATES = frozenset({_S.HELD, _S.PARTLY_WITHHELD})
"""Everything is done that a legal hold allows."""
ERASING_STATES = frozenset({_S.PLANNED, _S.REWRITING, *_FAULTS})
"""A worker may commit rewritten files for a request in these states: one that fails at a file stops no other worker."""
NOT_BEGUN_STATES = frozenset({_S.RECEIVED, _S.REFUSED, _S.ACCEPTED, _S.UNAPPROVED, _S.WAITING, _S.CANCELLED})
"""Nothing is erased in these states, unless a restore brought the request back."""
CARRIED_OUT_STATES = frozenset({_S.SHREDDED, _S.COMPLETED}) | WITHHELD_STATES
"""A pass has done everything that legal holds allow, and has counted it."""
OPEN_STATES = frozenset(RequestState) - FINAL_STATES - {_S.RECEIVED}
"""Accepted and not completed."""
NEEDS_PERSON_STATES = frozenset({_S.UNAPPROVED, _S.UNVERIFIED, _S.QUARANTINED})
"""Only a person's decision leads out of these states."""
_SOON = timedelta(days=7)
"""An open request is *soon due* if it is due within this time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestDraft:
    """A request before it is accepted."""

    team: TeamId
    scope: Scope
    channel: Channel
    received_at: datetime
    idempotency_key: str | None = sensitive(default=None)
    asked_by: str | None = sensitive(default=None)
    """The name of the person or API key that asks."""
    acts_for: str | None = None
    """Keyed pseudonym of the person for whom it acts; if `None`, the pseudonym of `asked_by`."""
    reason: str | None = sensitive(default=None)
    is_standing: bool = False
    """Whether the person's later items stay out too, until somebody lifts that. Only for requests by user."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """An accepted request, without personal data except in its sealed part."""

    request_id: RequestId
    team: TeamId
    kind: RequestKind
    channel: Channel
    state: RequestState
    received_at: datetime
    accepted_at: datetime
    due_at: datetime
    scope_pseudonym: str
    """Keyed pseudonym of the scope, hexadecimal. It says nothing without the team's pseudonym key."""
    tombstone_sequence: int
    queue_removed: int = 0
    checked_at: datetime | None = None
    """When the last pass had searched every file, erased what it may, and counted what is left."""
    erased_at: datetime | None = None
    """When the last items were erased, or when all was done; `None` while nothing is erased."""
    completed_at: datetime | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    error_code: str | None = None
    error_about: str | None = None
    """Id of the file at which the last attempt failed, if any."""
    error_day: date | None = None
    """UTC day of that file's partition."""
    policy: str | None = None
    asked_by: str | None = None
    """Keyed pseudonym of the person who asked, or who made the API key; `None` if unknown."""
    approved_by: str | None = None
    """Keyed pseudonym of the person who approved."""
    covered_items: int = 0
    """The number of items it covers, counted when it was accepted and again when it was carried out."""
    is_exact: bool = False
    """Whether the items were counted by reading them. If not, there may be fewer."""
    is_alone: bool = False
    """Whether one person decided alone, so that its items count against this person's cap."""
    extended_at: datetime | None = None
    """When its due date was extended. That is allowed once."""
    withheld: Withheld | None = None
    """What legal holds kept from the last erasure; `None` if nothing."""
    outcome: RequestOutcome = NOT_KNOWN
    """The counts of the last pass."""
    is_standing: bool = False
    """Whether the person's later items stay out too, from `accepted_at` until somebody lifts that."""
    standing_lifted_at: datetime | None = None
    """When that was lifted; `None` while it is in force, and for a request that never was standing."""
    standing_lifted_by: str | None = None
    """Keyed pseudonym of the person who lifted it."""
    sealed: bytes | None = sensitive(default=None)

    @property
    def has_receipt(self) -> bool:
        """Whether the ledger has a receipt: the request is completed, or done as far as legal holds allow."""
        return self.state is RequestState.COMPLETED or self.state in WITHHELD_STATES

    def moved(self, to: RequestState) -> "Request":
        """Return the request in another state.

        Raises:
            IllegalMove: there is no such move.
        """
        if to not in _MOVES[self.state]:
            raise IllegalMove(f"a request cannot go from {self.state} to {to}")
        return replace(self, state=to)

    def is_ready(self, *, now: datetime) -> bool:
        """Return whether the request may be worked on now."""
        if self.state not in OPEN_STATES or self.state in NEEDS_PERSON_STATES:
            return False
        return self.next_attempt_at is None or self.next_attempt_at <= now

    def may_be_resumed(self, *, now: datetime) -> bool:
        """Return whether the request may be worked on when a person asks for it, even during its back-off.

        It still waits for a second person's approval or for the end of its grace period.
        """
        if self.state in (_S.UNAPPROVED, _S.WAITING):
            return self.is_ready(now=now)
        return self.state in OPEN_STATES

    @property
    def may_be_cancelled(self) -> bool:
        """Whether nothing of the request has begun, so that it can still be cancelled."""
        return _S.CANCELLED in _MOVES[self.state]

    @property
    def keeps_out(self) -> bool:
        """Whether the request keeps the person's new items out."""
        is_lifted = self.standing_lifted_at is not None or self.state is _S.CANCELLED
        return self.is_standing and not is_lifted

    def is_same_as(self, later: "Request") -> bool:
        """Return whether a later request of the same scope asks for nothing that this one does not do."""
        return self.state is not _S.CANCELLED and (self.keeps_out or not later.is_standing)

    def is_overdue(self, *, now: datetime) -> bool:
        """Return whether an open request is past its due date. What the law withholds is not late."""
        return self.state in OPEN_STATES - WITHHELD_STATES and self.due_at < now

    def is_soon_due(self, *, now: datetime) -> bool:
        """Return whether an open request is due within a week."""
        return self.state in OPEN_STATES - WITHHELD_STATES and now <= self.due_at < now + _SOON

    def accepted(self, *, needs_approval: bool, grace: timedelta) -> "Request":
        """Return a newly accepted or approved request in the state in which it waits before anything is erased."""
        if needs_approval:
            return self.moved(_S.UNAPPROVED)
        if grace:
            return replace(self.moved(_S.WAITING), next_attempt_at=self.accepted_at + grace)
        return self if self.state is _S.ACCEPTED else self.moved(_S.ACCEPTED)

    def failed(self, error: ImplioError, *, now: datetime) -> "Request":
        """Return the request after a failed attempt, with its next attempt after 30 s, doubling, at most an hour.

        After ten attempts it is quarantined, so that a request that cannot succeed no longer delays the others.
        """
        attempts = self.attempts + 1
        to = _S.QUARANTINED if attempts >= MOST_ATTEMPTS else _S.FAILED
        # A failed verification is not tried again automatically: a person must look at it (`NEEDS_PERSON_STATES`).
        is_unproven = error.code == Unverified.code and _S.UNVERIFIED in _MOVES[self.state]
        return replace(
            self.moved(_S.UNVERIFIED if is_unproven else to),
            attempts=attempts,
            error_code=error.code,
            error_about=error.about,
            error_day=error.day,
            next_attempt_at=now + backoff(attempts),
        )

    def carried_out(self, *, now: datetime, outcome: RequestOutcome, withheld: Withheld | None = None) -> "Request":
        """Return a shredded request with the counts of its pass, without its sealed scope, which is no longer needed.

        A pass that erased nothing because of a legal hold leaves `erased_at` unchanged. No instant is set before one
        that the request already has, whatever the clock says.
        """
        # The instants of a request stay in order, even if the clock was set back since the last one.
        now = max(each for each in (now, self.accepted_at, self.erased_at, self.checked_at) if each is not None)
        is_more_erased = (outcome.erased or 0) > (self.outcome.erased or 0)
        return replace(
            self.moved(_S.SHREDDED),
            checked_at=now,
            erased_at=now if withheld is None or is_more_erased else self.erased_at,
            outcome=outcome,
            withheld=withheld,
            error_code=None,
            error_about=None,
            error_day=None,
            next_attempt_at=None,
            sealed=None,
        )

    def extended(self, *, days: int, now: datetime) -> "Request":
        """Return the request with its due date extended, once, by at most two further months.

        Raises:
            ExtensionRefused: the request is done, late or already extended, or the new date is too late.

        Source: GDPR Art. 12(3).
        """
        # Three months in all: the first month, and at most two further ones (GDPR Art. 12(3)).
        latest = due_at(due_at(due_at(self.received_at)))
        until = self.due_at + timedelta(days=days)
        if self.state not in OPEN_STATES:
            raise ExtensionRefused("it is not open any more")
        if self.extended_at is not None:
            raise ExtensionRefused("it was already extended, and that is allowed once")
        # The person must be told of an extension within the first month, so it cannot be made afterwards.
        if self.due_at < now:
            raise ExtensionRefused("it is already late; the person who asked must be told within the first month")
        if days < 1 or until > latest:
            raise ExtensionRefused(
                f"the new date must be after the old one, and no later than {latest.date().isoformat()}"
            )
        return replace(self, due_at=until, extended_at=now)

    @property
    def fault_text(self) -> str | None:
        """The failure of the last attempt in one sentence; `None` if no attempt failed."""
        if self.error_code is None:
            return None
        at = f", day {self.error_day.isoformat()}" if self.error_day else ""
        over = f" at file {self.error_about}" if self.error_about else ""
        return f"the last attempt ended with {self.error_code}{over} of team {self.team}{at}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRequest:
    """A request that is ready to be stored."""

    request: Request
    rule: Rule
    """What the request covers. The catalog sets its end after the newest item when it stores the request."""
    key: str
    """Keyed pseudonym of what makes two requests equal: the sender's id, or the scope and the instant of receipt."""
    same_after: int | None = None
    """If another call made a request of the same scope whose tombstone has a higher sequence, that request is the same:
    the newest sequence that this call saw, 0 for none; `None` if every call is a request of its own."""
