"""What an erasure does to files, and what proves it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from implio_pipeline.domain.errors import Unverified
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.hold import Hold
from implio_pipeline.domain.ids import FileKind, RequestId
from implio_pipeline.domain.scope import FOR_EVER, Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedRule:
    """A rule and the name its counts are kept under: a request's id, a hold's id, or a word such as `policy`."""

    request_id: RequestId
    rule: Rule


def endless(named: NamedRule) -> NamedRule:
    """Return the rule without its end: it also covers items submitted after its request was accepted."""
    return replace(named, rule=replace(named.rule, before=FOR_EVER))


@dataclass(frozen=True, kw_only=True, slots=True)
class FileWork:
    """One file and the rules that reach it; `is_whole` when the file is dropped unread."""

    sealed: SealedFile
    named_rules: tuple[NamedRule, ...]
    is_whole: bool
    holds: tuple[Hold, ...] = ()
    """Legal holds that reach the file: rows they cover are spared."""


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


def prove(rewrite: Rewrite) -> None:
    """Let a rewrite through only when the new file was re-read and proved right.

    Raises:
        Unverified: a covered row survived, a kept row is missing or altered, or something was not counted.
    """
    name = rewrite.before.file_id
    if rewrite.survivors is None:
        raise Unverified(f"survivors of file {name} were not counted", about=name)
    if rewrite.survivors:
        raise Unverified(f"{rewrite.survivors} survivors in the rewrite of file {name}", about=name)
    if not rewrite.is_same:
        raise Unverified(f"the kept rows of file {name} differ from those in its rewrite", about=name)
    if rewrite.after and rewrite.keys_missed is None:
        raise Unverified(f"the membership filter of the rewrite of file {name} was not tried", about=name)
    if rewrite.after and rewrite.keys_missed:
        raise Unverified(f"the membership filter of the rewrite of file {name} denies keys that it holds", about=name)
    kept = rewrite.before.rows if rewrite.is_untouched else rewrite.after.file.rows if rewrite.after else 0
    if kept + rewrite.erased != rewrite.before.rows:
        raise Unverified(f"kept and erased rows of file {name} do not add up", about=name)
    matched = rewrite.matched.values()
    if not max(matched, default=0) <= rewrite.erased <= sum(matched):
        raise Unverified(f"the rows erased of file {name} are not those that its requests cover", about=name)


def outcomes_of(rewrite: Rewrite, work: FileWork) -> tuple[FileOutcome, ...]:
    """Return the receipt lines of a rewritten file: one for each request that covered a row of it."""
    after = rewrite.after.file if rewrite.after else None
    return tuple(
        FileOutcome(
            request_id=request_id,
            kind=rewrite.before.kind,
            digest_before=rewrite.before.digest,
            digest_after=after.digest if after else None,
            rows_before=rewrite.before.rows,
            rows_after=after.rows if after else 0,
            matched=matched,
            keys_destroyed=len(work.sealed.keys),
            size_before_bytes=rewrite.before.size_bytes,
            is_read_back=True,
        )
        for request_id, matched in rewrite.matched.items()
        if matched
    )


def outcomes_of_drop(work: FileWork, matched: Mapping[RequestId, int]) -> tuple[FileOutcome, ...]:
    """Return the receipt lines of a file dropped whole: every row of it went."""
    file = work.sealed.file
    return tuple(
        FileOutcome(
            request_id=request_id,
            kind=file.kind,
            digest_before=file.digest,
            digest_after=None,
            rows_before=file.rows,
            rows_after=0,
            matched=rows,
            keys_destroyed=len(work.sealed.keys),
            size_before_bytes=file.size_bytes,
            is_read_back=False,
        )
        for request_id, rows in matched.items()
        if rows
    )
