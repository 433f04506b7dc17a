"""Legal holds: items that must not be erased for now, although a request may hide them.

Source: GDPR Art. 17(3), exceptions from erasure; Art. 18, restriction of processing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import RequestId, TeamId, sensitive
from implio_pipeline.domain.scope import Coverage, Rule, coverage_of

HoldId = NewType("HoldId", str)


class HoldReason(StrEnum):
    """The reason for keeping items, as receipts state it.

    Source: GDPR Art. 17(3)(b) and (e), Art. 18(1)(c).
    """

    LEGAL_CLAIM = "legal-claim"
    LEGAL_DUTY = "legal-duty"
    INVESTIGATION = "investigation"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """One legal hold. The name of the person who asked for it and the text of its reason are sealed."""

    hold_id: HoldId
    team: TeamId
    rule: Rule
    scope_pseudonym: str
    reason: HoldReason
    placed_at: datetime
    until: datetime
    released_at: datetime | None = None
    sequence: int = 0
    sealed: bytes | None = sensitive(default=None)

    def is_in_force(self, *, now: datetime) -> bool:
        """Return whether the hold forbids erasing now."""
        return self.released_at is None and now < self.until


@dataclass(frozen=True, kw_only=True, slots=True)
class RemainingRows:
    """The rows of one request that a file still contains after an erasure: those that holds cover, and survivors."""

    request_id: RequestId
    rows: int
    by_hold: Mapping[HoldId, int] = field(default_factory=dict)
    survivors: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Withheld:
    """The items of one request that holds keep. `items` counts an item once, `holds` once for each hold on it."""

    items: int
    holds: tuple[tuple[HoldId, str, int], ...]
    """Id, reason code and items of each hold."""

    @classmethod
    def of(cls, request_id: RequestId, spared: Iterable[RemainingRows], holds: Iterable[Hold]) -> "Withheld | None":
        """Return what holds keep of a request, added up over its files; `None` if they keep nothing."""
        theirs = [each for each in spared if each.request_id == request_id and each.rows]
        if not theirs:
            return None
        counts = ((hold, sum(each.by_hold.get(hold.hold_id, 0) for each in theirs)) for hold in holds)
        return cls(
            items=sum(each.rows for each in theirs),
            holds=tuple((hold.hold_id, hold.reason.value, count) for hold, count in counts if count),
        )


def is_wholly_held(file: VaultFile, holds: Iterable[Hold]) -> bool:
    """Return whether one of the holds covers every row of the file."""
    return any(coverage_of(hold.rule, file) is Coverage.EVERYTHING for hold in holds)
