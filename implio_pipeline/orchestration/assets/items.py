"""`content_items` and `moderation_queue`: what came in, and what still waits for a decision."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg

from implio_pipeline.domain.columns import ITEM_COLUMNS, Column, ColumnType, ErasureRule
from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.failed_file import FailedFile
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.words import ColumnClass, FileKind, TeamId
from implio_pipeline.flows.alone import Faults
from implio_pipeline.flows.ingest import IngestSummary, failed_landings, ingest
from implio_pipeline.orchestration.guarded import end, failure, guarded
from implio_pipeline.orchestration.partitions import partition_key, team_and_day
from implio_pipeline.orchestration.pictures import markdown_table
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.ports.world import World

MOST_EVENTS = 400
"""Partitions outside the run's own that are told to Dagster; the catalog knows them all."""

CONTENT_ITEMS = "content_items"
GROUP = "implio"
AFTER_ITEMS = dg.AssetDep(CONTENT_ITEMS, partition_mapping=dg.SpecificPartitionsPartitionMapping([]))
"""An edge for order and lineage that names no partition: by default Dagster lists every key of such an edge at each
step, 19 s and 2 GB at a thousand teams (measured). An asset check upon `content_items` would cost the same."""
QUICK_RETRIES = dg.RetryPolicy(max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL)

_TYPE_NAMES: Mapping[ColumnType, str] = {
    ColumnType.TEXT: "string",
    ColumnType.WORD: "string",
    ColumnType.TEXTS: "list<string>",
    ColumnType.NUMBER: "double",
    ColumnType.KEY: "binary",
    ColumnType.INSTANT: "timestamp",
}
_RULES: Mapping[ErasureRule, str] = {
    ErasureRule.WITH_ITEM: "Erased with its item.",
    ErasureRule.WITH_ITEM_AND_QUEUE: "Erased with its item, and from the moderation queue in the same commit.",
    ErasureRule.WITH_ITEM_AND_VERDICT: "Erased with its item; a verdict that holds it goes when the request comes.",
}


@dataclass(kw_only=True, slots=True)
class _Held:
    """What the lake holds of one partition."""

    rows: int = 0
    files: int = 0
    size_bytes: int = 0

    def add(self, file: VaultFile) -> None:
        self.rows += file.rows
        self.files += 1
        self.size_bytes += file.size_bytes

    @property
    def metadata(self) -> dict[str, int]:
        return {"dagster/row_count": self.rows, "files": self.files, "size_bytes": self.size_bytes}


