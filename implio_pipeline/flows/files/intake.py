"""The one way in: rows become vault files, and go live in one commit. Landing files and posts both use it.

Rules:

* No row is visible before the commit, and none is stored in the vault before it is encrypted.
* No row comes in that an accepted deletion covers. If a deletion is accepted while rows are on their way, the commit
  notices the newer tombstone, and the rows are taken out of the staged files first. So an erasure never misses a file
  that came in behind it.
* Rows of a landing file that a policy calls overdue are set aside, sealed, not destroyed: only an accepted request
  destroys items.
"""

from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from implio_pipeline.domain.errors import KeyMissing, PlanOutdated, PostInWork
from implio_pipeline.domain.file_changes import Change, FileWork, NamedRule
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import FileKind, RequestId, UserKey
from implio_pipeline.domain.intake import ErasedPeople, LandingRecord, LandingState, PostRecord
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.replan import is_outdated, replan
from implio_pipeline.domain.scope import OverdueRule, UserRule
from implio_pipeline.domain.team import Team
from implio_pipeline.ports.landing import LandingFile
from implio_pipeline.ports.requests import Requests
from implio_pipeline.ports.rows import Rows
from implio_pipeline.ports.services import Services

BUFFER_BYTES = 96 << 20
"""The most bytes of rows that wait to be split into files, and of rows that are being written: each of the two."""
TOO_OLD = "too-old"
"""The code under which items are set aside when they are older than their team's policy allows."""
_STANDING = "standing"
"""Prefix of the name of a standing deletion's rule: the tombstone of the same request has a rule of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartResult:
    """What happened to one part of the rows."""

    kept_out: tuple[int, ...] = ()
    """Positions, from 0, of items that a standing deletion kept out."""
    returned: int = 0
    """Items that were taken in although their user was erased before."""

    @classmethod
    def of(cls, post: PostRecord) -> "PartResult":
        """Return what happened to a post that was taken in before."""
        return cls(kept_out=post.kept_out, returned=post.returned)


@dataclass(kw_only=True, slots=True)
class Intake:
    """Rows of one team on their way into the vault: add rows, then `commit`, or `discard` on failure."""

    services: Services
    team: Team
    submitted_from: datetime | None = None
    """No row was submitted before this instant: rules that end earlier are not read, and no row is too old.

    `None` when it is not known.
    """
    posts: tuple[PostRecord, ...] = ()
    """Idempotency keys to remember in the same commit."""
    staged: list[SealedFile] = field(default_factory=list)
    queue: list[QueueEntry] = field(default_factory=list)
    named_rules: list[NamedRule] = field(default_factory=list)
    """Tombstones and the retention policy, as they were at `planned_at`."""
    standing: list[NamedRule] = field(default_factory=list)
    """Standing deletions, which keep out a person's later items too."""
    planned_at: int = -1
    items: int = 0
    rejected: int = 0
    erased_before: int = 0
    kept_out: int = 0
    too_old: int = 0
    returned: Counter[UserKey] = field(default_factory=Counter, repr=False)
    _buffers: dict[FileKind, list[Rows]] = field(default_factory=dict)
    _buffered_bytes: int = 0
    _writers: ThreadPoolExecutor = field(init=False)
    _writing: deque[Future[SealedFile]] = field(default_factory=deque)
    _writing_bytes: deque[int] = field(default_factory=deque)
    _old: list[Rows] = field(default_factory=list)
    """Rows that are too old and not sealed yet."""
    _sealed_aside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the threads that write files; each starts when it is needed."""
        self._writers = ThreadPoolExecutor(self.services.threads)

    def add(self, rows: Rows, kind: FileKind) -> PartResult:
        """Buffer the rows that may come in; a full buffer is written while the next one fills."""
        vault = self.services.vault
        if self.planned_at < 0:
            self._plan()
        # 1. Leave out what an accepted deletion covers, then new items of people who must stay out.
        rules = [named.rule for named in self.named_rules if not isinstance(named.rule, OverdueRule)]
        standing = [named.rule for named in self.standing]
        kept = vault.without(rows, rules)
        self.erased_before += rows.num_rows - kept.num_rows
        kept_out = vault.places(rows, standing, but=rules)
        kept = vault.without(kept, standing)
        self.kept_out += len(kept_out)
        # 2. Set aside what is too old.
        ages = [named.rule for named in self.named_rules if isinstance(named.rule, OverdueRule)]
        young = vault.without(kept, ages)
        if young.num_rows < kept.num_rows:
            old = vault.within(kept, ages)
            self._old.append(old)
            self.too_old += old.num_rows
            if sum(part.nbytes for part in self._old) >= BUFFER_BYTES:
                self._seal_old()
        # 3. Count the items of people who were erased before: they come in, unless the deletion is standing.
        returned = Counter[UserKey]()
        if kind is FileKind.ITEMS and young.num_rows:
            returned.update(vault.rows_of(young, self._erased_users(young)))
            self.returned.update(returned)
        # 4. Buffer the rest.
        if young.num_rows:
            self._buffers.setdefault(kind, []).append(young)
            self._buffered_bytes += young.nbytes
        if self._buffered_bytes >= BUFFER_BYTES:
            self._flush()
        return PartResult(kept_out=kept_out, returned=returned.total())

    def commit(self, file: LandingFile | None) -> None:
        """Make the staged files live, without what newer tombstones cover.

        Args:
            file: The landing file that the rows came from; it is remembered in the same commit.

        Raises:
            PlanOutdated: the keys were renewed, the same file was taken in, or tombstones kept changing.
            PostInWork: a post's idempotency key is known already.
        """
        # 1. Write what is buffered. What is too old is sealed before the commit: after it, the landing file may go.
        self._flush()
        self._wait()
        self._writers.shutdown()
        self._seal_old()
        # 2. Apply the tombstones that were accepted since the plan. An intake without rows has no plan yet: to it,
        #    every rule in force would look new, and a retention policy would fail the file each time.
        if self.planned_at < 0:
            self._plan()
        elif self._newest_tombstone() > self.planned_at:
            self._apply_newer_rules()
        # 3. Commit by compare-and-swap; apply newer tombstones again for as long as they were the reason it failed.
        replan(
            lambda: self._commit_once(file),
            about=f"the tombstones of team {self.team.team}",
            is_race=lambda error: is_outdated(error) and self._newest_tombstone() != self.planned_at,
            again=self._apply_newer_rules,  # an error in it ends the intake: only part of the rules may be applied
        )

    def discard(self) -> None:
        """Unlink the staged files and what was set aside."""
        self._writers.shutdown(cancel_futures=True)
        for each in self._writing:
            with suppress(Exception):  # the failure that led here is the one to report
                self.staged.append(each.result())
        for sealed in self.staged:
            self.services.vault.delete(sealed.file)
        for identifier in self._sealed_aside:
            self.services.set_aside.discard(identifier)

    def _plan(self) -> None:
        requests, team = self.services.catalog.requests, self.team.team
        # The sequence is read first: a tombstone that comes between makes the commit fail, and is applied then.
        self.planned_at = self._newest_tombstone()
        self.named_rules = _rules_in_force(
            requests, self.team, now=self.services.clock.now(), submitted_from=self.submitted_from
        )
        self.standing = [
            NamedRule(request_id=RequestId(f"{_STANDING} {each.request_id}"), rule=each.rule)
            for each in requests.keeping_out(team)
            if each.lifted_at is None
        ]

    def _newest_tombstone(self) -> int:
        return self.services.catalog.requests.newest_tombstone(self.team.team)

    def _erased_users(self, rows: Rows) -> Mapping[UserKey, datetime]:
        """Return the erased users that may be in the rows, each with the instant until which items were erased."""
        # A post does not read all tombstones; its few users are looked up.
        if self.submitted_from is not None:
            return self.services.catalog.requests.erased_users(self.team.team, self.services.vault.users_in(rows))
        users: dict[UserKey, datetime] = {}
        for named in self.named_rules:
            if isinstance(named.rule, UserRule):
                users[named.rule.user_key] = max(named.rule.before, users.get(named.rule.user_key, named.rule.before))
        return users

    def _seal_old(self) -> None:
        if self._old:
            reason = f"items older than the policy keeps: {sum(part.num_rows for part in self._old)}"
            sealed = self.services.set_aside.seal_items(self._old, team=self.team.team, code=TOO_OLD, reason=reason)
            self._sealed_aside.append(sealed)
        self._old = []

    def _flush(self) -> None:
        """Begin to write the buffers. When this returns, the last files are still being written."""
        vault, team = self.services.vault, self.team
        buffers, self._buffers, self._buffered_bytes = self._buffers, {}, 0
        for kind, parts in buffers.items():
            rows = vault.join(parts)
            if kind is FileKind.ITEMS:
                self.items += rows.num_rows
                self.queue += vault.queue_entries(rows, team=team.team)
            else:
                self.rejected += rows.num_rows
            write = partial(vault.write_part, team=team.team, region=team.region, kind=kind)
            for day, part in vault.parts(rows):
                # Wait for single files, not for all: the threads have work while the next rows are prepared.
                while self._writing and sum(self._writing_bytes) + part.nbytes > BUFFER_BYTES:
                    self._stage()
                self._writing.append(self._writers.submit(write, part, day=day))
                self._writing_bytes.append(part.nbytes)

    def _stage(self) -> None:
        """Wait for the file that was begun first."""
        self.staged.append(self._writing[0].result())  # until then it stays listed, so that `discard` finds it
        self._writing.popleft()
        self._writing_bytes.popleft()

    def _wait(self) -> None:
        while self._writing:
            self._stage()

    def _commit_once(self, file: LandingFile | None) -> None:
        change = Change(
            team=self.team.team,
            planned_at=self.planned_at,
            committed_at=self.services.clock.now(),
            add=tuple(self.staged),
            queue=tuple(self.queue),
            landing=self._record(file) if file else None,
            kept_claims=file.claims if file else (),
            posts=self.posts,
            erased_people=ErasedPeople(kept_out=self.kept_out, returned=self.returned.total()),
        )
        # When a commit breaks off, nobody knows whether it took effect: its new files may be live, and must stay.
        staged, self.staged = self.staged, []
        aside, self._sealed_aside = self._sealed_aside, []
        try:
            self.services.catalog.manifest.commit(change)
        except (PlanOutdated, PostInWork):
            self.staged, self._sealed_aside = staged, aside  # these errors mean that nothing was changed
            raise
        self.staged = staged

    def _record(self, file: LandingFile) -> LandingRecord:
        days = [sealed.file.day for sealed in self.staged]
        return LandingRecord(
            team=self.team.team,
            digest=file.digest(),
            size_bytes=file.size_bytes,
            state=LandingState.INGESTED,
            items=self.items,
            rejected=self.rejected,
            erased_before=self.erased_before,
            too_old=self.too_old,
            taken_at=self.services.clock.now(),
            batch_id=file.batch_id if self.items else None,
            first_day=min(days, default=None),
            last_day=max(days, default=None),
        )

    def _apply_newer_rules(self) -> None:
        """Remove from the staged files and the queue what rules that are newer than the plan cover."""
        known = {named.request_id for named in (*self.named_rules, *self.standing)}
        self._plan()
        fresh = [named for named in self.named_rules if named.request_id not in known]
        fresh_standing = [named for named in self.standing if named.request_id not in known]
        rules = [named.rule for named in (*fresh, *fresh_standing)]
        if any(isinstance(rule, OverdueRule) for rule in rules):
            # What is overdue is set aside, which needs its rows: all of them are read again.
            raise PlanOutdated("a retention request was accepted during the intake")
        self.erased_before += self._take_out(fresh)
        self.kept_out += self._take_out(fresh_standing)
        self.queue = [entry for entry in self.queue if not any(entry.is_covered_by(rule) for rule in rules)]

    def _take_out(self, named_rules: list[NamedRule]) -> int:
        """Rewrite the staged files without what the rules cover, and return how many rows were taken out."""
        before = self.items + self.rejected
        if named_rules:
            self.staged = [kept for sealed in self.staged if (kept := self._without(sealed, named_rules)) is not None]
        return before - self.items - self.rejected

    def _without(self, sealed: SealedFile, named_rules: list[NamedRule]) -> SealedFile | None:
        reached = self.services.vault.reaches(named_rules)(sealed.file)
        if not reached:
            return sealed
        try:
            rewrite = self.services.vault.rewrite(FileWork(sealed=sealed, named_rules=reached, is_whole=False))
        except KeyMissing:
            raise PlanOutdated("the team's keys were renewed while its items came in") from None
        rewrite.prove()
        if rewrite.is_untouched:
            return sealed
        self.services.vault.delete(sealed.file)
        if sealed.file.kind is FileKind.ITEMS:
            self.items -= rewrite.erased
        else:
            self.rejected -= rewrite.erased
        return rewrite.after


def _rules_in_force(
    requests: Requests, team: Team, *, now: datetime, submitted_from: datetime | None
) -> list[NamedRule]:
    """Return the rules by which rows are left out or set aside.

    With `submitted_from` these are the tombstones that end after it. A post is never too old: what was acknowledged is
    stored, and retention erases it when its time has come.
    """
    if submitted_from is not None:
        in_force = requests.tombstones(team.team, reaching=submitted_from)
        return [
            NamedRule(request_id=RequestId(each.request_id), rule=each.rule)
            for each in in_force
            if not isinstance(each.rule, OverdueRule)
        ]
    named_rules = [
        NamedRule(request_id=RequestId(each.request_id), rule=each.rule)
        for each in requests.tombstones(team.team)
        # A completed retention request follows an older policy. Today's policy, added below, decides now.
        if not (each.is_erased and isinstance(each.rule, OverdueRule))
    ]
    overdue = team.policy.item_cutoffs(today=now.date())
    if overdue is not None:
        named_rules.append(NamedRule(request_id=RequestId("policy"), rule=OverdueRule(cutoffs=overdue, before=now)))
    return named_rules
