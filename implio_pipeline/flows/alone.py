"""Each unit of work fails alone: what it raised is noted, and the next unit is begun."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.faults import fault_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What one unit of work failed of."""

    unit: str
    """What failed, in words or ids without personal data: `team ads`, `file 4f…`."""
    error: ImplioError


@dataclass(kw_only=True, slots=True)
class Faults:
    """What single units of work failed of, while the others went on."""

    found: list[Fault] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.found)

    @contextmanager
    def alone(
        self,
        unit: str,
        *,
        about: str | None = None,
        day: date | None = None,
        races: tuple[type[ImplioError], ...] = (),
    ) -> Iterator[None]:
        """Do the block's work as one unit: note what it fails of, and go on after the block.

        Args:
            unit: What is worked on, free of personal data.
            about: Opaque id of the file at work, if it is one.
            day: UTC day of that file's partition.
            races: What the caller answers itself, such as by a new plan; raised.

        Raises:
            CatalogUnavailable: no other unit could go on either.
            MemoryError: likewise.
        """
        try:
            yield
        except races:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, `fault_of` names it or raises it again
            self.found.append(Fault(unit=unit, error=fault_of(error, about=about, day=day)))

    def end(self) -> None:
        """Raise the first fault, once all units had their turn; for a caller that can say nothing else."""
        if self.found:
            raise self.found[0].error


@contextmanager
def gathered(faults: Faults | None) -> Iterator[Faults]:
    """Gather what units of the block fail of; where the caller is told of none, the first is raised at the end."""
    found = Faults() if faults is None else faults
    yield found
    if faults is None:
        found.end()
