"""Who counts as one person: a second account, made by oneself, is no second person.

For as long as the window of the cap lasts, whoever was made an administrator counts as one person with whoever made
them one. Members may be let in by members, so these ties are followed from one to the next. Who runs the installation
lets many in who have nothing to do with each other: those ties are not followed further.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from implio_pipeline.domain.ids import TeamId


@dataclass(frozen=True, kw_only=True, slots=True)
class Introduction:
    """Somebody made somebody an administrator of a team; both as keyed pseudonyms."""

    team: TeamId
    who: str
    by: str
    at: datetime
    is_by_operator: bool = False
    """Whether it was done at the command line."""


def same_person(who: str, introductions: Iterable[Introduction]) -> frozenset[str]:
    """Return everybody who counts as one person with somebody, themselves included.

    Args:
        who: Keyed pseudonym of a person.
        introductions: Those of the team within the window.
    """
    ties = [each for each in introductions if each.who != each.by]
    found, new = {who}, {who}
    while new:
        near = {tie.by for tie in ties if tie.who in new and not tie.is_by_operator}
        near |= {tie.who for tie in ties if tie.by in new and not tie.is_by_operator}
        new = near - found
        found |= new
    by_operator = [tie for tie in ties if tie.is_by_operator]
    return frozenset(
        found
        | {tie.by for tie in by_operator if tie.who in found}
        | {tie.who for tie in by_operator if tie.by in found}
    )
