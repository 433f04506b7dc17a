"""The loop of jobs, for those who run without Dagster: a child process that looks at rows of the table in `jobs.py`.

It looks when it starts, when it is woken by a byte on its standard input, and when a row's time has come. It ends when
its standard input does, with the file it is at: whoever was killed is started again with other children, and two that
erase undo each other's work.

    python -m implio_pipeline.api.upkeep_process HOME JOB…
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic

from implio_pipeline.api.child_processes import FromServer
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.flows.moderation.send_webhooks import Deliverer
from implio_pipeline.jobs import At, Every, Job, Order, job_of
from implio_pipeline.wiring import OpenHome, open_home

_LONGEST_WAIT_SECONDS = 60.0
_NICE = 5
"""As the judge of posts: the server comes first, and files are merged as fast as posts that make them are judged."""
_LOG = logging.getLogger("implio_pipeline.upkeep")
_server = FromServer()


class _ServerGone(BaseException):
    """Standard input has ended."""


def main() -> int:
    """Work until standard input ends."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write each receiver's address
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at a terminal it reaches the server too, which then ends us
    with open_home(Path(sys.argv[1])) as opened:
        deliverer = Deliverer(opened.services, opened.webhook_client)
        order = Order(progress=lambda _done, _total: _while_wanted(), still_wanted=_while_wanted, deliverer=deliverer)
        with suppress(_ServerGone):
            _Loop(opened, [job_of(name) for name in sys.argv[2:]], order).run()
        opened.webhook_client.abandon()
        deliverer.finish()
    return 0


class _Loop:
    """Some jobs, and when each is looked at next.

    Args:
        opened: The home.
        jobs: In the order in which they are looked at.
        order: How each is run.
    """

    def __init__(self, opened: OpenHome, jobs: Sequence[Job], order: Order) -> None:
        self._house = opened
        self._jobs = jobs
        self._order = order
        now = opened.services.clock.now()
        # What is due each day is made up for at once, since nobody knows how long nobody was there.
        self._looked_at: dict[str, float] = {}
        self._done: dict[str, datetime] = {
            job.name: job.wakes.newest(now) for job in jobs if isinstance(job.wakes, At) and job.wakes.weekday
        }

    def run(self) -> None:
        """Look at the jobs until standard input ends."""
        while True:
            for job in list(self._due()):
                for code in sorted(_attempt(self._house, job, self._order)):
                    _LOG.warning(json.dumps({"upkeep": job.name, "code": code}))
            was_woken_after = monotonic()
            wait_seconds = self._wait_seconds()
            if not _server.wait(wait_seconds):
                return
            if monotonic() - was_woken_after < wait_seconds:
                self._looked_at.clear()  # woken: there may be something to do for each

    def _due(self) -> Iterator[Job]:
        for job in self._jobs:
            match job.wakes:
                case Every(seconds=seconds):
                    if monotonic() - self._looked_at.get(job.name, -float("inf")) >= seconds:
                        yield job
                        self._looked_at[job.name] = monotonic()
                case At() as at:
                    newest = at.newest(self._house.services.clock.now())
                    if self._done.get(job.name) != newest:
                        self._done[job.name] = newest
                        yield job

    def _wait_seconds(self) -> float:
        """Return how long nothing is due; the clock is looked at at least once a minute."""
        waits = [
            job.wakes.seconds - (monotonic() - self._looked_at.get(job.name, 0.0))
            for job in self._jobs
            if isinstance(job.wakes, Every)
        ]
        return max(0.0, min([_LONGEST_WAIT_SECONDS, *waits]))


def _attempt(opened: OpenHome, job: Job, order: Order) -> Iterable[str]:
    """Run a job if it has something to do, and return the codes of what went wrong; all of it is tried again anyway."""
    try:
        if job.waits is not None and not job.waits(opened).batches:
            return ()
        report = job.run(opened, order)
    except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises that there is no memory
        return (_code_of(error),)
    return {*(each.code for each in report.failures), *report.transient_codes}


def _code_of(error: Exception) -> str:
    return error.code if isinstance(error, ImplioError) else fault_of(error).code


def _while_wanted() -> None:
    """Go on only while somebody holds the other end of standard input; what was not committed is begun anew.

    Raises:
        _ServerGone: nobody does.
    """
    if _server.is_gone():
        raise _ServerGone


if __name__ == "__main__":
    sys.exit(main())
