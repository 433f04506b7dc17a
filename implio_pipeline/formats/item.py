"""The item as the platform accepts it: its shape, its limits, and the checks across fields.

These structs are the only description of an item. Generated from them are the unchecked structs of the fast path
(`unchecked_item.py`), the schema that explains a rejection (`faults.py`), and the columns of a CSV file (`sheet.py`).
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import pycountry
from msgspec import Meta, Struct

from implio_pipeline.domain.ids import ROUNDED, is_rounded

_MAX_ID_CHARACTERS = 1024
_MAX_FILTER_DEPTH = 16
FIRST_SUBMISSION = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_SUBMISSIONS = datetime(9999, 1, 1, tzinfo=UTC)
CURRENCY_NEEDED = "`amount` needs `currency`"
NAME_NEEDED = "`id` or `name` is needed"
TOO_DEEP = f"nested deeper than {_MAX_FILTER_DEPTH} levels"


def _one_of(codes: Iterable[str], description: str) -> Any:
    return Annotated[Literal.__getitem__(tuple(sorted(codes))), Meta(description=description)]


if TYPE_CHECKING:
    Currency: TypeAlias = str
    Country: TypeAlias = str
    Language: TypeAlias = str
else:
    Currency = _one_of((one.alpha_3 for one in pycountry.currencies), "an ISO 4217 currency code")
    Country = _one_of((one.alpha_2 for one in pycountry.countries), "an ISO 3166-1 alpha-2 country code")
    Language = _one_of(
        (one.alpha_2 for one in pycountry.languages if hasattr(one, "alpha_2")), "an ISO 639-1 language code"
    )

Identifier = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=_MAX_ID_CHARACTERS,
        pattern=r"^\s*[^\s\0][^\0]*$",
        description="text that is not blank and has no NUL",
    ),
]
Title = Annotated[str, Meta(max_length=10_000)]
Body = Annotated[str, Meta(max_length=1_000_000)]
Text = Annotated[str, Meta(max_length=4_096)]
Instant = Annotated[datetime, Meta(tz=True, description="an RFC 3339 instant with a zone")]
Decision = Literal["approved", "no decision", "refused"]
Scalar = Text | int | float | bool | None
Custom = dict[Annotated[str, Meta(max_length=1024)], Scalar]


class _Part(Struct, forbid_unknown_fields=True, rename="camel", kw_only=True, gc=False):
    """A part of an item: camelCase names, and no unknown ones."""


class _Verbatim(Struct, rename="camel", kw_only=True, gc=False):
    """A part of a result: camelCase names, and any unknown ones."""


class Price(_Part):
    """An amount of money. An amount needs a currency."""

    amount: float | None = None
    currency: Currency | None = None

    def __post_init__(self) -> None:
        if self.amount is not None and self.currency is None:
            raise ValueError(CURRENCY_NEEDED)


class Named(_Part):
    """A type or a category, with both fields."""

    id: Text
    name: Text


class Media(_Part):
    """An image or a video by its address."""

    src: Text


class Reason(_Verbatim):
    """Why an item was refused."""

    name: Text


class Feedback(_Verbatim):
    """What the author is told: a name, an id, or both."""

    id: Text | None = None
    name: Text | None = None

    def __post_init__(self) -> None:
        if self.id is None and self.name is None:
            raise ValueError(NAME_NEEDED)


class Content(_Part):
    """What the author wrote."""

    title: Title | None = None
    body: Body | None = None
    url: Text | None = None
    price: Price | None = None
    type: Named | None = None
    category: Named | None = None
    images: list[Media] | None = None
    videos: list[Media] | None = None
    status: Text | None = None
    created_at: Text | None = None
    published_at: Text | None = None
    language_expected: Language | None = None
    customer_specific: Custom | None = None


class User(_Part):
    """The customer's end user. Without an `id`, no deletion by user can cover the item."""

    id: Identifier | None = None
    name: Text | None = None
    agent: Text | None = None
    phone_numbers: list[Text] | None = None
    email_addresses: list[Text] | None = None
    customer_specific: Custom | None = None

    def __post_init__(self) -> None:
        if self.id is not None and is_rounded(self.id):
            raise ValueError(ROUNDED)


class Location(_Part):
    """The place of the item or its author."""

    city: Text | None = None
    postal_code: Text | None = None
    region: Text | None = None
    country_code: Country | None = None
    ip_address: Text | None = None
    customer_specific: Custom | None = None


class Result(_Verbatim):
    """What moderation decided. It is kept exactly as it was sent, with its unknown properties."""

    actor_id: Text | None = None
    outcome: Decision | None = None
    reasons: list[Reason] | None = None
    feedback: list[Feedback] | None = None
    matching_filters: list[Any] | None = None

    def __post_init__(self) -> None:
        if self.matching_filters and is_too_deep(self.matching_filters):
            raise ValueError(TOO_DEEP)


class Item(_Part):
    """One submission. `submitted_at` is our optional extension, for items that reached the platform earlier."""

    id: Identifier
    content: Content
    user: User | None = None
    location: Location | None = None
    customer_specific: Custom | None = None
    result: Result | None = None
    submitted_at: Instant | None = None

    def __post_init__(self) -> None:
        if is_rounded(self.id):
            raise ValueError(ROUNDED)


def is_too_deep(value: object, *, levels: int = _MAX_FILTER_DEPTH) -> bool:
    """Return whether a JSON value nests containers deeper than `levels`."""
    level = [value]
    for _ in range(levels + 1):
        containers = [one for one in level if isinstance(one, list | dict)]
        if not containers:
            return False
        level = [child for one in containers for child in (one.values() if isinstance(one, dict) else one)]
    return True


def submission_fault(submitted_at: datetime, *, claimed_at: datetime) -> str | None:
    """Return what is wrong with a submission instant, or `None`."""
    if not FIRST_SUBMISSION <= submitted_at < END_OF_SUBMISSIONS:
        return "outside the years 1970 to 9998"
    return "later than the item's arrival" if submitted_at > claimed_at else None
