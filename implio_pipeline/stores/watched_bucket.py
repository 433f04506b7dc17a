"""Watch a bucket: find the objects that others put there, and claim each of them for one worker.

Rules:

* An object is whole when it is listed, so none has to settle.
* A key is `GROUP/NAME`: a team or somebody who asks, and the name of a file. Everything else is never taken. Who may
  write below a group is decided by the bucket's policy alone; the storage does not tell us who did.
* An object is claimed in the catalog by its mark (`ports/claims.py`). Its worker renews the claim until the object is
  removed, so no other worker reads it meanwhile. If the lease ends, the object is anybody's, and the commit of the
  worker that was paused is refused.
* What a worker reads is one version of the object. It deletes what it has read, and nothing that came after it.
* A listing may lag. Whatever it shows is looked at once more after the claim, and no object is yielded twice.
"""

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path

from typing_extensions import override

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.claims import Claim, ClaimKind
from implio_pipeline.ports.claims import Claiming, Claims
from implio_pipeline.ports.clock import Clock
from implio_pipeline.stores.claimed_file import reader_of
from implio_pipeline.stores.durable import make_folder, write_whole
from implio_pipeline.stores.objects.objects import Objects, StoredObject
from implio_pipeline.stores.watched_place import ReadyFile, TakenFile, WatchedPlace, is_hidden

