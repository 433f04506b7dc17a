"""The loop of jobs, where no Dagster runs: a child process that runs some jobs of the table in `jobs.py`.

It looks at its jobs when it starts, when a byte arrives on its standard input, and when a job's time has come. It ends
when its standard input does, after the file it works on. A killed server is started again with other children, and two
processes that erase would undo each other's work.

    python -m implio_pipeline.api.upkeep_process HOME JOB…
"""

import json
import logging
import os
import select
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.flows.moderation.send_webhooks import Deliverer
from implio_pipeline.jobs import At, Every, Job, Order, job_of
from implio_pipeline.wiring import OpenHome, open_home

_LONGEST_WAIT_SECONDS = 60.0
_WAKINGS_AT_ONCE = 65_536
_NICE = 5
"""The same value as the validator: the server comes first, and files are merged as fast as posts make them."""
_LOG = logging.getLogger("implio_pipeline.upkeep")


class _ServerGone(BaseException):
    """Standard input has ended."""


def main() -> int:
    """Run the jobs until standard input ends."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs the address of each customer's server
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the server too, which then ends this process
    with open_home(Path(sys.argv[1])) as opened:
        deliverer = Deliverer(opened, opened.webhook_client)
        order = Order(progress=lambda _done, _total: _stop_if_gone(), still_wanted=_stop_if_gone, deliverer=deliverer)
        with suppress(_ServerGone):
            _Loop(opened, [job_of(name) for name in sys.argv[2:]], order).run()
        opened.webhook_client.abandon()
        deliverer.finish()
    return 0


class _Loop:
    """Some jobs, and when each is due next.

    Args:
        opened: The home.
        jobs: The jobs, in the order in which they run.
        order: How each is run.
    """

    def __init__(self, opened: OpenHome, jobs: Sequence[Job], order: Order) -> None:
        self._opened = opened
        self._jobs = jobs
        self._order = order
        self._looked_at: dict[str, float] = {}
        # A daily job runs at the start, since nobody knows how long no process ran. The weekly audit, which reads
        # every file, waits for its day.
        now = opened.clock.now()
        self._done: dict[str, datetime] = {
            job.name: job.wakes.newest(now) for job in jobs if isinstance(job.wakes, At) and job.wakes.weekday
        }

    def run(self) -> None:
        """Run what is due, again and again, until standard input ends."""
        while True:
            # 1. Run what is due.
            for job in list(self._due()):
                for code in sorted(_attempt(self._opened, job, self._order)):
                    _LOG.warning(json.dumps({"upkeep": job.name, "code": code}))
            # 2. Wait for the server's byte, or until a job is due. The clock is read at least once a minute.
            waits = [
                job.wakes.seconds - (monotonic() - self._looked_at.get(job.name, 0.0))
                for job in self._jobs
                if isinstance(job.wakes, Every)
            ]
            wait_seconds = max(0.0, min([_LONGEST_WAIT_SECONDS, *waits]))
            was_woken, _, _ = select.select([sys.stdin], [], [], wait_seconds)
            if was_woken:
                if not os.read(sys.stdin.fileno(), _WAKINGS_AT_ONCE):
                    return
                self._looked_at.clear()  # any job may have something to do now

    def _due(self) -> Iterator[Job]:
        for job in self._jobs:
            match job.wakes:
                case Every(seconds=seconds):
                    if monotonic() - self._looked_at.get(job.name, -float("inf")) >= seconds:
                        yield job
                        self._looked_at[job.name] = monotonic()
                case At() as at:
                    newest = at.newest(self._opened.clock.now())
                    if self._done.get(job.name) != newest:
                        self._done[job.name] = newest
                        yield job


def _attempt(opened: OpenHome, job: Job, order: Order) -> Iterable[str]:
    """Run a job if it has something to do. Returns the codes of what failed; the next look tries all of it again."""
    try:
        if job.waits is not None and not job.waits(opened).batches:
            return ()
        report = job.run(opened, order)
    except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises because memory has run out
        return (error.code if isinstance(error, ImplioError) else fault_of(error).code,)
    return {*(each.code for each in report.failures), *report.transient_codes}


def _stop_if_gone() -> None:
    """Stop the running job if the server has ended. The next run repeats what was not committed.

    Raises:
        _ServerGone: nobody holds the other end of standard input.
    """
    ends = select.poll()
    ends.register(sys.stdin, 0)  # 0: a hang-up is always reported
    if any(event & select.POLLHUP for _, event in ends.poll(0)):
        raise _ServerGone


if __name__ == "__main__":
    sys.exit(main())
