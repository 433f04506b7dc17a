"""No core dumps: the memory of a process that crashes holds keys and personal values, and must not reach a disk."""

import ctypes
import resource
import sys

_SET_DUMPABLE = 4
"""`PR_SET_DUMPABLE` of `prctl(2)`."""


def forbid_core_dumps() -> None:
    """Let this process, and those it forks, leave no core dump; debuggers of the same user are kept out as well.

    The limit alone does not count where the kernel hands dumps to a program (`core(5)`), so on Linux the process is
    made undumpable too. A program that it starts inherits the limit and decides on the rest itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
