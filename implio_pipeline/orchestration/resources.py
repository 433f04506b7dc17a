"""The home, as Dagster's assets, checks and sensors are given it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from implio_pipeline.wiring import OpenHome, open_home


class HomeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A home, opened anew by whoever works in it: nothing is shared between threads, forks or ticks."""

    home: str | None = None
    """Where it is; `None` for what `IMPLIO_HOME` names, or `./data`."""

    @contextmanager
    def open(self) -> Iterator[OpenHome]:
        """Open the home for as long as the block lasts.

        Raises:
            HomeMissing: there is no home.
        """
        with open_home(None if self.home is None else Path(self.home)) as opened:
            yield opened
