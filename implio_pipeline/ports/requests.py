"""Requests, their tombstones, what they did, and the legal holds that spare items from them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.file_changes import FileOutcome
from implio_pipeline.domain.hold import Hold, HoldId
from implio_pipeline.domain.ids import RequestId, TeamId, UserKey
from implio_pipeline.domain.plan import Allowance, ApprovalPolicy
from implio_pipeline.domain.request import Prepared, Request, RequestState
from implio_pipeline.domain.scope import Rule, StandingErasure, Tombstone


class Requests(Protocol):
    """Accepted requests, their tombstones, and what they did to each file."""

    def accept(self, requests: Sequence[Prepared], *, approvals: ApprovalPolicy) -> list[Request]:
        """Store requests and tombstones and take the covered entries off the queues, in one transaction.

        With each comes its idempotency key: the same key of a team within 30 days returns the request it made before.
        The entries of a request that may be cancelled are kept aside. A request that covers more than its asker may
        decide alone is stored unapproved.

        Raises:
            TeamUnknown: no such team; nothing was accepted.
        """

    def reinstate(self, requests: Sequence[tuple[Request, Rule]]) -> list[Request]:
        """Store requests and tombstones that the ledger has and the catalog lost, and return those it lacked.

        In one transaction with it the covered entries go off the queues.

        Raises:
            TeamUnknown: no such team; nothing was stored.
        """

    def get(self, request_id: RequestId) -> Request:
        """Return a request.

        Raises:
            RequestUnknown: no such request.
        """

    def all(self, *, team: TeamId | None = None, states: Iterable[RequestState] | None = None) -> list[Request]:
        """Return requests, oldest first."""

    def save(self, requests: Sequence[tuple[Request, RequestState]]) -> None:
        """Store the new states of requests, all or none, if each still is where it was.

        Raises:
            PlanOutdated: somebody else has moved one.
        """

    def tombstones(
        self, team: TeamId, *, only_open: bool = False, reaching: datetime | None = None, is_checked: bool = True
    ) -> list[Tombstone]:
        """Return the team's tombstones, oldest first; with `only_open` those whose erasure is still to be completed.

        With `reaching` those alone that may cover an item submitted at that instant or later; then it is not known
        whether one is missing.

        Raises:
            CatalogTampered: one is not as it was written, missing or too many; only the audit looks on without
                `is_checked`.
        """

    def tombstones_of(self, request_ids: Collection[RequestId]) -> Mapping[RequestId, Tombstone]:
        """Return the tombstones in force of these requests, each judged by itself; one that was altered is left out."""

    def allowance(self, team: TeamId, who: str | None, *, approvals: ApprovalPolicy, at: datetime) -> Allowance:
        """Return how many items a person may have erased alone within the window, and how many of them are used up."""

    def unapproved(self, team: TeamId) -> tuple[int, int]:
        """Return how many requests of a team wait for a second person, and how many items they cover at most.

        Requests that cover the same item each count it, but never more than the team has.
        """

    def people_of(self, team: TeamId, who: str, *, since: datetime) -> frozenset[str]:
        """Return everybody who counts as one person with somebody: who let whom in since an instant."""

    def release(self, requests: Sequence[Request], *, approvals: ApprovalPolicy) -> list[Request]:
        """Move unapproved requests, now counted, to their next state if their askers may decide alone.

        Returns what was stored. The other requests stay unapproved; their counts are stored.

        Raises:
            PlanOutdated: somebody else has moved one.
        """

    def estimated(self, team: TeamId, *, since: datetime) -> list[Request]:
        """Return requests accepted since an instant that somebody decided alone, not counted and not begun."""

    def counted(self, items: Mapping[RequestId, int]) -> None:
        """Remember how many items requests cover, counted by reading, where their erasure has not begun."""

    def latest(self, team: TeamId, scope_pseudonym: str) -> Request | None:
        """Return the newest request of this scope, in any state."""

    def page(
        self, team: TeamId, *, states: Iterable[RequestState] | None, limit: int, before: int | None
    ) -> list[Request]:
        """Return the team's newest requests, newest first, below a tombstone's sequence when one is given."""

    def newest_tombstone(self, team: TeamId) -> int:
        """Return the sequence of the team's newest tombstone, 0 when it has none."""

    def outcomes(self, request_ids: Sequence[RequestId]) -> Mapping[RequestId, list[FileOutcome]]:
        """Return what happened so far to each file the requests covered, in the order of the commits.

        Raises:
            CatalogTampered: a line of their teams is not as it was written, missing or too many.
        """

    def erased_items(self, request_ids: Sequence[RequestId]) -> Mapping[RequestId, int]:
        """Return how many items of each request were erased so far; one without a file line is left out."""

    def cancel(self, request: Request, *, was: RequestState) -> None:
        """Lift a request's tombstone and put its entries back on the queues; destroy its sealed scope.

        Raises:
            PlanOutdated: somebody else has moved it; nothing was changed.
        """

    def keeping_out(self, team: TeamId, *, is_checked: bool = True) -> list[StandingErasure]:
        """Return the team's standing erasures, lifted ones too, in the order of their requests' ids.

        Raises:
            CatalogTampered: one is not as it was written, missing or too many; only the audit looks on without
                `is_checked`.
        """

    def erased_users(self, team: TeamId, users: Iterable[UserKey]) -> Mapping[UserKey, datetime]:
        """Return who of these users was asked to be erased, with the instant at which the last such rule ends.

        Raises:
            CatalogTampered: a tombstone of theirs is not as it was written.
        """

    def lift(self, requests: Sequence[Request], *, is_in_ledger: bool = False) -> None:
        """Store that standing requests, which say by whom and when, were lifted, all or none.

        Raises:
            PlanOutdated: one was lifted before, or moved by somebody else.
        """

    def liftings_without_ledger(self) -> list[StandingErasure]:
        """Return lifted standing erasures whose lifting the ledger does not know yet."""

    def lifting_in_ledger(self, request_ids: Sequence[RequestId]) -> None:
        """Remember that the ledger knows of these liftings."""

    def lifted_without_ledger(self) -> list[Request]:
        """Return cancelled requests that the ledger does not know of yet, oldest first."""

    def complete(self, requests: Sequence[Request]) -> None:
        """Mark shredded requests completed and their tombstones erased; destroy their sealed scopes and file lines.

        What moderation still kept of items under legal holds goes too, and teams with a callback are told.

        Raises:
            PlanOutdated: one is not shredded, or completed already; nothing was changed.
        """

    def without_ledger(self) -> list[tuple[Request, Tombstone]]:
        """Return tombstones that the ledger does not have yet, oldest first, with their requests.

        One that was altered is never told: the erasure of its request finds no tombstone, and fails.
        """

    def in_ledger(self, sequences: Sequence[int]) -> None:
        """Remember that the ledger has these tombstones.

        A power cut may undo this: then the tombstones are offered to the ledger again.
        """


class Holds(Protocol):
    """Legal holds."""

    def place(self, hold: Hold) -> Hold:
        """Store a hold and return it; one that is there already stays. No later commit erases what it covers.

        Raises:
            TeamUnknown: no such team.
        """

    def get(self, hold_id: HoldId) -> Hold:
        """Return a hold.

        Raises:
            HoldRefused: no such hold.
            CatalogTampered: it is not as it was written.
        """

    def all(self, team: TeamId | None = None) -> list[Hold]:
        """Return every hold, oldest first.

        Raises:
            CatalogTampered: one is not as it was written; or one of the team that is asked for is missing or too many.
        """

    def newest(self, team: TeamId) -> int:
        """Return the sequence of the team's newest hold, 0 when it has none."""

    def release(self, hold: Hold) -> None:
        """Store that a hold was released, and destroy its sealed part.

        Raises:
            HoldRefused: it was released before.
        """
