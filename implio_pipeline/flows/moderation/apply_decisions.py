"""Settle: write verdicts into the vault files of their items, many to a file, proven like any rewrite.

Until then readers see them laid over the items. Nothing is erased here: the keys of replaced files are destroyed with
the commit, and what a deletion covers has no verdict any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated, Unverified
from implio_pipeline.domain.faults import LONGEST_BACKOFF, FailedFile, Work
from implio_pipeline.domain.file_changes import Change, NamedRule
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import FileId, FileKind, RequestId, TeamId
from implio_pipeline.domain.instants import day_of
from implio_pipeline.domain.moderation import StoredVerdict, VerdictDetails, seal_context
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.scope import FOR_EVER, TaskRule
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.faults import Fault, Faults, collecting
from implio_pipeline.flows.files.find import find
from implio_pipeline.flows.files.replace import unlink_replaced
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

FEED_KEEPS = timedelta(days=30)
"""How long a settled verdict stays in the feed."""
_AT_ONCE = 5_000
_COMMIT_FILES = 64


@dataclass(kw_only=True, slots=True)
class SettleSummary:
    """What one run did, in counts."""

    verdicts: int = 0
    files: int = 0
    lost: int = 0
    """Verdicts whose item is in no file any more, given up with a file that was lost."""


def apply_decisions(
    services: Services,
    *,
    teams: Iterable[TeamId] | None = None,
    again: bool = False,
    faults: Faults | None = None,
    progress: Progress | None = None,
) -> SettleSummary:
    """Write every verdict that is not in the vault yet into it; a file or team that fails stops no other.

    Args:
        services: What the flow may touch.
        teams: These teams; all when `None`.
        again: Also the files that failed before and whose back-off lasts.
        faults: Told of each file and team that failed; when `None`, the first is raised at the end.
        progress: Told of files done and files in all, of some verdicts at a time.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; no verdict is settled or put off by it.
    """
    agreed_now(services)
    summary = SettleSummary()
    waiting = services.catalog.moderation.unsettled_teams()
    wanted = sorted(waiting) if teams is None else [team for team in teams if team in waiting]
    with collecting(faults) as failed:
        for team in wanted:
            with failed.isolate(f"verdicts of team {team}"):
                _Settling.of(services, team, failed, summary, again=again).settle_all(progress)
    if summary.files:
        unlink_replaced(services.catalog, services.vault)
    return summary


def is_settling_due(services: Services, *, waits: timedelta) -> bool:
    """Tell whether the oldest verdict that is not in the vault, and not put off, has waited so long."""
    now = services.clock.now()
    since = services.catalog.moderation.unsettled_since(now=now)
    return since is not None and since + waits <= now


def opened_values(keychain: Keychain, verdict: StoredVerdict) -> Mapping[str, Any]:
    """Return the columns that an unsettled verdict replaces in its item.

    Raises:
        KeyMissing: the key that sealed it is destroyed.
    """
    context = seal_context("decision", verdict.task_id)
    words = VerdictDetails.from_bytes(keychain.unseal(verdict.team, verdict.sealed or b"", context=context))
    return words.item_columns(verdict.decided)


def forget_told(services: Services, *, keep: timedelta = FEED_KEEPS) -> int:
    """Forget settled verdicts and given-up deliveries whose time in the feed is over, and return how many.

    Files that could not be settled are forgotten once they are replaced or dropped.
    """
    failed = services.catalog.failed_files.all(Work.SETTLE)
    for team in sorted({each.team for each in failed}):
        live = {str(file.file_id) for file in services.catalog.manifest.files(team, is_filtered=False)}
        gone = {each.file for each in failed if each.team == team} - live
        services.catalog.failed_files.forget(Work.SETTLE, team, gone)
    before = services.clock.now() - keep
    return services.catalog.moderation.forget_settled(before) + services.catalog.callbacks.forget_given_up(before)


@dataclass(kw_only=True, slots=True)
class _Settling:
    """The verdicts of one team, and the files that could not be settled: each file is tried once."""

    services: Services
    team: TeamId
    faults: Faults
    summary: SettleSummary
    again: bool
    failed: dict[FileId, FailedFile]
    """What is known of files that failed, in this run or before."""
    left: dict[FileId, datetime]
    """Files that are left alone in this run, each with the instant until when their verdicts are put off."""

    @classmethod
    def of(cls, services: Services, team: TeamId, faults: Faults, summary: SettleSummary, *, again: bool) -> Self:
        """Return what is to be done for a team."""
        now = services.clock.now()
        failed = {FileId(each.file): each for each in services.catalog.failed_files.all(Work.SETTLE, team=team)}
        left = {
            file_id: each.next_attempt_at
            for file_id, each in failed.items()
            if each.next_attempt_at and each.is_put_off(now=now) and not again
        }
        return cls(services=services, team=team, faults=faults, summary=summary, again=again, failed=failed, left=left)

    def settle_all(self, progress: Progress | None) -> None:
        """Settle the team's verdicts, some at a time: those of a file that fails are passed over."""
        after: int | None = 0
        while after is not None:
            after = self._settle_some(after, progress)

    def _settle_some(self, after: int, progress: Progress | None) -> int | None:
        """Settle the next verdicts, and return the sequence of the last one; planned again when others were faster."""
        now = None if self.again else self.services.clock.now()

        def settle_some() -> int | None:
            planned_at = self.services.catalog.requests.newest_tombstone(self.team)
            verdicts = self.services.catalog.moderation.unsettled(self.team, after=after, now=now, most=_AT_ONCE)
            if not verdicts:
                return None
            work = _Work(services=self.services, team=self.team, planned_at=planned_at, settling=self)
            try:
                work.apply_decisions(verdicts, progress)
            finally:
                work.discard()
                self.summary.verdicts += work.verdicts
                self.summary.files += work.files
                self.summary.lost += work.lost
            return verdicts[-1].sequence

        return replan(settle_some, about=f"the files of team {self.team}")

    def note(self, fault: Fault, file_id: FileId) -> None:
        """Leave a file alone that failed, for longer each time."""
        now = self.services.clock.now()
        failed = FailedFile.failed_again(
            self.failed.get(file_id),
            team=self.team,
            work=Work.SETTLE,
            file=file_id,
            unit=fault.unit,
            error_code=fault.error.code,
            now=now,
        )
        self.services.catalog.failed_files.note(failed)
        self.failed[file_id], self.left[file_id] = failed, failed.next_attempt_at or now


