"""The two worlds of watched places, a folder and a bucket, with the landing zone and the inbox on each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from implio_pipeline.domain.bucket import BucketAddress
from implio_pipeline.domain.claims import LEASE, ClaimKind
from implio_pipeline.domain.ids import TeamId, UserKey
from implio_pipeline.flows.work import Worker
from implio_pipeline.formats.limits import LandingLimits, LandingPolicy
from implio_pipeline.formats.pieces import SUFFIXES
from implio_pipeline.formats.request_files import SUFFIXES as REQUEST_SUFFIXES
from implio_pipeline.ports.claims import Claims
from implio_pipeline.ports.inbox import Inbox
from implio_pipeline.ports.landing import LandingZone
from implio_pipeline.stores.inbox import WatchedInbox, inbox_folder, is_refusal
from implio_pipeline.stores.landing.zone import LandingBucket, LandingFolder, is_team
from implio_pipeline.stores.leftovers import LeftoverFolders
from implio_pipeline.stores.objects.bucket import ObjectBucket
from implio_pipeline.stores.objects.folder import ObjectFolder
from implio_pipeline.stores.objects.objects import Objects, StoredObject
from implio_pipeline.stores.set_aside import SetAside
from implio_pipeline.stores.watched_bucket import BucketRules, WatchedBucket
from support.clock import StillClock
from support.set_aside import KeysInMemory

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ASKER = "dpo"
"""Who asks in a bucket."""


class KnownKeys:
    """Pseudonyms that a test can compute."""

    def user_key(self, team: TeamId, user_id: str) -> UserKey:
        return UserKey(f"{team}/{user_id}".encode().ljust(16, b".")[:16])

    def pseudonym(self, team: TeamId, text: str) -> str:
        return sha256(f"{team}/{text}".encode()).hexdigest()[:32]

    def user_key_maker(self, team: TeamId) -> Any:
        return lambda user_id: self.user_key(team, user_id)


class World(Protocol):
    """A landing zone and an inbox, and what a test does outside of them."""

    clock: StillClock
    landing: LandingZone
    inbox: Inbox
    leftovers: LeftoverFolders
    aside: SetAside
    kind: str

    def land(self, name: str, content: bytes, *, team: str = "acme", age: float = 60) -> None:
        """Put a landing file there as a sender does, written some seconds ago."""

    def ask(self, name: str, content: bytes, *, age: float = 60) -> None:
        """Put a request file there."""

    def left(self) -> dict[str, bytes]:
        """Return what lies in the landing zone, hidden folders included, by `team/name`."""

    def asked(self) -> dict[str, bytes]:
        """Return what lies in the inbox, by name."""

    def worker(self) -> Worker:
        """Return a new worker."""


@dataclass(kw_only=True)
class FolderWorld:
    path: Path
    claims: Claims
    clock: StillClock
    landing: LandingFolder
    inbox: WatchedInbox
    aside: SetAside
    leftovers: LeftoverFolders
    kind: str = "folder"

    def land(self, name: str, content: bytes, *, team: str = "acme", age: float = 60) -> None:
        self._put(self.path / "landing" / team / name, content, age)

    def ask(self, name: str, content: bytes, *, age: float = 60) -> None:
        self._put(self.path / "inbox" / name, content, age)

    def left(self) -> dict[str, bytes]:
        return _below(self.path / "landing")

    def asked(self) -> dict[str, bytes]:
        return _below(self.path / "inbox")

    def worker(self) -> Worker:
        return Worker(self.claims, "test", lease=LEASE)

    def _put(self, path: Path, content: bytes, age: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (0, self.clock.now().timestamp() - age))


class DatedBucket(ObjectBucket):
    """A bucket whose objects have the dates that a test gives them. S3 dates them by its clock alone."""

    def __init__(self, address: BucketAddress) -> None:
        super().__init__(address)
        self.dates: dict[str, datetime] = {}

    def look(self, key: str) -> StoredObject | None:
        found = super().look(key)
        return None if found is None else self._dated(found)

    def listing(self, prefix: str = "", *, after: str = "") -> Iterator[StoredObject]:
        yield from map(self._dated, super().listing(prefix, after=after))

    def _dated(self, found: StoredObject) -> StoredObject:
        return replace(found, written_at=self.dates.get(found.key, NOW))


@dataclass(kw_only=True)
class BucketWorld:
    client: Any
    claims: Claims
    clock: StillClock
    landing_bucket: DatedBucket
    inbox_bucket: DatedBucket
    landing: LandingBucket
    inbox: WatchedInbox
    aside: SetAside
    leftovers: LeftoverFolders
    kind: str = "bucket"
    sent: set[str] = field(default_factory=set)

    def land(self, name: str, content: bytes, *, team: str = "acme", age: float = 60) -> None:
        self._put(self.landing_bucket, f"{team}/{name}", content, age)

    def ask(self, name: str, content: bytes, *, age: float = 60) -> None:
        self._put(self.inbox_bucket, f"{ASKER}/{name}", content, age)

    def left(self) -> dict[str, bytes]:
        return self._all(self.landing_bucket)

    def asked(self) -> dict[str, bytes]:
        return {key.removeprefix(f"{ASKER}/"): content for key, content in self._all(self.inbox_bucket).items()}

    def worker(self) -> Worker:
        return Worker(self.claims, "test", lease=LEASE)

    def _put(self, place: DatedBucket, key: str, content: bytes, age: float) -> None:
        place.dates[key] = self.clock.now() - timedelta(seconds=age)
        self.client.put_object(Bucket=place.address.bucket, Key=place.address.prefix + key, Body=content)

    def _all(self, place: DatedBucket) -> dict[str, bytes]:
        return {each.key: place.get(each.key) for each in place.listing()}


@contextmanager
def folder_world(
    path: Path, claims: Claims, *, limits: LandingLimits | None = None, **policy: Any
) -> Iterator[FolderWorld]:
    """Make a world of folders for the length of the block."""
    clock = StillClock(NOW)
    aside = SetAside(ObjectFolder(path / "aside"), KeysInMemory(), clock)
    landing = LandingFolder(
        path / "landing",
        KnownKeys(),  # type: ignore[arg-type]
        aside,
        clock=clock,
        limits=limits,
        policy=LandingPolicy(**policy),
    )
    (path / "inbox").mkdir()
    world = FolderWorld(
        path=path,
        claims=claims,
        clock=clock,
        landing=landing,
        inbox=WatchedInbox(inbox_folder(path / "inbox", clock=clock), aside),
        aside=aside,
        leftovers=LeftoverFolders(home=path, landing=path / "landing", inbox=path / "inbox"),
    )
    try:
        yield world
    finally:
        landing.close()


@contextmanager
def bucket_world(
    path: Path, claims: Claims, bucket: str, client: Any, *, limits: LandingLimits | None = None, **policy: Any
) -> Iterator[BucketWorld]:
    """Make a world of prefixes of a bucket for the length of the block."""
    clock = StillClock(NOW)
    prefix = uuid4()
    places = {
        name: DatedBucket(BucketAddress(bucket=bucket, prefix=f"{prefix}/{name}/"))
        for name in ("landing", "inbox", "aside")
    }
    aside = SetAside(places["aside"], KeysInMemory(), clock)
    landing = LandingBucket(
        watched(places["landing"], claims, clock, path),
        KnownKeys(),  # type: ignore[arg-type]
        aside,
        clock=clock,
        limits=limits,
        policy=LandingPolicy(**policy),
    )
    rules = BucketRules(
        kind=ClaimKind.INBOX,
        suffixes=REQUEST_SUFFIXES,
        is_group={ASKER}.__contains__,
        is_ignored=is_refusal,
        scratch=path / "tmp",
    )
    world = BucketWorld(
        client=client,
        claims=claims,
        clock=clock,
        landing_bucket=places["landing"],
        inbox_bucket=places["inbox"],
        landing=landing,
        inbox=WatchedInbox(WatchedBucket(places["inbox"], claims, rules, clock=clock), aside),
        aside=aside,
        leftovers=LeftoverFolders(home=path, reports=[places["landing"], places["inbox"]], stores=[places["landing"]]),
    )
    try:
        yield world
    finally:
        landing.close()


def watched(objects: Objects, claims: Claims, clock: StillClock, path: Path) -> WatchedBucket:
    """Return the landing files of a bucket."""
    rules = BucketRules(kind=ClaimKind.LANDING, suffixes=SUFFIXES, is_group=is_team, scratch=path / "tmp")
    return WatchedBucket(objects, claims, rules, clock=clock)


def _below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
