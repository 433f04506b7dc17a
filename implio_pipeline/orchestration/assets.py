"""The data of a home as Dagster's assets: what there is, counted. To materialize one reads it and changes nothing.

What changes data is a job (`jobs.py`). When it ends, it tells of each asset that it changed, by the same functions.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from implio_pipeline.domain.columns import ITEM_COLUMNS, Column, ColumnType
from implio_pipeline.domain.errors import TeamUnknown
from implio_pipeline.domain.ids import ColumnClass, RequestKind
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.request import OPEN_STATES, Request, RequestState
from implio_pipeline.domain.sentences import in_states
from implio_pipeline.flows.deletion.outcomes import outcomes_of
from implio_pipeline.jobs import JOBS, Job, Partition, Report, audit_partition
from implio_pipeline.orchestration.guarded import end, failure, guarded
from implio_pipeline.orchestration.inventory import describe_lake
from implio_pipeline.orchestration.partitions import held, partition_key, show_teams, team_and_day
from implio_pipeline.orchestration.pictures import markdown_table
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.wiring import OpenHome

MOST_EVENTS = 2_000
"""Partitions that one run tells Dagster of, at some 30 ms each (measured). The catalog knows them all."""

CONTENT_ITEMS = "content_items"
AFTER_ITEMS = dg.AssetDep(CONTENT_ITEMS, partition_mapping=dg.SpecificPartitionsPartitionMapping([]))
"""An edge for order and lineage that names no partition: by default Dagster lists every key of such an edge at each
step, 19 s and 2 GB at a thousand teams (measured)."""
QUICK_RETRIES = dg.RetryPolicy(max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL)

# Groups in the order of the flow.
INTAKE, MODERATION, ERASURE, OVERSIGHT = "intake", "moderation", "erasure", "oversight"
_OWNERS = {
    INTAKE: "team:data-platform",
    MODERATION: "team:moderation",
    ERASURE: "team:privacy",
    OVERSIGHT: "team:data-platform",
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
class Data:
    """Data without partitions: one row of the table of assets."""

    name: str
    about: str
    group: str
    kinds: frozenset[str]
    deps: tuple[str | dg.AssetDep, ...]
    describe: Callable[[OpenHome], dict[str, Any]]
    """Counts it."""


def describe_queue(opened: OpenHome) -> dict[str, Any]:
    """Count the items that wait for a person's decision."""
    counts = opened.services.catalog.moderation.counts()
    rows = [[team, queue, count] for (team, queue), count in sorted(counts.items())]
    return {
        "dagster/row_count": sum(counts.values()),
        "queues": dg.MetadataValue.md(markdown_table(("team", "queue", "items"), rows)),
    }


def describe_deletions(opened: OpenHome) -> dict[str, Any]:
    """Count the requests that somebody made, and what of the inbox was never taken."""
    found = [each for each in opened.services.catalog.requests.all() if each.kind is not RequestKind.RETENTION]
    return _in_states(opened, found) | {
        "refusals_unread": opened.services.inbox.refusals(),
        "never_taken": sum(1 for _ in opened.services.inbox.passed_over()),
    }


def describe_retention(opened: OpenHome) -> dict[str, Any]:
    """Count the requests that retention policies made."""
    return _in_states(
        opened, [each for each in opened.services.catalog.requests.all() if each.kind is RequestKind.RETENTION]
    )


def describe_receipts(opened: OpenHome) -> dict[str, Any]:
    """Count the requests that are completed, each of which has its receipt."""
    requests = opened.services.catalog.requests.all()
    completed = [each for each in requests if each.state is RequestState.COMPLETED]
    return {
        "dagster/row_count": len(completed),
        "by_kind": dg.MetadataValue.md(
            markdown_table(("kind", "receipts"), sorted(Counter(each.kind.value for each in completed).items()))
        ),
    }


def _in_states(opened: OpenHome, requests: Sequence[Request]) -> dict[str, Any]:
    """Count requests by state, at an instant that is named."""
    found = outcomes_of(opened.services, requests)
    waiting = sorted(request.due_at for request in requests if request.state in OPEN_STATES)
    described: dict[str, Any] = {
        "dagster/row_count": len(requests),
        "requests": dg.MetadataValue.md(markdown_table(("state", "requests"), in_states(found).items())),
        "requests_open": len(waiting),
        "as_of": instant_text(opened.services.clock.now()),
    }
    return described | ({"next_due": waiting[0].date().isoformat()} if waiting else {})


SOURCES = (
    dg.AssetSpec(
        "landing_files",
        group_name=INTAKE,
        kinds={"json", "csv"},
        owners=[_OWNERS[INTAKE]],
        description="What teams put into their landing folders; the job `ingest_landing` takes it in and removes it.",
    ),
    dg.AssetSpec(
        "request_files",
        group_name=ERASURE,
        kinds={"json", "csv"},
        owners=[_OWNERS[ERASURE]],
        description="Deletion requests in the inbox; a look of `requests_sensor` accepts them and destroys the file.",
    ),
)

