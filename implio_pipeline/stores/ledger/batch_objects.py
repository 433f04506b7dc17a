"""The batches of a chain as objects in a bucket: `<chain>/<number>.jsonl` for each batch, and `<chain>/public.pem`.

Rules:

* A batch is named by its number. An object is never overwritten (`If-None-Match`): if two servers append after the same
  batch, one succeeds, and the other reads the new batch and appends after it. So a chain never forks.
* A batch is acknowledged when the bucket has stored it. It is never torn, so nothing is ever cut off.
* The newest batch is searched from the newest known one, by doubling steps and then halving: about 2·log2(n) requests
  for n batches. One more lists what follows. If somebody deleted a batch, the search would take the gap for the end,
  and the chain would fork. So the ledger is then broken, and nothing is appended.
* Nothing is ever deleted here. The bucket should forbid deleting (object lock): `check_lock` says whether it does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from typing_extensions import override

from implio_pipeline.domain.checkup import Finding, Level
from implio_pipeline.domain.errors import FileMissing, LedgerBroken
from implio_pipeline.domain.ids import Region
from implio_pipeline.stores.ledger.storage import NOWHERE, ChainStorage, SealRead, Span, Turn
from implio_pipeline.stores.objects.bucket import ObjectBucket
from implio_pipeline.stores.objects.objects import AT_ONCE, Objects
from implio_pipeline.verify import Seal, read_seal

_SUFFIX = ".jsonl"
_TAIL_BYTES = 1 << 17
"""More than the longest seal: 1,024 hashes of 67 octets."""


class BatchObjects(ChainStorage):
    """One chain as objects.

    Args:
        objects: The bucket, below the ledger's prefix.
        chain: The name of the chain.
    """

    def __init__(self, objects: Objects, chain: Region) -> None:
        self._objects = objects
        self._chain = chain
        self._newest: Seal | None = None
        """The newest batch that this process knows. There may be newer ones."""
        self._checked = -1
        """The newest batch after which there is none, as a listing showed."""
        self._is_current = False
        """Whether to append after it without looking for newer ones first."""

    @property
    @override
    def chain(self) -> Region:
        return self._chain

    @property
    def is_made(self) -> bool:
        """Return whether there is a chain."""
        return self._objects.look(self._public) is not None

    @override
    def make(self, public_key_pem: bytes) -> None:
        if not self.is_made:
            self._objects.put_new(self._public, public_key_pem)

    @override
    def public_key(self) -> bytes:
        try:
            return self._objects.get(self._public)
        except FileMissing:
            raise FileNotFoundError("the chain has no public key") from None

    @override
    @contextmanager
    def turn(self) -> Iterator[Turn]:
        # Usually no other process has appended since this one did. Then one request is enough.
        if not self._is_current:
            self.head()
        yield _ObjectTurn(self)

    @override
    def head(self) -> Seal | None:
        known = 0 if self._newest is None else self._newest.number
        number = self._newest_number(known)
        self._refuse_gap(number)
        if number != known:
            self._newest = self._seal(number)
        elif not known and not self.is_made:
            raise FileNotFoundError("there is no chain")
        self._is_current = True
        return self._newest

    @override
    def lines(self, after: Span = NOWHERE) -> Iterator[tuple[Span, bytes]]:
        for number, content in self._all() if after == NOWHERE else self._after(after.file):
            start = 0
            for line in content.splitlines(keepends=True):
                yield Span(number, start, len(line)), line
                start += len(line)

    def lines_after_batch(self, number: int) -> Iterator[bytes]:
        """Yield the lines of the batches after a number."""
        yield from (line for _, line in self.lines(Span(number, 0, 0)))

    @override
    def follows(self, last: SealRead) -> bool:
        return True  # an object is never changed; one that is gone is noticed when it is read

    @override
    def is_read(self, last: SealRead) -> bool:
        if last.span == NOWHERE and not self.is_made:
            raise FileNotFoundError("there is no chain")
        number = last.span.file
        if self._objects.look(self._key(number + 1)) is not None:
            return False
        if number != self._checked:  # once for each end that this process sees
            self._refuse_gap(number)
        return True

    @override
    def read(self, spans: Iterable[Span]) -> Mapping[Span, bytes]:
        by_file: dict[int, list[Span]] = {}
        for span in spans:
            by_file.setdefault(span.file, []).append(span)
        found: dict[Span, bytes] = {}
        keys = {self._key(number): number for number in sorted(by_file)}
        for key, content in self._objects.get_many(keys):
            for span in by_file[keys[key]] if content is not None else ():
                found[span] = (content or b"")[span.start : span.end]
        return {span: octets for span, octets in found.items() if len(octets) == span.length}

    def add(self, content: bytes, *, after: Seal | None) -> Seal | None:
        """Add a batch after another one, and return its seal; `None` if somebody else added one first.

        Args:
            content: The batch, made to follow `after`. Other threads may know newer batches by now.
            after: The batch before it; `None` for the first one.
        """
        try:
            self._objects.put_new(self._key(1 if after is None else after.number + 1), content)
        except FileExistsError:
            self._is_current = False
            return None
        self._newest = read_seal(content.rstrip(b"\n").rpartition(b"\n")[2])
        return self._newest

    @property
    def newest(self) -> Seal | None:
        """The newest batch that this process knows."""
        return self._newest

    @property
    def _public(self) -> str:
        return f"{self._chain}/public.pem"

    def _key(self, number: int) -> str:
        return f"{self._chain}/{number:012}{_SUFFIX}"

    def _newest_number(self, known: int) -> int:
        """Return the number of the newest batch, which is not below `known`."""
        # 1. Double the step until there is no batch.
        low, step = known, 1
        while self._objects.look(self._key(low + step)) is not None:
            low, step = low + step, step * 2
        # 2. Halve what is between.
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            if self._objects.look(self._key(middle)) is None:
                high = middle
            else:
                low = middle
        return low

    def _refuse_gap(self, number: int) -> None:
        """Check that there is no batch after the one that seems to be the newest.

        Raises:
            LedgerBroken: there is one. A batch that another server has just added is no gap.
        """
        # `public.pem` comes after all numbers, and is not one.
        after = self._objects.listing(f"{self._chain}/", after=self._key(number) if number else "")
        found = next(
            (int(stem) for each in after if (stem := each.key.rpartition("/")[2].removesuffix(_SUFFIX)).isdigit()), None
        )
        if found is not None and found != number + 1:
            raise LedgerBroken(f"batch {number + 1} of the ledger is missing, and batch {found} is there")
        self._checked = number

    def _seal(self, number: int) -> Seal:
        found = self._objects.tail(self._key(number), size=_TAIL_BYTES)
        try:
            return read_seal((b"" if found is None else found[1]).rstrip(b"\n").rpartition(b"\n")[2])
        except ValueError as error:
            raise LedgerBroken(f"the newest batch of the ledger: {error}") from None

    def _all(self) -> Iterator[tuple[int, bytes]]:
        """Yield every batch that is listed, even after a gap."""
        numbers: dict[str, int] = {}

        def keys() -> Iterator[str]:
            for each in self._objects.listing(f"{self._chain}/"):
                stem = each.key.rpartition("/")[2].removesuffix(_SUFFIX)
                if stem.isdigit():
                    numbers[each.key] = int(stem)
                    yield each.key

        for key, content in self._objects.get_many(keys()):
            if content is not None:
                yield numbers.pop(key), content

    def _after(self, number: int) -> Iterator[tuple[int, bytes]]:
        """Yield the batches after a number, up to the first that is missing."""
        at_once = 1
        while True:
            keys = {self._key(each): each for each in range(number + 1, number + 1 + at_once)}
            for key, content in self._objects.get_many(keys):
                if content is None:
                    return
                yield keys[key], content
            number, at_once = number + at_once, min(AT_ONCE, at_once * 2)


class _ObjectTurn(Turn):
    def __init__(self, storage: BatchObjects) -> None:
        self._storage = storage
        self._head = storage.newest

    @property
    @override
    def head(self) -> Seal | None:
        return self._head

    @override
    def add(self, batches: Sequence[bytes]) -> int:
        after = self._head
        for number, content in enumerate(batches):
            seal = self._storage.add(content, after=after)
            if seal is None:
                return number
            after = seal
        return len(batches)


def check_lock(place: ObjectBucket) -> Iterator[Finding]:
    """Examine whether the ledger's bucket forbids everybody to delete or replace batches."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 -- only many machines have it

    url = place.address.url
    try:
        found = place.client.get_object_lock_configuration(Bucket=place.address.bucket)
        rule = found["ObjectLockConfiguration"].get("Rule", {}).get("DefaultRetention", {})
    except (ClientError, BotoCoreError, KeyError):
        rule = {}
    if not rule:
        yield Finding(
            code="ledger-not-locked",
            what=f"{url} shows no default retention: whoever can write there may delete or replace batches",
            remedy="Use a bucket with object lock and a default retention in compliance mode; if it has one, allow "
            "s3:GetBucketObjectLockConfiguration.",
            level=Level.ADVICE,
        )
        return
    spans = [_counted(rule[name], unit) for name, unit in (("Days", "day"), ("Years", "year")) if rule.get(name)]
    if rule.get("Mode") != "COMPLIANCE":
        yield Finding(
            code="ledger-lock-weak",
            what=f"{url} keeps batches for {', '.join(spans)}, but administrators can lift that",
            remedy="Set the default retention of the bucket to compliance mode.",
            level=Level.ADVICE,
        )
        return
    yield Finding(
        code="ledger-locked",
        what=f"{url} keeps every batch for {', '.join(spans)}; nobody can lift that",
        level=Level.GOOD,
    )


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
