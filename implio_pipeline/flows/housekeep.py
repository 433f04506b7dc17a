"""Housekeep: unlink what nothing refers to, so that no file is out of an erasure's reach."""

from dataclasses import dataclass
from datetime import timedelta

from implio_pipeline.flows.erase import sweep_doomed
from implio_pipeline.flows.read import note_log
from implio_pipeline.flows.rotate_keys import finish_rotation
from implio_pipeline.ports import World

STRAY_AGE = timedelta(hours=6)
"""A file this old and not in the catalog was left by a crash; a younger one may be about to be committed."""


@dataclass(kw_only=True, slots=True)
class SweepSummary:
    """What was unlinked, in counts."""

    doomed: int = 0
    strays: int = 0
    reads: int = 0
    """Lines of the log of reads that the ledger did not know of yet."""


def housekeep(world: World, *, stray_age: timedelta = STRAY_AGE) -> SweepSummary:
    """Unlink replaced files and strays, scrub the catalog's own files, and finish what a rotation of keys has left.

    The ledger notes how far the log of reads has come.
    """
    summary = SweepSummary(doomed=sweep_doomed(world))
    older_than = world.clock.now() - stray_age
    for region in sorted({team.region for team in world.catalog.teams.all()}):
        known = frozenset(file.path for file in world.catalog.manifest.files())
        for path in list(world.vault.strays(region, known=known)):
            summary.strays += world.vault.delete_stray(region, path, older_than=older_than)
    world.catalog.scrub()
    finish_rotation(world)
    summary.reads = note_log(world)
    return summary
