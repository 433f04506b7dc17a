"""Housekeep: unlink what nothing refers to, so that no file is out of an erasure's reach."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.intake import POST_KEPT
from implio_pipeline.flows.access.authorize import note_log
from implio_pipeline.flows.clock import note_clock
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.files.ingest import forget_landings
from implio_pipeline.flows.files.replace import unlink_replaced
from implio_pipeline.flows.moderation.apply_decisions import FEED_KEEPS, forget_told
from implio_pipeline.flows.operations.rotate_keys import finish_rotation
from implio_pipeline.ports.services import Services

STRAY_AGE = timedelta(hours=6)
"""A file this old and not in the catalog was left by a crash; a younger one may be about to be committed."""


@dataclass(kw_only=True, slots=True)
class SweepSummary:
    """What was unlinked, in counts."""

    doomed: int = 0
    strays: int = 0
    leftovers: int = 0
    """Temporary files of work that was killed."""
    verdicts: int = 0
    """Verdicts that the feed forgot, since their items have them, and deliveries that were given up."""
    posts: int = 0
    """Posts whose idempotency key is remembered no longer."""
    reads: int = 0
    """Lines of the log of reads that the ledger did not know of yet."""
    landings: int = 0
    """Landing files that were forgotten, since all that came of their days is erased."""


def housekeep(
    services: Services,
    *,
    stray_age: timedelta = STRAY_AGE,
    feed_keeps: timedelta = FEED_KEEPS,
    faults: Faults | None = None,
) -> SweepSummary:
    """Unlink replaced files, strays and leftovers, scrub the catalog's own files, and finish a rotation that broke off.

    A file, team or region that fails stops nothing else; the next run takes it up again.

    The ledger notes what the clock says, once a day, and how far the log of reads has come.

    Args:
        services: What the flow may touch.
        stray_age: Younger strays and leftovers stay: whoever made them may still be at work.
        feed_keeps: How long the feed of decisions remembers what the items' files have.
        faults: Told of what failed; when `None`, the first is raised at the end.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; nothing goes for its age.
    """
    note_clock(services)
    summary = SweepSummary()
    with collecting(faults) as failed:
        summary.doomed = unlink_replaced(services.catalog, services.vault, failed)
        with failed.isolate("feed of decisions"):
            summary.verdicts = forget_told(services, keep=feed_keeps)
        with failed.isolate("idempotency keys"):
            summary.posts = services.catalog.landings.forget_posts(before=services.clock.now() - POST_KEPT)
        older_than = services.clock.now() - stray_age
        teams = services.catalog.teams.all()
        for region in sorted({team.region for team in teams}):
            with failed.isolate(f"storage of region {region}"):
                _unlink_strays(services, region, older_than, summary, failed)
        with failed.isolate("leftovers"):
            summary.leftovers = services.leftovers.sweep(older_than=older_than)
        for team in teams:
            with failed.isolate(f"landing files of team {team.team}"):
                summary.landings += forget_landings(services.catalog, team.team)
        with failed.isolate("catalog's own files"):
            services.catalog.scrub()
        with failed.isolate("rotation of keys"):
            finish_rotation(services, faults=failed)
        with failed.isolate("log of reads"):
            summary.reads = note_log(services)
    return summary


def _unlink_strays(
    services: Services, region: Region, older_than: datetime, summary: SweepSummary, faults: Faults
) -> None:
    known = frozenset(file.path for file in services.catalog.manifest.files())
    for path in list(services.vault.strays(region, known=known)):
        with faults.isolate(f"stray file {path} of region {region}"):
            summary.strays += services.vault.delete_stray(region, path, older_than=older_than)
