"""Changes of vault files: erasing rows, applying decisions, merging, and the commit that makes a change visible.

Rules:
* A vault file is never modified. A change writes a new file, reads it back, and commits only if `prove` accepts it.
* A count that is `None` was not taken. It makes `prove` fail.
* A `Change` is committed as one transaction, which also destroys the keys of the files it removes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

from implio_pipeline.domain.claims import Claim
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
    """A rule, and the name under which its rows are counted: the id of a request or hold, or another word."""

    request_id: RequestId
    rule: Rule

    def endless(self) -> "NamedRule":
        """Return the rule without its end: it also covers items submitted after its request was accepted."""
        return replace(self, rule=replace(self.rule, before=FOR_EVER))


@dataclass(frozen=True, kw_only=True, slots=True)
class FileOutcome:
    """What happened to one file for one request: a line of the request's receipt."""

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
    """One file and the rules that may cover rows of it; with `is_whole` the file is dropped without being read."""

    sealed: SealedFile
    named_rules: tuple[NamedRule, ...]
    is_whole: bool
    holds: tuple[Hold, ...] = ()
    """Legal holds that may cover rows of the file; rows that they cover are kept."""

    def outcomes(
        self, matched: Mapping[RequestId, int], *, after: VaultFile | None, is_read_back: bool
    ) -> tuple[FileOutcome, ...]:
        """Return the receipt lines of the file: one for each request that covered at least one row.

        Args:
            matched: Rows that each request covered.
            after: The file that replaced this one; `None` if no row was left.
            is_read_back: Whether the new file was read back after writing.
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
    """The result of rewriting a file, measured on the new file after reading it back.

    `after` is `None` if no row was left. `is_untouched` means that the filters gave a false positive: no row
    matched, and the old file stays.
    """

    before: VaultFile
    after: SealedFile | None
    is_untouched: bool
    matched: Mapping[RequestId, int]
    """Rows that each request's rule covered; a row covered by two requests counts for both."""
    erased: int
    """Rows that were removed."""
    is_same: bool | None
    """Whether the rows read back equal the rows to keep, value by value; `None` if they were not compared."""
    survivors: int | None
    """Rows of the new file that a rule still covers; `None` if they were not counted."""
    keys_missed: int | None = None
    """User keys in the new file that its membership filter denies: later requests would not find them."""

    def prove(self) -> None:
        """Check that the new file was read back, and that it holds exactly the rows to keep.

        Raises:
            Unverified: a covered row survived, a kept row is missing or altered, or something was not counted.
        """
        name = self.before.file_id
        # 1. No covered row is left, by the predicate that found the rows. A count that was not taken proves nothing.
        if self.survivors is None:
            raise Unverified(f"survivors of file {name} were not counted", about=name)
        if self.survivors:
            raise Unverified(f"{self.survivors} survivors in the rewrite of file {name}", about=name)
        # 2. Every kept row is equal, value by value, and in order (decision 0001: comparing rows, not digests).
        if not self.is_same:
            raise Unverified(f"the kept rows of file {name} differ from those in its rewrite", about=name)
        # 3. The new filter knows every user of the file. If it denied one, later requests would skip the file.
        if self.after and self.keys_missed is None:
            raise Unverified(f"the membership filter of the rewrite of file {name} was not tried", about=name)
        if self.after and self.keys_missed:
            raise Unverified(
                f"the membership filter of the rewrite of file {name} denies keys that it holds", about=name
            )
        # 4. The counts add up, so that the receipt states what happened.
        kept = self.before.rows if self.is_untouched else self.after.file.rows if self.after else 0
        if kept + self.erased != self.before.rows:
            raise Unverified(f"kept and erased rows of file {name} do not add up", about=name)
        matched = self.matched.values()
        if not max(matched, default=0) <= self.erased <= sum(matched):
            raise Unverified(f"the rows erased of file {name} are not those that its requests cover", about=name)


