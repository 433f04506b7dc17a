"""Storage that fails like a bad disk: one errno, at one operation, below one folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from implio_pipeline.stores.objects import folder
from implio_pipeline.stores.vault.storage import RegionStorage

CALLS = ("open", "write", "fsync")
"""Calls to the operating system while a file is written."""
METHODS = ("read", "delete", "tail")
"""Operations of storage that take a path."""
OPERATIONS = (*CALLS, *METHODS)


class _Damaged:
    """The module `os`, with one call that fails below a folder."""

    def __init__(self, call: str, below: str, number: int) -> None:
        self._call, self._below, self._number = call, below, number

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._failing(real) if name == self._call else real

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *rest: Any, **known: Any) -> Any:
            path = str(Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else target)
            if self._below in path:
                raise OSError(self._number, os.strerror(self._number), path)
            return real(target, *rest, **known)

        return call


@contextmanager
def damaged(operation: str, *, below: str, number: int) -> Iterator[None]:
    """Make an operation fail with an errno on every path that contains `below`."""
    with pytest.MonkeyPatch.context() as patch:
        if operation in CALLS:
            patch.setattr(folder, "os", _Damaged(operation, below, number))
        else:
            real = getattr(RegionStorage, operation)

            def method(self: RegionStorage, region: Any, path: str, **known: Any) -> Any:
                if below in path:
                    raise OSError(number, os.strerror(number), str(Path("/") / path))
                return real(self, region, path, **known)

            patch.setattr(RegionStorage, operation, method)
        yield
