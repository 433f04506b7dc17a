"""Faults of single units of work: the fault of one unit is recorded, and the next unit is started.

A unit is a team, a file, a partition or a folder. Only what would stop every unit ends the run: `domain/faults.py` says
what that is.

    with collecting(faults) as failed:
        for team in teams:
            with failed.isolate(f"keys of team {team}"):
                renew_keys(team)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.faults import fault_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """The fault of one unit of work."""

    unit: str
    """What failed, without personal data: `team ads`, `file 4f…`."""
    error: ImplioError


@dataclass(kw_only=True, slots=True)
class Faults:
    """The faults found so far, in the order in which they occurred."""

    found: list[Fault] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.found)

    @contextmanager
    def isolate(
        self,
        unit: str,
        *,
        about: str | None = None,
        day: date | None = None,
        races: tuple[type[ImplioError], ...] = (),
    ) -> Iterator[None]:
        """Run the block as one unit: record its fault and continue after the block.

        Args:
            unit: What the block works on, free of personal data.
            about: Opaque id of the file, if the unit is a file.
            day: UTC day of that file's partition.
            races: Errors that the caller handles, for example by a new plan; they are raised.

        Raises:
            CatalogUnavailable: no other unit could continue.
            MemoryError: no other unit could continue.
        """
        try:
            yield
        # A race is no fault of the unit: its caller plans the work again.
        except races:
            raise
        except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises it again
            self.found.append(Fault(unit=unit, error=fault_of(error, about=about, day=day)))


@contextmanager
def collecting(faults: Faults | None) -> Iterator[Faults]:
    """Collect the faults of the block's units in `faults`; when it is `None`, raise the first one at the end."""
    found = Faults() if faults is None else faults
    yield found
    # A caller without a list cannot see the faults, so the first one is raised: a fault must never look like success.
    if faults is None and found:
        raise found.found[0].error
