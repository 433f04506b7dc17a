"""Workers: identical loops that share work by claims, in Dagster's steps, on the command line and beside the server.

A worker derives what is left to do, claims some of it, does it, commits it with its claims, and begins again. Any
number of workers may run at once, and each may be killed at any point: `domain/claims.py` has the rules.

    with working(services, "erasure") as worker:
        claims = worker.claim(ClaimKind.FILE, file_ids, most=64)
        ...
        catalog.manifest.commit(replace(change, claims=claims))
        worker.handed_in(claims)

A thread renews the claims while the worker lives. A process that is paused renews nothing, so it loses its claims.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Event, Thread
from typing import TypeVar
from uuid import uuid4

from implio_pipeline.domain.claims import Claim, ClaimKind
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.ports.claims import Claims
from implio_pipeline.ports.services import Services

RENEWING_THREAD = "claims"
"""The name of the threads that renew claims."""
_RENEWALS = 3
"""How often a claim is renewed within its lease, so that one failed renewal does not lose it."""
_MOST_RENEWALS = 360
"""A worker without progress for so many renewals, an hour by default, hangs. Its claims are no longer renewed."""
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.02, 1.0
_T = TypeVar("_T")
_PATIENCE_LEASES = 2
"""A worker waits for others for two leases: by then they have finished, or their work is free."""


@contextmanager
def working(services: Services, work: str) -> Iterator["Worker"]:
    """Yield a worker for the length of the block, then give back the claims that it still has.

    Args:
        services: What the flow may use.
        work: The name of the job, for `implio status`.
    """
    worker = Worker(services.catalog.claims, work, lease=services.lease, is_alone=services.workers == 1)
    try:
        yield worker
    finally:
        worker.end()


class Worker:
    """One worker: its claims, and the thread that renews them.

    Args:
        claims: Where work is claimed.
        work: The name of the job.
        lease: How long a claim lasts without being renewed.
        is_alone: Whether no other worker is expected.
    """

    def __init__(self, claims: Claims, work: str, *, lease: timedelta, is_alone: bool = True) -> None:
        self._claims = claims
        self._work = work
        self._lease = lease
        self._holder: str | None = None
        self._number = 0 if is_alone else uuid4().int
        """Differs between workers."""
        self._held: set[Claim] = set()
        self._unanswered = 0
        """Claims whose answer did not come: the catalog may have them although `_held` has not."""
        self._ended = Event()
        self._renewing: Thread | None = None
        self._renewals = 0
        """Since the last progress."""
        self._waited = 0.0
        """Seconds since the last claim."""

    def claim(
        self, kind: ClaimKind, units: Collection[str], *, most: int | None = None, is_whole: bool = False
    ) -> tuple[Claim, ...]:
        """Claim units that are free; none of them is waited for. See `Claims.claim`."""
        if not units:
            return ()
        if self._holder is None:
            self._holder = self._claims.new_holder()
            self._renewing = Thread(target=self._renew_often, args=(self._holder,), name=RENEWING_THREAD, daemon=True)
            self._renewing.start()
        self._renewals = 0
        self._unanswered += 1
        found = self._claims.claim(
            kind, units, holder=self._holder, work=self._work, lease=self._lease, most=most, is_whole=is_whole
        )
        self._unanswered -= 1
        self._held |= set(found)
        if found:
            self._waited = 0.0
        return tuple(found)

    def from_its_place(self, works: Sequence[_T]) -> list[_T]:
        """Return the same pieces of work, beginning elsewhere than other workers do.

        Otherwise each worker would first try the pieces that others have just done.
        """
        first = self._number % len(works) if works else 0
        return [*works[first:], *works[:first]]

    def handed_in(self, claims: Collection[Claim]) -> None:
        """Note that a commit has handed these claims in."""
        self._held.difference_update(claims)

    def give_back(self, claims: Collection[Claim]) -> None:
        """Give claims back whose work was not committed. Claims that were handed in are ignored."""
        left = self._held.intersection(claims)
        if left:
            self._claims.give_back(left)
            self._held -= left

    def wait(self) -> bool:
        """Wait a moment for other workers. Returns whether it is worth waiting again.

        The first call returns soon, and each further one later. After two leases without a claim of its own, the worker
        leaves what is left to the others.
        """
        if self._waited > _PATIENCE_LEASES * self._lease.total_seconds():
            return False
        seconds = min(max(self._waited, _FIRST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS)
        self._ended.wait(seconds)
        self._waited += seconds
        return True

    def end(self) -> None:
        """Give every claim back. Where that fails, the claims end with their lease."""
        self._ended.set()
        if self._renewing is not None:
            self._renewing.join()
        if self._holder is not None and (self._held or self._unanswered):
            with suppress(ImplioError):
                self._claims.leave(self._holder)
        self._held = set()

    def _renew_often(self, holder: str) -> None:
        while not self._ended.wait(self._lease.total_seconds() / _RENEWALS):
            # A worker that hangs must not keep its work for ever just because this thread lives.
            self._renewals += 1
            if self._held and self._renewals < _MOST_RENEWALS:
                # A renewal that fails is tried again; if all fail, the lease ends, and the commit is refused.
                with suppress(ImplioError):
                    self._claims.renew(holder, lease=self._lease)
