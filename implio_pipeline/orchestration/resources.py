"""The home, as Dagster's resource."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from implio_pipeline.wiring import OpenHome, open_home


class HomeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A home. Each step and tick opens it for itself, so threads, forks and ticks share nothing."""

    home: str | None = None
    """Its folder; `None` means the home that `IMPLIO_HOME` names, or `./data`."""

    @contextmanager
    def open(self) -> Iterator[OpenHome]:
        """Open the home for the duration of the block.

        Raises:
            HomeMissing: there is no home.
        """
        with open_home(None if self.home is None else Path(self.home)) as opened:
            yield opened
