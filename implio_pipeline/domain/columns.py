"""Every column of the lake: its class, its type, and the rule by which it is erased.

A column that is not here cannot be written; one without a class or a rule cannot be here.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from implio_pipeline.domain.words import ColumnClass, FileKind

OPERATIONAL, CONTENT, IDENTITY = ColumnClass.OPERATIONAL, ColumnClass.CONTENT, ColumnClass.IDENTITY


class ColumnType(StrEnum):
    """The physical kinds of value a column holds."""

    TEXT = "text"
    WORD = "word"
    """Text of few distinct values; kept in a dictionary."""
    TEXTS = "texts"
    NUMBER = "number"
    KEY = "key"
    INSTANT = "instant"


class ErasureRule(StrEnum):
    """How a column's values leave the lake."""

    WITH_ITEM = "with-item"
    """The value goes when its row goes; it is written nowhere else."""
    WITH_ITEM_AND_QUEUE = "with-item-and-queue"
    """The value goes when its row goes, and out of the moderation queue in the same commit."""
    WITH_ITEM_AND_VERDICT = "with-item-and-verdict"
    """The value goes when its row goes; a verdict that holds it too goes when the request is accepted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One leaf column of a vault file."""

    name: str
    type: ColumnType
    column_class: ColumnClass
    erasure: ErasureRule = ErasureRule.WITH_ITEM


def _columns(column_class: ColumnClass, names: dict[str, ColumnType]) -> tuple[Column, ...]:
    return tuple(Column(name=name, type=kind, column_class=column_class) for name, kind in names.items())


_T, _W, _L, _N = ColumnType.TEXT, ColumnType.WORD, ColumnType.TEXTS, ColumnType.NUMBER


def _queued(name: str, kind: ColumnType) -> Column:
    return Column(name=name, type=kind, column_class=OPERATIONAL, erasure=ErasureRule.WITH_ITEM_AND_QUEUE)


def _decided(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Return columns, with the rule of those that a verdict may replace."""
    rule = ErasureRule.WITH_ITEM_AND_VERDICT
    return tuple(replace(each, erasure=rule) if each.name in SETTLED_COLUMNS else each for each in columns)


SETTLED_COLUMNS = ("outcome", "reasons", "feedback", "actor_id")
"""The columns of an item that a verdict may replace; every other stays, value by value."""

ITEM_COLUMNS: tuple[Column, ...] = _decided(
    (
        _queued("task_id", _T),
        _queued("user_key", ColumnType.KEY),
        _queued("submitted_at", ColumnType.INSTANT),
        *_columns(
            OPERATIONAL,
            {
                "item_id": _T,
                "batch_id": _W,
                "outcome": _W,
                "reasons": _L,
                "feedback": _L,
                "matching_filters": _L,
                "category_id": _W,
                "category_name": _W,
                "type_id": _W,
                "type_name": _W,
                "price_amount": _N,
                "price_currency": _W,
                "status": _W,
                "language_expected": _W,
                "created_at": _T,
                "published_at": _T,
            },
        ),
        *_columns(
            CONTENT,
            {"title": _T, "body": _T, "url": _T, "images": _L, "videos": _L, "content_custom": _T, "custom": _T},
        ),
        *_columns(
            IDENTITY,
            {
                "user_id": _T,
                "user_name": _T,
                "user_agent": _W,
                "phone_numbers": _L,
                "email_addresses": _L,
                "user_custom": _T,
                "city": _W,
                "postal_code": _W,
                "region": _W,
                "country_code": _W,
                "ip_address": _T,
                "location_custom": _T,
                "actor_id": _W,
                "result": _T,
                "unknown_properties": _T,
            },
        ),
    )
)

REJECTED_COLUMNS: tuple[Column, ...] = (
    Column(name="task_id", type=_T, column_class=OPERATIONAL),
    Column(name="user_key", type=ColumnType.KEY, column_class=OPERATIONAL),
    Column(name="other_keys", type=_T, column_class=OPERATIONAL),
    Column(name="submitted_at", type=ColumnType.INSTANT, column_class=OPERATIONAL),
    Column(name="outcome", type=_W, column_class=OPERATIONAL),
    Column(name="position", type=_N, column_class=OPERATIONAL),
    Column(name="reason", type=_W, column_class=OPERATIONAL),
    Column(name="errors", type=_T, column_class=CONTENT),
    Column(name="original_ad", type=_T, column_class=IDENTITY),
)
"""An item that failed validation, kept so that nothing is lost; every erasure reaches it like an item.

`user_key` is of the id at the place meant for it; `other_keys` are of further ids that the text may be of: hexadecimal
digits, with blanks between keys. `outcome` is the word `rejected`.
"""

RULE_COLUMNS: tuple[str, ...] = ("task_id", "user_key", "submitted_at", "outcome")
"""The columns erasure rules look at; every kind of vault file has them."""
OTHER_KEYS = "other_keys"


def rule_columns(kind: FileKind) -> list[str]:
    """Return the columns that erasure rules look at in a kind of vault file."""
    return [*RULE_COLUMNS, OTHER_KEYS] if kind is FileKind.REJECTED else list(RULE_COLUMNS)


def columns_of(kind: FileKind) -> tuple[Column, ...]:
    """Return the columns of a kind of vault file, in the order they are written."""
    return ITEM_COLUMNS if kind is FileKind.ITEMS else REJECTED_COLUMNS


def columns_by_class(kind: FileKind) -> dict[ColumnClass, tuple[str, ...]]:
    """Return the names of each class's columns."""
    return {
        column_class: tuple(column.name for column in columns_of(kind) if column.column_class is column_class)
        for column_class in ColumnClass
    }