@dataclass(frozen=True, kw_only=True, slots=True)
class AppliedDecisions:
    """The result of writing decisions into a file, measured on the new file after reading it back."""

    before: VaultFile
    after: SealedFile | None
    """`None` if no row of the file was decided: the old file stays."""
    tasks: Collection[str]
    """The task ids whose rows were replaced."""
    is_same: bool
    """Whether everything else equals the old file, value by value."""
    is_settled: bool
    """Whether the decided rows contain the decisions."""

    def prove(self) -> None:
        """Check that the new file was read back, and that only the decided rows changed.

        Raises:
            Unverified: a row is missing, altered, or does not contain its decision.
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
    """One change of the catalog, committed as a whole or not at all.

    The commit fails if a file of `remove` is no longer live, the team's newest tombstone is not `planned_at`, its
    newest legal hold is not `held_at`, or one of the claims was taken over. The keys of removed files are destroyed in
    the same transaction.
    """

    team: TeamId
    planned_at: int
    """Sequence of the team's newest tombstone when the work was planned; 0 if it had none."""
    held_at: int | None = None
    """Sequence of the team's newest legal hold at that time; `None` for work to which legal holds do not matter."""
    committed_at: datetime
    claims: tuple[Claim, ...] = ()
    """The claims on the work, which the commit gives back."""
    kept_claims: tuple[Claim, ...] = ()
    """Claims that the commit only checks, because the work goes on after it: a landing file is removed later."""
    add: tuple[SealedFile, ...] = ()
    remove: tuple[FileId, ...] = ()
    queue: tuple[QueueEntry, ...] = ()
    landing: LandingRecord | None = None
    posts: tuple[PostRecord, ...] = ()
    """The posts that brought the files, by idempotency key. The commit fails if one of the keys is already known."""
    erased_people: ErasedPeople | None = None
    """Items of people whose deletion was asked for, in what was taken in."""
    outcomes: tuple[FileOutcome, ...] = ()
    settled: tuple[int, ...] = ()
    """Sequences of the verdicts that the new files contain. The commit fails if one of them is gone or already settled.
    """
    new_team_keys: tuple[TeamKey, ...] = ()
    shred_team_keys: tuple[KeyId, ...] = ()


_MOST_ROWS = 200_000
"""The limit of rows in one merge, which bounds its memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeWork:
    """Files of one partition and kind that should be merged."""

    team: TeamId
    day: date
    kind: FileKind
    files: tuple[VaultFile, ...]


def merges(files: Iterable[VaultFile], *, rows_per_file: int) -> Iterator[MergeWork]:
    """Yield the merges that a partition needs when it has more files than its rows require, smallest files first.

    A partition with at most `_MOST_ROWS` rows is merged as a whole, so that each person's items are in few files.
    """
    partitions: dict[tuple[TeamId, date, FileKind], list[VaultFile]] = {}
    for file in files:
        partitions.setdefault((file.team, file.day, file.kind), []).append(file)
    for (team, day, kind), members in sorted(partitions.items()):
        if not has_too_many(len(members), sum(file.rows for file in members), rows_per_file=rows_per_file):
            continue
        chosen = tuple(_smallest(members))
        if len(chosen) > 1:
            yield MergeWork(team=team, day=day, kind=kind, files=chosen)


def has_too_many(files: int, rows: int, *, rows_per_file: int) -> bool:
    """Return whether so many rows need fewer files.

    A quarter more files than needed is tolerated, because every merged file must be rewritten.
    """
    needed = -(-rows // rows_per_file)
    return files > needed + needed // 4


def _smallest(files: list[VaultFile]) -> Iterator[VaultFile]:
    rows = 0
    for file in sorted(files, key=lambda file: (file.rows, file.file_id)):
        rows += file.rows
        if rows > _MOST_ROWS:
            return
        yield file


def merges_of_small(files: Iterable[VaultFile], *, rows_per_file: int, from_files: int) -> Iterator[MergeWork]:
    """Yield the merges of small files between two complete compactions, for partitions with many small files.

    A file that has grown large enough is not merged here again. So many small commits leave a bounded number of files,
    at a cost that does not grow with the partition. Only `merges` brings each person's items together.
    """
    partitions: dict[tuple[TeamId, date, FileKind], list[VaultFile]] = {}
    for file in files:
        if file.is_small(rows_per_file=rows_per_file):
            partitions.setdefault((file.team, file.day, file.kind), []).append(file)
    for (team, day, kind), members in sorted(partitions.items()):
        if len(members) >= from_files:
            yield MergeWork(team=team, day=day, kind=kind, files=tuple(_smallest(members)))
