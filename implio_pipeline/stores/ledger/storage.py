"""Where the batches of one chain are kept. Two worlds promise this: one file, and objects in a bucket.

Rules:

* A batch is one line for each entry and then one line, its seal. A file has all batches of a chain, an object has one.
  A place is the number of the object (0 in a file) and an offset in it.
* Batches are never changed, and no two batches follow the same one.
* Storage knows neither keys nor signatures.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from implio_pipeline.domain.ids import Region
from implio_pipeline.verify import Seal


class Span(NamedTuple):
    """A place in a chain: the number of the object (0 in a file), the first octet, and the number of octets."""

    file: int
    start: int
    length: int

    @property
    def end(self) -> int:
        """The offset of the first octet after it."""
        return self.start + self.length


NOWHERE = Span(0, 0, 0)
"""The place before the first batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SealRead:
    """The seal that an index has read last: its place, and the digest of its line."""

    span: Span = NOWHERE
    digest: bytes = b""


class Turn(Protocol):
    """The chance to add batches after the newest one."""

    @property
    def head(self) -> Seal | None:
        """The seal of the newest batch; `None` when there is no batch."""

    def add(self, batches: Sequence[bytes]) -> int:
        """Add batches, durable on return. Returns how many were added: fewer if somebody else added one first."""


class ChainStorage(Protocol):
    """The batches of one chain."""

    @property
    def chain(self) -> Region:
        """The name of the chain."""

    def make(self, public_key_pem: bytes) -> None:
        """Make an empty chain, checked by this key."""

    def public_key(self) -> bytes:
        """Return the chain's first public key, PEM."""

    def turn(self) -> AbstractContextManager[Turn]:
        """Find the newest batch, in order to add batches after it. What a crash left unfinished is cut off.

        Raises:
            LedgerBroken: the newest batch cannot be read.
        """

    def head(self) -> Seal | None:
        """Return the seal of the newest batch; `None` when there is no batch.

        Raises:
            LedgerBroken: the newest batch cannot be read.
        """

    def lines(self, after: Span = NOWHERE) -> Iterator[tuple[Span, bytes]]:
        """Yield each whole line after a seal, with its place."""

    def follows(self, last: SealRead) -> bool:
        """Return whether the chain still has the seal that an index has read last."""

    def is_read(self, last: SealRead) -> bool:
        """Return whether nothing follows the seal that an index has read last."""

    def read(self, spans: Iterable[Span]) -> Mapping[Span, bytes]:
        """Return the octets at these places; what is missing is left out."""
