"""What a place for objects promises, in a folder as in a bucket. One suite of tests runs on both.

Rules:

* An object is whole and durable when `put_new` returns. It is never changed or overwritten: if several writers use one
  key, exactly one succeeds.
* After `delete` has returned, the place holds no version of the object.
* Keys have parts separated by `/`; no part is empty, `.` or `..`.
* Errors name no key: the key of a landing object may name a person. `FileMissing` has an opaque place instead.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

AT_ONCE = 32
"""How many objects `get_many` fetches at once. At 20 ms a request, 100 files take 1.8 s (decision 0094)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    """What a listing shows of an object."""

    key: str
    size_bytes: int
    written_at: datetime
    """By the clock of the storage."""
    mark: str
    """Changes when the object at this key is another one."""


def checked_key(key: str) -> str:
    """Return a key if it is valid.

    Raises:
        ValueError: a part of it is empty, `.` or `..`.
    """
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError("a key has a part that is empty, `.` or `..`")
    return key


class Objects(Protocol):
    """A place for objects.

    Every method raises `StorageFailed` if the place does not answer or refuses, after bounded retries.
    """

    def put_new(self, key: str, content: bytes | memoryview) -> None:
        """Write a new object, whole and durable on return.

        Raises:
            FileExistsError: an object has this key.
            StorageFull: there is not enough room; nothing is left behind.
        """

    def get(self, key: str) -> bytes:
        """Return an object's bytes.

        Raises:
            FileMissing: no object has this key.
        """

    def get_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield objects in the order of the keys, `None` for one that does not exist. Fetches `AT_ONCE` at once."""

    def stream(self, found: StoredObject) -> Iterator[bytes]:
        """Yield the bytes of an object that was listed, in pieces of bounded size.

        Raises:
            FileMissing: it is gone, or another one has its key.
        """

    def tail(self, key: str, *, size: int) -> tuple[int, bytes] | None:
        """Return an object's size in bytes and its last `size` bytes; `None` if no object has this key."""

    def look(self, key: str) -> StoredObject | None:
        """Return what a listing would show of an object; `None` if no object has this key."""

    def listing(self, prefix: str = "", *, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with a prefix, in the order of their keys. The listing is paged.

        Args:
            prefix: What the keys begin with.
            after: Only keys that come after this one.
        """

    def delete(self, keys: Collection[str]) -> None:
        """Delete objects with all their versions. Missing objects are ignored."""

    def delete_same(self, found: StoredObject) -> bool:
        """Delete an object that was listed, with its older versions. Returns whether no other object has its key now.

        For places where others write too: an object that they put there since is not deleted.
        """

    def sweep(self, *, older_than: datetime) -> int:
        """Delete incomplete uploads that were begun before an instant. Returns how many."""
