"""A map over threads with a bound on the work that runs at the same time.

Threads are enough: compression, encryption and disk access release Python's global interpreter lock.

    for work, result in bounded_map(rewrite, works, most=2):
        ...
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

_Work = TypeVar("_Work")
_Done = TypeVar("_Done")


def bounded_map(act: Callable[[_Work], _Done], works: Iterable[_Work], *, most: int) -> Iterator[tuple[_Work, _Done]]:
    """Yield each piece of work with its result, in the order in which they finish.

    The next piece is taken from `works` only when a thread is free: a claimed landing file must not wait in a queue.
    The first exception is raised after the pieces in flight have ended.

    Args:
        act: Called with each piece, in a thread.
        works: Iterated in the calling thread.
        most: How many pieces are in flight at once; with 1, no thread is started.
    """
    if most <= 1:
        for work in works:
            yield work, act(work)
        return
    # `Executor.map` takes all of `works` at once: every landing file would be claimed before the first one is read.
    with ThreadPoolExecutor(most) as pool:
        running: dict[Future[_Done], _Work] = {}
        for work in works:
            running[pool.submit(act, work)] = work
            if len(running) == most:
                yield from _finished(running)
        while running:
            yield from _finished(running)


def _finished(running: dict[Future[_Done], _Work]) -> Iterator[tuple[_Work, _Done]]:
    # In the order of completion: a slow file must not hold back the results of the others.
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()
