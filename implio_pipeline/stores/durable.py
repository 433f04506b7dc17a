"""Files and folders that survive a power cut, for their owner alone, whatever the umask is.

A name in a folder is durable only when the folder itself was synchronised; `Path.mkdir(parents=True, mode=…)` gives the
mode to the last folder alone. So folders and small files are made here and nowhere else.

Source: fsync(2), "Calling fsync() does not necessarily ensure that the entry in the directory … has also reached disk";
    mkdir(2).
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each of mode 0700, durable on return."""
    missing = []
    above = folder
    while not above.is_dir() and above != above.parent:
        missing.append(above)
        above = above.parent
    for each in reversed(missing):
        with suppress(FileExistsError):  # `exist_ok` fails where somebody deletes it just then
            each.mkdir(mode=0o700)
        sync_folder(each.parent)


def write_whole(path: Path, content: bytes, *, mode: int = 0o600, unfinished: Path | None = None) -> None:
    """Write a small file, or replace one: whole or not at all, durable on return.

    Args:
        path: The file.
        content: All of it.
        mode: Of a new file.
        unfinished: Its name while it is written, in the same folder; one that nobody else has when `None`.
    """
    unfinished = unfinished or path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
