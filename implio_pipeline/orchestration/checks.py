"""Checks: what we promise, counted. A check that cannot count fails its step; it never says yes."""

import dagster as dg

from implio_pipeline.domain.replan import reread
from implio_pipeline.flows.inspect import Agreement, agreement, late_requests, survivors
from implio_pipeline.flows.retain import preview_retention
from implio_pipeline.orchestration.assets.inventory import lake_inventory
from implio_pipeline.orchestration.assets.requests import deletion_requests, erasure_receipts, retention_requests
from implio_pipeline.orchestration.guarded import guarded
from implio_pipeline.orchestration.resources import HomeResource


@dg.asset_check(asset=erasure_receipts, description="No item that a completed request covers is in the lake.")
def no_survivors(home: HomeResource) -> dg.AssetCheckResult:
    """Read what may hold a survivor, for every completed request."""
    with guarded(), home.open() as house:
        found = reread(lambda: survivors(house.world), about="the files")
    return dg.AssetCheckResult(
        passed=not found, metadata={"requests_with_survivors": len(found), "survivors": sum(found.values())}
    )


@dg.asset_check(
    asset=retention_requests,
    additional_deps=[erasure_receipts],
    description="No item is older than its team's retention policy allows.",
)
def nothing_overdue(home: HomeResource) -> dg.AssetCheckResult:
    """Count overdue items of today by what the catalog knows of every file, less what a legal hold keeps."""
    with guarded(), home.open() as house:
        found = preview_retention(house.world, today=house.world.clock.now().date())
    overdue = {each.team: left for each in found if (left := each.items + each.rejected - each.withheld) > 0}
    return dg.AssetCheckResult(
        passed=not overdue,
        metadata={
            "teams": len(overdue),
            "items_overdue": sum(overdue.values()),
            "items_withheld": sum(each.withheld for each in found),
        },
    )


@dg.asset_check(
    asset=lake_inventory,
    description="Every vault file is encrypted, under keys that are wrapped by live ones.",
)
def encrypted_under_live_keys(home: HomeResource) -> dg.AssetCheckResult:
    """Look at the end of every live file and at the team keys that wrap its own."""
    found = _agreement(home)
    return dg.AssetCheckResult(
        passed=not found.in_clear and not found.without_live_key,
        metadata={
            "files": found.files,
            "files_in_clear": len(found.in_clear),
            "files_without_live_key": len(found.without_live_key),
        },
    )


@dg.asset_check(
    asset=lake_inventory, description="Every file of the catalog is in storage as it was written, and no other."
)
def catalog_and_storage_agree(home: HomeResource) -> dg.AssetCheckResult:
    """Compare the catalog with storage, file by file.

    A file the catalog does not know is only a warning: it may be about to be committed, or a crash left it, and
    housekeeping unlinks it.
    """
    found = _agreement(home)
    is_whole = not found.missing and not found.other_size
    return dg.AssetCheckResult(
        passed=is_whole and not found.strays,
        severity=dg.AssetCheckSeverity.WARN if is_whole else dg.AssetCheckSeverity.ERROR,
        metadata={
            "files": found.files,
            "files_missing": len(found.missing),
            "files_of_other_size": len(found.other_size),
            "strays": found.strays,
        },
    )


@dg.asset_check(
    asset=deletion_requests, description="No open request is past the day it is due, one month after it was received."
)
def no_request_past_due(home: HomeResource) -> dg.AssetCheckResult:
    """Count open requests whose day has passed."""
    with guarded(), home.open() as house:
        late = late_requests(house.world)
    return dg.AssetCheckResult(passed=not late, metadata={"requests_past_due": len(late)})


CHECKS = (no_survivors, nothing_overdue, encrypted_under_live_keys, catalog_and_storage_agree, no_request_past_due)


def _agreement(home: HomeResource) -> Agreement:
    """Compare, and once more where it disagrees: a file that was swapped meanwhile is no fault."""
    with guarded(), home.open() as house:
        found = reread(lambda: agreement(house.world), about="the files")
        if found.missing or found.other_size or found.in_clear or found.without_live_key or found.strays:
            found = reread(lambda: agreement(house.world), about="the files")
    return found
