"""Apply decisions (`implio settle`): write moderators' verdicts into the vault files of their items.

A verdict counts at once: it is kept in the catalog, and readers see it in place of the item's own values. A rewrite
costs about 25 ms, so verdicts are written into files later, many to a file (decision 0030).

Rules:

* A rewrite is proven before it is committed: exactly the columns of a decision differ, in exactly the decided rows.
* The keys of a replaced file are destroyed by the commit that replaces it.
* A verdict counts as lost only after every file that may hold its item was read.
* A file that fails delays its own verdicts and no others. Each failure makes the wait before the next try longer.
* Files are claimed before they are read, so several workers share them, and each begins at another place. What another
  worker has claimed is left to it, or for the next run; until then readers see its verdicts all the same.
* The transaction that accepts a deletion removes the verdicts on its items, so nothing here erases anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.claims import Claim, ClaimKind
from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated, Unverified
from implio_pipeline.domain.faults import LONGEST_BACKOFF, FailedFile, WorkKind
from implio_pipeline.domain.file_changes import Change, NamedRule
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import FileId, FileKind, RequestId, TeamId
from implio_pipeline.domain.instants import day_of
from implio_pipeline.domain.moderation import StoredVerdict, VerdictDetails, seal_context
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.scope import FOR_EVER, TaskRule
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.files.find import find
from implio_pipeline.flows.files.replace import unlink_replaced
from implio_pipeline.flows.work import Worker, working
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

SETTLING = "settling"
"""The name of this work, for `implio status`."""
FEED_KEEPS = timedelta(days=30)
"""How long an applied verdict stays in the feed."""
_AT_ONCE = 5_000
"""Verdicts in one plan, which bounds the memory and what a new plan repeats."""
_COMMIT_FILES = 64
"""Files in one commit. After a crash or a race, at most these are rewritten again."""


@dataclass(kw_only=True, slots=True)
class SettleSummary:
    """What one run did, in counts."""

    verdicts: int = 0
    files: int = 0
    lost: int = 0
    """Verdicts whose item is in no file any more, for example because a restore gave its file up."""


def apply_decisions(
    services: Services,
    *,
    teams: Iterable[TeamId] | None = None,
    again: bool = False,
    faults: Faults | None = None,
    progress: Progress | None = None,
) -> SettleSummary:
    """Write every pending verdict into its item's file; a file or team that fails does not stop the others.

    Args:
        services: What the flow may use.
        teams: These teams; all when `None`.
        again: Include files that failed before and whose back-off is not over.
        faults: Collects the files and teams that failed. When `None`, the first failure is raised at the end.
        progress: Receives files done and files in all, for each batch of verdicts.

    Raises:
        ClockWrong: the clock disagrees with what the home knows. No verdict is applied or put off.
    """
    agreed_now(services)
    summary = SettleSummary()
    waiting = services.catalog.moderation.unsettled_teams()
    with collecting(faults) as failed, working(services, SETTLING) as worker:
        for team in sorted(waiting) if teams is None else teams:
            if team in waiting:
                with failed.isolate(f"verdicts of team {team}"):
                    _TeamRun.of(services, worker, team, failed, summary, again=again).apply_all(progress)
    if summary.files:
        unlink_replaced(services.catalog, services.vault)
    return summary


def is_settling_due(services: Services, *, waits: timedelta) -> bool:
    """Return whether a pending verdict that is not put off has waited this long."""
    now = services.clock.now()
    since = services.catalog.moderation.unsettled_since(now=now)
    return since is not None and since + waits <= now


def opened_values(catalog: Catalog, keychain: Keychain, verdict: StoredVerdict) -> Mapping[str, Any]:
    """Return the columns that a pending verdict replaces in its item.

    Raises:
        KeyMissing: the key that sealed it is destroyed.
    """
    # The seal is bound to its task: a sealed verdict that is copied to another item does not open.
    context = seal_context("decision", verdict.task_id)
    try:
        details = keychain.unseal(verdict.team, verdict.sealed or b"", context=context)
    except KeyMissing:
        # A rotation may have sealed it again since it was read, and destroyed the old key.
        keychain.forget(verdict.team)
        now = catalog.moderation.decided(verdict.team, verdict.task_id, verdict.task_key)
        if now is None or now.sealed in (None, verdict.sealed):
            raise
        details = keychain.unseal(verdict.team, now.sealed or b"", context=context)
    return VerdictDetails.from_bytes(details).item_columns(verdict.decided)


def forget_applied(catalog: Catalog, *, before: datetime) -> int:
    """Forget verdicts applied, and deliveries given up, before an instant; return how many.

    Failed files that have been replaced or removed since are forgotten too.
    """
    # A file that was replaced is never tried again, so its failures would stay for ever.
    failed = catalog.failed_files.all(WorkKind.SETTLE)
    for team in sorted({each.team for each in failed}):
        live = {str(file.file_id) for file in catalog.manifest.files(team, is_filtered=False)}
        gone = {each.file for each in failed if each.team == team} - live
        catalog.failed_files.forget(WorkKind.SETTLE, team, gone)
    return catalog.moderation.forget_settled(before) + catalog.callbacks.forget_given_up(before)


@dataclass(kw_only=True, slots=True)
class _TeamRun:
    """One run over a team's pending verdicts. Each file is tried once in it."""

    services: Services
    worker: Worker
    team: TeamId
    faults: Faults
    summary: SettleSummary
    again: bool
    failed: dict[FileId, FailedFile]
    """Files that failed, in this run or before."""
    left: dict[FileId, datetime]
    """Files that this run leaves alone, each with the instant until which its verdicts are put off."""

    @classmethod
    def of(
        cls,
        services: Services,
        worker: Worker,
        team: TeamId,
        faults: Faults,
        summary: SettleSummary,
        *,
        again: bool,
    ) -> Self:
        """Begin a run: leave alone the files whose back-off is not over."""
        now = services.clock.now()
        failed = {FileId(each.file): each for each in services.catalog.failed_files.all(WorkKind.SETTLE, team=team)}
        left = {
            file_id: each.next_attempt_at
            for file_id, each in failed.items()
            if each.next_attempt_at and each.is_put_off(now=now) and not again
        }
        return cls(
            services=services,
            worker=worker,
            team=team,
            faults=faults,
            summary=summary,
            again=again,
            failed=failed,
            left=left,
        )

    def apply_all(self, progress: Progress | None) -> None:
        """Apply the team's verdicts, a batch at a time, in the order in which they were given."""
        after: int | None = 0
        while after is not None:
            # Planned again when another process changes the same files, or a request is accepted.
            after = replan(partial(self._apply_next, after, progress), about=f"the files of team {self.team}")

    def _apply_next(self, after: int, progress: Progress | None) -> int | None:
        """Apply the next batch; return the sequence of its last verdict, `None` if nothing was left."""
        catalog, now = self.services.catalog, None if self.again else self.services.clock.now()
        # The tombstone is read before the verdicts: if a request takes verdicts away in between, the commit fails.
        planned_at = catalog.requests.newest_tombstone(self.team)
        verdicts = catalog.moderation.unsettled(self.team, after=after, now=now, most=_AT_ONCE)
        if not verdicts:
            return None
        batch = _Batch(services=self.services, team=self.team, planned_at=planned_at, run=self)
        try:
            batch.apply(verdicts, progress)
        finally:
            batch.discard()
            self.worker.give_back(batch.claims)
            # What a batch committed before it failed stays applied, and counts.
            self.summary.verdicts += batch.verdicts
            self.summary.files += batch.files
            self.summary.lost += batch.lost
        return verdicts[-1].sequence


