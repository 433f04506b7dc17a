"""`deletion_requests`, `retention_requests` and `erasure_receipts`: from a request to its receipt."""

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import dagster as dg

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.errors import Unverified
from implio_pipeline.domain.request import OPEN_STATES, RequestState
from implio_pipeline.domain.sentences import in_states
from implio_pipeline.flows.alone import Faults
from implio_pipeline.flows.erase import ErasureSummary, erase
from implio_pipeline.flows.outcomes import outcomes_of
from implio_pipeline.flows.retain import retain
from implio_pipeline.flows.take_requests import take_requests
from implio_pipeline.orchestration.assets.items import AFTER_ITEMS, GROUP, QUICK_RETRIES
from implio_pipeline.orchestration.guarded import end, failure, guarded
from implio_pipeline.orchestration.pictures import markdown_table
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.ports.world import World

AS_OF_TAG = "implio/as_of"
"""The UTC day a schedule was due; retention goes by it."""

ERASURE = "erasure"
_MOST_SHOWN = 200
"""Failed requests that a run names; `implio requests list` names all."""


@dg.asset(
    group_name=GROUP,
    kinds={"sql"},
    pool=ERASURE,
    retry_policy=QUICK_RETRIES,
    description=(
        "Accepted deletion requests. To materialize it takes every file of the inbox through the one guarded door: "
        "what it names is hidden from every read at once."
    ),
)
def deletion_requests(home: HomeResource) -> dg.MaterializeResult[None]:
    """Take what waits in the inbox."""
    with guarded(), home.open() as house:
        taken = take_requests(house.world)
        return dg.MaterializeResult(
            metadata={
                "request_files": taken.files,
                "hidden_by_this_run": len(taken.accepted),
                "refused_by_this_run": taken.refused,
                "request_files_failed": taken.failed.total(),
                "refusals_unread": house.world.inbox.refusals(),
                "never_taken": sum(1 for _ in house.world.inbox.passed_over()),
            }
        )


@dg.asset(
    group_name=GROUP,
    kinds={"sql"},
    pool=ERASURE,
    retry_policy=QUICK_RETRIES,
    deps=[AFTER_ITEMS],
    description=(
        "Requests that retention policies make. The backlog is derived from policies and the catalog, so a day that "
        "was missed is made up for."
    ),
)
def retention_requests(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult[None]:
    """Accept a request for each team with overdue items."""
    with guarded(), home.open() as house:
        as_of = _as_of(context, house.world.clock.now())
        faults = Faults()
        accepted = retain(house.world, today=as_of, faults=faults)
        end(faults, hidden_by_this_run=len(accepted))
        return dg.MaterializeResult(metadata={"as_of": as_of.isoformat(), "hidden_by_this_run": len(accepted)})


@dg.asset(
    group_name=GROUP,
    kinds={"json"},
    pool=ERASURE,
    retry_policy=QUICK_RETRIES,
    deps=[deletion_requests, retention_requests],
    description=(
        "Signed receipts. To materialize it carries out every accepted request that is ready: find, rewrite, verify, "
        "commit and shred, receipt."
    ),
)
def erasure_receipts(home: HomeResource) -> Iterator[dg.MaterializeResult[None]]:
    """Erase, and say what was erased; what was completed is done and is told, also when something failed."""
    with guarded(), home.open() as house:
        summary = erase(house.world)
        metadata = _receipts(house.world, summary)
    yield dg.MaterializeResult(metadata=metadata)
    if summary.failed:
        raise _incomplete(summary)


def _as_of(context: dg.AssetExecutionContext, now: datetime) -> date:
    """Return the day the schedule was due, but never one that has not come."""
    tag = context.run.tags.get(AS_OF_TAG)
    return now.date() if tag is None else min(date.fromisoformat(tag), now.date())


def _receipts(world: World, summary: ErasureSummary) -> dict[str, Any]:
    """Return what this run did, and how many requests were in which state when it ended, at an instant it names."""
    found = outcomes_of(world, world.catalog.requests.all())
    waiting = sorted(request.due_at for request, _ in found if request.state in OPEN_STATES)
    states = [[text, number] for text, number in in_states(found).items()]
    metadata: dict[str, Any] = {
        "dagster/row_count": sum(request.state is RequestState.COMPLETED for request, _ in found),
        "requests": dg.MetadataValue.md(markdown_table(("state", "requests"), states)),
        "as_of": instant_text(world.clock.now()),
        "receipts_written": len(summary.completed),
        "requests_failed": len(summary.failed),
        "requests_open": len(waiting),
        "requests_held_back": len(summary.withheld),
        "items_erased": summary.items_erased,
        "files_rewritten": summary.files_rewritten,
        "files_dropped": summary.files_dropped,
    }
    return metadata | ({"next_due": waiting[0].date().isoformat()} if waiting else {})


def _what_failed(summary: ErasureSummary) -> str:
    """Return one plain sentence."""
    count = len(summary.failures)
    first_id, first = next(iter(summary.failures.items()))
    at = f" at file {first.about}" if first.about else ""
    day = f", day {first.day}" if first.day else ""
    others = f"; {count - 1} more failed" if count > 1 else ""
    return f"Request {first_id} ended with {first.code}{at} of team {first.team}{day}{others}. Its items stay hidden."


def _failures_table(summary: ErasureSummary) -> str:
    rows = [
        [request_id, each.code, each.team, str(each.day or ""), each.about or ""]
        for request_id, each in list(summary.failures.items())[:_MOST_SHOWN]
    ]
    return markdown_table(("request", "code", "team", "day", "file"), rows)


def _incomplete(summary: ErasureSummary) -> dg.Failure:
    codes = Counter(summary.failed.values())
    worst = Unverified.code if Unverified.code in codes else min(codes)
    return failure(
        worst,
        remedy="Run `implio requests list` to see which, and what each needs; those that can are tried again.",
        requests_failed=len(summary.failed),
        requests_completed=len(summary.completed),
        what_failed=_what_failed(summary),
        files=", ".join(sorted({each.about for each in summary.failures.values() if each.about})),
        partitions=", ".join(sorted({f"{each.team}/{each.day}" for each in summary.failures.values() if each.day})),
        failures=dg.MetadataValue.md(_failures_table(summary)),
        codes=", ".join(f"{code}: {count}" for code, count in sorted(codes.items())),
    )
