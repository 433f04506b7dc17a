"""Column types that store domain values in the same way on every database.

Reading a value that our code could not have written raises `CatalogTampered` and no other exception.
"""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import JSON, BigInteger, Dialect, Integer, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator

from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.hold import Withheld
from implio_pipeline.domain.outcome import RequestOutcome

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD_LENGTH = 32
_MICROSECOND = timedelta(microseconds=1)
_Word = TypeVar("_Word", bound=StrEnum)

Sequence = BigInteger().with_variant(Integer, "sqlite")
"""A growing 64-bit number. SQLite generates it only in a column of type INTEGER."""


class Text(String):
    """Text that every database compares and sorts by code point, as Python and SQLite do.

    On PostgreSQL the order of texts is otherwise that of the database's language, and may change with a new version of
    the operating system.
    """


@compiles(Text, "postgresql")
def _by_code_point(kind: Text, compiler: Any, **known: Any) -> str:
    return f'{compiler.visit_string(kind, **known)} COLLATE "C"'


class Instant(TypeDecorator[datetime]):
    """A UTC instant as whole microseconds since 1970, exact. An instant without a time zone is a `TypeError`."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return the microseconds of an instant."""
        del dialect
        return None if value is None else (value - EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the instant of a number of microseconds."""
        del dialect
        try:
            return None if value is None else EPOCH + timedelta(microseconds=value)
        except (TypeError, OverflowError):
            raise CatalogTampered("an instant in the catalog cannot be read") from None


class Day(TypeDecorator[date]):
    """A UTC day as `YYYY-MM-DD`: its text sorts like the day."""

    impl = Text(10)
    cache_ok = True

    def process_bind_param(self, value: date | None, dialect: Dialect) -> str | None:
        """Return the text of a day."""
        del dialect
        return None if value is None else value.isoformat()

    def process_result_value(self, value: str | None, dialect: Dialect) -> date | None:
        """Return the day of a text."""
        del dialect
        try:
            return None if value is None else date.fromisoformat(value)
        except (TypeError, ValueError):
            raise CatalogTampered("a day in the catalog cannot be read") from None


class WithheldItems(TypeDecorator[Withheld]):
    """What legal holds spared of a request, as JSON."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Withheld | None, dialect: Dialect) -> dict[str, Any] | None:
        """Return the counts as JSON values."""
        del dialect
        return None if value is None else {"items": value.items, "holds": [list(each) for each in value.holds]}

    def process_result_value(self, value: dict[str, Any] | None, dialect: Dialect) -> Withheld | None:
        """Return the counts of JSON values."""
        del dialect
        try:
            return None if value is None else Withheld(items=value["items"], holds=tuple(map(tuple, value["holds"])))
        except (TypeError, KeyError):
            raise CatalogTampered("what legal holds withheld cannot be read in the catalog") from None


class Counts(TypeDecorator[RequestOutcome]):
    """The outcome of a request, as JSON. An unknown number is null."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: RequestOutcome | None, dialect: Dialect) -> dict[str, int | None] | None:
        """Return the counts as JSON values."""
        del dialect
        return None if value is None else value.parts()

    def process_result_value(self, value: dict[str, Any] | None, dialect: Dialect) -> RequestOutcome:
        """Return the counts of JSON values."""
        del dialect
        try:
            return RequestOutcome.read(value)
        except (TypeError, KeyError, AttributeError, ValueError):
            raise CatalogTampered("the outcome of a request cannot be read in the catalog") from None


class Word(TypeDecorator[_Word], Generic[_Word]):
    """A member of a `StrEnum`, as its text."""

    impl = Text(_WORD_LENGTH)
    cache_ok = True

    def __init__(self, words: type[_Word]) -> None:
        super().__init__()
        # PostgreSQL refuses a longer text, SQLite stores it.
        too_long = [word for word in words if len(word) > _WORD_LENGTH]
        assert not too_long, f"make _WORD_LENGTH longer for {too_long}"  # noqa: S101
        self.words = words

    def process_bind_param(self, value: _Word | None, dialect: Dialect) -> str | None:
        """Return the text of a member."""
        del dialect
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> _Word | None:
        """Return the member of a text.

        Raises:
            CatalogTampered: the enumeration has no such member.
        """
        del dialect
        try:
            return None if value is None else self.words(value)
        except ValueError:
            raise CatalogTampered(f"the catalog has an unknown {self.words.__name__}") from None
