"""Put a file into a watched folder in one step, so that no reader sees half of it."""

import os
from datetime import datetime
from pathlib import Path

_OWNER_ONLY = 0o600
_FOLDER_OWNER_ONLY = 0o700


def drop(path: Path, content: bytes, *, modified_at: datetime | None = None) -> Path:
    """Write the file under a hidden name, set its time, and rename it. Returns its path.

    The file is not fsynced: after a power failure the demo is run again.
    """
    path.parent.mkdir(mode=_FOLDER_OWNER_ONLY, parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    with open(hidden, "wb", opener=lambda name, flags: os.open(name, flags, _OWNER_ONLY)) as file:
        file.write(content)
    if modified_at is not None:
        os.utime(hidden, (modified_at.timestamp(), modified_at.timestamp()))
    return hidden.replace(path)
