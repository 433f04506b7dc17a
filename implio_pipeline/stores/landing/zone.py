"""`landing/<team>/`, watched: which files wait, and how each is taken, sealed away or put back."""

import os
import unicodedata
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache, partial
from hashlib import file_digest
from pathlib import Path
from typing import Any, Self

from typing_extensions import override

from implio_pipeline.domain.errors import LandingInvalid, TeamInvalid
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.domain.instants import day_of, instant_text
from implio_pipeline.domain.team import team_id
from implio_pipeline.formats.columns import keyed
from implio_pipeline.formats.limits import LandingLimits, LandingPolicy
from implio_pipeline.formats.pieces import SUFFIXES, tables_of
from implio_pipeline.formats.unknown import count_names
from implio_pipeline.formats.workers import Workers
from implio_pipeline.ports.clock import Clock
from implio_pipeline.ports.exports import Origin
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.landing import LandingClaim, LandingFile, LandingRemarks, LandingZone, ParsedRows
from implio_pipeline.stores.claimed_file import ClaimedFile
from implio_pipeline.stores.durable import make_folder
from implio_pipeline.stores.landing.report import entries_of, write_report
from implio_pipeline.stores.set_aside import SetAside
from implio_pipeline.stores.watched import CLAIMED, UnclaimedFile, WatchedFolder, is_hidden

_BLOCK_BYTES = 1 << 20
_MOST_USERS = 100_000
"""Whose pseudonyms are kept while a team's files are taken: some 25 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pseudonyms:
    """How a team's values are turned into keyed pseudonyms."""

    user_key: Callable[[str], bytes]
    text: Callable[[str], str]


