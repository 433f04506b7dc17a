"""The child process of `implio serve` that merges small files, settles verdicts, and may erase.

It looks at everything when it starts, when it is woken by a byte on its standard input, and every half minute. It ends
when its standard input does, with the file it is at: a server that was killed is started again with another child, and
two that erase undo each other's work.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from implio_pipeline.api.child_processes import FromServer
from implio_pipeline.domain.errors import CatalogUnavailable
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.flows.compact import merge_small
from implio_pipeline.flows.erase import erase
from implio_pipeline.flows.settle import is_settling_due, settle
from implio_pipeline.wiring import House, open_home

_LOOK_EVERY_SECONDS = 30.0
_NICE = 5
"""As the judge of posts: the server comes first, and files are merged as fast as posts that make them are judged."""
_LOG = logging.getLogger("implio_pipeline.upkeep")
_server = FromServer()


class _ServerGone(BaseException):
    """Standard input has ended."""


def main() -> int:
    """Work until standard input ends."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at a terminal it reaches the server too, which then ends us
    home, is_erasing = Path(sys.argv[1]), "--erase" in sys.argv[2:]
    with open_home(home) as house, suppress(_ServerGone):
        while True:
            # Merged first, since an erasure costs by the file: otherwise files would come faster than it ends.
            _attempt("merge", lambda: _merge(house))
            if is_erasing:
                _attempt("erase", lambda: erase(house.world, progress=_while_wanted))
            _attempt("settle", lambda: _settle(house))
            if not _server.wait(_LOOK_EVERY_SECONDS):
                break
    return 0


def _merge(house: House) -> None:
    settings = house.settings
    merge_small(
        house.world,
        rows_per_file=settings.rows_per_file,
        from_files=settings.api.merge_from_files,
        progress=_while_wanted,
    )


def _settle(house: House) -> None:
    if is_settling_due(house.world, waits=house.settle_waits):
        settle(house.world, progress=_while_wanted)


def _while_wanted(*_: int) -> None:
    """Go on only while somebody holds the other end of standard input; what was not committed is begun anew.

    Raises:
        _ServerGone: nobody does.
    """
    if _server.is_gone():
        raise _ServerGone


def _attempt(act: str, do: Callable[[], object]) -> None:
    """Do something that is tried again anyway; what went wrong is told by its code."""
    try:
        do()
    except CatalogUnavailable as error:
        _LOG.warning(json.dumps({"upkeep": act, "code": error.code}))
    except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises that there is no memory
        _LOG.warning(json.dumps({"upkeep": act, "code": fault_of(error).code}))


if __name__ == "__main__":
    sys.exit(main())
