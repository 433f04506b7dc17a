"""Keys as the catalog knows them: always wrapped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from implio_pipeline.domain.ids import ColumnClass, KeyId, KeyPurpose, Region, TeamId
from implio_pipeline.domain.statements import Statement

HOME = Region("home")
"""The key ring's own corner, for what belongs to no region: people who sign in, operators, files set aside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamKey:
    """One version of one of a team's keys, wrapped under a root key (RFC 3394)."""

    key_id: KeyId
    team: TeamId
    purpose: KeyPurpose
    version: int
    root_key_id: str
    created_at: datetime
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """A sealed value that lasts, and where it lies."""

    kind: str
    key: int | str
    context: str = field(repr=False)
    sealed: bytes = field(repr=False)


CLASS_PURPOSES = tuple(KeyPurpose(column_class.value) for column_class in ColumnClass)
"""What wraps the keys of files; with the seal key, what rotates."""
ROTATING_PURPOSES = (*CLASS_PURPOSES, KeyPurpose.SEAL)
"""The pseudonym key never rotates: tombstones and the user keys in every file are made with it."""

Fingerprints = Mapping[str, str]
"""Id of each key and the first 8 bytes, hexadecimal, of HMAC-SHA-256 of that id under the key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyStates:
    """Keys of one kind, by what has become of them."""

    live: Fingerprints = field(default_factory=dict)
    retired: Fingerprints = field(default_factory=dict)
    """Nothing new is wrapped under them; they are about to be destroyed."""
    destroyed: Fingerprints = field(default_factory=dict)
    """Destroyed since the statement before."""

    @classmethod
    def of_ring(cls, ring: Fingerprints, *, destroyed: Fingerprints | None = None) -> "KeyStates":
        """Return the states of a ring's root keys: of each series the newest is live, the others are retired."""
        newest = newest_ids(ring)
        return cls(
            live={each: ring[each] for each in ring if each in newest},
            retired={each: ring[each] for each in ring if each not in newest},
            destroyed=destroyed or {},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RingFaults:
    """Where a key ring differs from the newest statement about it."""

    missing: tuple[str, ...] = ()
    """Live by the ledger, and not in the ring: the ring is an older one."""
    changed: tuple[str, ...] = ()
    """Of the right name, and another key."""
    returned: tuple[str, ...] = ()
    """Destroyed, and in the ring again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyStatement(Statement):
    """What the ledger tells of keys at one instant: all root keys, and the team keys that were rotated."""

    at: datetime
    roots: KeyStates
    team_keys: KeyStates

    def ring_faults(self, ring: Fingerprints) -> RingFaults:
        """Return where the root keys in a ring differ from those the ledger tells of.

        Newer epochs than those told are no fault: a rotation that has just begun, or was broken off, left them.
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
                    and number_of(key_id) < told.get(series_of(key_id), 0)
                )
            ),
        )


def old_keys(keys: Iterable[TeamKey], purposes: Iterable[KeyPurpose]) -> list[TeamKey]:
    """Return the keys of these purposes that a newer version has replaced."""
    listed, wanted = list(keys), frozenset(purposes)
    newest = newest_ids(key.key_id for key in listed)
    return [key for key in listed if key.purpose in wanted and key.key_id not in newest]


def is_rotation_due(keys: Iterable[TeamKey], *, days: int, now: datetime) -> bool:
    """Tell whether some team's newest key of a purpose that rotates is older than so many days; never for 0."""
    listed = [key for key in keys if key.purpose in ROTATING_PURPOSES]
    newest = newest_ids(key.key_id for key in listed)
    ages = (now - key.created_at for key in listed if key.key_id in newest)
    return days > 0 and any(age >= timedelta(days=days) for age in ages)


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
    """Return what all epochs or versions of a key share: its id without the number."""
    return key_id.rpartition("/")[0]


def number_of(key_id: str) -> int:
    """Return the epoch or version in a key's id, 0 when it has none."""
    number = key_id.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() else 0
