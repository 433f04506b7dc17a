"""Tables on terminals of any width."""

import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from implio_pipeline.cli.tables import table

LETTERS = st.text("abcdefgh-_", min_size=1, max_size=34)
CELLS = st.one_of(st.lists(LETTERS, min_size=1, max_size=6).map(" ".join), st.integers(0, 10**9), st.none())


def printed(shown, *, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(shown)
    return out.getvalue()


@given(st.data(), st.integers(72, 160), st.integers(1, 10), st.integers(1, 4))
def test_no_word_is_broken_in_a_table_of_any_width_and_nothing_goes_but_spare_columns(data, width, count, rows):
    columns = [f"column{place}" for place in range(count)]
    cells = [[data.draw(CELLS) for _ in columns] for _ in range(rows)]
    spare = data.draw(st.lists(st.sampled_from(columns), unique=True))

    told = printed(table(columns, cells, spare=spare), width=width)

    gone = {
        name for line in told.splitlines() if line.startswith("Too narrow for: ") for name in columns if name in line
    }
    assert gone <= set(spare)
    assert all(len(line) <= width for line in told.splitlines())
    words = set(told.split())
    for row in cells:
        for name, value in zip(columns, row, strict=True):
            if isinstance(value, str) and name not in gone:
                assert set(value.split()) <= words, (name, value)


def test_a_size_stays_on_one_line():
    shown = table(("id", "reason", "size"), [["7" * 32, "it is a zip archive or a workbook, not text", "52.9 kB"]])

    assert "52.9 kB" in printed(shown, width=60)


def test_tables_are_made_in_one_place():
    folder = Path(__file__).parents[2] / "implio_pipeline"

    makers = {path.name for path in folder.rglob("*.py") if "rich.table" in path.read_text(encoding="utf-8")}

    assert makers == {"tables.py"}, "call `table` of cli/tables.py, which breaks no word"
