"""The mark on fields that hold personal or secret values."""

from dataclasses import field
from typing import Any


def sensitive(*, default: Any = ...) -> Any:
    """Return a dataclass field that never appears in `repr`, and so in no log or error."""
    metadata = {"sensitive": True}
    if default is ...:
        return field(repr=False, metadata=metadata)
    return field(default=default, repr=False, metadata=metadata)
