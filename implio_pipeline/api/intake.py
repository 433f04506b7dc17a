"""Group commit: one thread stores all posts that arrived during the previous commit.

A commit waits twice for the disk, whatever its size. Posts that come one by one are stored one by one, at once. Under
load they share commits, so throughput grows with concurrency and no post waits for a timer.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread

from implio_pipeline.api.failures import ShuttingDown
from implio_pipeline.domain.errors import PostInWork
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.flows.files.intake import PartResult
from implio_pipeline.flows.files.submit import Submission, submit
from implio_pipeline.ports.services import Services

_MOST_ITEMS = 1_000
"""Items of one commit. It bounds how long a deletion waits for a commit."""
_Waiting = tuple[Submission, Future[PartResult]]


class Intake:
    """The only writer of posts in this process. It takes posts from `open` to `close`.

    Args:
        services: What the flow uses.
        on_files: Called with the files of each commit, in the writing thread.
        on_commit: Called after each commit.
    """

    def __init__(
        self,
        services: Services,
        *,
        on_files: Callable[[Sequence[SealedFile]], None],
        on_commit: Callable[[], None],
    ) -> None:
        self._services = services
        self._on_files = on_files
        self._on_commit = on_commit
        self._waiting: deque[_Waiting] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._is_closed = False

    def open(self) -> None:
        """Take posts, again if it was closed."""
        with self._changed:
            self._is_closed = False

    def put(self, submission: Submission) -> Future[PartResult]:
        """Store a submission. The future is done once its items are durable, or when storing them has failed.

        Raises:
            ShuttingDown: the server takes no more posts.
        """
        future: Future[PartResult] = Future()
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
        """Store the waiting posts, then end the thread."""
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
        """Wait for posts, and return those of the oldest one's team. Returns `None` once it is closed and empty."""
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            if not self._waiting:
                return None
            team, items = self._waiting[0][0].team, 0
            group: list[_Waiting] = []
            others: deque[_Waiting] = deque()
            while self._waiting:
                submission, future = self._waiting.popleft()
                rows = submission.rows.num_rows
                # A post larger than a commit is stored alone.
                if submission.team != team or (group and items + rows > _MOST_ITEMS):
                    others.append((submission, future))
                elif future.set_running_or_notify_cancel():  # a caller that hung up was promised nothing
                    group.append((submission, future))
                    items += rows
            self._waiting = others
            return group

    def _commit(self, group: list[_Waiting]) -> None:
        self._services.catalog.give_way()
        try:
            added = submit(self._services, group[0][0].team, [submission for submission, _ in group])
        except PostInWork as error:
            if len(group) == 1:
                group[0][1].set_exception(error)
            else:  # the idempotency key of one post must not fail the others
                for each in group:
                    self._commit([each])
            return
        except BaseException as error:  # noqa: BLE001 -- the callers get whatever it is as their answer
            for _, future in group:
                future.set_exception(error)
            return
        for (_, future), part in zip(group, added.parts, strict=True):
            future.set_result(part)
        self._on_commit()
        self._on_files(added.files)
