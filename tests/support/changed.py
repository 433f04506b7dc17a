"""A copy of an open home, or of a flow's services, with some parts replaced."""

import copy
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")


def impatient(services: T) -> T:
    """Return services whose workers wait for others for a moment only: the others wait for them, in the same thread."""
    return changed(services, lease=timedelta(milliseconds=50))


def changed(whole: T, **parts: Any) -> T:
    """Return a copy with these parts. The landing folder is opened first, so that the original closes it."""
    if "landing" not in parts:
        getattr(whole, "landing", None)
    result = copy.copy(whole)
    result.__class__ = type(type(whole).__name__, (type(whole),), parts)
    result.__dict__.update(parts)
    return result
