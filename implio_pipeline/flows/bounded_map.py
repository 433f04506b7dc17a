"""Work on a few things at a time: in threads, since codec, cipher and disk leave Python's lock alone."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

_Work = TypeVar("_Work")
_Done = TypeVar("_Done")


def bounded_map(act: Callable[[_Work], _Done], works: Iterable[_Work], *, most: int) -> Iterator[tuple[_Work, _Done]]:
    """Yield each work with what the act returned for it, as it is done.

    A work is asked for only when a thread is free, so that nothing is begun that nobody takes up. The first failure
    is raised once those in flight have ended.

    Args:
        act: What is done to each; called in threads.
        works: Iterated in the calling thread.
        most: How many are in flight.
    """
    if most <= 1:
        for work in works:
            yield work, act(work)
        return
    with ThreadPoolExecutor(most) as pool:
        running: dict[Future[_Done], _Work] = {}
        for work in works:
            running[pool.submit(act, work)] = work
            if len(running) == most:
                yield from _done(running)
        while running:
            yield from _done(running)


def _done(running: dict[Future[_Done], _Work]) -> Iterator[tuple[_Work, _Done]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()
