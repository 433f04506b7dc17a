"""Settle: write verdicts into the vault files of their items, many to a file, proven like any rewrite.

Until then readers see them laid over the items. Nothing is erased here: the keys of replaced files are destroyed with
the commit, and what a deletion covers has no verdict any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from implio_pipeline.domain.change import Change
from implio_pipeline.domain.days import day_of
from implio_pipeline.domain.erasure import NamedRule
from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated, Unverified
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.moderation import Decided, seal_context, settled_values, words_in
from implio_pipeline.domain.scope import FOR_EVER, TaskRule
from implio_pipeline.domain.settlement import prove_settlement
from implio_pipeline.domain.words import FileId, FileKind, RequestId, TeamId
from implio_pipeline.flows.alone import Faults
from implio_pipeline.flows.find import find
from implio_pipeline.flows.sweep import sweep_doomed
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.world import World

FEED_KEEPS = timedelta(days=30)
"""How long a settled verdict stays in the feed."""
_AT_ONCE = 5_000
_COMMIT_FILES = 64
_MOST_TRIES = 20


@dataclass(kw_only=True, slots=True)
class SettleSummary:
    """What one run did, in counts and codes."""

    verdicts: int = 0
    files: int = 0
    lost: int = 0
    """Verdicts whose item is in no file any more, given up with a file that was lost."""
    failed: dict[TeamId, str] = field(default_factory=dict)
    """The code that each team failed with, or its first file that did."""
    faults: Faults = field(default_factory=Faults)
    """Each file or team that failed, while the others were settled."""


def settle(world: World, *, teams: Iterable[TeamId] | None = None, progress: Progress | None = None) -> SettleSummary:
    """Write every verdict that is not in the vault yet into it; a file or team that fails stops no other."""
    summary = SettleSummary()
    wanted = [team.team for team in world.catalog.teams.all()] if teams is None else list(teams)
    for team in wanted:
        before = len(summary.faults.found)
        with summary.faults.alone(f"verdicts of team {team}"):
            while _settle_some(world, team, summary, progress):
                pass
        if len(summary.faults.found) > before:
            summary.failed[team] = summary.faults.found[before].error.code
    if summary.files:
        sweep_doomed(world)
    return summary


def is_settling_due(world: World, *, waits: timedelta) -> bool:
    """Tell whether the oldest verdict that is not in the vault has waited so long."""
    since = world.catalog.moderation.unsettled_since()
    return since is not None and since + waits <= world.clock.now()


def opened_values(keychain: Keychain, verdict: Decided) -> Mapping[str, Any]:
    """Return the columns that an unsettled verdict replaces in its item.

    Raises:
        KeyMissing: the key that sealed it is destroyed.
    """
    context = seal_context("decision", verdict.task_id)
    words = words_in(keychain.unseal(verdict.team, verdict.sealed or b"", context=context))
    return settled_values(verdict.decided, words)


def forget_told(world: World, *, keep: timedelta = FEED_KEEPS) -> int:
    """Forget settled verdicts and given-up deliveries whose time in the feed is over, and return how many."""
    before = world.clock.now() - keep
    return world.catalog.moderation.forget_settled(before) + world.catalog.callbacks.forget_given_up(before)


def _settle_some(world: World, team: TeamId, summary: SettleSummary, progress: Progress | None) -> bool:
    """Settle a bounded number of verdicts; tell whether there were any. Planned again when others were faster."""
    for _ in range(_MOST_TRIES):
        faults = Faults()
        planned_at = world.catalog.requests.newest_tombstone(team)
        work = _Work(world=world, team=team, planned_at=planned_at, faults=faults)
        verdicts = world.catalog.moderation.unsettled(team, most=_AT_ONCE)
        if not verdicts:
            return False
        try:
            work.settle(verdicts, progress)
        except PlanOutdated:
            continue
        finally:
            work.discard()
            summary.verdicts += work.verdicts
            summary.files += work.files
            summary.lost += work.lost
        summary.faults.found += faults.found
        return not faults  # the verdicts of a file that failed would be the first again
    raise PlanOutdated(f"others kept changing the files of team {team}")


@dataclass(kw_only=True, slots=True)
class _Work:
    """One plan, and what the next commit will swap."""

    world: World
    team: TeamId
    planned_at: int
    faults: Faults
    add: list[SealedFile] = field(default_factory=list)
    remove: list[FileId] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    verdicts: int = 0
    files: int = 0
    lost: int = 0

    def settle(self, verdicts: Sequence[Decided], progress: Progress | None) -> None:
        """Settle the verdicts, file by file; those of a file that fails stay as they are.

        Raises:
            PlanOutdated: somebody else changed the same files, or a request was accepted meanwhile.
        """
        by_task = {verdict.task_id: verdict for verdict in verdicts}
        values = {task: opened_values(self.world.keychain, verdict) for task, verdict in by_task.items()}
        files = self._files(verdicts)
        found: set[str] = set()
        for done, file in enumerate(files, start=1):
            about = file.file_id
            with self.faults.alone(
                f"file {about} of team {self.team}", about=about, day=file.day, races=(PlanOutdated,)
            ):
                found.update(self._settle_file(file, by_task, values))
            if len(self.remove) >= _COMMIT_FILES:
                self._commit()
            if progress:
                progress(done, len(files))
        # What is in no file is lost only when every file was read.
        missing = [] if self.faults else [each.sequence for task, each in by_task.items() if task not in found]
        self.settled += missing
        self._commit()
        self.lost += len(missing)

    def _settle_file(
        self, file: VaultFile, by_task: Mapping[str, Decided], values: Mapping[str, Mapping[str, Any]]
    ) -> Iterable[str]:
        (sealed,) = self.world.catalog.manifest.sealed([file])
        try:
            settlement = self.world.vault.settle(sealed, values)
        except (FileMissing, KeyMissing):
            # A swap or a rotation that came between looks like this too: then the file is gone, or has other keys.
            (now,) = self.world.catalog.manifest.sealed([file])
            if now.keys != sealed.keys:
                raise PlanOutdated("the keys of a file were renewed meanwhile") from None
            raise
        if settlement.after is None:
            return ()
        try:
            prove_settlement(settlement)
        except Unverified:
            self.world.vault.delete(settlement.after.file)
            raise
        self.add.append(settlement.after)
        self.remove.append(file.file_id)
        self.settled += [by_task[task].sequence for task in settlement.tasks]
        return settlement.tasks

    def discard(self) -> None:
        """Unlink the new files that were not committed."""
        for sealed in self.add:
            self.world.vault.delete(sealed.file)
        self.add = []

    def _files(self, verdicts: Sequence[Decided]) -> list[VaultFile]:
        named_rules = [
            NamedRule(
                request_id=RequestId(verdict.task_id),
                rule=TaskRule(task_key=verdict.task_key, before=FOR_EVER, submitted_on=day_of(verdict.submitted_at)),
            )
            for verdict in verdicts
        ]
        return [file for file, _ in find(self.world, self.team, named_rules) if file.kind is FileKind.ITEMS]

    def _commit(self) -> None:
        if not self.settled:
            return
        change = Change(
            team=self.team,
            planned_at=self.planned_at,
            committed_at=self.world.clock.now(),
            add=tuple(self.add),
            remove=tuple(self.remove),
            settled=tuple(self.settled),
        )
        # Whether a commit that breaks off holds is not known, so its files are not ours to unlink any more.
        staged, self.add = self.add, []
        try:
            self.world.catalog.manifest.commit(change)
        except PlanOutdated:
            self.add = staged
            raise
        self.files += len(self.remove)
        self.verdicts += len(self.settled)
        self.remove, self.settled = [], []
