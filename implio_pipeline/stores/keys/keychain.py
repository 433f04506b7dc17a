"""Use the keys of teams: make pseudonyms, seal values, and wrap the keys of files.

Rules:

* Raw team keys are in memory only, never on disk. Root keys never leave the key ring.
* Only keys of granted classes are unwrapped, so that a reader without a class cannot decrypt it.
* New file keys and new seals use the newest team keys of the catalog, which are read each time. A rotation may have
  destroyed the keys in memory, and what is wrapped under a destroyed key is lost.
* A team's pseudonym key never changes: tombstones and the user keys in all files are made with it.
"""

import hmac
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from threading import Lock

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from typing_extensions import override

from implio_pipeline.domain.errors import ClassNotGranted, KeyMissing
from implio_pipeline.domain.files import FileKey
from implio_pipeline.domain.ids import ColumnClass, FileId, KeyId, KeyPurpose, Region, TeamId, UserKey
from implio_pipeline.domain.keys import SEAL_END, TeamKey, sealed_under
from implio_pipeline.domain.replan import replan
from implio_pipeline.ports.keychain import Keychain, KeyRing
from implio_pipeline.stores.keys.cache import KeyCache
from implio_pipeline.stores.keys.ring import fingerprint
from implio_pipeline.stores.keys.sealer import KEY_BYTES, Sealer

_PSEUDONYM_BYTES = 16
_KEPT_USERS = 100_000
"""How many user ids and pseudonyms a maker keeps, as long as it is used itself: about 25 MB."""


