"""Keys as the catalog and the ledger describe them: wrapped, or as ids and fingerprints; never a key itself.

Root keys are numbered by epoch, `<region>/<name>/<epoch>`; team keys by version, `<team>/<purpose>/<version>`. A number
is never reused. So a key with a lower number than a live one is destroyed, unless the ledger lists it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from implio_pipeline.domain.ids import ColumnClass, KeyId, KeyPurpose, Region, TeamId
from implio_pipeline.domain.statements import Statement

KeyContext = Mapping[str, str]
"""What a wrapped key is for: names and values that a key service binds to it."""

HOME = Region("home")
"""The region of the key ring for what belongs to no region: members, operators, files set aside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamKey:
    """One version of one of a team's keys, wrapped under a root key: by RFC 3394, or as the key service does it."""

    key_id: KeyId
    team: TeamId
    purpose: KeyPurpose
    version: int
    root_key_id: str
    created_at: datetime
    wrapped: bytes = field(repr=False)
    is_spent: bool = False
    """Whether the key of a file was deleted that may have been wrapped under this one: see `domain/epochs.py`."""

    @property
    def context(self) -> KeyContext:
        """What the key is for. A row that is moved to another team, purpose or version does not open there."""
        return {"team": self.team, "purpose": self.purpose.value, "version": str(self.version)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """A sealed value that is stored, and where it is stored."""

    kind: str
    key: int | str
    context: str = field(repr=False)
    sealed: bytes = field(repr=False)


SEAL_END = b"\0"
"""Separates the id of the key, at the start of a sealed value, from the rest."""


def sealed_under(sealed: bytes) -> KeyId:
    """Return the id of the team key that sealed a value."""
    return KeyId(sealed.partition(SEAL_END)[0].decode(errors="replace"))


CLASS_PURPOSES = tuple(KeyPurpose(column_class.value) for column_class in ColumnClass)
"""The purposes of the keys that wrap file keys."""
ROTATING_PURPOSES = (*CLASS_PURPOSES, KeyPurpose.SEAL)
"""The purposes whose keys rotate. The pseudonym key never does: tombstones and the user keys in all files depend on it.
"""

Fingerprints = Mapping[str, str]
"""Key ids, each with the first 8 bytes, hexadecimal, of HMAC-SHA-256 of the id under the key. For a root key in a key
service: with what the service identifies it by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyStates:
    """Keys of one kind, by state."""

    live: Fingerprints = field(default_factory=dict)
    retired: Fingerprints = field(default_factory=dict)
    """Nothing new is wrapped under these keys; they are about to be destroyed."""
    destroyed: Fingerprints = field(default_factory=dict)
    """Keys destroyed since the previous statement."""

    @classmethod
    def of_ring(cls, ring: Fingerprints, *, destroyed: Fingerprints | None = None) -> "KeyStates":
        """Return the states of a ring's root keys: the newest of each series is live, the others are retired."""
        newest = newest_ids(ring)
        # A rotation wraps everything again under the newest epoch, so all older ones are retired.
        return cls(
            live={each: ring[each] for each in ring if each in newest},
            retired={each: ring[each] for each in ring if each not in newest},
            destroyed=destroyed or {},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RingFaults:
    """How a key ring differs from the newest statement about it."""

    missing: tuple[str, ...] = ()
    """Live according to the ledger, and not in the ring: somebody restored an older ring."""
    changed: tuple[str, ...] = ()
    """The ring has a different key under this id."""
    returned: tuple[str, ...] = ()
    """Destroyed according to the ledger, and in the ring again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyStatement(Statement):
    """A ledger entry about keys at one instant: all root keys, and the team keys that were rotated."""

    at: datetime
    roots: KeyStates
    team_keys: KeyStates

    def ring_faults(self, ring: Fingerprints) -> RingFaults:
        """Return how the root keys in a ring differ from this statement.

        Epochs newer than the statement are allowed: a rotation that is running or was interrupted makes them.
        """
        live, retired = self.roots.live, self.roots.retired
        told = newest_numbers(live)
        return RingFaults(
            missing=tuple(sorted(key_id for key_id in live if key_id not in ring)),
            changed=tuple(sorted(each for each, print_ in live.items() if ring.get(each, print_) != print_)),
            returned=tuple(
                sorted(
                    key_id
                    for key_id in ring
                    if key_id not in live
                    and key_id not in retired
                    # Numbers are never reused, so a lower number that the ledger does not list was destroyed.
                    and number_of(key_id) < told.get(series_of(key_id), 0)
                )
            ),
        )


def root_key_names(region: Region) -> list[str]:
    """Return the names of a region's root keys: one for each class, or `seal` for the home."""
    return ["seal"] if region == HOME else [column_class.value for column_class in ColumnClass]


def region_of(root_key_id: str) -> Region:
    """Return the region of a root key."""
    return Region(root_key_id.partition("/")[0])


def old_keys(keys: Iterable[TeamKey], purposes: Iterable[KeyPurpose]) -> list[TeamKey]:
    """Return the keys of these purposes that have a newer version."""
    listed, wanted = list(keys), frozenset(purposes)
    newest = newest_ids(key.key_id for key in listed)
    return [key for key in listed if key.purpose in wanted and key.key_id not in newest]


def is_rotation_due(since: datetime | None, *, days: int, now: datetime) -> bool:
    """Return whether keys are older than `days`; never if `days` is 0.

    Args:
        since: When the oldest key was made of those that rotate and have no newer version; `None` if there are none.
        days: How old a key may be.
        now: The present.
    """
    return days > 0 and since is not None and now - since >= timedelta(days=days)


def newest_ids(key_ids: Iterable[str]) -> frozenset[str]:
    """Return the newest id of each series."""
    return frozenset(f"{series}/{number}" for series, number in newest_numbers(key_ids).items())


def newest_numbers(key_ids: Iterable[str]) -> dict[str, int]:
    """Return the newest epoch or version of each series."""
    found: dict[str, int] = {}
    for key_id in key_ids:
        series = series_of(key_id)
        found[series] = max(number_of(key_id), found.get(series, 0))
    return found


def series_of(key_id: str) -> str:
    """Return the series of a key: its id without the number."""
    return key_id.rpartition("/")[0]


def number_of(key_id: str) -> int:
    """Return the epoch or version in a key's id; 0 if it has none."""
    number = key_id.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() else 0