class LandingFolder(LandingZone):
    """The landing zone as folders, one a team; a folder whose name is no team's is left alone.

    Args:
        root: Holds a folder for each team, and the claimed files.
        keychain: Makes the pseudonyms of user ids.
        set_aside: Where files go that cannot be taken.
        clock: The present.
        limits: Bounds of parsing.
        policy: How files are watched and what becomes of their plaintext.
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
        self._workers = Workers(self._limits)

    def close(self) -> None:
        """End the worker processes, if any were started."""
        self._workers.close()

    @override
    def waiting(self, *, but: Collection[str] = ()) -> Mapping[TeamId, list[date]]:
        days = {team: self._days_of(team, but) for team in self._teams()}
        return {team: sorted(found) for team, found in sorted(days.items()) if found}

    def _days_of(self, team: TeamId, but: Collection[str]) -> set[date]:
        """Return the days; today for a folder that cannot be listed, so that a run comes to it and names it."""
        try:
            return {day_of(file.modified_at) for file in self._watched(team).ready() if file.mark not in but}
        except OSError:
            return {day_of(self._clock.now())}

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
            with suppress(OSError):  # the run that comes to the folder names it
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
                yield UnclaimedLanding(file)
                continue
            # People come again from file to file; what is kept goes when the last file has been taken.
            user_key = user_key or lru_cache(_MOST_USERS)(self._keychain.user_key_maker(team))
            yield ClaimedLanding(
                file,
                team,
                pseudonyms=Pseudonyms(user_key=user_key, text=partial(self._keychain.pseudonym, team)),
                set_aside=self._set_aside,
                folder=self._root / team,
                limits=self._limits,
                policy=policy,
                workers=self._workers,
            )

    def _teams(self) -> set[TeamId]:
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


class UnclaimedLanding(LandingClaim):
    """A landing file that is there and cannot be claimed: entering it raises why."""

    def __init__(self, file: UnclaimedFile) -> None:
        self._file = file

    @override
    def __enter__(self) -> LandingFile:
        return self._file.__enter__()

    @override
    def __exit__(self, *_: object) -> None:
        return None

    @property
    @override
    def mark(self) -> str:
        return self._file.mark

    @property
    @override
    def words(self) -> str:
        return "that cannot be opened or claimed"


class ClaimedLanding(LandingFile, LandingClaim):
    """One claimed landing file; made by `LandingFolder.claim`."""

    def __init__(
        self,
        file: ClaimedFile,
        team: TeamId,
        *,
        pseudonyms: Pseudonyms,
        set_aside: SetAside,
        folder: Path,
        limits: LandingLimits,
        policy: LandingPolicy,
        workers: Workers,
    ) -> None:
        self._file = file
        self._team = team
        self._pseudonyms = pseudonyms
        self._set_aside = set_aside
        self._folder = folder
        self._limits = limits
        self._policy = policy
        self._workers = workers
        self._accepted = self._rejected = 0
        self._unknown: dict[str, int] = {}
        self._digest: str | None = None
        self.batch_id = ""
        """Of the items that were read last."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.release()

    @property
    @override
    def mark(self) -> str:
        return self._file.mark

    @property
    @override
    def words(self) -> str:
        return f"{self.size_bytes} bytes, of {instant_text(self.arrived_at)}"

    @property
    @override
    def size_bytes(self) -> int:
        return self._file.size_bytes

    @property
    @override
    def arrived_at(self) -> datetime:
        # Archives, copies and devices without a clock date files 1970, 1980 or years before they reached us.
        return self._file.arrived_at(first_at=self._policy.first_at)

    @override
    def digest(self) -> str:
        # The bytes are read once, by SHA-256 at 1.5 GB/s; what is kept of that is keyed.
        if self._digest is None:
            plain = file_digest(self._file.open(), "sha256").hexdigest()
            self._digest = self._pseudonyms.text(f"landing {plain}")
        return self._digest

    @override
    def pieces(self) -> Iterator[ParsedRows]:
        self._accepted = self._rejected = listed = 0
        self._unknown = {}
        self.batch_id = str(uuid.uuid4())
        tables = tables_of(
            self._file.open(),
            suffix=self._file.suffix,
            size_bytes=self.size_bytes,
            limits=self._limits,
            workers=self._workers,
            arrived_at=self.arrived_at,
            claimed_at=self._file.claimed_at,
            batch_id=self.batch_id,
        )
        for items, rejected in tables:
            report = entries_of(rejected, most=self._limits.max_reported - listed)
            listed += len(report)
            self._accepted += items.num_rows
            self._rejected += rejected.num_rows
            unknown = items["unknown_properties"]
            count_names(unknown, into=self._unknown)
            yield ParsedRows(
                items=keyed(items, FileKind.ITEMS, self._pseudonyms.user_key),
                rejected=keyed(rejected, FileKind.REJECTED, self._pseudonyms.user_key),
                report=report,
                with_unknown=len(unknown) - unknown.null_count,
            )
        if self._file.has_changed():
            raise LandingInvalid("the file was written to while it was read")

    @override
    def finish(self, report: Sequence[Mapping[str, Any]], remarks: LandingRemarks | None = None) -> None:
        remarks = remarks or LandingRemarks()
        if report or self._unknown or remarks != LandingRemarks():
            write_report(
                self._folder,
                digest=self.digest(),
                accepted=self._accepted,
                rejected=max(self._rejected, len(report)),
                entries=report[: self._limits.max_reported],
                remarks=remarks,
                unknown=self._unknown,
            )
        if self._policy.archive is None:
            self._file.remove()
        else:
            self._file.move(self._policy.archive / self._team)

    @override
    def set_aside(self, reason: str) -> None:
        code, _, words = reason.partition(": ")
        with self._file.open() as content:
            blocks = iter(lambda: content.read(_BLOCK_BYTES), b"")
            self._set_aside.seal(blocks, origin=Origin.LANDING, team=self._team, code=code, reason=words)
        self._file.remove()

    @override
    def release(self) -> None:
        self._file.release()


def _plain_name(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def _is_team(name: str) -> bool:
    try:
        team_id(name)
    except TeamInvalid:
        return False
    return True
