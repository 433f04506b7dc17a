"""Keys of customers' servers."""

from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.api_keys import ApiKey, ApiKeyId
from implio_pipeline.domain.words import TeamId


class ApiKeys(Protocol):
    """The keys that customers' servers call with, by their digests."""

    def add(self, key: ApiKey) -> None:
        """Store a new key.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, key_id: ApiKeyId) -> ApiKey:
        """Return a key.

        Raises:
            ApiKeyUnknown: there is none.
        """

    def by_digest(self, digest: str) -> ApiKey | None:
        """Return the key with this digest, usable or not.

        Raises:
            CatalogTampered: its row is not as it was written.
        """

    def all(self, team: TeamId | None = None) -> list[ApiKey]:
        """Return every key, oldest first."""

    def expire(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """Let a key expire at an instant, unless it does so earlier.

        Raises:
            ApiKeyUnknown: there is none.
        """

    def revoke(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """End a key; one that was revoked before keeps its instant.

        Raises:
            ApiKeyUnknown: there is none.
        """

    def note_use(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """Remember when a key was last used."""
