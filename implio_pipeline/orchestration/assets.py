"""The data of a home as Dagster's assets. To materialize an asset counts the data and changes none of it.

Jobs change data (`jobs.py`). When a job ends, it reports each asset that it changed (`report_changes`), with the
counts of its materialization.

The server commits what customers post and does not use Dagster. So the inventory reports the partitions that no job
reported (`_report_unreported`).
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg

from implio_pipeline.domain.columns import ITEM_COLUMNS, Column, ColumnType
from implio_pipeline.domain.errors import TeamUnknown
from implio_pipeline.domain.ids import ColumnClass, FileKind, RequestKind
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.request import FINAL_STATES, OPEN_STATES, RequestState
from implio_pipeline.domain.sentences import in_states
from implio_pipeline.flows.deletion.outcomes import outcomes_of
from implio_pipeline.jobs import JOBS, Job, Partition, Report, audit_partition
from implio_pipeline.orchestration.failures import failure, guarded, raise_failures
from implio_pipeline.orchestration.inventory import describe_lake, markdown_table
from implio_pipeline.orchestration.partitions import count_partition, partition_key, team_and_day, update_teams
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.wiring import OpenHome

MOST_EVENTS = 2_000
"""How many partitions one run reports to Dagster, the newest first: each costs 30 ms (measured)."""

QUICK_RETRIES = dg.RetryPolicy(max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL)
_CONTENT_ITEMS = "content_items"
# An edge for order and lineage that names no partition. By default Dagster lists every key of such an edge at each
# step: 19 s and 2 GB at a thousand teams (measured).
_AFTER_ITEMS = dg.AssetDep(_CONTENT_ITEMS, partition_mapping=dg.SpecificPartitionsPartitionMapping([]))

# Groups in the order of the data flow, with their owners.
_INTAKE, _MODERATION, _ERASURE, _OVERSIGHT = "intake", "moderation", "erasure", "oversight"
_OWNERS = {
    _INTAKE: "team:data-platform",
    _MODERATION: "team:moderation",
    _ERASURE: "team:privacy",
    _OVERSIGHT: "team:data-platform",
}
_TYPE_NAMES: Mapping[ColumnType, str] = {
    ColumnType.TEXT: "string",
    ColumnType.WORD: "string",
    ColumnType.TEXTS: "list<string>",
    ColumnType.NUMBER: "double",
    ColumnType.KEY: "binary",
    ColumnType.INSTANT: "timestamp",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Data:
    """An asset without partitions."""

    name: str
    about: str
    group: str
    kinds: frozenset[str]
    deps: tuple[str | dg.AssetDep, ...]
    describe: Callable[[OpenHome], dict[str, Any]]
    """Return the counts of the asset as Dagster metadata."""


def _describe_queue(opened: OpenHome) -> dict[str, Any]:
    counts = opened.catalog.moderation.counts()
    rows = [[team, queue, count] for (team, queue), count in sorted(counts.items())]
    return {
        "dagster/row_count": sum(counts.values()),
        "queues": dg.MetadataValue.md(markdown_table(("team", "queue", "items"), rows)),
    }


def _describe_deletions(opened: OpenHome) -> dict[str, Any]:
    return _in_states(opened, frozenset(RequestKind) - {RequestKind.RETENTION}) | {
        "refusals_unread": opened.inbox.refusals(),
        "never_taken": sum(1 for _ in opened.inbox.passed_over()),
    }


def _describe_retention(opened: OpenHome) -> dict[str, Any]:
    return _in_states(opened, frozenset({RequestKind.RETENTION}))


def _describe_receipts(opened: OpenHome) -> dict[str, Any]:
    # Every completed request has its receipt; the check `receipts_are_true` proves it.
    counts = opened.catalog.requests.counts()
    kinds = {kind.value: number for (kind, state), number in counts.items() if state is RequestState.COMPLETED}
    return {
        "dagster/row_count": sum(kinds.values()),
        "by_kind": dg.MetadataValue.md(markdown_table(("kind", "receipts"), sorted(kinds.items()))),
    }


def _in_states(opened: OpenHome, kinds: frozenset[RequestKind]) -> dict[str, Any]:
    """Count the requests of these kinds. Only open ones are read: there may be 100,000 that ended."""
    requests = opened.catalog.requests
    counts = {each: number for each, number in requests.counts().items() if each[0] in kinds}
    is_open = [each for each in requests.all(states=OPEN_STATES) if each.kind in kinds]
    ended: Counter[str] = Counter()
    for (_, state), number in sorted(counts.items()):
        if state in FINAL_STATES:
            ended[state.value.capitalize()] += number
    rows = in_states(outcomes_of(opened, is_open)) | ended
    waiting = sorted(request.due_at for request in is_open)
    described: dict[str, Any] = {
        "dagster/row_count": sum(counts.values()),
        "requests": dg.MetadataValue.md(markdown_table(("state", "requests"), rows.items())),
        "requests_open": len(waiting),
        "as_of": instant_text(opened.clock.now()),
    }
    return described | ({"next_due": waiting[0].date().isoformat()} if waiting else {})


SOURCES = (
    dg.AssetSpec(
        "landing_files",
        group_name=_INTAKE,
        kinds={"json", "csv"},
        owners=[_OWNERS[_INTAKE]],
        description="Files in the landing folders of teams. The job `ingest_landing` ingests and removes them.",
    ),
    dg.AssetSpec(
        "request_files",
        group_name=_ERASURE,
        kinds={"json", "csv"},
        owners=[_OWNERS[_ERASURE]],
        description="Deletion requests in the inbox. `requests_sensor` accepts them and destroys their files.",
    ),
)

_DATA = (
    _Data(
        name="moderation_queue",
        about="Items that wait for a person's decision, by team and queue.",
        group=_MODERATION,
        kinds=frozenset({"sql"}),
        deps=(_AFTER_ITEMS,),
        describe=_describe_queue,
    ),
    _Data(
        name="deletion_requests",
        about="Accepted deletion requests. From its acceptance on, no read shows an item that a request covers.",
        group=_ERASURE,
        kinds=frozenset({"sql"}),
        deps=("request_files",),
        describe=_describe_deletions,
    ),
    _Data(
        name="retention_requests",
        about="Deletion requests that retention policies make for overdue items.",
        group=_ERASURE,
        kinds=frozenset({"sql"}),
        deps=(_AFTER_ITEMS,),
        describe=_describe_retention,
    ),
    _Data(
        name="erasure_receipts",
        about="Signed receipts in the ledger, one for each request whose items are erased.",
        group=_ERASURE,
        kinds=frozenset({"json"}),
        deps=("deletion_requests", "retention_requests"),
        describe=_describe_receipts,
    ),
    _Data(
        name="lake_inventory",
        about="Items, bytes and files by team and age. The picture shows the retention cut-off of each team.",
        group=_OVERSIGHT,
        kinds=frozenset({"sql"}),
        deps=(_AFTER_ITEMS, "moderation_queue", "erasure_receipts"),
        describe=describe_lake,
    ),
)


def _asset_of(data: _Data) -> dg.AssetsDefinition:
    @dg.asset(
        name=data.name,
        group_name=data.group,
        kinds=set(data.kinds),
        owners=[_OWNERS[data.group]],
        deps=list(data.deps),
        retry_policy=QUICK_RETRIES,
        description=f"{data.about} {_changed_by(data.name)}",
    )
    def counted(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult[None]:
        with guarded(), home.open() as opened:
            if data.describe is describe_lake:
                _report_unreported(context, opened)
            return dg.MaterializeResult(metadata=data.describe(opened))

    return counted


def _changed_by(name: str) -> str:
    """Name the jobs that change an asset. Dagster itself shows only jobs that materialize it."""
    jobs = [f"`{job.name}`" for job in JOBS if name in job.changes]
    return f"Changed by the jobs {', '.join(jobs)}." if jobs else "Only counted, never changed."


DATA_ASSETS = tuple(map(_asset_of, _DATA))
"""The assets without partitions."""


def content_items_of(partitions: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset of items by team and day of submission."""
    with warnings.catch_warnings():
        # A backfill of many partitions of a team is one run. The policy is in beta; our tests cover what it does.
        warnings.simplefilter("ignore", dg.BetaWarning)

        @dg.asset(
            name=_CONTENT_ITEMS,
            group_name=_INTAKE,
            kinds={"parquet", "duckdb"},
            owners=[_OWNERS[_INTAKE]],
            deps=["landing_files"],
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
            retry_policy=QUICK_RETRIES,
            metadata={"dagster/column_schema": _column_schema(ITEM_COLUMNS)},
            description=(
                "Moderated items in encrypted files, by team and UTC day of submission. To materialize a partition "
                "audits the files of that team and day, and no others; a finding fails the run. "
                + _changed_by(_CONTENT_ITEMS)
            ),
        )
        def content_items(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult[None]:
            with guarded(), home.open() as opened:
                found = Report()
                for partition in sorted(map(team_and_day, _keys(context))):
                    report = audit_partition(opened, partition)
                    found.failures += report.failures
                    read = {name: report.counts[name] for name in ("files_read", "rows_read")}
                    context.add_asset_metadata(
                        count_partition(opened, partition) | read, partition_key=partition_key(*partition)
                    )
            raise_failures(found)
            return dg.MaterializeResult()

    return content_items


def _keys(context: dg.AssetExecutionContext) -> list[str]:
    """Return the partition keys of the run.

    Raises:
        TeamUnknown: Dagster no longer has partitions of the team.
    """
    try:
        keys = list(context.partition_keys)
    except dg.DagsterError:  # Dagster raises several types here
        raise TeamUnknown("no partition of the run belongs to a team that has items") from None
    if not keys:
        raise failure("partitions-empty", remedy="Choose at least one partition; the range named none.")
    return keys


def report_changes(context: dg.OpExecutionContext, opened: OpenHome, job: Job, report: Report) -> None:
    """Report to Dagster what a job changed: partitions with their new counts, also 0, and each other asset.

    Teams without items lose their partitions. Their counts are reported before that, since Dagster shows the last
    count again if the team returns.
    """
    _report_partitions(context, opened, report.partitions)
    update_teams(context.instance, opened, {team for team, _ in report.partitions})
    for data in _DATA:
        if data.name in job.changes:
            context.log_event(dg.AssetMaterialization(asset_key=data.name, metadata=data.describe(opened)))


def _report_unreported(context: dg.AssetExecutionContext, opened: OpenHome) -> None:
    """Report the partitions that Dagster does not know, and those that may have changed since the last inventory.

    A post is submitted on the day on which it arrives. So only partitions of today and yesterday can have posts since
    yesterday's inventory.
    """
    update_teams(context.instance, opened, [team.team for team in opened.catalog.teams.all()])
    since = opened.clock.now().date() - timedelta(days=1)
    known = context.instance.get_materialized_partitions(dg.AssetKey(_CONTENT_ITEMS))
    partitions = ((each.team, each.day) for each in opened.catalog.manifest.partitions() if each.kind is FileKind.ITEMS)
    _report_partitions(
        context,
        opened,
        {each for each in partitions if each[1] >= since or str(partition_key(*each)) not in known},
    )


def _report_partitions(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, opened: OpenHome, partitions: Iterable[Partition]
) -> None:
    newest_first = sorted(partitions, key=lambda each: (each[1], each[0]), reverse=True)
    for partition in newest_first[:MOST_EVENTS]:
        context.log_event(
            dg.AssetMaterialization(
                asset_key=_CONTENT_ITEMS,
                partition=partition_key(*partition),
                metadata=count_partition(opened, partition),
            )
        )


def _column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Return columns with their meaning, their class and whether they hold personal data."""
    return dg.TableSchema(columns=[_table_column(column) for column in columns])


def _table_column(column: Column) -> dg.TableColumn:
    is_open = column.column_class is ColumnClass.OPERATIONAL
    # GDPR recital 26: a pseudonym is still personal data.
    pii = "pseudonym" if column.type is ColumnType.KEY else "false" if is_open else "true"
    return dg.TableColumn(
        name=column.name,
        type=_TYPE_NAMES[column.type],
        description=column.meaning,
        tags={"class": column.column_class.value, "pii": pii, "erased": column.erasure.value},
    )