_WINDOW = 100
"""How many objects of a listing a worker considers at once."""
_IN_MEMORY_BYTES = 16 << 20
"""The copy of a larger object is a file."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketRules:
    """What is taken of a bucket, and how."""

    kind: ClaimKind
    suffixes: Sequence[str]
    """Of the objects that are taken."""
    is_group: Callable[[str], bool]
    """Returns whether a first part of keys is a team, or somebody who may ask."""
    scratch: Path
    """Where copies of large objects are while they are read: files without a name, which end with their process."""
    is_ignored: Callable[[str], bool] = lambda _: False
    """Returns whether a name is a report of ours."""


class WatchedBucket(WatchedPlace):
    """A bucket that others put files into.

    Args:
        objects: The bucket.
        claims: Says what other workers have claimed.
        rules: What is taken.
        clock: The present.
        group: Only this group; all groups when `None`.
    """

    def __init__(
        self, objects: Objects, claims: Claims, rules: BucketRules, *, clock: Clock, group: str | None = None
    ) -> None:
        self._objects = objects
        self._claims = claims
        self._rules = rules
        self._clock = clock
        self._group = group

    def of(self, group: str) -> "WatchedBucket":
        """Return what there is of one group."""
        return WatchedBucket(self._objects, self._claims, self._rules, clock=self._clock, group=group)

    @override
    def ready(self) -> Iterator[ReadyFile]:
        for some in chunks(self._waiting()):
            claimed = self._claims.claimed(self._rules.kind, [each.mark for each in some])
            for each in some:
                if each.mark not in claimed:
                    group, name = each.key.split("/")
                    yield ReadyFile(
                        name=name,
                        group=group,
                        modified_at=min(each.written_at, self._clock.now()),
                        arrived_at=each.written_at,
                        size_bytes=each.size_bytes,
                        mark=each.mark,
                    )

    @override
    def claim(self, worker: Claiming, *, but: Collection[str] = ()) -> Iterator["TakenObject"]:
        seen: set[str] = set()
        while window := list(islice(self._unseen(seen, but), _WINDOW)):
            # Workers begin at different places, so that they seldom want the same one.
            begin = secrets.randbelow(len(window))
            left = {each.mark: each for each in (*window[begin:], *window[:begin])}
            while left:
                # 1. Claim one of them.
                claims = worker.claim(self._rules.kind, list(left), most=1)
                if not claims:
                    others = self._claims.claimed(self._rules.kind, list(left))
                    seen.update(others)
                    left = {mark: each for mark, each in left.items() if mark not in others}
                    continue
                found = left.pop(claims[0].unit)
                seen.add(found.mark)
                # 2. Another worker may have taken it since it was listed. Then more of them are gone: list again.
                now = self._objects.look(found.key)
                if now is None or now.mark != found.mark:
                    worker.give_back(claims)
                    break
                if found.mark in but:
                    worker.give_back(claims)
                    continue
                yield TakenObject(
                    found,
                    objects=self._objects,
                    worker=worker,
                    claims=claims,
                    claimed_at=self._clock.now(),
                    suffix=self._suffix(found.key),
                    scratch=self._rules.scratch,
                )

    @override
    def passed_over(self) -> Iterator[str]:
        for each in self._listed():
            *_, name = parts = each.key.split("/")
            if not (self._is_taken(each.key) or self._rules.is_ignored(name) or any(map(is_hidden, parts))):
                yield each.key

    @override
    def count_reports(self, suffix: str) -> int:
        return sum(each.key.endswith(suffix) for each in self._listed())

    def there(self, marks: Collection[str]) -> Collection[str]:
        """Return which of the files with these marks are in the bucket, claimed or not."""
        return {each.mark for each in self._waiting()} & set(marks)

    def groups(self) -> set[str]:
        """Return the first parts of all keys."""
        return {each.key.split("/")[0] for each in self._listed() if "/" in each.key}

    def _listed(self) -> Iterator[StoredObject]:
        return self._objects.listing("" if self._group is None else f"{self._group}/")

    def _unseen(self, seen: Collection[str], but: Collection[str]) -> Iterator[StoredObject]:
        return (each for each in self._waiting() if each.mark not in seen and each.mark not in but)

    def _waiting(self) -> Iterator[StoredObject]:
        """Yield what may be taken, each key once, whether it is claimed or not."""
        before = ""
        for each in self._listed():
            if each.key > before and self._is_taken(each.key):  # a page that comes again has earlier keys
                before = each.key
                yield each

    def _is_taken(self, key: str) -> bool:
        group, separator, name = key.partition("/")
        is_file = separator and "/" not in name and not is_hidden(name) and not self._rules.is_ignored(name)
        if not is_file or not self._rules.is_group(group) or not self._suffix(name):
            return False
        return not _CONTROL.search(key)  # no library can name such a key

    def _suffix(self, key: str) -> str:
        fitting = [suffix for suffix in self._rules.suffixes if key.lower().endswith(suffix)]
        return max(fitting, key=len, default="")


class TakenObject(TakenFile):
    """An object that one worker has claimed; made by `WatchedBucket.claim`.

    Args:
        found: The object.
        objects: The bucket.
        worker: Who has claimed it.
        claims: The claim.
        claimed_at: When.
        suffix: Its suffix, which says its format.
        scratch: Where the copy of a large object is.
    """

    def __init__(
        self,
        found: StoredObject,
        *,
        objects: Objects,
        worker: Claiming,
        claims: tuple[Claim, ...],
        claimed_at: datetime,
        suffix: str,
        scratch: Path,
    ) -> None:
        self._found = found
        self._objects = objects
        self._worker = worker
        self._scratch = scratch
        self._copy: int | None = None
        self._is_ended = False
        self.owner, _, self.name = found.key.partition("/")
        self.size_bytes = found.size_bytes
        self.modified_at = found.written_at
        self.claimed_at = claimed_at
        self.mark = found.mark
        self.claimed_name = f"{found.mark}{suffix}"
        self.suffix = suffix
        self.claims = claims

    @property
    @override
    def received_at(self) -> datetime:
        # By the clock of the storage, whatever ours says: the same request read twice must be one request. S3 tells
        # whole seconds, so the mark tells apart two objects of one second.
        if self.modified_at.microsecond:
            return self.modified_at
        return self.modified_at + timedelta(microseconds=int(self.mark[:8], 16) % 1_000_000)

    @override
    def open(self) -> BufferedReader:
        if self._copy is None:
            self._copy = self._copied()
        return reader_of(self._copy)

    @override
    def has_changed(self) -> bool:
        return False  # what is read is one version

    @override
    def report(self, name: str, content: bytes, *, others: Iterable[str] | None = None, below: str = "") -> None:
        folder = "/".join(filter(None, (self.owner, below)))
        if others is None:
            self._objects.delete([f"{folder}/{name}"])
        for each in chain([name], others or ()):
            with suppress(FileExistsError):
                self._objects.put_new(f"{folder}/{each}", content)
                return

    @override
    def remove(self) -> None:
        self._objects.delete_same(self._found)
        self.release()

    @override
    def move(self, folder: Path) -> None:
        make_folder(folder)
        with self.open() as content:
            write_whole(folder / self.claimed_name, content)
        self.remove()

    @override
    def release(self) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        if self._copy is not None:
            os.close(self._copy)
        self._worker.give_back(self.claims)

    def _copied(self) -> int:
        """Return a descriptor of a copy, which has no name and ends with the process."""
        if self.size_bytes <= _IN_MEMORY_BYTES and hasattr(os, "memfd_create"):
            copy = os.memfd_create("object")
        else:
            make_folder(self._scratch)
            with tempfile.TemporaryFile(dir=self._scratch) as file:
                copy = os.dup(file.fileno())
        try:
            for piece in self._objects.stream(self._found):
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(copy, rest) :]
        except BaseException:
            os.close(copy)
            raise
        return copy
