"""Who may read what, what was read, operators' names, and the keys that customers' servers call with."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.access import Grant, GrantId, PersonKey
from implio_pipeline.domain.accounts import ApiKey, ApiKeyId
from implio_pipeline.domain.audit_log import LoggedRead, LogLine
from implio_pipeline.domain.ids import TeamId


class Grants(Protocol):
    """What operators may read, until when, and for what purpose."""

    def add(self, grant: Grant) -> None:
        """Store a grant.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, grant_id: GrantId) -> Grant:
        """Return a grant.

        Raises:
            GrantRefused: there is no such grant.
        """

    def all(self, *, team: TeamId | None = None, person: PersonKey | None = None) -> list[Grant]:
        """Return every grant, oldest first."""

    def revoke(self, grant_id: GrantId, *, by: PersonKey, at: datetime) -> None:
        """Store that a grant was revoked.

        Raises:
            GrantRefused: there is no such grant, or it was revoked before.
        """

    def mark_reviewed(self, grant_ids: list[GrantId], *, at: datetime) -> None:
        """Store that a person reviewed grants."""


class AccessLog(Protocol):
    """The log of every read. Lines are only added."""

    def append(self, reads: Sequence[LoggedRead]) -> list[LogLine]:
        """Add reads, durable on return, and store when the grants that allowed them were last used."""

    def lines(self, *, after: int = 0) -> Iterator[LogLine]:
        """Yield the lines after a line number, in order."""

    def newest(self, count: int) -> list[LogLine]:
        """Return the newest lines, in order."""


class People(Protocol):
    """Operators by pseudonym. Their names are sealed under the home's root key."""

    def person(self, name: str) -> PersonKey:
        """Return the keyed pseudonym of a name, normalised (Unicode NFC, outer white space removed)."""

    def remember(self, name: str) -> PersonKey:
        """Return the pseudonym of a name, and store the sealed name."""

    def name_of(self, person: PersonKey) -> str | None:
        """Return the name of a pseudonym, `None` when it is unknown or was destroyed.

        Raises:
            KeyMissing: the key that sealed it is gone.
        """

    def forget(self, person: PersonKey) -> bool:
        """Destroy the name of a pseudonym. Returns whether there was one."""

    def digest(self, text: str) -> str:
        """Return a keyed digest of a text, 32 hexadecimal digits."""

    def seal(self, text: str, *, context: str) -> bytes:
        """Encrypt a small text with AES-256-GCM, bound to its context."""

    def unseal(self, sealed: bytes, *, context: str) -> str:
        """Decrypt a sealed text.

        Raises:
            KeyMissing: the text was altered, was sealed for another context, or its key is gone.
        """


class ApiKeys(Protocol):
    """The keys that customers' servers call with. Only their digests are stored."""

    def add(self, key: ApiKey) -> None:
        """Store a new key.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, key_id: ApiKeyId) -> ApiKey:
        """Return a key.

        Raises:
            ApiKeyUnknown: there is no such key.
        """

    def by_digest(self, digest: str) -> ApiKey | None:
        """Return the key of a digest, whether it can still be used or not.

        Raises:
            CatalogTampered: its row was altered.
        """

    def all(self, team: TeamId | None = None) -> list[ApiKey]:
        """Return every key, oldest first."""

    def expire(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """Make a key expire at an instant, unless it expires earlier.

        Raises:
            ApiKeyUnknown: there is no such key.
        """

    def revoke(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """End a key. A key that was revoked before keeps its instant.

        Raises:
            ApiKeyUnknown: there is no such key.
        """

    def note_use(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """Store when a key was last used."""
