"""Open a lake for reading: who reads is asked first, and where the home lies."""

import getpass
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from implio_pipeline.domain.grant import Purpose
from implio_pipeline.domain.team import team_id
from implio_pipeline.domain.words import ColumnClass
from implio_pipeline.flows.read import Doorkeeper
from implio_pipeline.flows.reside import refuse_misplaced
from implio_pipeline.flows.restore import refuse_old_catalog
from implio_pipeline.query.lake import Lake
from implio_pipeline.settings import find_home, load_settings
from implio_pipeline.stores.catalog.catalog import open_catalog
from implio_pipeline.stores.clock import SystemClock
from implio_pipeline.stores.core_dumps import forbid_core_dumps
from implio_pipeline.stores.keys.ring import LocalKeyRing
from implio_pipeline.stores.ledger.log import SignedLog


@contextmanager
def open_lake(
    home: Path | None = None,
    *,
    team: str | Iterable[str],
    classes: Iterable[ColumnClass | str] | None = None,
    as_: str | None = None,
    purpose: Purpose | str | None = None,
    threads: int | None = None,
) -> Iterator[Lake]:
    """Open a team's lake for reading, for as long as the block lasts.

    Args:
        home: The home; `IMPLIO_HOME` or `./data` when `None`.
        team: Whose items; one team or several.
        classes: Column classes the reader wants to decrypt; columns of others are not there. Operational always is.
            What their grants allow of operational and content when `None`.
        as_: The reader, an operator by name; the user of this machine when `None`.
        purpose: What it is read for; the identity class is there only for a purpose that a grant names.
        threads: DuckDB's threads; the home's setting when `None`.

    Raises:
        HomeMissing: there is no home.
        TeamUnknown: there is no such team.
        GrantMissing: no grant of the reader allows it.
        PurposeMissing: identity is wanted, and no purpose is said.
        ResidencyRefused: a region's items, keys or host are not where they may be.
        CatalogOutdated: an old catalog was put back, and what was erased since may be in it.
    """
    forbid_core_dumps()
    settings = load_settings(find_home(home))
    ring = LocalKeyRing(settings.home / "keys", settings.key_folders)
    catalog = open_catalog(settings.catalog, ring)
    try:
        refuse_misplaced(
            catalog.teams, places=settings.places, processors=settings.processor_register, owners=ring.owners()
        )
        refuse_old_catalog(SignedLog(settings.below(settings.ledger_folder), settings.home), catalog)
        named = [team_id(each) for each in ([team] if isinstance(team, str) else team)]
        door = Doorkeeper(
            catalog=catalog,
            people=catalog.people,
            clock=SystemClock(),
            is_required=settings.access.grants == "required",
        )
        admission = door.admit(
            as_ if as_ is not None and as_.strip() else getpass.getuser(),
            teams=[catalog.teams.get(each).team for each in named],
            classes=None if classes is None else frozenset(ColumnClass(each) for each in classes),
            purpose=None if purpose is None else Purpose(purpose),
        )
        lake = Lake(
            settings=settings,
            catalog=catalog,
            ring=ring,
            door=door,
            admission=admission,
            threads=threads or settings.threads,
        )
        try:
            yield lake
        finally:
            lake.close()
    finally:
        catalog.close()
