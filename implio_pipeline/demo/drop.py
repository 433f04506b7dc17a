"""Puts a file into a watched folder so that nobody ever sees half of it."""

import os
from datetime import datetime
from pathlib import Path

_OWNER_ONLY = 0o600
_FOLDER_OWNER_ONLY = 0o700


def drop(path: Path, content: bytes, *, modified_at: datetime | None = None) -> Path:
    """Write the file under a name with a leading dot, set its time, then rename it; return its path.

    Not fsynced: a demo that loses power is run again.
    """
    path.parent.mkdir(mode=_FOLDER_OWNER_ONLY, parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    with open(hidden, "wb", opener=_open_private) as file:
        file.write(content)
    if modified_at is not None:
        os.utime(hidden, (modified_at.timestamp(), modified_at.timestamp()))
    return hidden.replace(path)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, _OWNER_ONLY)
