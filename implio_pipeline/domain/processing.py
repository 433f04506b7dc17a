"""The record of processing activities: what is processed, why, where, by whom and for how long.

It is made from the live configuration and from counts. The only people it names are those responsible for it.

Source: GDPR Art. 30(1) and (2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from implio_pipeline.domain.columns import ErasureRule, columns_of
from implio_pipeline.domain.ids import ColumnClass, FileKind
from implio_pipeline.domain.residency import Place, Processor, is_in_eea

PURPOSES = (
    "Moderating what the teams' end users publish: keeping items, their queue and the decisions on them",
    "Carrying out the rights of the people concerned: erasure, access, and the proof of both",
    "Keeping items no longer than each team's policy allows",
    "Securing the processing and accounting for it: grants, the log of reads, the signed ledger",
)
SUBJECTS = (
    "End users of the teams' customers: people who publish items, and people named in items",
    (
        "Moderators and members of teams, who decide on items and ask for erasure; there is no request by moderator: "
        "a decision is erased with its item, and a moderator who asks turns to the team, which is the controller"
    ),
    "Operators: employees who run this installation and may read items within a grant",
)
_CLASS_WORDS: Mapping[ColumnClass, str] = {
    ColumnClass.OPERATIONAL: "Ids, times, category, price, outcome, and a keyed pseudonym of the user",
    ColumnClass.CONTENT: "What was published: title, text, addresses of images, free fields of the customer",
    ColumnClass.IDENTITY: "Who published it: user id, names, e-mail addresses, telephone numbers, place, IP address",
}
_RULE_WORDS: Mapping[ErasureRule, str] = {
    ErasureRule.WITH_ITEM: "with the item",
    ErasureRule.WITH_ITEM_AND_QUEUE: "with the item, and out of the moderation queue",
    ErasureRule.WITH_ITEM_AND_VERDICT: "with the item, and with a moderator's verdict that holds it",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Controller:
    """The controller, its contact and its data protection officer; empty where the settings do not say it."""

    name: str = ""
    contact: str = ""
    dpo: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Category:
    """One class of personal data."""

    name: str
    words: str
    columns: tuple[tuple[str, str], ...]
    """The name of each column, and how its values are erased."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetainedData:
    """Data that is kept besides items: what it is, in which form, and for how long."""

    what: str
    form: str
    how_long: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosting:
    """One region: its location, its host, and what that means for transfers to third countries."""

    region: str
    kept_in: str
    processor: str
    role: str
    location: str
    is_transfer: bool
    """Whether items are stored outside the European Economic Area."""
    safeguards: str

    @classmethod
    def of(cls, place: Place, processors: tuple[Processor, ...]) -> "Hosting":
        """Return how a region is hosted."""
        host = place.host(processors)
        return cls(
            region=place.region,
            kept_in=place.kept_in.value,
            processor=place.processor,
            role="" if host is None else host.role,
            location=place.location,
            is_transfer=not is_in_eea(place.location),
            safeguards="" if host is None else host.safeguards,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamRecord:
    """One team, in counts."""

    team: str
    region: str
    policy: str
    items: int
    unreachable: int
    """Items without a user id, which no deletion by user can find."""
    rejected: int
    queued: int
    holds: int
    grants: int
    grants_identity: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityRecord:
    """The complete record."""

    made_at: datetime
    controller: Controller
    hosting: tuple[Hosting, ...]
    processors: tuple[Processor, ...]
    teams: tuple[TeamRecord, ...]
    kept: tuple[RetainedData, ...]
    measures: tuple[tuple[str, str], ...]
    """Each measure and its present state."""
    gaps: tuple[str, ...] = field(default=())
    """What is missing in the record or needs attention."""


def categories() -> tuple[_Category, ...]:
    """Return the classes of personal data with their columns, from the register of columns."""
    found: dict[ColumnClass, dict[str, str]] = {each: {} for each in ColumnClass}
    for kind in FileKind:
        for column in columns_of(kind):
            found[column.column_class].setdefault(column.name, _RULE_WORDS[column.erasure])  # items first
    return tuple(
        _Category(name=each.value, words=_CLASS_WORDS[each], columns=tuple(columns.items()))
        for each, columns in found.items()
    )


def gaps_of(controller: Controller, hosting: tuple[Hosting, ...]) -> tuple[str, ...]:
    """Return what is missing for a complete record."""
    lacking = {
        "The controller's name: [controller] name": not controller.name,
        "The controller's contact: [controller] contact": not controller.contact,
        "The data protection officer's contact, if one is designated: [controller] dpo": not controller.dpo,
        "The country of this machine: “on site” does not name one": any(each.location == "on site" for each in hosting),
        "The safeguards of a transfer outside the European Economic Area: [[processors]] safeguards": any(
            each.is_transfer and not each.safeguards for each in hosting
        ),
    }
    return tuple(words for words, is_lacking in lacking.items() if is_lacking)