class TeamKeychain(Keychain):
    """The keys of teams. It unwraps the keys of granted classes only.

    Args:
        ring: Holds the root keys.
        team_keys: Returns a team's live wrapped keys, newest version first.
        granted: Classes whose keys may be unwrapped. The keys of pseudonyms and seals are of the class `identity`.
        cache: Keeps unwrapped keys; a new one by default.
    """

    def __init__(
        self,
        ring: KeyRing,
        team_keys: Callable[[TeamId], list[TeamKey]],
        *,
        granted: Iterable[ColumnClass] = tuple(ColumnClass),
        cache: KeyCache | None = None,
    ) -> None:
        self._ring = ring
        self._team_keys = team_keys
        self.granted = frozenset(granted)
        self._wrapped: dict[TeamId, list[TeamKey]] = {}
        self._cache = cache or KeyCache()
        self._lock = Lock()

    @property
    @override
    def ring(self) -> KeyRing:
        return self._ring

    @override
    def user_key(self, team: TeamId, user_id: str) -> UserKey:
        return self.user_key_maker(team)(user_id)

    @override
    def user_key_maker(self, team: TeamId) -> Callable[[str], UserKey]:
        normal, keyed = unicodedata.normalize, HMAC(self._newest(team, KeyPurpose.PSEUDONYM)[1], SHA256())
        keyed.update(b"user\0")

        @lru_cache(_KEPT_USERS)  # the same people appear in many files
        def user_key(user_id: str) -> UserKey:
            text = user_id if user_id.isascii() else normal("NFC", user_id)
            mine = keyed.copy()  # three times as fast as a new HMAC for each id (decision 0007)
            mine.update(text.strip().encode())
            return UserKey(mine.finalize()[:_PSEUDONYM_BYTES])

        return user_key

    @override
    def pseudonym(self, team: TeamId, text: str) -> str:
        return self.pseudonym_maker(team)(text)

    @override
    def pseudonym_maker(self, team: TeamId) -> Callable[[str], str]:
        key = self._newest(team, KeyPurpose.PSEUDONYM)[1]
        return lambda text: hmac.digest(key, b"text\0" + text.encode(), "sha256")[:_PSEUDONYM_BYTES].hex()

    @override
    def seal(self, team: TeamId, plaintext: bytes, *, context: str) -> bytes:
        return self.sealer(team)(plaintext, context)

    @override
    def sealer(self, team: TeamId) -> Callable[[bytes, str], bytes]:
        key_id, key = self._newest(team, KeyPurpose.SEAL, is_fresh=True)
        sealer, head = Sealer(key), f"{key_id}\0"
        return lambda plaintext, context: head.encode() + sealer.seal(plaintext, context=head + context)

    @override
    def unseal(self, team: TeamId, sealed: bytes, *, context: str) -> bytes:
        key_id = sealed_under(sealed)
        _, _, rest = sealed.partition(SEAL_END)
        return Sealer(self._by_id(team, key_id)).unseal(rest, context=f"{key_id}\0{context}")

    @override
    def new_team_keys(
        self,
        team: TeamId,
        region: Region,
        *,
        version: int,
        at: datetime,
        purposes: Iterable[KeyPurpose] = tuple(KeyPurpose),
    ) -> tuple[TeamKey, ...]:
        made = []
        for purpose in purposes:
            raw = secrets.token_bytes(KEY_BYTES)
            key = TeamKey(
                key_id=KeyId(f"{team}/{purpose}/{version}"),
                team=team,
                purpose=purpose,
                version=version,
                root_key_id="",
                created_at=at,
                wrapped=b"",
            )
            root_key_id, wrapped = self._ring.wrap(region, _root_class(purpose).value, raw, context=key.context)
            made.append(replace(key, root_key_id=root_key_id, wrapped=wrapped))
            self._cache.put(team, wrapped, raw)  # so that a new team's first file costs no further call
        return tuple(made)

    @override
    def forget(self, team: TeamId) -> None:
        with self._lock:
            self._wrapped.pop(team, None)
        self._cache.forget(team)

    @override
    def fingerprints(self, keys: Iterable[TeamKey]) -> dict[str, str]:
        # Opened again, not from memory: what is stored must open.
        return {
            key.key_id: fingerprint(key.key_id, self._ring.unwrap(key.root_key_id, key.wrapped, context=key.context))
            for key in keys
        }

    @override
    def rewrap_team_keys(self, keys: Iterable[TeamKey]) -> tuple[TeamKey, ...]:
        rewrapped = []
        for key in keys:
            # Whoever destroys the old root key afterwards opens the new wrapping first (`fingerprints`).
            root_key_id, wrapped = self._ring.rewrap(key.root_key_id, key.wrapped, context=key.context)
            rewrapped.append(replace(key, root_key_id=root_key_id, wrapped=wrapped))
        return tuple(rewrapped)

    @override
    def rewrap_file_keys(self, team: TeamId, keys: Sequence[FileKey]) -> tuple[FileKey, ...]:
        return tuple(self._file_key_of(team, key.file_id, key.column_class, self._file_key(team, key)) for key in keys)

    def new_file_keys(self, team: TeamId, file_id: FileId) -> tuple[dict[ColumnClass, bytes], tuple[FileKey, ...]]:
        """Make a file's keys, one for each class: raw for writing the file, wrapped for the catalog.

        The team's keys are read from the catalog each time, since a rotation may have replaced them. That takes 0.4 ms,
        and writing a file 9 ms or more (measured).
        """
        raw = {column_class: secrets.token_bytes(KEY_BYTES) for column_class in ColumnClass}
        self._wrapped_keys(team, refresh=True)
        return raw, tuple(self._file_key_of(team, file_id, column_class, key) for column_class, key in raw.items())

    def file_keys(self, team: TeamId, keys: Iterable[FileKey]) -> Mapping[ColumnClass, bytes]:
        """Unwrap a file's keys of the granted classes.

        Raises:
            KeyMissing: a team key that wrapped one of them was destroyed.
        """
        return {key.column_class: self._file_key(team, key) for key in keys if key.column_class in self.granted}

    def _file_key(self, team: TeamId, key: FileKey) -> bytes:
        try:
            return aes_key_unwrap(self._by_id(team, key.team_key_id), key.wrapped)
        except InvalidUnwrap:
            raise KeyMissing(f"the {key.column_class} key of file {key.file_id} does not open") from None

    def _file_key_of(self, team: TeamId, file_id: FileId, column_class: ColumnClass, raw: bytes) -> FileKey:
        team_key_id, team_key = self._newest(team, KeyPurpose(column_class.value))
        return FileKey(
            file_id=file_id,
            column_class=column_class,
            team_key_id=team_key_id,
            wrapped=aes_key_wrap(team_key, raw),
        )

    def _newest(self, team: TeamId, purpose: KeyPurpose, *, is_fresh: bool = False) -> tuple[KeyId, bytes]:
        if is_fresh:
            self._wrapped_keys(team, refresh=True)
        return self._newest_that(team, lambda key: key.purpose is purpose, missing=f"team {team} has no {purpose} key")

    def _by_id(self, team: TeamId, key_id: KeyId) -> bytes:
        words = f"team key {key_id} is destroyed or was never here"
        return self._newest_that(team, lambda key: key.key_id == key_id, missing=words)[1]

    def _newest_that(self, team: TeamId, is_wanted: Callable[[TeamKey], bool], *, missing: str) -> tuple[KeyId, bytes]:
        """Return the id and the raw key of the newest key that meets a condition.

        Raises:
            KeyMissing: no key meets it (the text is then `missing`), or the key does not unwrap.
        """
        # A key that does not unwrap may have been wrapped under a newer root key since. So the keys are read again. If
        # the key has changed, a rotation was at work, and the key is not lost.
        tried: TeamKey | None = None

        def open_newest() -> tuple[KeyId, bytes]:
            nonlocal tried
            tried = next(filter(is_wanted, self._wrapped_keys(team)), None)
            if tried is None:
                raise KeyMissing(missing)
            return tried.key_id, self._unwrap(tried)

        def is_renewed(error: Exception) -> bool:
            if not isinstance(error, KeyMissing):
                return False
            return next(filter(is_wanted, self._wrapped_keys(team, refresh=True)), None) != tried

        return replan(open_newest, about=f"the keys of team {team}", is_race=is_renewed)

    def _wrapped_keys(self, team: TeamId, *, refresh: bool = False) -> list[TeamKey]:
        found = None if refresh else self._wrapped.get(team)  # once: another thread may forget them
        if found is None:
            found = self._team_keys(team)
            with self._lock:
                self._wrapped[team] = found
        return found

    def _unwrap(self, key: TeamKey) -> bytes:
        root = _root_class(key.purpose)
        if root not in self.granted:
            raise ClassNotGranted(f"this reader was not granted the {root} class")
        return self._cache.get(
            key.team, key.wrapped, lambda: self._ring.unwrap(key.root_key_id, key.wrapped, context=key.context)
        )


def _root_class(purpose: KeyPurpose) -> ColumnClass:
    """Return the class whose root key wraps keys of a purpose."""
    if purpose in (KeyPurpose.PSEUDONYM, KeyPurpose.SEAL):
        return ColumnClass.IDENTITY
    return ColumnClass(purpose.value)
