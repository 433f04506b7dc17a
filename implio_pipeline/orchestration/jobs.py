"""Jobs: which assets and checks run together. All in one process: a step of ours is a batch, not a file."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from implio_pipeline.orchestration.launches import WORKS_ON_FILES

INGEST_LANDING = "ingest_landing"
CARRY_OUT_REQUESTS = "carry_out_requests"
RETENTION = "retention"
TAKE_INVENTORY = "take_inventory"
HOUSEKEEPING = "housekeeping"
SETTLE_VERDICTS = "settle_verdicts"
DELIVER_CALLBACKS = "deliver_callbacks"

_REQUESTS_FIRST = {"dagster/priority": "10"}
"""A person who waits for a deletion goes before files that wait."""


def _job(name: str, selection: dg.AssetSelection, description: str, **tags: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name, selection, description=description, executor_def=dg.in_process_executor, run_tags=WORKS_ON_FILES | tags
    )


def asset_jobs() -> list[UnresolvedAssetJobDefinition]:
    """Return the jobs that materialize assets, each with the checks of what it materializes."""
    keys = dg.AssetSelection.assets
    checks = dg.AssetSelection.all_asset_checks()
    encrypted = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("lake_inventory"), "encrypted_under_live_keys"))
    return [
        _job(
            INGEST_LANDING,
            keys("content_items", "moderation_queue") | encrypted,
            "Takes in what waits in the landing folders of the teams it is given.",
        ),
        _job(
            CARRY_OUT_REQUESTS,
            keys("deletion_requests", "erasure_receipts", "moderation_queue"),
            "Accepts the requests in the inbox, erases, verifies, shreds, and writes receipts.",
            **_REQUESTS_FIRST,
        ),
        _job(
            RETENTION,
            keys("retention_requests", "erasure_receipts", "moderation_queue"),
            "Erases what retention policies no longer allow, by the same path as any request.",
        ),
        _job(
            TAKE_INVENTORY,
            keys("lake_inventory") | checks,
            "Counts the lake by team and age, and runs every check.",
        ),
    ]
