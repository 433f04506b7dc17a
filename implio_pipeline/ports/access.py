"""Who may read what, what was read, who they are, and the keys that customers' servers call with."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.access import Grant, GrantId, PersonKey
from implio_pipeline.domain.accounts import ApiKey, ApiKeyId
from implio_pipeline.domain.audit_log import LogLine, Read
from implio_pipeline.domain.ids import TeamId


class Grants(Protocol):
    """What operators may read, until when and for what."""

    def add(self, grant: Grant) -> None:
        """Store a grant.

        Raises:
            TeamUnknown: no such team.
        """

    def get(self, grant_id: GrantId) -> Grant:
        """Return a grant.

        Raises:
            GrantRefused: no such grant.
        """

    def all(self, *, team: TeamId | None = None, person: PersonKey | None = None) -> list[Grant]:
        """Return every grant, oldest first."""

    def revoke(self, grant_id: GrantId, *, by: PersonKey, at: datetime) -> None:
        """Store that a grant was revoked.

        Raises:
            GrantRefused: no such grant, or it was revoked before.
        """

    def mark_reviewed(self, grant_ids: list[GrantId], *, at: datetime) -> None:
        """Store that somebody looked at grants."""


class AccessLog(Protocol):
    """The access log: every read. Lines are only added."""

    def append(self, reads: Sequence[Read]) -> list[LogLine]:
        """Add reads, durable on return, and remember of the grants that allowed them that they were used."""

    def lines(self, *, after: int = 0) -> Iterator[LogLine]:
        """Yield the lines after a place, in order."""

    def newest(self, count: int) -> list[LogLine]:
        """Return the newest lines, oldest of them first."""


class People(Protocol):
    """Operators by pseudonym. Their names are sealed under the root key of the home."""

    def person(self, name: str) -> PersonKey:
        """Return the keyed pseudonym of a name, normalised (Unicode NFC, outer white space off)."""

    def remember(self, name: str) -> PersonKey:
        """Return the pseudonym of a name, and keep the name sealed behind it."""

    def name_of(self, person: PersonKey) -> str | None:
        """Return the name behind a pseudonym, `None` when it is not known or was destroyed.

        Raises:
            KeyMissing: the key that sealed it is gone.
        """

    def forget(self, person: PersonKey) -> bool:
        """Destroy the name behind a pseudonym, and tell whether there was one."""

    def digest(self, text: str) -> str:
        """Return a keyed digest of any text, 32 hexadecimal digits."""

    def seal(self, text: str, *, context: str) -> bytes:
        """Encrypt a small text with AES-256-GCM, bound to its context."""

    def unseal(self, sealed: bytes, *, context: str) -> str:
        """Decrypt a sealed text.

        Raises:
            KeyMissing: it is not what was sealed, or the key is another.
        """


class ApiKeys(Protocol):
    """The keys that customers' servers call with, by their digests."""

    def add(self, key: ApiKey) -> None:
        """Store a new key.

        Raises:
            TeamUnknown: no such team.
        """

    def get(self, key_id: ApiKeyId) -> ApiKey:
        """Return a key.

        Raises:
            ApiKeyUnknown: no such key.
        """

    def by_digest(self, digest: str) -> ApiKey | None:
        """Return the key with this digest, usable or not.

        Raises:
            CatalogTampered: its row is not as it was written.
        """

    def all(self, team: TeamId | None = None) -> list[ApiKey]:
        """Return every key, oldest first."""

    def expire(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """Make a key expire at an instant, unless it expires earlier.

        Raises:
            ApiKeyUnknown: no such key.
        """

    def revoke(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """End a key; one that was revoked before keeps its instant.

        Raises:
            ApiKeyUnknown: no such key.
        """

    def note_use(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """Remember when a key was last used."""
