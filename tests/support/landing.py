"""A landing zone in memory: tables that wait until they are ingested."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import sha256
from typing import Any, Self

import pyarrow as pa

from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.ports.claims import Claiming
from implio_pipeline.ports.landing import LandingClaim, LandingRemarks, ParsedRows
from support.clock import NOW, TODAY
from support.items import table_of


@dataclass(kw_only=True)
class LandedTable:
    """The port `LandingFile` over tables."""

    name: str
    pieces_of_items: list[pa.Table]
    rejected: pa.Table = field(default_factory=lambda: table_of([], kind=FileKind.REJECTED))
    between: Callable[[], object] = lambda: None
    """Called after each piece: what other processes do in between."""
    is_invalid: bool = False
    arrived_at: datetime = NOW
    became: str | None = None
    claims: tuple[Claim, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to do, as for `release`."""

    def waits(self, but: Collection[str] = ()) -> bool:
        return self.became is None and self.mark not in but

    @property
    def mark(self) -> str:
        return self.digest()[:16]

    @property
    def words(self) -> str:
        return f"{self.size_bytes} bytes, of {instant_text(self.arrived_at)}"

    @property
    def size_bytes(self) -> int:
        return len(self.name)

    def digest(self) -> str:
        return sha256(self.name.encode()).hexdigest()

    @property
    def batch_id(self) -> str:
        return next((str(batch) for table in self.pieces_of_items for batch in table["batch_id"].to_pylist()), "")

    def pieces(self) -> Iterator[ParsedRows]:
        nothing = self.rejected.slice(0, 0)
        for number, items in enumerate(self.pieces_of_items):
            yield ParsedRows(items=items, rejected=nothing if number else self.rejected, report=())
            self.between()
        if self.is_invalid:
            raise LandingInvalid("the file ends early")

    def finish(self, report: Sequence[Mapping[str, Any]], remarks: LandingRemarks | None = None) -> None:
        self.became = "finished"

    def set_aside(self, reason: str) -> None:
        self.became = "set aside"

    def release(self) -> None:
        """Nothing to do: tables that were not ingested still wait."""


class LandingTables:
    """The port `LandingZone` over tables. It survives the services that crash."""

    def __init__(self) -> None:
        self.files: dict[TeamId, list[LandedTable]] = {}

    def land(self, team: str, file: LandedTable) -> LandedTable:
        self.files.setdefault(TeamId(team), []).append(file)
        return file

    def waiting(self, *, but: Collection[str] = ()) -> Mapping[TeamId, list[date]]:
        return {team: [TODAY] for team, files in self.files.items() if any(file.waits(but) for file in files)}

    def has(self, team: TeamId, marks: Collection[str]) -> Collection[str]:
        return {file.mark for file in self.files.get(team, []) if file.waits()} & set(marks)

    def waiting_since(self, *, but: Collection[str] = ()) -> datetime | None:
        waiting = [file for files in self.files.values() for file in files if file.waits(but)]
        return min((file.arrived_at for file in waiting), default=None)

    def make_folder(self, team: TeamId) -> None:
        """Tables are in no folder."""

    def passed_over(self) -> Iterator[str]:
        return iter(())

    def misnamed(self, teams: Collection[TeamId]) -> Mapping[str, TeamId]:
        return {}

    def claim(
        self, team: TeamId, worker: Claiming, *, since: datetime | None = None, but: Collection[str] = ()
    ) -> Iterator[LandingClaim]:
        for file in self.files.get(team, []):
            if file.waits(but):
                yield file
