"""The landing zone, in a folder or in a bucket: `<team>/<file>`, which files wait, and which are never taken.

Rules:

* Only folders with a valid team name are read. Everything else is not touched, and reported as passed over.
* A folder that cannot be listed fails alone: the run that reaches it names it, and the files of other teams are taken.
* A bucket is listed as a whole, a thousand keys a request, and not team by team.
"""

import os
import unicodedata
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from typing_extensions import override

from implio_pipeline.domain.errors import StorageFailed, TeamInvalid
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import day_of
from implio_pipeline.domain.team import team_id
from implio_pipeline.formats.limits import LandingLimits, LandingPolicy
from implio_pipeline.formats.pieces import SUFFIXES, WorkerPool
from implio_pipeline.ports.claims import Claiming
from implio_pipeline.ports.clock import Clock
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.landing import LandingClaim, LandingZone, WaitingFiles
from implio_pipeline.stores.durable import make_folder
from implio_pipeline.stores.landing.claimed import ClaimedLanding
from implio_pipeline.stores.set_aside import SetAside
from implio_pipeline.stores.watched import CLAIMED, WatchedFolder
from implio_pipeline.stores.watched_bucket import WatchedBucket
from implio_pipeline.stores.watched_place import ReadyFile, UnclaimedFile, WatchedPlace, is_hidden


class Landing(LandingZone):
    """What both worlds share.

    Args:
        keychain: Makes the pseudonyms of user ids.
        set_aside: Where files go that cannot be read.
        clock: The present.
        limits: Bounds of parsing.
        policy: How files are watched, and what happens to their plaintext.
    """

    def __init__(
        self,
        keychain: Keychain,
        set_aside: SetAside,
        *,
        clock: Clock,
        limits: LandingLimits | None = None,
        policy: LandingPolicy | None = None,
    ) -> None:
        self._keychain = keychain
        self._set_aside = set_aside
        self._clock = clock
        self._limits = limits or LandingLimits()
        self._policy = policy or LandingPolicy()
        self._workers = WorkerPool(self._limits)

    def close(self) -> None:
        """End the worker processes, if any were started."""
        self._workers.close()

    @abstractmethod
    def _ready(self) -> Iterator[tuple[TeamId, ReadyFile | None]]:
        """Yield what can be claimed of every team; `None` for a folder that cannot be listed."""

    @abstractmethod
    def _of(self, team: TeamId) -> WatchedPlace:
        """Return what there is of one team."""

    @abstractmethod
    def _folders(self) -> Collection[str]:
        """Return the names of the folders in which files may lie."""

    @override
    def waiting(self, *, but: Collection[str] = ()) -> Mapping[TeamId, WaitingFiles]:
        # A folder may hold a million files, so they are counted and not kept.
        days: dict[TeamId, set[date]] = {}
        files, sizes = Counter[TeamId](), Counter[TeamId]()
        for team, file in self._ready():
            # A folder that cannot be listed counts as waiting since today, so that a run reaches it and names it.
            if file is None or file.mark not in but:
                days.setdefault(team, set()).add(day_of(self._clock.now() if file is None else file.modified_at))
                files[team] += 1
                sizes[team] += 0 if file is None else file.size_bytes
        return {
            team: WaitingFiles(days=tuple(sorted(found)), files=files[team], size_bytes=sizes[team])
            for team, found in sorted(days.items())
        }

    @override
    def waiting_since(self, *, but: Collection[str] = ()) -> datetime | None:
        ready = (file for _, file in self._ready() if file is not None)
        return min((file.arrived_at for file in ready if file.mark not in but), default=None)

    @override
    def misnamed(self, teams: Collection[TeamId]) -> Mapping[str, TeamId]:
        meant = {_plain_name(team): team for team in teams}
        names = sorted(name for name in self._folders() if name not in teams)
        return {name: meant[_plain_name(name)] for name in names if _plain_name(name) in meant}

    @override
    def claim(
        self, team: TeamId, worker: Claiming, *, since: datetime | None = None, but: Collection[str] = ()
    ) -> Iterator[LandingClaim]:
        policy = self._policy if since is None else replace(self._policy, first_at=max(since, self._policy.first_at))
        user_key: Callable[[str], bytes] | None = None
        for file in self._of(team).claim(worker, but=but):
            if isinstance(file, UnclaimedFile):
                yield file
                continue
            user_key = user_key or self._keychain.user_key_maker(team)
            yield ClaimedLanding(
                file,
                team,
                keychain=self._keychain,
                user_key=user_key,
                set_aside=self._set_aside,
                limits=self._limits,
                policy=policy,
                workers=self._workers,
            )


