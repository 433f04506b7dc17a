"""The register of columns: the class, the type and the erasure rule of every column in the lake.

A column that is not in this register cannot be written. No column can be added without a class and an erasure rule.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from implio_pipeline.domain.ids import ColumnClass, FileKind

OPERATIONAL, CONTENT, IDENTITY = ColumnClass.OPERATIONAL, ColumnClass.CONTENT, ColumnClass.IDENTITY


class ColumnType(StrEnum):
    """The physical type of a column's values."""

    TEXT = "text"
    WORD = "word"
    """Text with few distinct values; stored with a dictionary."""
    TEXTS = "texts"
    NUMBER = "number"
    KEY = "key"
    INSTANT = "instant"


class ErasureRule(StrEnum):
    """How a column's values are erased."""

    WITH_ITEM = "with-item"
    """The value is erased with its row. No copy of it exists elsewhere."""
    WITH_ITEM_AND_QUEUE = "with-item-and-queue"
    """The value is erased with its row, and removed from the moderation queue in the same commit."""
    WITH_ITEM_AND_VERDICT = "with-item-and-verdict"
    """The value is erased with its row. A verdict with a copy of it is removed when the request is accepted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One leaf column of a vault file."""

    name: str
    type: ColumnType
    column_class: ColumnClass
    meaning: str
    """The meaning of a value, in one sentence; `docs/FORMAT.md` and Dagster's catalog show it."""
    erasure: ErasureRule = ErasureRule.WITH_ITEM


def _columns(column_class: ColumnClass, described: dict[str, tuple[ColumnType, str]]) -> tuple[Column, ...]:
    return tuple(
        Column(name=name, type=kind, column_class=column_class, meaning=meaning)
        for name, (kind, meaning) in described.items()
    )


_T, _W, _L, _N = ColumnType.TEXT, ColumnType.WORD, ColumnType.TEXTS, ColumnType.NUMBER


def _queued(name: str, kind: ColumnType, meaning: str) -> Column:
    rule = ErasureRule.WITH_ITEM_AND_QUEUE
    return Column(name=name, type=kind, column_class=OPERATIONAL, meaning=meaning, erasure=rule)


