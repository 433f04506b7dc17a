"""The operations with the keys of teams and regions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.files import FileKey
from implio_pipeline.domain.ids import KeyPurpose, Region, TeamId, UserKey
from implio_pipeline.domain.keys import KeyContext, TeamKey


class KeyRing(Protocol):
    """The root keys of regions and of the home, in files or in a key service. Raw root keys never leave it.

    Every operation with a key service may raise these errors. Nothing is lost by them, and it can be tried again.

    Raises:
        KeyServiceDenied: the key service refuses the operation.
        KeyServiceUnavailable: the key service did not answer, or not in time, however often it was asked.
    """

    def is_in_service(self, region: Region) -> bool:
        """Return whether the region's root keys are in a key service, so that each operation is a call."""

    def identities(self) -> Mapping[str, str]:
        """Return what identifies every root key, by id: two root keys never have the same identity.

        It reveals nothing about a key: a fingerprint of a key in a file, the name and version of a key in a service.

        Raises:
            KeyMissing: a key of the ring is damaged.
        """

    def make(self, region: Region) -> None:
        """Make the first root key of each class of a region, durable on return. Keys that exist are kept."""

    def renew(self, region: Region) -> None:
        """Make a new epoch of each root key of a region, durable on return. It wraps from then on.

        Raises:
            KeyMissing: the region lacks one of its root keys.
        """

    def wrap(self, region: Region, name: str, key: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        """Wrap a key under the newest root key of that name; return the id of the root key and the wrapped key.

        Args:
            region: The region.
            name: The class of the root key, `seal` for the home.
            key: The key, 32 bytes.
            context: What the key is for. A key service opens the wrapped key for the same context only.

        Raises:
            KeyMissing: the region has no such root key.
        """

    def unwrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> bytes:
        """Unwrap a key.

        Raises:
            KeyMissing: the root key is not in the ring, or did not wrap this key for this context.
        """

    def rewrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        """Wrap a wrapped key under the newest root key of the same name. In a key service it is never in clear here.

        Returns the id of the newest root key, and the key wrapped under it.

        Raises:
            KeyMissing: the root key that wrapped it was destroyed.
        """

    def retire(self, root_key_ids: Iterable[str]) -> Mapping[str, datetime | None]:
        """Destroy root keys, and finish what a crash interrupted. Missing keys are ignored.

        Returns for each key when it is destroyed: `None` if it is destroyed already. A key that waits for its
        destruction opens nothing until then, unless somebody cancels the destruction in the key service.
        """


class Keychain(Protocol):
    """Encrypts, decrypts and wraps with the keys of teams and regions. Raw keys never leave it."""

    @property
    def ring(self) -> KeyRing:
        """The root keys that wrap the keys of teams."""

    def user_key(self, team: TeamId, user_id: str) -> UserKey:
        """Return the keyed pseudonym of a user id, normalised (Unicode NFC, outer white space removed)."""

    def user_key_maker(self, team: TeamId) -> Callable[[str], UserKey]:
        """Return a function from user id to pseudonym, for many ids of one team."""

    def pseudonym(self, team: TeamId, text: str) -> str:
        """Return a keyed pseudonym of a text, 32 hexadecimal digits."""

    def pseudonym_maker(self, team: TeamId) -> Callable[[str], str]:
        """Return a function from text to pseudonym, for many texts of one team."""

    def seal(self, team: TeamId, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt a small value with AES-256-GCM under the team's seal key, bound to its context."""

    def sealer(self, team: TeamId) -> Callable[[bytes, str], bytes]:
        """Return a function from value and context to sealed value, for many values of one team."""

    def unseal(self, team: TeamId, sealed: bytes, *, context: str) -> bytes:
        """Decrypt a sealed value.

        Raises:
            KeyMissing: its key was destroyed, or the value was altered or sealed for another context.
        """

    def new_team_keys(
        self,
        team: TeamId,
        region: Region,
        *,
        version: int,
        at: datetime,
        purposes: Iterable[KeyPurpose] = tuple(KeyPurpose),
    ) -> tuple[TeamKey, ...]:
        """Make one new key of each purpose, wrapped under the region's root keys."""

    def forget(self, team: TeamId) -> None:
        """Drop the team's unwrapped keys from memory."""

    def fingerprints(self, keys: Iterable[TeamKey]) -> Mapping[str, str]:
        """Return the fingerprint of each team key, by id. The wrapped keys are opened again for it.

        Raises:
            KeyMissing: a key cannot be unwrapped.
        """

    def rewrap_team_keys(self, keys: Iterable[TeamKey]) -> tuple[TeamKey, ...]:
        """Return team keys wrapped under the newest root keys of their region.

        Raises:
            KeyMissing: a root key that wrapped one is gone.
        """

    def rewrap_file_keys(self, team: TeamId, keys: Sequence[FileKey]) -> tuple[FileKey, ...]:
        """Return a file's keys wrapped under the team's newest keys. The file itself does not change.

        Raises:
            KeyMissing: a team key that wrapped one is gone.
        """