def content_items_of(partitions: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset of items by team and day of submission."""
    with warnings.catch_warnings():
        # A backfill of many partitions is one run a team; the policy is beta in name only, its semantics are tested.
        warnings.simplefilter("ignore", dg.BetaWarning)

        @dg.asset(
            name=CONTENT_ITEMS,
            group_name=GROUP,
            kinds={"parquet", "duckdb"},
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
            retry_policy=QUICK_RETRIES,
            metadata={"dagster/column_schema": column_schema(ITEM_COLUMNS)},
            description=(
                "Moderated items in encrypted files, by team and UTC day of submission. To materialize a partition "
                "takes in whatever waits in its team's landing folder; when nothing waits, it counts what is there."
            ),
        )
        def content_items(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult[None]:
            with guarded():
                keys = list(context.partition_keys)
                if not keys:
                    raise failure("partitions-empty", remedy="Choose at least one partition; the range named none.")
                partitions_of_run = {team_and_day(key) for key in keys}
                teams = sorted({team for team, _ in partitions_of_run})
                with home.open() as house:
                    known = {team.team for team in house.world.catalog.teams.all()}
                    faults = Faults()
                    summary = ingest(house.world, teams=[team for team in teams if team in known], faults=faults)
                    failures = failed_landings(house.world, teams=teams)
                    held = _held(house.world, {*partitions_of_run, *summary.partitions})
                for partition in sorted(partitions_of_run):
                    context.add_asset_metadata(held[partition].metadata, partition_key=partition_key(*partition))
                _tell_others(context, summary, partitions_of_run, held)
                # Each file has its own back-off: to try the step again would pass over those that failed, and succeed.
                end(faults, may_retry=False, items=summary.items, files=summary.files, **_failures(failures))
                return dg.MaterializeResult(metadata={**_counts(summary), **_failures(failures)})

    return content_items


@dg.asset(
    group_name=GROUP,
    kinds={"sql"},
    deps=[AFTER_ITEMS, "deletion_requests", "retention_requests"],
    retry_policy=QUICK_RETRIES,
    description="Items that wait for a person's decision, counted by team and queue.",
)
def moderation_queue(home: HomeResource) -> dg.MaterializeResult[None]:
    """Count what waits."""
    with guarded(), home.open() as house:
        counts = house.world.catalog.moderation.counts()
        rows = [[team, queue, count] for (team, queue), count in sorted(counts.items())]
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": sum(counts.values()),
                "queues": dg.MetadataValue.md(markdown_table(("team", "queue", "items"), rows)),
            }
        )


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Return columns with their class and how personal they are, as the catalog of Dagster's UI shows them."""
    return dg.TableSchema(columns=[_table_column(column) for column in columns])


def _table_column(column: Column) -> dg.TableColumn:
    is_open = column.column_class is ColumnClass.OPERATIONAL
    # A pseudonym is personal data still: GDPR recital 26.
    pii = "pseudonym" if column.type is ColumnType.KEY else "false" if is_open else "true"
    return dg.TableColumn(
        name=column.name,
        type=_TYPE_NAMES[column.type],
        description=_RULES[column.erasure],
        tags={"class": column.column_class.value, "pii": pii},
    )


def _held(world: World, partitions: Iterable[tuple[TeamId, date]]) -> Mapping[tuple[TeamId, date], _Held]:
    """Return what the lake holds of these partitions; reads their rows of the manifest and no others."""
    held = {partition: _Held() for partition in partitions}
    for (team, day), sums in held.items():
        for file in world.catalog.manifest.files(team, day=day, is_filtered=False):
            if file.kind is FileKind.ITEMS:
                sums.add(file)
    return held


def _tell_others(
    context: dg.AssetExecutionContext,
    summary: IngestSummary,
    told: set[tuple[TeamId, date]],
    held: Mapping[tuple[TeamId, date], _Held],
) -> None:
    """Tell Dagster of partitions that got items although the run was not about them, the newest first."""
    others = sorted(set(summary.partitions) - told, key=lambda each: each[1], reverse=True)
    for team, day in others[:MOST_EVENTS]:
        context.log_event(
            dg.AssetMaterialization(
                asset_key=context.asset_key, partition=partition_key(team, day), metadata=held[(team, day)].metadata
            )
        )


def _failures(failures: Sequence[FailedFile]) -> dict[str, int | dg.MetadataValue[Any]]:
    """Return the landing files that are left for later, and those that are quarantined."""
    if not failures:
        return {}
    rows = [(each.unit, each.error_code, each.attempts, _tried_again(each)) for each in failures]
    return {
        "landing_files_quarantined": sum(each.is_quarantined for each in failures),
        "landing_files_failed": dg.MetadataValue.md(markdown_table(("what", "code", "attempts", "tried again"), rows)),
    }


def _tried_again(file: FailedFile) -> str:
    """Say when a file is tried again."""
    return "quarantined" if file.next_attempt_at is None else instant_text(file.next_attempt_at)


def _counts(summary: IngestSummary) -> dict[str, Any]:
    return {
        "landing_files": summary.files,
        "duplicates": summary.duplicates,
        "set_aside": summary.set_aside,
        "items_added": summary.items,
        "items_rejected": summary.rejected,
        "items_erased_before": summary.erased_before,
        "items_kept_out": summary.kept_out,
        "items_too_old": summary.too_old,
        "items_with_unknown_properties": summary.with_unknown,
        "empty_files": summary.empty,
        "items_of_people_erased_before": summary.returned_items,
        "people_erased_before": summary.returned_people,
        "partitions_touched": len(summary.partitions),
    }
