"""docs/FORMAT.md lists the columns of a CSV file, and each column of a vault file with its meaning."""

from pathlib import Path

import pytest

from implio_pipeline.domain.columns import ITEM_COLUMNS, REJECTED_COLUMNS, Column
from implio_pipeline.formats.sheet import known_columns

FORMAT = Path(__file__).parent.parent / "docs" / "FORMAT.md"


def test_every_column_of_a_csv_file_is_listed() -> None:
    listed = FORMAT.read_text().partition("## A CSV file of items")[2].partition("\n## ")[0]

    assert not {name for name in known_columns() if f"`{name}`" not in listed}


@pytest.mark.parametrize(("heading", "columns"), [("an item", ITEM_COLUMNS), ("a rejected item", REJECTED_COLUMNS)])
def test_every_column_has_the_meaning_that_the_code_gives_it(heading: str, columns: tuple[Column, ...]) -> None:
    section = FORMAT.read_text().partition(f"### Columns of {heading}\n")[2].partition("\n\n")[0]

    assert section.splitlines()[2:] == [
        f"| `{each.name}` | {each.column_class.value} | {each.meaning} |" for each in columns
    ]