@dataclass(kw_only=True, slots=True)
class _Work:
    """One plan, and what the next commit will swap."""

    services: Services
    team: TeamId
    planned_at: int
    settling: _Settling
    add: list[SealedFile] = field(default_factory=list)
    remove: list[FileId] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    verdicts: int = 0
    files: int = 0
    lost: int = 0

    def apply_decisions(self, verdicts: Sequence[StoredVerdict], progress: Progress | None) -> None:
        """Settle the verdicts, file by file; those of a file that fails stay as they are, and are put off.

        Raises:
            PlanOutdated: somebody else changed the same files, or a request was accepted meanwhile.
        """
        values = self._opened(verdicts)
        by_task = {verdict.task_id: verdict for verdict in verdicts if verdict.task_id in values}
        files = self._files(by_task.values())
        found: set[str] = set()
        unread: dict[str, datetime] = {}
        for done, (file, tasks) in enumerate(files, start=1):
            if file.file_id not in self.settling.left:
                found.update(self._settle_alone(file, by_task, values))
            if file.file_id in self.settling.left:
                unread |= dict.fromkeys(tasks, self.settling.left[file.file_id])
            if len(self.remove) >= _COMMIT_FILES:
                self._commit()
            if progress:
                progress(done, len(files))
        # What is in no file is lost only when every file was read that may hold it.
        missing = [by_task[task].sequence for task in by_task.keys() - found - unread.keys()]
        self.settled += missing
        self._commit()
        self.lost += len(missing)
        self._put_off({task: until for task, until in unread.items() if task not in found}, by_task)

    def _opened(self, verdicts: Sequence[StoredVerdict]) -> dict[str, Mapping[str, Any]]:
        """Return by task what each verdict says; one that cannot be opened is put off alone."""
        values: dict[str, Mapping[str, Any]] = {}
        closed: list[int] = []
        for verdict in verdicts:
            with self.settling.faults.isolate(f"verdict {verdict.sequence} of team {self.team}"):
                values[verdict.task_id] = opened_values(self.services.keychain, verdict)
            if verdict.task_id not in values:
                closed.append(verdict.sequence)
        if closed:
            until = self.services.clock.now() + LONGEST_BACKOFF
            self.services.catalog.moderation.put_off(self.team, closed, until=until)
        return values

    def _put_off(self, unread: Mapping[str, datetime], by_task: Mapping[str, StoredVerdict]) -> None:
        for until in set(unread.values()):
            late = [by_task[task].sequence for task, each in unread.items() if each == until]
            self.services.catalog.moderation.put_off(self.team, late, until=until)

    def _settle_alone(
        self, file: VaultFile, by_task: Mapping[str, StoredVerdict], values: Mapping[str, Mapping[str, Any]]
    ) -> Iterable[str]:
        """Settle the verdicts in one file and return their tasks; none when it fails, which is noted."""
        faults, tasks = Faults(), tuple[str, ...]()
        with faults.isolate(
            f"file {file.file_id} of team {self.team}", about=file.file_id, day=file.day, races=(PlanOutdated,)
        ):
            tasks = tuple(self._settle_file(file, by_task, values))
        for fault in faults.found:
            self.settling.note(fault, file.file_id)
        self.settling.faults.found += faults.found
        return tasks

    def _settle_file(
        self, file: VaultFile, by_task: Mapping[str, StoredVerdict], values: Mapping[str, Mapping[str, Any]]
    ) -> Iterable[str]:
        (sealed,) = self.services.catalog.manifest.sealed([file])
        try:
            settlement = self.services.vault.apply_decisions(sealed, values)
        except (FileMissing, KeyMissing):
            # A swap or a rotation that came between looks like this too: then the file is gone, or has other keys.
            (now,) = self.services.catalog.manifest.sealed([file])
            if now.keys != sealed.keys:
                raise PlanOutdated("the keys of a file were renewed meanwhile") from None
            raise
        if settlement.after is None:
            return ()
        try:
            settlement.prove()
        except Unverified:
            self.services.vault.delete(settlement.after.file)
            raise
        self.add.append(settlement.after)
        self.remove.append(file.file_id)
        self.settled += [by_task[task].sequence for task in settlement.tasks]
        return settlement.tasks

    def discard(self) -> None:
        """Unlink the new files that were not committed."""
        for sealed in self.add:
            self.services.vault.delete(sealed.file)
        self.add = []

    def _files(self, verdicts: Iterable[StoredVerdict]) -> list[tuple[VaultFile, list[str]]]:
        """Return the files that may hold the verdicts' items, with the tasks that each may hold."""
        named_rules = [
            NamedRule(
                request_id=RequestId(verdict.task_id),
                rule=TaskRule(task_key=verdict.task_key, before=FOR_EVER, submitted_on=day_of(verdict.submitted_at)),
            )
            for verdict in verdicts
        ]
        return [
            (file, [str(rule.request_id) for rule in reached])
            for file, reached in find(self.services.catalog.manifest, self.services.vault, self.team, named_rules)
            if file.kind is FileKind.ITEMS
        ]

    def _commit(self) -> None:
        if not self.settled:
            return
        change = Change(
            team=self.team,
            planned_at=self.planned_at,
            committed_at=self.services.clock.now(),
            add=tuple(self.add),
            remove=tuple(self.remove),
            settled=tuple(self.settled),
        )
        # Whether a commit that breaks off holds is not known, so its files are not ours to unlink any more.
        staged, self.add = self.add, []
        try:
            self.services.catalog.manifest.commit(change)
        except PlanOutdated:
            self.add = staged
            raise
        self.files += len(self.remove)
        self.verdicts += len(self.settled)
        self.remove, self.settled = [], []
