"""Make folders and files that survive a power cut and that only their owner can read, whatever the umask is.

Rules:

* A name is durable only after its folder was synchronised, so every function here does that too.
* Folders have mode 0700, and files 0600 unless a caller asks for another mode. `Path.mkdir(parents=True, mode=…)` would
  give the mode to the last folder only.
* Other modules replace files only through this one. A folder or a key that must not replace another is made by its own
  module.

Source: fsync(2), "Calling fsync() does not necessarily ensure that the entry in the directory … has also reached disk";
    mkdir(2).
"""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from itertools import chain
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

OPEN_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags that open a folder and refuse a link in its place."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, each of mode 0700, durable on return."""
    missing = []
    above = folder
    while not above.is_dir() and above != above.parent:
        missing.append(above)
        above = above.parent
    for each in reversed(missing):
        with suppress(FileExistsError):  # `exist_ok` fails when somebody deletes the folder at that moment
            each.mkdir(mode=0o700)
        sync_folder(each.parent)


def write_whole(path: Path, content: bytes | BinaryIO, *, mode: int = 0o600, unfinished: Path | None = None) -> None:
    """Write or replace a file atomically, durable on return.

    Args:
        path: The file.
        content: All of its bytes, or a file that has them.
        mode: The mode of a new file.
        unfinished: The path of the file until it is complete, in the same folder. `None` means a random name.
    """
    unfinished = unfinished or path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(unfinished, _NEW_FILE, mode)
    try:
        _write_and_close(handle, content)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_beside(folder: Path, name: str, content: bytes, *, others: Iterable[str] | None = None) -> None:
    """Write a small file atomically into a folder that others can write to, durable on return.

    All steps use one handle of the folder, so that nobody can replace the folder by a link between two steps.

    Args:
        folder: The folder.
        name: The name of the file. A file of that name is replaced, unless `others` is given.
        content: All of its bytes.
        others: Further names. When given, the file gets the first name that is free, and replaces nothing.

    Raises:
        OSError: the folder is a link or does not exist.
    """
    folder_fd = os.open(folder, OPEN_FOLDER)
    unfinished = f".{secrets.token_hex(8)}.tmp"
    try:
        _write_and_close(os.open(unfinished, _NEW_FILE, 0o600, dir_fd=folder_fd), content)
        if others is not None:
            name = next(free for free in chain([name], others) if _is_reserved(free, folder_fd))
        os.rename(unfinished, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_and_close(handle: int, content: bytes | BinaryIO) -> None:
    with os.fdopen(handle, "wb") as file:
        copyfileobj(BytesIO(content) if isinstance(content, bytes) else content, file)
        file.flush()
        os.fsync(handle)


def _is_reserved(name: str, folder_fd: int) -> bool:
    """Reserve a free name with an empty file, so that no other process takes it before the rename."""
    try:
        os.close(os.open(name, _NEW_FILE, 0o600, dir_fd=folder_fd))
    except FileExistsError:
        return False
    return True
