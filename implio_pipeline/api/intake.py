"""Group commit: one thread commits what concurrent posts brought while the last commit was being made.

A commit costs two writes that wait for the disk, whatever its size. Posts that come one by one are committed one by
one, at once; under load they share commits, so that throughput grows with concurrency and nothing waits for a timer.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread

from implio_pipeline.api.failures import ShuttingDown
from implio_pipeline.domain.errors import PostInWork
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.flows.files.intake import Part
from implio_pipeline.flows.files.submit import Submission, submit
from implio_pipeline.ports.services import Services

MOST_ITEMS = 1_000
"""Items of one commit: what bounds how long a deletion waits for the catalog behind it."""
_Waiting = tuple[Submission, Future[Part]]


class Intake:
    """The only writer of posts in this process; it starts with the first one.

    Args:
        services: What the flow may touch.
        on_files: Told of the files of each commit, in the writing thread.
        on_commit: Told of each commit.
        most_items: Items of one commit; a larger post is committed alone.
    """

    def __init__(
        self,
        services: Services,
        *,
        on_files: Callable[[Sequence[SealedFile]], None] = lambda _: None,
        on_commit: Callable[[], None] = lambda: None,
        most_items: int = MOST_ITEMS,
    ) -> None:
        self._world = services
        self._on_files = on_files
        self._on_commit = on_commit
        self._most_items = most_items
        self._waiting: deque[_Waiting] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._is_closed = False

    def open(self) -> None:
        """Accept posts. Works again after `close`."""
        with self._changed:
            self._is_closed = False

    def put(self, submission: Submission) -> Future[Part]:
        """Return a future of what became of the submission: it is done once that is durable, or has failed.

        Raises:
            ShuttingDown: the server takes in nothing more.
        """
        future: Future[Part] = Future()
        with self._changed:
            if self._is_closed:
                raise ShuttingDown("the server is about to stop")
            self._waiting.append((submission, future))
            if self._thread is None:
                self._thread = Thread(target=self._write, name="intake")
                self._thread.start()
            self._changed.notify()
        return future

    def close(self) -> None:
        """Commit the waiting posts, then end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _write(self) -> None:
        while (group := self._next()) is not None:
            if group:
                self._commit(group)

    def _next(self) -> list[_Waiting] | None:
        """Wait for posts and return those of the oldest one's team; `None` once all is done and closed."""
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            if not self._waiting:
                return None
            team, items = self._waiting[0][0].team, 0
            group: list[_Waiting] = []
            others: deque[_Waiting] = deque()
            while self._waiting:
                each = self._waiting.popleft()
                rows = each[0].rows.num_rows
                if each[0].team != team or (group and items + rows > self._most_items):
                    others.append(each)
                elif each[1].set_running_or_notify_cancel():  # a caller that has gone away was promised nothing
                    group.append(each)
                    items += rows
            self._waiting = others
            return group

    def _commit(self, group: list[_Waiting]) -> None:
        self._world.catalog.give_way()
        try:
            added = submit(self._world, group[0][0].team, [submission for submission, _ in group])
        except PostInWork as error:
            if len(group) == 1:
                group[0][1].set_exception(error)
            else:  # one post's key must not be the others' failure
                for each in group:
                    self._commit([each])
            return
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it is the callers' answer
            for _, future in group:
                future.set_exception(error)
            return
        for (_, future), part in zip(group, added.parts, strict=True):
            future.set_result(part)
        self._on_commit()
        self._on_files(added.files)