DATA = (
    Data(
        name="moderation_queue",
        about="Items that wait for a person's decision, by team and queue.",
        group=MODERATION,
        kinds=frozenset({"sql"}),
        deps=(AFTER_ITEMS,),
        describe=describe_queue,
    ),
    Data(
        name="deletion_requests",
        about="Accepted deletion requests. What one names is hidden from every read from the moment it is accepted.",
        group=ERASURE,
        kinds=frozenset({"sql"}),
        deps=("request_files",),
        describe=describe_deletions,
    ),
    Data(
        name="retention_requests",
        about="Requests that retention policies make of what is overdue, by the same path as any other.",
        group=ERASURE,
        kinds=frozenset({"sql"}),
        deps=(AFTER_ITEMS,),
        describe=describe_retention,
    ),
    Data(
        name="erasure_receipts",
        about="A signed receipt in the ledger for each request that is carried out, verified and shredded.",
        group=ERASURE,
        kinds=frozenset({"json"}),
        deps=("deletion_requests", "retention_requests"),
        describe=describe_receipts,
    ),
    Data(
        name="lake_inventory",
        about="Items, bytes and files by team and age; the picture shows each team's retention cut-off.",
        group=OVERSIGHT,
        kinds=frozenset({"sql"}),
        deps=(AFTER_ITEMS, "moderation_queue", "erasure_receipts"),
        describe=describe_lake,
    ),
)


def data_assets() -> Iterator[dg.AssetsDefinition]:
    """Yield the assets without partitions."""
    for data in DATA:
        yield _counted(data)


def _counted(data: Data) -> dg.AssetsDefinition:
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
            if data.describe is describe_lake:  # it looks at every team anyway
                show_teams(context.instance, opened, [team.team for team in opened.services.catalog.teams.all()])
            return dg.MaterializeResult(metadata=data.describe(opened))

    return counted


def _changed_by(name: str) -> str:
    """Say which jobs change an asset: Dagster shows only jobs that materialize it."""
    jobs = [f"`{job.name}`" for job in JOBS if name in job.changes]
    return f"Changed by the jobs {', '.join(jobs)}." if jobs else "Only counted, never changed."


def content_items_of(partitions: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset of items by team and day of submission."""
    with warnings.catch_warnings():
        # A backfill of many partitions is one run a team; the policy is beta in name only, its semantics are tested.
        warnings.simplefilter("ignore", dg.BetaWarning)

        @dg.asset(
            name=CONTENT_ITEMS,
            group_name=INTAKE,
            kinds={"parquet", "duckdb"},
            owners=[_OWNERS[INTAKE]],
            deps=["landing_files"],
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
            retry_policy=QUICK_RETRIES,
            metadata={"dagster/column_schema": column_schema(ITEM_COLUMNS)},
            description=(
                "Moderated items in encrypted files, by team and UTC day of submission. To materialize a partition "
                "reads the files of that team and day again, and no others; a finding fails the run. "
                + _changed_by(CONTENT_ITEMS)
            ),
        )
        def content_items(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult[None]:
            with guarded(), home.open() as opened:
                wanted = sorted(map(team_and_day, _keys(context)))
                whole = Report()
                for partition in wanted:
                    report = audit_partition(opened, partition)
                    whole.failures += report.failures
                    read = {name: report.counts[name] for name in ("files_read", "rows_read")}
                    context.add_asset_metadata(held(opened, partition) | read, partition_key=partition_key(*partition))
            end(whole)
            return dg.MaterializeResult()

    return content_items


def _keys(context: dg.AssetExecutionContext) -> list[str]:
    """Return the keys of the run's partitions.

    Raises:
        TeamUnknown: Dagster has no partitions of the team any more.
    """
    try:
        keys = list(context.partition_keys)
    except dg.DagsterError:  # it says so in words of its own, and of several types
        raise TeamUnknown("no partition of the run belongs to a team that has items") from None
    if not keys:
        raise failure("partitions-empty", remedy="Choose at least one partition; the range named none.")
    return keys


def tell_changes(context: dg.OpExecutionContext, opened: OpenHome, job: Job, report: Report) -> None:
    """Tell Dagster of the data that a job changed: partitions with their new counts, 0 too, and each table.

    The partitions of teams that have nothing left go. Their counts are told before: should the team come back, Dagster
    remembers the last it heard of each.
    """
    newest_first = sorted(report.partitions, key=lambda each: (each[1], each[0]), reverse=True)
    for partition in newest_first[:MOST_EVENTS]:
        _tell(context, CONTENT_ITEMS, held(opened, partition), partition)
    show_teams(context.instance, opened, {team for team, _ in report.partitions})
    for data in DATA:
        if data.name in job.changes:
            _tell(context, data.name, data.describe(opened))


def _tell(
    context: dg.OpExecutionContext, name: str, metadata: dict[str, Any], partition: Partition | None = None
) -> None:
    key = None if partition is None else partition_key(*partition)
    context.log_event(dg.AssetMaterialization(asset_key=name, partition=key, metadata=metadata))


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Return columns with their meaning, class and how personal they are, as the catalog of Dagster's UI shows them."""
    return dg.TableSchema(columns=[_table_column(column) for column in columns])


def _table_column(column: Column) -> dg.TableColumn:
    is_open = column.column_class is ColumnClass.OPERATIONAL
    # A pseudonym is personal data still: GDPR recital 26.
    pii = "pseudonym" if column.type is ColumnType.KEY else "false" if is_open else "true"
    return dg.TableColumn(
        name=column.name,
        type=_TYPE_NAMES[column.type],
        description=column.meaning,
        tags={"class": column.column_class.value, "pii": pii, "erased": column.erasure.value},
    )
