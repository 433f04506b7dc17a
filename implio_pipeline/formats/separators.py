"""What separates the cells of a sheet that people saved by hand: commas, or what their spreadsheet takes instead."""

from collections.abc import Sequence


def lacks_commas(header: Sequence[str]) -> bool:
    """Tell whether a header read by commas came out as one cell, since semicolons or tabs stand in their place."""
    return len(header) == 1 and not {";", "\t"}.isdisjoint(header[0])
