"""Housekeep, daily: delete what nothing refers to, so that no file is out of an erasure's reach.

Rules:

* Nothing is deleted for its age while the clock disagrees with what the home knows.
* Temporary files and files unknown to the catalog stay for `STRAY_AGE`: the process that made them may still run.
* A file, team or region that fails does not stop the others. The next run takes it up again.
"""

from dataclasses import dataclass
from datetime import timedelta

from implio_pipeline.domain.intake import POST_KEPT
from implio_pipeline.flows.access.authorize import note_read_log
from implio_pipeline.flows.clock import note_clock
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.files.replace import unlink_replaced
from implio_pipeline.flows.moderation.apply_decisions import FEED_KEEPS, forget_applied
from implio_pipeline.flows.operations.rotate_keys import finish_rotation
from implio_pipeline.ports.services import Services

STRAY_AGE = timedelta(hours=6)
"""A file of this age that the catalog does not know was left by a crash; a younger one may be about to be committed."""


@dataclass(kw_only=True, slots=True)
class SweepSummary:
    """What was deleted, forgotten or noted, in counts."""

    unlinked: int = 0
    """Files that a commit had replaced."""
    strays: int = 0
    """Files that the catalog did not know."""
    leftovers: int = 0
    """Temporary files of processes that were killed, and signing keys of the ledger that they made for nothing."""
    verdicts: int = 0
    """Verdicts that left the feed, since their items have them, and deliveries that were given up."""
    posts: int = 0
    """Posts whose idempotency key was forgotten."""
    reads: int = 0
    """Lines of the log of reads that were noted in the ledger."""
    landings: int = 0
    """Landing files that were forgotten, since everything of their days is erased."""


def housekeep(
    services: Services,
    *,
    stray_age: timedelta = STRAY_AGE,
    feed_keeps: timedelta = FEED_KEEPS,
    faults: Faults | None = None,
) -> SweepSummary:
    """Delete replaced files, strays and leftovers, scrub the catalog's own files, and finish an interrupted rotation.

    Args:
        services: What the flow may use.
        stray_age: Strays and leftovers that are younger stay.
        feed_keeps: How long applied decisions stay in the feed.
        faults: Collects what failed. When `None`, the first failure is raised at the end.

    Raises:
        ClockWrong: the clock disagrees with what the home knows. Nothing was deleted.
    """
    # 1. Note the clock's reading in the ledger, once a day; a wrong clock ends the run here.
    note_clock(services)
    catalog, summary = services.catalog, SweepSummary()
    with collecting(faults) as failed:
        # 2. Files that a commit replaced. Their keys are destroyed already.
        summary.unlinked = unlink_replaced(catalog, services.vault, failed)
        # 3. Rows that are kept for a time only (GDPR Art. 5(1)(e)).
        with failed.isolate("feed of decisions"):
            summary.verdicts = forget_applied(services.catalog, before=services.clock.now() - feed_keeps)
        with failed.isolate("idempotency keys"):
            summary.posts = catalog.landings.forget_posts(before=services.clock.now() - POST_KEPT)
        with failed.isolate("landing files"):
            summary.landings = catalog.landings.forget_empty()
        # 4. Files that the catalog does not know: no erasure would find them.
        older_than = services.clock.now() - stray_age
        for region in sorted(set(catalog.teams.regions().values())):
            with failed.isolate(f"storage of region {region}"):
                for path in services.vault.strays(region, unknown=catalog.manifest.unknown):
                    with failed.isolate(f"stray file {path} of region {region}"):
                        summary.strays += services.vault.delete_stray(region, path, older_than=older_than)
                summary.leftovers += services.vault.sweep(region, older_than=older_than)
        with failed.isolate("leftovers"):
            summary.leftovers += services.leftovers.sweep(older_than=older_than)
        with failed.isolate("signing keys of the ledger"):
            summary.leftovers += services.ledger.discard_staged_keys(older_than=older_than)
        # 5. What the catalog's own files still hold of deleted rows.
        with failed.isolate("catalog's own files"):
            catalog.scrub()
        # 6. Keys: finish a rotation that a crash interrupted.
        with failed.isolate("rotation of keys"):
            finish_rotation(services, faults=failed)
        # 7. Note the newest line of the log of reads in the ledger: from then on it cannot be altered or cut off
        #    without a trace (decision 0051).
        with failed.isolate("log of reads"):
            summary.reads = note_read_log(services)
    return summary
