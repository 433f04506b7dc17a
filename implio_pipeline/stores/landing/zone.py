"""Watch `landing/<team>/`: which files wait, and which folders exist.

Rules:

* Only folders with a valid team name are read. Everything else is not touched, and reported as passed over.
* A folder that cannot be listed fails alone: the run that reaches it names it, and the files of other teams are taken.
"""

import os
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path

from typing_extensions import override

from implio_pipeline.domain.errors import TeamInvalid
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import day_of
from implio_pipeline.domain.team import team_id
from implio_pipeline.formats.limits import LandingLimits, LandingPolicy
from implio_pipeline.formats.pieces import SUFFIXES, WorkerPool
from implio_pipeline.ports.clock import Clock
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.landing import LandingClaim, LandingZone
from implio_pipeline.stores.durable import make_folder
from implio_pipeline.stores.landing.claimed import ClaimedLanding
from implio_pipeline.stores.set_aside import SetAside
from implio_pipeline.stores.watched import CLAIMED, UnclaimedFile, WatchedFolder, is_hidden

_MAX_USERS = 100_000
"""How many users' pseudonyms are kept while a team's files are taken: about 25 MB."""


class LandingFolder(LandingZone):
    """The landing zone as folders, one for each team.

    Args:
        root: Holds a folder for each team, and the claimed files.
        keychain: Makes the pseudonyms of user ids.
        set_aside: Where files go that cannot be read.
        clock: The present.
        limits: Bounds of parsing.
        policy: How files are watched, and what happens to their plaintext.
    """

    def __init__(
        self,
        root: Path,
        keychain: Keychain,
        set_aside: SetAside,
        *,
        clock: Clock,
        limits: LandingLimits | None = None,
        policy: LandingPolicy | None = None,
    ) -> None:
        self._root = root
        self._keychain = keychain
        self._set_aside = set_aside
        self._clock = clock
        self._limits = limits or LandingLimits()
        self._policy = policy or LandingPolicy()
        self._workers = WorkerPool(self._limits)

    def close(self) -> None:
        """End the worker processes, if any were started."""
        self._workers.close()

    @override
    def waiting(self, *, but: Collection[str] = ()) -> Mapping[TeamId, list[date]]:
        days: dict[TeamId, set[date]] = {}
        for team in sorted(self._teams()):
            try:
                days[team] = {day_of(file.modified_at) for file in self._watched(team).ready() if file.mark not in but}
            except OSError:
                # A folder that cannot be listed counts as waiting since today, so that a run reaches it and names it.
                days[team] = {day_of(self._clock.now())}
        return {team: sorted(found) for team, found in days.items() if found}

    @override
    def has(self, team: TeamId, marks: Collection[str]) -> Collection[str]:
        try:
            return {file.mark for file in self._watched(team).ready()} & set(marks)
        except OSError:
            return marks

    @override
    def waiting_since(self, *, but: Collection[str] = ()) -> datetime | None:
        found = []
        for team in self._teams():
            with suppress(OSError):  # the run that reaches the folder names it
                found.append(self._watched(team).waiting_since(but=but))
        return min((since for since in found if since), default=None)

    @override
    def make_folder(self, team: TeamId) -> None:
        make_folder(self._root / team_id(team))

    @override
    def passed_over(self) -> Iterator[str]:
        if not self._root.is_dir():
            return
        with os.scandir(self._root) as entries:
            for one in entries:
                if not (is_hidden(one.name) or (one.is_dir(follow_symlinks=False) and _is_team(one.name))):
                    yield one.name
        for team in sorted(self._teams()):
            yield from (f"{team}/{name}" for name in self._watched(team).passed_over())

    @override
    def misnamed(self, teams: Collection[TeamId]) -> Mapping[str, TeamId]:
        if not self._root.is_dir():
            return {}
        meant = {_plain_name(team): team for team in teams}
        with os.scandir(self._root) as entries:
            names = [one.name for one in entries if one.is_dir(follow_symlinks=False) and one.name not in teams]
        return {name: meant[_plain_name(name)] for name in sorted(names) if _plain_name(name) in meant}

    @override
    def claim(
        self, team: TeamId, *, since: datetime | None = None, but: Collection[str] = ()
    ) -> Iterator[LandingClaim]:
        policy = self._policy if since is None else replace(self._policy, first_at=max(since, self._policy.first_at))
        user_key: Callable[[str], bytes] | None = None
        for file in self._watched(team).claim(but=but):
            if isinstance(file, UnclaimedFile):
                yield file
                continue
            # The same people appear in many files. The cache is dropped with the last file of this call.
            user_key = user_key or lru_cache(_MAX_USERS)(self._keychain.user_key_maker(team))
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

    def _teams(self) -> set[TeamId]:
        # A process that died may have left claimed files of a team whose own folder is gone.
        found = set()
        for folder in (self._root, self._root / CLAIMED):
            if not folder.is_dir():
                continue
            with os.scandir(folder) as entries:
                found |= {
                    TeamId(one.name) for one in entries if one.is_dir(follow_symlinks=False) and _is_team(one.name)
                }
        return found

    def _watched(self, team: TeamId) -> WatchedFolder:
        name = team_id(team)
        return WatchedFolder(
            self._root / name,
            self._root / CLAIMED / name,
            suffixes=SUFFIXES,
            clock=self._clock,
            settle_seconds=self._policy.settle_seconds,
        )


def _plain_name(name: str) -> str:
    """Return a folder's name without the differences that people and systems make: case, blanks and Unicode form."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def _is_team(name: str) -> bool:
    try:
        team_id(name)
    except TeamInvalid:
        return False
    return True
