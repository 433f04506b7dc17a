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

    @property
    def has_receipt(self) -> bool:
        """Tell whether the ledger has a receipt of the request: it is done, or done as far as legal holds allow."""
        return self.state is RequestState.COMPLETED or self.state in WITHHELD_STATES

    def moved(self, to: RequestState) -> "Request":
        """Return the request in another state.

        Raises:
            IllegalMove: no such step exists.
        """
        if to not in _MOVES[self.state]:
            raise IllegalMove(f"a request cannot go from {self.state} to {to}")
        return replace(self, state=to)

    def is_ready(self, *, now: datetime) -> bool:
        """Tell whether the request may be worked on now."""
        if self.state not in OPEN_STATES or self.state in PEOPLE_STATES:
            return False
        return self.next_attempt_at is None or self.next_attempt_at <= now

    def may_be_resumed(self, *, now: datetime) -> bool:
        """Tell whether the request may be worked on when a person says so: no back-off counts, but every promise does.

        What waits for a second person or for the end of its grace period goes on waiting.
        """
        if self.state in (S.UNAPPROVED, S.WAITING):
            return self.is_ready(now=now)
        return self.state in OPEN_STATES

    @property
    def may_be_cancelled(self) -> bool:
        """Tell whether nothing of the request was begun, and somebody may still say no."""
        return S.CANCELLED in _MOVES[self.state]

    @property
    def keeps_out(self) -> bool:
        """Tell whether the person's new items stay out of the store because of this request."""
        is_lifted = self.standing_lifted_at is not None or self.state is S.CANCELLED
        return self.is_standing and not is_lifted

    def is_overdue(self, *, now: datetime) -> bool:
        """Tell whether an open request is past the day it was due; what the law withholds is not late."""
        return self.state in OPEN_STATES - WITHHELD_STATES and self.due_at < now

    def is_soon_due(self, *, now: datetime) -> bool:
        """Tell whether an open request is due within a week."""
        return self.state in OPEN_STATES - WITHHELD_STATES and now <= self.due_at < now + SOON

    def accepted(self, *, needs_approval: bool, grace: timedelta) -> "Request":
        """Return a request just accepted or approved, at the gate it must pass before anything is erased."""
        if needs_approval:
            return self.moved(S.UNAPPROVED)
        if grace:
            return replace(self.moved(S.WAITING), next_attempt_at=self.accepted_at + grace)
        return self if self.state is S.ACCEPTED else self.moved(S.ACCEPTED)

    def failed(self, error: ImplioError, *, now: datetime) -> "Request":
        """Return the request after a failed attempt, with its next one put off: 30 s, doubling, at most an hour.

        After ten it goes to quarantine, so that what cannot be done stops being tried and the queue goes on.
        """
        attempts = self.attempts + 1
        to = S.QUARANTINED if attempts >= MOST_ATTEMPTS else S.FAILED
        is_unproven = error.code == Unverified.code and S.UNVERIFIED in _MOVES[self.state]
        return replace(
            self.moved(S.UNVERIFIED if is_unproven else to),
            attempts=attempts,
            error_code=error.code,
            error_about=error.about,
            error_day=error.day,
            next_attempt_at=now + backoff(attempts),
        )

    def carried_out(self, *, now: datetime, outcome: RequestOutcome, withheld: Withheld | None = None) -> "Request":
        """Return a shredded request with what its pass counted; the sealed scope is not needed any more.

        A pass that erased nothing because of a legal hold leaves `erased_at` unchanged. No instant is set before one
        that the request already has, whatever the clock says.
        """
        now = max(each for each in (now, self.accepted_at, self.erased_at, self.checked_at) if each is not None)
        is_more_erased = (outcome.erased or 0) > (self.outcome.erased or 0)
        return replace(
            self.moved(S.SHREDDED),
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
        """Return the request with its due date put off, once, by at most two further months.

        Raises:
            ExtensionRefused: it is done, late or was extended before, or the new date lies too far off.

        Source: GDPR Art. 12(3).
        """
        latest = due_at(due_at(due_at(self.received_at)))
        until = self.due_at + timedelta(days=days)
        if self.state not in OPEN_STATES:
            raise ExtensionRefused("it is not open any more")
        if self.extended_at is not None:
            raise ExtensionRefused("it was extended before, and may be once")
        if self.due_at < now:
            raise ExtensionRefused("it is late already; who asked must be told within the first month")
        if days < 1 or until > latest:
            raise ExtensionRefused(f"the new date must lie after the old one and not after {latest.date().isoformat()}")
        return replace(self, due_at=until, extended_at=now)

    @property
    def fault_text(self) -> str | None:
        """Describe the failure of the last attempt in one sentence; `None` when no attempt failed."""
        if self.error_code is None:
            return None
        at = f", day {self.error_day.isoformat()}" if self.error_day else ""
        over = f" at file {self.error_about}" if self.error_about else ""
        return f"the last attempt ended with {self.error_code}{over} of team {self.team}{at}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A request that is ready to be stored."""

    request: Request
    rule: Rule
    """What it covers; the catalog moves its end past the newest item when it stores it."""
    key: str
    """Keyed pseudonym of what makes two requests the same: the sender's own id, or scope and instant of receipt."""
