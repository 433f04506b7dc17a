"""The receipt of a completed request: what was erased and how it was proven, without personal data.

Rules:
* A receipt states only counts and digests that were measured while the request was carried out.
* Field names and defaults are part of the signed format: see `domain/ledger_codec.py` before changing them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from implio_pipeline.domain.epochs import KeysState
from implio_pipeline.domain.file_changes import FileOutcome
from implio_pipeline.domain.hold import HoldId
from implio_pipeline.domain.ids import Channel, FileKind, Region, RequestKind
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.statements import AboutRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasedCounts:
    """What was erased, in counts."""

    items: int
    rejected_items: int
    queue_entries: int
    files_rewritten: int
    files_dropped: int
    keys_destroyed: int
    bytes_shredded: int

    @property
    def files(self) -> int:
        """Files that were rewritten or dropped."""
        return self.files_rewritten + self.files_dropped


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was read back after the erasure."""

    survivors: int
    files_read_back: int
    rows_read_back: int
    kept_rows_unchanged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptFile:
    """One file that had covered rows. Digests are `sha256:` and hexadecimal; `after` is `None` for a dropped file."""

    before: str
    after: str | None
    rows_before: int
    rows_after: int
    matched: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingPart:
    """From when the person's new items stay out, and until when if that was lifted before the receipt."""

    from_: datetime
    lifted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldPart:
    """What one legal hold keeps; `reason` is its code."""

    hold_id: HoldId
    reason: str
    items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WithheldPart:
    """What legal holds keep. `items` counts an item once, `holds` once for each hold on it."""

    items: int
    holds: tuple[HeldPart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NotReachable:
    """Items that no deletion by user can find."""

    items_without_user_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LogHead:
    """The number of lines in the ledger before this receipt, and the digest of the last line."""

    size: int
    head: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt(AboutRequest):
    """What an erasure did. Every receipt is one of the three types below."""

    kind: RequestKind
    region: Region
    channel: Channel
    scope: str
    """Keyed pseudonym of the scope."""
    received_at: datetime
    accepted_at: datetime
    hidden_at: datetime
    checked_at: datetime
    due_at: datetime
    outcome: RequestOutcome
    erased: ErasedCounts
    verification: Verification
    files: tuple[ReceiptFile, ...]
    not_reachable: NotReachable
    versions: Mapping[str, str]
    erased_at: datetime | None = None
    standing: StandingPart | None = None
    policy: str | None = None
    withheld: WithheldPart | None = None
    keys_state: KeysState = KeysState.DESTROYED
    """What has become of the keys that `erased` counts."""
    log: LogHead | None = None
    """Added by the ledger when it signs the receipt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeReceipt(Receipt):
    """Everything that the request covers is erased."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartialReceipt(Receipt):
    """Everything is erased except the items that legal holds keep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RepeatedReceipt(Receipt):
    """Items that a backup brought back are erased again. The receipt of the first erasure remains valid."""


RECEIPTS = (WholeReceipt, RepeatedReceipt, PartialReceipt)
"""Every type of receipt."""


def receipt_of(
    request: Request,
    outcomes: Sequence[FileOutcome],
    *,
    type_: type[Receipt] = WholeReceipt,
    region: Region,
    unreachable_items: int,
    versions: Mapping[str, str],
    keys_state: KeysState = KeysState.DESTROYED,
) -> Receipt:
    """Return the receipt of a request.

    Args:
        request: The request; all of its files are verified and their old keys deleted.
        outcomes: What happened to each file that had covered rows.
        type_: The type of receipt.
        region: The region of the team's items.
        unreachable_items: Items of the team without a user id, which no deletion by user can find.
        versions: The versions of the software that carried out the erasure.
        keys_state: What has become of the keys of the erased items.

    Raises:
        ValueError: the request was not carried out.
    """
    # A receipt is evidence (GDPR Art. 5(2)): it exists only after the last file was checked.
    if request.checked_at is None:
        raise ValueError("a request that was not carried out has no receipt")
    return type_(
        request_id=request.request_id,
        kind=request.kind,
        team=request.team,
        region=region,
        channel=request.channel,
        scope=request.scope_pseudonym,
        received_at=request.received_at,
        accepted_at=request.accepted_at,
        hidden_at=request.accepted_at,
        checked_at=request.checked_at,
        due_at=request.due_at,
        outcome=request.outcome,
        erased=_erased(request, outcomes),
        verification=Verification(
            survivors=0,
            files_read_back=sum(outcome.is_read_back for outcome in outcomes),
            rows_read_back=sum(outcome.rows_after for outcome in outcomes),
            kept_rows_unchanged=True,
        ),
        files=tuple(_file(outcome) for outcome in outcomes),
        not_reachable=NotReachable(items_without_user_id=unreachable_items),
        versions=versions,
        erased_at=request.erased_at,
        standing=StandingPart(from_=request.accepted_at, lifted_at=request.standing_lifted_at)
        if request.is_standing
        else None,
        policy=request.policy,
        withheld=_withheld(request),
        keys_state=keys_state,
    )


def _erased(request: Request, outcomes: Sequence[FileOutcome]) -> ErasedCounts:
    return ErasedCounts(
        items=sum(outcome.matched for outcome in outcomes if outcome.kind is FileKind.ITEMS),
        rejected_items=sum(outcome.matched for outcome in outcomes if outcome.kind is FileKind.REJECTED),
        queue_entries=request.queue_removed,
        files_rewritten=sum(outcome.digest_after is not None for outcome in outcomes),
        files_dropped=sum(outcome.digest_after is None for outcome in outcomes),
        keys_destroyed=sum(outcome.keys_destroyed for outcome in outcomes),
        bytes_shredded=sum(outcome.size_before_bytes for outcome in outcomes),
    )


def _file(outcome: FileOutcome) -> ReceiptFile:
    return ReceiptFile(
        before=f"sha256:{outcome.digest_before}",
        after=None if outcome.digest_after is None else f"sha256:{outcome.digest_after}",
        rows_before=outcome.rows_before,
        rows_after=outcome.rows_after,
        matched=outcome.matched,
    )


def _withheld(request: Request) -> WithheldPart | None:
    if request.withheld is None:
        return None
    holds = (HeldPart(hold_id=hold_id, reason=reason, items=items) for hold_id, reason, items in request.withheld.holds)
    return WithheldPart(items=request.withheld.items, holds=tuple(holds))
