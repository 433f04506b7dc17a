"""Requests, their tombstones, what they did, and the legal holds that spare items from them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.file_changes import FileOutcome
from implio_pipeline.domain.hold import Hold, HoldId
from implio_pipeline.domain.ids import RequestId, RequestKind, TeamId, UserKey
from implio_pipeline.domain.plan import Allowance, ApprovalPolicy
from implio_pipeline.domain.request import PreparedRequest, Request, RequestState
from implio_pipeline.domain.scope import Rule, StandingErasure, Tombstone


class Requests(Protocol):
    """Accepted requests, their tombstones, standing erasures, and what was done to each file."""

    def accept(self, requests: Sequence[PreparedRequest], *, approvals: ApprovalPolicy) -> list[Request]:
        """Store requests and tombstones, and take the covered items off moderation, in one transaction.

        The same idempotency key of a team within 30 days returns the request that it made before, and so does a request
        of the same scope that another call stored meanwhile, where `same_after` is given. A request that may be
        cancelled keeps what it takes off moderation. A request above its asker's cap is stored unapproved.

        Raises:
            TeamUnknown: there is no such team; nothing was accepted.
        """

    def reinstate(self, requests: Sequence[tuple[Request, Rule]]) -> list[Request]:
        """Store requests of the ledger that the catalog lost, as `accept` does. Returns those that were missing.

        Raises:
            TeamUnknown: there is no such team; nothing was stored.
        """

    def get(self, request_id: RequestId) -> Request:
        """Return a request. If its row was altered, its state is `unverified`.

        Raises:
            RequestUnknown: there is no such request.
        """

    def all(self, *, team: TeamId | None = None, states: Iterable[RequestState] | None = None) -> list[Request]:
        """Return requests, oldest first."""

    def counts(self) -> Mapping[tuple[RequestKind, RequestState], int]:
        """Return how many requests there are of each kind and state. Rows are not checked here."""

    def latest(self, team: TeamId, scope_pseudonym: str) -> Request | None:
        """Return the newest request of a scope, in any state."""

    def page(
        self, team: TeamId, *, states: Iterable[RequestState] | None, limit: int, before: int | None
    ) -> list[Request]:
        """Return a team's newest requests, newest first.

        Args:
            team: Whose requests.
            states: Only requests in these states.
            limit: How many at most.
            before: Only requests whose tombstone has a lower sequence.
        """

    def save(self, requests: Sequence[tuple[Request, RequestState]], *, claims: Collection[Claim] = ()) -> None:
        """Store the new states of requests, each with the state that it must still be in.

        Args:
            requests: The requests.
            claims: The worker's claims on them, which it keeps.

        Raises:
            PlanOutdated: another process has moved one.
            ClaimLost: another worker has taken one over.
        """

    def allowance(self, team: TeamId, who: str | None, *, approvals: ApprovalPolicy, at: datetime) -> Allowance:
        """Return how many items a person may have erased alone within the window, and how many of them are used up."""

    def same_person_as(self, team: TeamId, who: str, *, since: datetime) -> frozenset[str]:
        """Return the pseudonyms that count as the same person as `who`, `who` included.

        Two people count as one if one of them made the other an administrator after `since`.

        Raises:
            CatalogTampered: an appointment was altered.
        """

    def unapproved(self, team: TeamId) -> tuple[int, int]:
        """Return how many requests of a team wait for a second person, and an upper bound of the items they cover.

        An item counts for each request that covers it, but the bound is never more than the team's items.
        """

    def release(self, requests: Sequence[Request], *, approvals: ApprovalPolicy) -> list[Request]:
        """Move unapproved requests, which are counted now, to their next state if their askers may decide alone.

        Returns what was stored. The other requests stay unapproved, with their counts.

        Raises:
            PlanOutdated: another process has moved one.
        """

    def estimated(self, team: TeamId, *, since: datetime) -> list[Request]:
        """Return requests accepted since an instant that one person decided alone, not counted and not begun."""

    def counted(self, items: Mapping[RequestId, int]) -> None:
        """Store how many items requests cover, counted by reading. Requests whose erasure has begun are ignored."""

    def tombstones(
        self, team: TeamId, *, only_open: bool = False, reaching: datetime | None = None, is_checked: bool = True
    ) -> list[Tombstone]:
        """Return a team's tombstones that were not lifted, oldest first.

        Args:
            team: Whose tombstones.
            only_open: Only those whose erasure is not completed.
            reaching: Only those that may cover an item submitted at this instant or later. The set is then not
                compared with its tally, so a deleted tombstone is not noticed.
            is_checked: Raise at an altered tombstone. Only the audit reads on, without it.

        Raises:
            CatalogTampered: a tombstone was altered, added or deleted.
        """

    def open_tombstones(self) -> tuple[Mapping[TeamId, Sequence[RequestId]], CatalogTampered | None]:
        """Return the requests whose tombstones are in force and not carried out, by team, in three statements.

        Each team's tombstones are compared with its tally.

        Returns:
            The requests of the teams whose tally agrees, and an error that names a team whose tally or tombstones were
            altered, if there is one.
        """

    def tombstones_of(self, request_ids: Collection[RequestId]) -> Mapping[RequestId, Tombstone]:
        """Return the tombstones in force of these requests. An altered one is left out and does not affect others."""

    def newest_tombstone(self, team: TeamId) -> int:
        """Return the sequence of a team's newest tombstone, 0 when it has none."""

    def erased_users(self, team: TeamId, users: Iterable[UserKey]) -> Mapping[UserKey, datetime]:
        """Return those of these users whose erasure was requested, with the instant at which the last rule ends.

        Raises:
            CatalogTampered: a tombstone of one of them was altered.
        """

    def outcomes(self, request_ids: Sequence[RequestId]) -> Mapping[RequestId, list[FileOutcome]]:
        """Return what was done so far to each file that requests cover, in the order of the commits.

        Raises:
            CatalogTampered: a line of one of their teams was altered, added or deleted.
        """

    def erased_items(self, request_ids: Sequence[RequestId]) -> Mapping[RequestId, int]:
        """Return how many items of each request were erased so far. A request without a file line is left out."""

    def complete(self, requests: Sequence[Request], *, claims: Collection[Claim] = ()) -> None:
        """Mark shredded requests as completed and their tombstones as erased.

        Sealed scopes, lines about files, and what a legal hold spared in moderation are deleted. Teams with a callback
        get a delivery.

        Args:
            requests: The requests.
            claims: The worker's claims on them, which it keeps.

        Raises:
            PlanOutdated: a request is not shredded, or was completed before.
            ClaimLost: another worker has taken one over.
        """

    def cancel(self, request: Request, *, was: RequestState) -> None:
        """Lift a request's tombstone, give back what it took off moderation, and destroy its sealed scope.

        Raises:
            PlanOutdated: another process has moved it.
        """

    def keeping_out(self, team: TeamId, *, is_checked: bool = True) -> list[StandingErasure]:
        """Return a team's standing erasures, lifted ones included, in the order of their requests' ids.

        Args:
            team: Whose standing erasures.
            is_checked: Raise at an altered one. Only the audit reads on, without it.

        Raises:
            CatalogTampered: one was altered, added or deleted.
        """

    def lift(self, requests: Sequence[Request], *, is_in_ledger: bool = False) -> None:
        """Store that standing erasures were lifted. The requests say by whom and when.

        Raises:
            PlanOutdated: one was lifted before, or another process has moved its request.
        """

    def without_ledger(self) -> list[tuple[Request, Tombstone]]:
        """Return tombstones that the ledger does not have yet, oldest first, with their requests.

        An altered tombstone is left out. The erasure of its request finds no tombstone in the ledger, and fails.
        """

    def in_ledger(self, sequences: Sequence[int], *, is_lifting: bool = False) -> None:
        """Note that the ledger has these tombstones or, with `is_lifting`, that it knows that they were lifted.

        A tombstone that was lifted while it was written into the ledger is left out, since its lifting is not there. A
        power cut may undo the note. The tombstones are then written to the ledger again.
        """

    def lifted_without_ledger(self) -> list[Request]:
        """Return cancelled requests whose cancelling the ledger does not have yet, oldest first."""

    def liftings_without_ledger(self) -> list[StandingErasure]:
        """Return lifted standing erasures whose lifting the ledger does not have yet.

        Raises:
            CatalogTampered: one was altered.
        """

    def lifting_in_ledger(self, request_ids: Sequence[RequestId]) -> None:
        """Note that the ledger has these liftings. A power cut may undo the note, as for `in_ledger`."""


class Holds(Protocol):
    """Legal holds."""

    def place(self, hold: Hold) -> Hold:
        """Store a hold and return it. From then on no commit erases what it covers. A hold that exists is unchanged.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, hold_id: HoldId) -> Hold:
        """Return a hold.

        Raises:
            HoldRefused: there is no such hold.
            CatalogTampered: its row was altered.
        """

    def all(self, team: TeamId | None = None) -> list[Hold]:
        """Return every hold, oldest first.

        Raises:
            CatalogTampered: a hold was altered; when a team is given, also if one was added or deleted.
        """

    def newest(self, team: TeamId) -> int:
        """Return the sequence of a team's newest hold, 0 when it has none."""

    def release(self, hold: Hold) -> None:
        """Store that a hold was released, and destroy its sealed part.

        Raises:
            HoldRefused: it was released before.
        """