def _decided(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Set the erasure rule of the columns that a verdict may replace."""
    rule = ErasureRule.WITH_ITEM_AND_VERDICT
    return tuple(replace(each, erasure=rule) if each.name in DECISION_COLUMNS else each for each in columns)


DECISION_COLUMNS = ("outcome", "reasons", "feedback", "actor_id")
"""The columns of an item that a verdict may replace. All other columns stay equal, value by value."""

ITEM_COLUMNS: tuple[Column, ...] = _decided(
    (
        _queued("task_id", _T, "Our id of the item in moderation; made when it came in."),
        _queued("user_key", ColumnType.KEY, "A keyed pseudonym of the user id; empty where no user id was sent."),
        _queued("submitted_at", ColumnType.INSTANT, "When the item was submitted; its UTC day is its partition."),
        *_columns(
            OPERATIONAL,
            {
                "item_id": (_T, "The customer's own id of the item, as it was sent."),
                "batch_id": (_W, "The id of the landing file or post that the item came in."),
                "outcome": (
                    _W,
                    "What moderation decided: `approved`, `refused` or another word; empty while undecided.",
                ),
                "reasons": (_L, "The names of the reasons for the outcome."),
                "feedback": (_L, "The names of the feedback that was given to the user."),
                "matching_filters": (_L, "The names of the moderation filters that matched the item."),
                "category_id": (_W, "The id of the item's category."),
                "category_name": (_W, "The name of the item's category."),
                "type_id": (_W, "The id of the kind of advert, such as for sale or wanted."),
                "type_name": (_W, "The name of the kind of advert."),
                "price_amount": (_N, "The price asked, as a number."),
                "price_currency": (_W, "The currency of the price, as three letters."),
                "status": (_W, "The item's state on the customer's site."),
                "language_expected": (_W, "The language that the text should be in."),
                "created_at": (_T, "When the item was made on the customer's site, as it was sent."),
                "published_at": (_T, "When the item was published on the customer's site, as it was sent."),
            },
        ),
        *_columns(
            CONTENT,
            {
                "title": (_T, "The item's title."),
                "body": (_T, "The item's text."),
                "url": (_T, "Where the item is on the customer's site."),
                "images": (_L, "The addresses of the item's images."),
                "videos": (_L, "The addresses of the item's videos."),
                "content_custom": (_T, "The customer's own fields of the content, as JSON."),
                "custom": (_T, "The customer's own fields of the item, as JSON."),
            },
        ),
        *_columns(
            IDENTITY,
            {
                "user_id": (_T, "The customer's own id of the user who wrote the item."),
                "user_name": (_T, "The user's name."),
                "user_agent": (_W, "The browser or app that the user wrote it with."),
                "phone_numbers": (_L, "The user's phone numbers."),
                "email_addresses": (_L, "The user's e-mail addresses."),
                "user_custom": (_T, "The customer's own fields of the user, as JSON."),
                "city": (_W, "The city that the item is in."),
                "postal_code": (_W, "The postal code that the item is in."),
                "region": (_W, "The region that the item is in."),
                "country_code": (_W, "The country that the item is in, as two letters."),
                "ip_address": (_T, "The address that the user wrote it from."),
                "location_custom": (_T, "The customer's own fields of the location, as JSON."),
                "actor_id": (_W, "The id of the moderator or program that decided."),
                "result": (_T, "The item's result as it was sent: the text of its JSON, to the character."),
                "unknown_properties": (
                    _T,
                    "Properties that this format does not define, by JSON pointer, as JSON.",
                ),
            },
        ),
    )
)

REJECTED_COLUMNS: tuple[Column, ...] = (
    *_columns(
        OPERATIONAL,
        {
            "task_id": (_T, "Our id of the rejected item."),
            "user_key": (ColumnType.KEY, "A keyed pseudonym of the user id at its usual place."),
            "other_keys": (
                _T,
                "Pseudonyms of further ids that the text may contain: hexadecimal, with blanks between.",
            ),
            "submitted_at": (ColumnType.INSTANT, "When it was submitted; its UTC day is its partition."),
            "outcome": (_W, "The word `rejected`."),
            "position": (_N, "Its place in the file or post that it came in."),
            "reason": (_W, "The code of what is wrong with it."),
        },
    ),
    *_columns(CONTENT, {"errors": (_T, "What is wrong with it, field by field.")}),
    *_columns(IDENTITY, {"original_ad": (_T, "The item as it was sent.")}),
)
"""An item that failed validation. It is kept so that nothing is lost, and erasures find it like any other item.

`user_key` is made from the id at its usual place. `other_keys` are made from further ids found in the text:
hexadecimal digits, separated by blanks. `outcome` is always `rejected`.
"""

RULE_COLUMNS: tuple[str, ...] = ("task_id", "user_key", "submitted_at", "outcome")
"""The columns that erasure rules use. Every kind of vault file has them."""
OTHER_KEYS = "other_keys"


def rule_columns(kind: FileKind) -> list[str]:
    """Return the columns that erasure rules use in a kind of vault file."""
    return [*RULE_COLUMNS, OTHER_KEYS] if kind is FileKind.REJECTED else list(RULE_COLUMNS)


def columns_of(kind: FileKind) -> tuple[Column, ...]:
    """Return the columns of a kind of vault file, in the order in which they are written."""
    return ITEM_COLUMNS if kind is FileKind.ITEMS else REJECTED_COLUMNS


def columns_by_class(kind: FileKind) -> dict[ColumnClass, tuple[str, ...]]:
    """Return the names of the columns of each class."""
    return {
        column_class: tuple(column.name for column in columns_of(kind) if column.column_class is column_class)
        for column_class in ColumnClass
    }
