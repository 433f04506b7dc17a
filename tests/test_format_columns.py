"""docs/FORMAT.md lists the columns that a message about a CSV file sends its reader to."""

from pathlib import Path

from implio_pipeline.formats.sheet import known_columns

FORMAT = Path(__file__).parent.parent / "docs" / "FORMAT.md"


def test_every_column_of_a_csv_file_is_listed() -> None:
    listed = FORMAT.read_text().partition("## A CSV file of items")[2].partition("\n## ")[0]

    assert not {name for name in known_columns() if f"`{name}`" not in listed}