class LandingFolder(Landing):
    """The landing zone as folders, one for each team.

    Args:
        root: Holds a folder for each team, and the claimed files.
        keychain: As for `Landing`, like everything that follows.
        set_aside: See there.
        shared: See there.
    """

    def __init__(self, root: Path, keychain: Keychain, set_aside: SetAside, **shared: Any) -> None:
        super().__init__(keychain, set_aside, **shared)
        self._root = root

    @override
    def has(self, team: TeamId, marks: Collection[str]) -> Collection[str]:
        try:
            return {file.mark for file in self._of(team).ready()} & set(marks)
        except OSError:
            return marks

    @override
    def make_folder(self, team: TeamId) -> None:
        make_folder(self._root / team_id(team))

    @override
    def passed_over(self) -> Iterator[str]:
        if not self._root.is_dir():
            return
        with os.scandir(self._root) as entries:
            for one in entries:
                if not (is_hidden(one.name) or (one.is_dir(follow_symlinks=False) and is_team(one.name))):
                    yield one.name
        for team in sorted(self._teams()):
            yield from (f"{team}/{name}" for name in self._of(team).passed_over())

    @override
    def _ready(self) -> Iterator[tuple[TeamId, ReadyFile | None]]:
        for team in sorted(self._teams()):
            try:
                for file in self._of(team).ready():
                    yield team, file
            except OSError:
                yield team, None

    @override
    def _of(self, team: TeamId) -> WatchedFolder:
        name = team_id(team)
        return WatchedFolder(
            self._root / name,
            self._root / CLAIMED / name,
            suffixes=SUFFIXES,
            clock=self._clock,
            settle_seconds=self._policy.settle_seconds,
        )

    @override
    def _folders(self) -> Collection[str]:
        return _folders_in(self._root)

    def _teams(self) -> set[TeamId]:
        # A process that died may have left claimed files of a team whose own folder is gone.
        names = _folders_in(self._root) | _folders_in(self._root / CLAIMED)
        return {TeamId(name) for name in names if is_team(name)}


class LandingBucket(Landing):
    """The landing zone as a bucket.

    Args:
        watched: The bucket.
        keychain: As for `Landing`, like everything that follows.
        set_aside: See there.
        shared: See there.
    """

    def __init__(self, watched: WatchedBucket, keychain: Keychain, set_aside: SetAside, **shared: Any) -> None:
        super().__init__(keychain, set_aside, **shared)
        self._watched = watched

    @override
    def has(self, team: TeamId, marks: Collection[str]) -> Collection[str]:
        try:
            return self._of(team).there(marks)
        except StorageFailed:
            return marks

    @override
    def make_folder(self, team: TeamId) -> None:
        """Do nothing: a bucket has no folders."""

    @override
    def passed_over(self) -> Iterator[str]:
        return self._watched.passed_over()

    @override
    def _ready(self) -> Iterator[tuple[TeamId, ReadyFile | None]]:
        return ((TeamId(file.group), file) for file in self._watched.ready())

    @override
    def _of(self, team: TeamId) -> WatchedBucket:
        return self._watched.of(team_id(team))

    @override
    def _folders(self) -> Collection[str]:
        return self._watched.groups()


def is_team(name: str) -> bool:
    """Return whether a name may be a team's."""
    try:
        team_id(name)
    except TeamInvalid:
        return False
    return True


def _folders_in(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {one.name for one in entries if one.is_dir(follow_symlinks=False)}


def _plain_name(name: str) -> str:
    """Return a folder's name without the differences that people and systems make: case, blanks and Unicode form."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())
