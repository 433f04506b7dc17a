"""How vault files change: what is erased, decided or merged, what proves it, and what one commit holds."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

from implio_pipeline.domain.errors import Unverified
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.hold import Hold
from implio_pipeline.domain.ids import FileId, FileKind, KeyId, RequestId, TeamId
from implio_pipeline.domain.intake import ErasedPeople, LandingRecord, PostRecord
from implio_pipeline.domain.keys import TeamKey
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.scope import FOR_EVER, Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedRule:
    """A rule and the name its counts are kept under: a request's id, a hold's id, or a word such as `policy`."""

    request_id: RequestId
    rule: Rule

    def endless(self) -> "NamedRule":
        """Return the rule without its end: it also covers items submitted after its request was accepted."""
        return replace(self, rule=replace(self.rule, before=FOR_EVER))


@dataclass(frozen=True, kw_only=True, slots=True)
class FileOutcome:
    """What happened to one file for one request: a line of its receipt."""

    request_id: RequestId
    kind: FileKind
    digest_before: str
    digest_after: str | None
    rows_before: int
    rows_after: int
    matched: int
    keys_destroyed: int
    size_before_bytes: int
    is_read_back: bool
    committed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileWork:
    """One file and the rules that reach it; `is_whole` when the file is dropped unread."""

    sealed: SealedFile
    named_rules: tuple[NamedRule, ...]
    is_whole: bool
    holds: tuple[Hold, ...] = ()
    """Legal holds that reach the file: rows they cover are spared."""

    def outcomes(
        self, matched: Mapping[RequestId, int], *, after: VaultFile | None, is_read_back: bool
    ) -> tuple[FileOutcome, ...]:
        """Return the receipt lines of the file: one for each request that covered a row of it.

        Args:
            matched: Rows that each request covered.
            after: The file that replaced this one; `None` when no row was left.
            is_read_back: Whether the new file was read again after it was written.
        """
        before = self.sealed.file
        return tuple(
            FileOutcome(
                request_id=request_id,
                kind=before.kind,
                digest_before=before.digest,
                digest_after=after.digest if after else None,
                rows_before=before.rows,
                rows_after=after.rows if after else 0,
                matched=rows,
                keys_destroyed=len(self.sealed.keys),
                size_before_bytes=before.size_bytes,
                is_read_back=is_read_back,
            )
            for request_id, rows in matched.items()
            if rows
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewrite:
    """What rewriting a file did, measured on the new file re-read from storage.

    `after` is `None` when no row was left. `is_untouched` when the filters had said yes wrongly and
    nothing matched: the old file stays.
    """

    before: VaultFile
    after: SealedFile | None
    is_untouched: bool
    matched: Mapping[RequestId, int]
    """Rows each request's rule covered; a row covered by two requests counts for both."""
    erased: int
    """Rows that went."""
    is_same: bool | None
    """Whether the rows of the new file, re-read, are those to keep, value by value; `None` when not compared."""
    survivors: int | None
    """Rows of the new file that a rule still covers; `None` when they were not counted."""
    keys_missed: int | None = None
    """User keys of the new file that its membership filter denies, so that later requests would pass it over."""

    def prove(self) -> None:
        """Let a rewrite through only when the new file was re-read and proved right.

        Raises:
            Unverified: a covered row survived, a kept row is missing or altered, or something was not counted.
        """
        name = self.before.file_id
        if self.survivors is None:
            raise Unverified(f"survivors of file {name} were not counted", about=name)
        if self.survivors:
            raise Unverified(f"{self.survivors} survivors in the rewrite of file {name}", about=name)
        if not self.is_same:
            raise Unverified(f"the kept rows of file {name} differ from those in its rewrite", about=name)
        if self.after and self.keys_missed is None:
            raise Unverified(f"the membership filter of the rewrite of file {name} was not tried", about=name)
        if self.after and self.keys_missed:
            raise Unverified(
                f"the membership filter of the rewrite of file {name} denies keys that it holds", about=name
            )
        kept = self.before.rows if self.is_untouched else self.after.file.rows if self.after else 0
        if kept + self.erased != self.before.rows:
            raise Unverified(f"kept and erased rows of file {name} do not add up", about=name)
        matched = self.matched.values()
        if not max(matched, default=0) <= self.erased <= sum(matched):
            raise Unverified(f"the rows erased of file {name} are not those that its requests cover", about=name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """What settling a file did, measured on the new file re-read from storage."""

    before: VaultFile
    after: SealedFile | None
    """`None` when no row of it was decided: the old file stays."""
    tasks: Collection[str]
    """The task ids whose rows were replaced."""
    is_same: bool
    """Whether everything else, re-read, is as it was, value by value."""
    is_settled: bool
    """Whether the decided rows, re-read, have what was decided."""

    def prove(self) -> None:
        """Let a settlement through only when the new file was re-read and proved right.

        Raises:
            Unverified: a row is missing, altered or not settled.
        """
        name = self.before.file_id
        if self.after is None:
            return
        if self.after.file.rows != self.before.rows or not self.is_same:
            raise Unverified(f"settling file {name} changed more than what was decided")
        if not self.is_settled:
            raise Unverified(f"settling file {name} did not store what was decided")


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Files in, files out, and what goes with them.

    The commit holds only if every file of `remove` is still live, the team's newest tombstone is still `planned_at`
    and its newest legal hold `held_at`; the keys of removed files are destroyed in the same transaction.
    """

    team: TeamId
    planned_at: int
    """Sequence of the team's newest tombstone when the work was planned; 0 when it has none."""
    held_at: int | None = None
    """Sequence of the team's newest legal hold when the work was planned; `None` when it spares nothing anyway."""
    committed_at: datetime
    add: tuple[SealedFile, ...] = ()
    remove: tuple[FileId, ...] = ()
    queue: tuple[QueueEntry, ...] = ()
    landing: LandingRecord | None = None
    posts: tuple[PostRecord, ...] = ()
    """Posts that brought the files, by their idempotency keys; none may be known already."""
    erased_people: ErasedPeople | None = None
    """What of the items at hand is of people whose deletion was asked for."""
    outcomes: tuple[FileOutcome, ...] = ()
    settled: tuple[int, ...] = ()
    """Sequences of verdicts that the files added have now; each must be there still, and unsettled."""
    new_team_keys: tuple[TeamKey, ...] = ()
    shred_team_keys: tuple[KeyId, ...] = ()


_MOST_ROWS = 200_000
"""Rows merged at once: what bounds the memory of a merge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeWork:
    """Files of one partition and kind that should become fewer."""

    team: TeamId
    day: date
    kind: FileKind
    files: tuple[VaultFile, ...]


def merges(files: Iterable[VaultFile], *, rows_per_file: int) -> Iterator[MergeWork]:
    """Yield what to merge: partitions with more files than their rows need, the smallest files first.

    A partition of `_MOST_ROWS` rows or fewer is merged whole, so that each person ends up in one file of it.
    """
    partitions: dict[tuple[TeamId, date, FileKind], list[VaultFile]] = {}
    for file in files:
        partitions.setdefault((file.team, file.day, file.kind), []).append(file)
    for (team, day, kind), members in sorted(partitions.items()):
        needed = -(-sum(file.rows for file in members) // rows_per_file)
        if len(members) <= needed + needed // 4:
            continue
        chosen = tuple(_smallest(members))
        if len(chosen) > 1:
            yield MergeWork(team=team, day=day, kind=kind, files=chosen)


def _smallest(files: list[VaultFile]) -> Iterator[VaultFile]:
    rows = 0
    for file in sorted(files, key=lambda file: (file.rows, file.file_id)):
        rows += file.rows
        if rows > _MOST_ROWS:
            return
        yield file


def is_small(file: VaultFile, *, rows_per_file: int) -> bool:
    """Tell whether a file has fewer than half of the rows that a file may have."""
    return file.rows * 2 < rows_per_file


def merges_of_small(files: Iterable[VaultFile], *, rows_per_file: int, from_files: int) -> Iterator[MergeWork]:
    """Yield what to merge between two whole compactions: small files alone, where a partition has many of them.

    Each row is rewritten once by it, so that a stream of small commits keeps a bounded number of files at a cost that
    does not grow with the partition; that each person ends up in one file is left to `merges`.
    """
    partitions: dict[tuple[TeamId, date, FileKind], list[VaultFile]] = {}
    for file in files:
        if is_small(file, rows_per_file=rows_per_file):
            partitions.setdefault((file.team, file.day, file.kind), []).append(file)
    for (team, day, kind), members in sorted(partitions.items()):
        if len(members) >= from_files:
            yield MergeWork(team=team, day=day, kind=kind, files=tuple(_smallest(members)))
