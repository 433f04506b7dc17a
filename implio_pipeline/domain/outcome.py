"""What became of the items that a deletion request covers: five counts, from which `sentences` words every state.

`None` means *not known*: it is never shown as 0, and never counts as success.

>>> RequestOutcome(matched=104, withheld=38, erased=66).left
0
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from implio_pipeline.domain.hold import Withheld


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestOutcome:
    """The counts of one request. Rejected items count as items; an item that two requests cover counts for both."""

    matched: int | None = None
    """Items that the request covers: erased, withheld and those still to be erased."""
    withheld: int | None = None
    """Of those, items that a legal hold keeps; they stay hidden."""
    erased: int | None = None
    """Of those, items that are gone."""
    newer: int | None = None
    """Items that the request names and does not cover, since they came in after it; they stay."""
    not_reachable: int | None = None
    """Items of the team that a request of this kind cannot find, such as those without a user id."""

    @property
    def left(self) -> int | None:
        """Items that are still to be erased; `None` when one of the counts is not known."""
        if self.matched is None or self.withheld is None or self.erased is None:
            return None
        return self.matched - self.withheld - self.erased

    @property
    def is_nothing_matched(self) -> bool:
        """Whether it is known that the request covers nothing."""
        return self.matched == 0

    @property
    def is_anything_erased(self) -> bool:
        """Whether it is known that something is erased."""
        return bool(self.erased)

    @property
    def is_everything_erased(self) -> bool:
        """Whether it is known that the request covers something, and that all of it is erased."""
        return bool(self.erased) and self.erased == self.matched and self.withheld == 0

    @property
    def is_everything_withheld(self) -> bool:
        """Whether it is known that legal holds keep all that the request covers."""
        return bool(self.withheld) and self.withheld == self.matched

    @property
    def adds_up(self) -> bool:
        """Whether no count is below 0 and no known part is more than the whole."""
        counts = (self.matched, self.withheld, self.erased, self.newer, self.not_reachable)
        parts = (self.withheld or 0) + (self.erased or 0)
        is_within = self.matched is None or parts <= self.matched
        return is_within and all(count is None or count >= 0 for count in counts)

    def parts(self) -> dict[str, int | None]:
        """Return an outcome as receipts, the API, callbacks and commands give it; null is *not known*."""
        return {
            "matched": self.matched,
            "erased": self.erased,
            "withheld": self.withheld,
            "newer": self.newer,
            "notReachable": self.not_reachable,
        }

    @classmethod
    def read(cls, parts: Mapping[str, Any] | None) -> "RequestOutcome":
        """Return the outcome that `outcome_parts` made; what is missing or no number is not known."""
        names = {"matched": "matched", "erased": "erased", "withheld": "withheld"}
        names |= {"newer": "newer", "not_reachable": "notReachable"}
        found = {field: (parts or {}).get(name) for field, name in names.items()}
        return cls(**{field: value for field, value in found.items() if type(value) is int})

    @classmethod
    def counted(
        cls,
        *,
        erased: int,
        withheld: Withheld | None,
        newer: int | None = None,
        not_reachable: int | None = None,
    ) -> "RequestOutcome":
        """Return the outcome of a request that was carried out as far as legal holds allow.

        Args:
            erased: Items that went in all of its passes.
            withheld: What holds keep; `None` when nothing.
            newer: Items that came in after the request; `None` when they were not counted.
            not_reachable: Items that a request of its kind cannot find; `None` when they were not counted.
        """
        kept = 0 if withheld is None else withheld.items
        return cls(matched=erased + kept, withheld=kept, erased=erased, newer=newer, not_reachable=not_reachable)

    def under_way(self, *, erased: int | None) -> "RequestOutcome":
        """Return the outcome of a request that is being carried out: what holds keep is counted anew at its end.

        Args:
            erased: Items erased so far; `None` when they were not counted.
        """
        is_fewer = self.matched is not None and erased is not None and erased > self.matched
        matched = None if is_fewer else self.matched
        return replace(self, matched=matched, withheld=None, erased=erased)


NOT_KNOWN = RequestOutcome()
"""Nothing is known of the request yet."""