@dataclass(kw_only=True, slots=True)
class _Batch:
    """A batch of verdicts, planned together, with the files that the next commit replaces."""

    services: Services
    team: TeamId
    planned_at: int
    run: _TeamRun
    add: list[SealedFile] = field(default_factory=list)
    remove: list[FileId] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    """The claims on the files of `remove`, and on those that are being read."""
    verdicts: int = 0
    files: int = 0
    lost: int = 0

    def apply(self, verdicts: Sequence[StoredVerdict], progress: Progress | None) -> None:
        """Apply verdicts, file by file.

        Raises:
            PlanOutdated: another process changed the same files, or a request was accepted.
        """
        # 1. Open the verdicts, and find the files that may hold their items.
        values = self._opened(verdicts)
        by_task = {verdict.task_id: verdict for verdict in verdicts if verdict.task_id in values}
        named_rules = [
            NamedRule(
                request_id=RequestId(task_id),
                rule=TaskRule(task_key=verdict.task_key, before=FOR_EVER, submitted_on=day_of(verdict.submitted_at)),
            )
            for task_id, verdict in by_task.items()
        ]
        found = find(self.services.catalog.manifest, self.services.vault, self.team, named_rules)
        files = [(file, reached) for file, reached in found if file.kind is FileKind.ITEMS]
        # 2. Claim, rewrite and commit 64 files at a time. Note which verdicts may belong to a file that was not read.
        applied: set[str] = set()
        unread: dict[str, datetime] = {}
        busy: set[str] = set()
        done = 0
        for some in chunks(self.run.worker.from_its_place(files), _COMMIT_FILES):
            wanted = [file.file_id for file, _ in some if file.file_id not in self.run.left]
            self.claims = list(self.run.worker.claim(ClaimKind.FILE, wanted))
            mine = {claim.unit for claim in self.claims}
            for file, reached in some:
                tasks = [str(named.request_id) for named in reached]
                if file.file_id in mine:
                    applied.update(self._rewrite_alone(file, by_task, values))
                elif file.file_id not in self.run.left:
                    busy.update(tasks)
                if file.file_id in self.run.left:
                    unread |= dict.fromkeys(tasks, self.run.left[file.file_id])
                done += 1
                if progress:
                    progress(done, len(files))
            self._commit()
            self.run.worker.give_back(self.claims)
            self.claims = []
        # 3. Close the verdicts whose item is in no file. Only now has every file been read that may hold one.
        missing = [by_task[task].sequence for task in by_task.keys() - applied - unread.keys() - busy]
        self.settled += missing
        self._commit()
        self.lost += len(missing)
        # 4. Put off the verdicts that may belong to files that were not read, until these files are tried again.
        late = {task: until for task, until in unread.items() if task not in applied}
        for until in set(late.values()):
            sequences = [by_task[task].sequence for task, each in late.items() if each == until]
            self.services.catalog.moderation.put_off(self.team, sequences, until=until)

    def discard(self) -> None:
        """Delete the new files that were not committed."""
        for sealed in self.add:
            self.services.vault.delete(sealed.file)
        self.add = []

    def _opened(self, verdicts: Sequence[StoredVerdict]) -> dict[str, Mapping[str, Any]]:
        """Return by task the columns that each verdict replaces; put off those that cannot be opened."""
        values: dict[str, Mapping[str, Any]] = {}
        closed: list[int] = []
        for verdict in verdicts:
            with self.run.faults.isolate(f"verdict {verdict.sequence} of team {self.team}"):
                values[verdict.task_id] = opened_values(self.services.catalog, self.services.keychain, verdict)
            if verdict.task_id not in values:
                closed.append(verdict.sequence)
        if closed:
            # They cannot be opened again soon: the longest wait keeps them from being tried in every run.
            until = self.services.clock.now() + LONGEST_BACKOFF
            self.services.catalog.moderation.put_off(self.team, closed, until=until)
        return values

    def _rewrite_alone(
        self, file: VaultFile, by_task: Mapping[str, StoredVerdict], values: Mapping[str, Mapping[str, Any]]
    ) -> Sequence[str]:
        """Rewrite one file and return the tasks found in it; if it fails, leave it alone for longer than last time."""
        unit, faults, tasks = f"file {file.file_id} of team {self.team}", Faults(), tuple[str, ...]()
        with faults.isolate(unit, about=file.file_id, day=file.day, races=(PlanOutdated,)):
            tasks = self._rewrite(file, by_task, values)
        for fault in faults.found:
            now = self.services.clock.now()
            failed = FailedFile.failed_again(
                self.run.failed.get(file.file_id),
                team=self.team,
                work=WorkKind.SETTLE,
                file=file.file_id,
                unit=fault.unit,
                error_code=fault.error.code,
                now=now,
            )
            self.services.catalog.failed_files.note(failed)
            self.run.failed[file.file_id], self.run.left[file.file_id] = failed, failed.next_attempt_at or now
        self.run.faults.found += faults.found
        return tasks

    def _rewrite(
        self, file: VaultFile, by_task: Mapping[str, StoredVerdict], values: Mapping[str, Mapping[str, Any]]
    ) -> tuple[str, ...]:
        """Stage a copy of a file with its verdicts, and return their tasks."""
        (sealed,) = self.services.catalog.manifest.sealed([file])
        try:
            settlement = self.services.vault.apply_decisions(sealed, values)
        except (FileMissing, KeyMissing):
            # A replacement or a rotation in between has the same effect. Then the file is gone or has other keys.
            (now,) = self.services.catalog.manifest.sealed([file])
            if now.keys != sealed.keys:
                raise PlanOutdated("the keys of a file were renewed") from None
            raise
        if settlement.after is None:  # the catalog could not rule the file out, and it holds no decided row
            return ()
        try:
            settlement.prove()
        except Unverified:
            # The copy is wrong, and the old file is not: it stays, and a person must look at it.
            self.services.vault.delete(settlement.after.file)
            raise
        self.add.append(settlement.after)
        self.remove.append(file.file_id)
        self.settled += [by_task[task].sequence for task in settlement.tasks]
        return tuple(settlement.tasks)

    def _commit(self) -> None:
        """Replace the staged files, destroy the old ones' keys, and mark their verdicts as applied."""
        if not self.settled:
            return
        change = Change(
            team=self.team,
            planned_at=self.planned_at,
            committed_at=self.services.clock.now(),
            claims=tuple(self.claims),
            add=tuple(self.add),
            remove=tuple(self.remove),
            settled=tuple(self.settled),
        )
        # If the connection breaks during the commit, the commit may have succeeded, and its files may be live. They are
        # deleted only if the catalog says that the commit failed.
        staged, self.add = self.add, []
        try:
            self.services.catalog.manifest.commit(change)
        except PlanOutdated:
            self.add = staged
            raise
        self.files += len(self.remove)
        self.verdicts += len(self.settled)
        self.remove, self.settled = [], []
