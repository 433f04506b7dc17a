"""The result of a deletion request: five counts, from which `sentences` describes every state.

`None` means *not known*. It is never shown as 0 and never counts as success.

>>> RequestOutcome(matched=104, withheld=38, erased=66).left
0
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from implio_pipeline.domain.hold import Withheld


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestOutcome:
    """The counts of one request. Rejected items count as items. An item that two requests cover counts for both."""

    matched: int | None = None
    """Items that the request covers: erased, withheld, and still to be erased."""
    withheld: int | None = None
    """Of those, items that a legal hold keeps; they stay hidden."""
    erased: int | None = None
    """Of those, items that are erased."""
    newer: int | None = None
    """Items that match the request but came in after it. It does not cover them, so they stay."""
    not_reachable: int | None = None
    """Items of the team that this kind of request cannot find, such as items without a user id."""

    @property
    def left(self) -> int | None:
        """Items that are still to be erased; `None` if one of the counts is not known."""
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
        """Whether it is known that the request covers items and that all of them are erased."""
        return bool(self.erased) and self.erased == self.matched and self.withheld == 0

    @property
    def is_everything_withheld(self) -> bool:
        """Whether it is known that legal holds keep everything that the request covers."""
        return bool(self.withheld) and self.withheld == self.matched

    @property
    def adds_up(self) -> bool:
        """Whether no count is negative and the known parts are not more than the whole."""
        counts = (self.matched, self.withheld, self.erased, self.newer, self.not_reachable)
        parts = (self.withheld or 0) + (self.erased or 0)
        is_within = self.matched is None or parts <= self.matched
        return is_within and all(count is None or count >= 0 for count in counts)

    def parts(self) -> dict[str, int | None]:
        """Return the outcome in JSON's types, as receipts, the API, callbacks and commands give it; null is unknown."""
        return {
            "matched": self.matched,
            "erased": self.erased,
            "withheld": self.withheld,
            "newer": self.newer,
            "notReachable": self.not_reachable,
        }

    @classmethod
    def read(cls, parts: Mapping[str, Any] | None) -> "RequestOutcome":
        """Decode what `parts` returned; a value that is missing or not a number is not known."""
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
            erased: Items erased in all passes of the request.
            withheld: What holds keep; `None` if they keep nothing.
            newer: Items that came in after the request; `None` if not counted.
            not_reachable: Items that this kind of request cannot find; `None` if not counted.
        """
        # The parts are exact, so the whole is their sum; an earlier estimate of it is dropped.
        kept = 0 if withheld is None else withheld.items
        return cls(matched=erased + kept, withheld=kept, erased=erased, newer=newer, not_reachable=not_reachable)

    def under_way(self, *, erased: int | None) -> "RequestOutcome":
        """Return the outcome while the request is being carried out; what holds keep is counted again at the end.

        Args:
            erased: Items erased so far; `None` if not counted.
        """
        # More erased than matched: the earlier count is outdated, so the whole is not known any more.
        is_fewer = self.matched is not None and erased is not None and erased > self.matched
        matched = None if is_fewer else self.matched
        return replace(self, matched=matched, withheld=None, erased=erased)


NOT_KNOWN = RequestOutcome()
"""The outcome of a request of which nothing is known yet."""
