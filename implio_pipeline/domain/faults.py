"""Which failures belong to one unit of work, and which end the run.

A unit of work is what can fail alone: a request, a vault file, a landing file, a partition, a team. Whatever an
exception's type, `fault_of` turns it into a failure of the unit with a code, and the other units go on. Only what would
meet every unit in the same way is raised instead: the catalog cannot be reached, or there is no memory. An interrupt is
no `Exception` and never comes here. A full disk is returned, since another team may lie on another disk.

Example:
    try:
        merge(partition)
    except Exception as error:
        failed[partition] = fault_of(error)
"""

import errno
from datetime import date
from pathlib import Path
from types import TracebackType

from implio_pipeline.domain.errors import CatalogUnavailable, ImplioError, StorageFailed, StorageFull, Unexpected

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the operating system says when there is no room."""
_ENDS_THE_RUN = (CatalogUnavailable, MemoryError)
_PACKAGE = "implio_pipeline"


def fault_of(error: Exception, *, about: str | None = None, day: date | None = None) -> ImplioError:
    """Return what one unit of work failed of; free of personal data.

    Args:
        error: What was raised.
        about: Opaque id of the file at work, for a failure that does not name one itself.
        day: UTC day of that file's partition.

    Raises:
        CatalogUnavailable: no other unit could go on either.
        MemoryError: likewise.
    """
    if isinstance(error, _ENDS_THE_RUN):
        raise error
    fault = _as_failure(error)
    if fault.about is None:
        fault.about = about
    if fault.day is None and fault.about == about:
        fault.day = day
    return fault


def _as_failure(error: Exception) -> ImplioError:
    if isinstance(error, ImplioError):
        return error
    if isinstance(error, OSError):
        if error.errno in FULL:
            return StorageFull("there is no room on the disk")
        # The system's own words; `str(error)` would name a path, and a landing file's name may be somebody's.
        return StorageFailed(f"the operating system said: {_words_of(error)}")
    # The message of an unforeseen exception may hold a value of an item: only its type and its place are told.
    return Unexpected(f"{type(error).__name__} at {_place_of(error.__traceback__)}")


def _words_of(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _place_of(traceback: TracebackType | None) -> str:
    """Return the innermost line of this package that the exception passed."""
    place = "an unknown place"
    while traceback is not None:
        parts = Path(traceback.tb_frame.f_code.co_filename).parts
        if _PACKAGE in parts:
            place = f"{'/'.join(parts[parts.index(_PACKAGE) + 1 :])}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
