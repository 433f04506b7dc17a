"""The files of the package that an act passes through, in the order in which control enters and leaves them."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import implio_pipeline

_ROOT = str(Path(implio_pipeline.__file__).parent)


@dataclass
class Walk:
    """What an act passed through.

    A *stay* is a time that control spends in one file without leaving it for another file of the package. Generated
    methods, and what is called at import, are not counted.
    """

    stays: list[str] = field(default_factory=list)

    @property
    def files(self) -> set[str]:
        """The files, each once."""
        return set(self.stays)

    def entered(self, frame: FrameType | None) -> None:
        """Note that control is in the file of a frame now."""
        while frame is not None and not _is_ours(frame):
            frame = frame.f_back
        name = "" if frame is None else frame.f_code.co_filename[len(_ROOT) + 1 :]
        if name and (not self.stays or self.stays[-1] != name):
            self.stays.append(name)


def _is_ours(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_filename.startswith(_ROOT) and code.co_name != "<module>"


@contextmanager
def walked() -> Iterator[Walk]:
    """Follow what runs in this thread and in threads that begin meanwhile."""
    walk = Walk()

    def follow(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and _is_ours(frame):
            walk.entered(frame)
        elif event == "return" and _is_ours(frame):
            walk.entered(frame.f_back)

    threading.setprofile(follow)
    sys.setprofile(follow)
    try:
        yield walk
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
