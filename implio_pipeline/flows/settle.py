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
from implio_pipeline.domain.erasure import Claim
from implio_pipeline.domain.errors import FileMissing, ImplioError, PlanOutdated
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.hold import FOR_EVER
from implio_pipeline.domain.moderation import Decided, seal_context, settled_values, words_in
from implio_pipeline.domain.scope import TaskRule
from implio_pipeline.domain.settlement import prove_settlement
from implio_pipeline.domain.words import FileId, FileKind, RequestId, TeamId
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


def settle(world: World, *, teams: Iterable[TeamId] | None = None, progress: Progress | None = None) -> SettleSummary:
    """Write every verdict that is not in the vault yet into it, team by team; one team's failure stops no other."""
    summary = SettleSummary()
    wanted = [team.team for team in world.catalog.teams.all()] if teams is None else list(teams)
    for team in wanted:
        try:
            while _settle_some(world, team, summary, progress):
                pass
        except ImplioError as error:
            summary.failed[team] = error.code
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
        work = _Work(world=world, team=team, planned_at=world.catalog.requests.newest_tombstone(team))
        verdicts = world.catalog.moderation.unsettled(team, most=_AT_ONCE)
        if not verdicts:
            return False
        try:
            work.settle(verdicts, progress)
        except PlanOutdated:
            continue
        except FileMissing:
            if work.is_lost():
                raise
            continue
        finally:
            work.discard()
            summary.verdicts += work.verdicts
            summary.files += work.files
            summary.lost += work.lost
        return True
    raise PlanOutdated(f"others kept changing the files of team {team}")


@dataclass(kw_only=True, slots=True)
class _Work:
    """One plan, and what the next commit will swap."""

    world: World
    team: TeamId
    planned_at: int
    add: list[SealedFile] = field(default_factory=list)
    remove: list[FileId] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    planned: list[VaultFile] = field(default_factory=list)
    verdicts: int = 0
    files: int = 0
    lost: int = 0

    def settle(self, verdicts: Sequence[Decided], progress: Progress | None) -> None:
        """Settle the verdicts, file by file.

        Raises:
            PlanOutdated: somebody else changed the same files, or a request was accepted meanwhile.
            Unverified: a new file did not prove right.
        """
        by_task = {verdict.task_id: verdict for verdict in verdicts}
        values = {task: opened_values(self.world.keychain, verdict) for task, verdict in by_task.items()}
        self.planned = self._files(verdicts)
        found: set[str] = set()
        for done, file in enumerate(self.planned, start=1):
            (sealed,) = self.world.catalog.manifest.sealed([file])
            settlement = self.world.vault.settle(sealed, values)
            if settlement.after is not None:
                self.add.append(settlement.after)
                prove_settlement(settlement)
                self.remove.append(file.file_id)
                self.settled += [by_task[task].sequence for task in settlement.tasks]
                found.update(settlement.tasks)
            if len(self.remove) >= _COMMIT_FILES:
                self._commit()
            if progress:
                progress(done, len(self.planned))
        missing = [verdict.sequence for task, verdict in by_task.items() if task not in found]
        self.settled += missing
        self._commit()
        self.lost += len(missing)

    def discard(self) -> None:
        """Unlink the new files that were not committed."""
        for sealed in self.add:
            self.world.vault.delete(sealed.file)
        self.add = []

    def is_lost(self) -> bool:
        """Tell whether a file that is still live is not in storage: a fault, not a race."""
        try:
            for sealed in self.world.catalog.manifest.sealed(self.planned):
                self.world.vault.check(sealed)
        except PlanOutdated:
            return False
        except FileMissing:
            return True
        return False

    def _files(self, verdicts: Sequence[Decided]) -> list[VaultFile]:
        claims = [
            Claim(
                request_id=RequestId(verdict.task_id),
                rule=TaskRule(task_key=verdict.task_key, before=FOR_EVER, submitted_on=day_of(verdict.submitted_at)),
            )
            for verdict in verdicts
        ]
        return [file for file, _ in find(self.world, self.team, claims) if file.kind is FileKind.ITEMS]

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
