"""Checks: what we promise of each asset. All but two ask the audit, by the part that can tell.

What could not be looked at is a finding as well, so a check that cannot count never says yes.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import dagster as dg

from implio_pipeline.domain.audit import AuditPart, FindingKind
from implio_pipeline.domain.request import OPEN_STATES
from implio_pipeline.flows.deletion.retention import preview_retention
from implio_pipeline.flows.operations.audit import AuditReport, audit
from implio_pipeline.orchestration.guarded import guarded
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.wiring import OpenHome

_ALWAYS = frozenset({FindingKind.CATALOG_TAMPERED, FindingKind.NOT_AUDITED})
"""What leaves it open whether anything holds."""
_MERELY_STRAY = frozenset({FindingKind.STRAY})


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One promise: of what, which parts of the audit can tell, and which findings break it."""

    name: str
    asset: str
    about: str
    parts: frozenset[AuditPart] = frozenset()
    kinds: frozenset[FindingKind] = frozenset()
    broken: Callable[[OpenHome], dict[str, int]] | None = None
    """Counts what breaks a promise about time, which no audit knows of: not kept when the first count is not 0."""


def _overdue(opened: OpenHome) -> dict[str, int]:
    """Count overdue items of today by what the catalog knows of every file, less what a legal hold keeps."""
    found = preview_retention(opened.services, today=opened.services.clock.now().date())
    left = {each.team: each.items + each.rejected - each.withheld for each in found}
    overdue = {team: items for team, items in left.items() if items > 0}
    return {
        "items_overdue": sum(overdue.values()),
        "teams": len(overdue),
        "items_withheld": sum(each.withheld for each in found),
    }


def _past_due(opened: OpenHome) -> dict[str, int]:
    now = opened.services.clock.now()
    requests = opened.services.catalog.requests.all(states=OPEN_STATES)
    return {"requests_past_due": sum(each.is_overdue(now=now) for each in requests)}


CHECKS = (
    Check(
        name="no_survivors",
        asset="content_items",
        about="No item that a completed request covers is in the lake, and no file can hide one from an erasure.",
        parts=frozenset({AuditPart.CATALOG, AuditPart.SURVIVORS, AuditPart.CONTENTS}),
        kinds=frozenset(
            {
                FindingKind.SURVIVOR,
                FindingKind.FILTER_MISSES,
                FindingKind.WRONG_PSEUDONYM,
                FindingKind.WRONG_RANGE,
                FindingKind.WRONG_TIMES,
                FindingKind.FILE_UNREADABLE,
            }
        ),
    ),
    Check(
        name="nothing_overdue",
        asset="content_items",
        about="No item is older than its team's retention policy allows.",
        broken=_overdue,
    ),
    Check(
        name="encrypted_under_live_keys",
        asset="content_items",
        about="Every vault file is encrypted, under keys that are wrapped by live ones.",
        parts=frozenset({AuditPart.FILES, AuditPart.KEYS}),
        kinds=frozenset({FindingKind.FILE_IN_CLEAR, FindingKind.KEY_MISSING}),
    ),
    Check(
        name="catalog_and_storage_agree",
        asset="content_items",
        about="Every file of the catalog is in storage as it was written, and no other. A file that the catalog does "
        "not know is only a warning: it may be about to be committed, or a crash left it.",
        parts=frozenset({AuditPart.FILES, AuditPart.CONTENTS, AuditPart.STORAGE}),
        kinds=frozenset(
            {
                FindingKind.FILE_MISSING,
                FindingKind.FILE_OTHER_SIZE,
                FindingKind.FILE_TAMPERED,
                FindingKind.WRONG_COUNTS,
                FindingKind.STRAY,
            }
        ),
    ),
    Check(
        name="nothing_erased_waits",
        asset="moderation_queue",
        about="No queue, verdict or delivery keeps an item that an accepted request covers.",
        parts=frozenset({AuditPart.QUEUES}),
        kinds=frozenset({FindingKind.QUEUED_SURVIVOR}),
    ),
    Check(
        name="no_request_past_due",
        asset="deletion_requests",
        about="No open request is past the day it is due, one month after it was received.",
        broken=_past_due,
    ),
    Check(
        name="requests_are_in_the_ledger",
        asset="deletion_requests",
        about="Every accepted request is in the ledger as it is in the catalog, and the other way round.",
        parts=frozenset({AuditPart.LEDGER}),
        kinds=frozenset(
            {
                FindingKind.TOMBSTONE_NOT_IN_LEDGER,
                FindingKind.TOMBSTONE_NOT_IN_CATALOG,
                FindingKind.TOMBSTONE_DIFFERS,
                FindingKind.LIFTING_NOT_IN_LEDGER,
                FindingKind.LIFTING_NOT_IN_CATALOG,
            }
        ),
    ),
    Check(
        name="receipts_are_true",
        asset="erasure_receipts",
        about="Every request that was carried out has its one receipt, and the ledger's chain holds.",
        parts=frozenset({AuditPart.LEDGER}),
        kinds=frozenset(
            {
                FindingKind.LEDGER_BROKEN,
                FindingKind.RECEIPT_MISSING,
                FindingKind.RECEIPT_REPEATED,
                FindingKind.RECEIPT_EARLY,
                FindingKind.RECEIPT_IMPLAUSIBLE,
            }
        ),
    ),
    Check(
        name="nothing_was_altered",
        asset="lake_inventory",
        about="The catalog's rows, the log of reads and revoked grants are as they were written.",
        parts=frozenset({AuditPart.CATALOG, AuditPart.READS}),
        kinds=frozenset({FindingKind.CATALOG_TAMPERED, FindingKind.ACCESS_LOG_BROKEN, FindingKind.GRANT_REVIVED}),
    ),
)


@dg.multi_asset_check(
    name="promises",
    can_subset=True,
    specs=[dg.AssetCheckSpec(each.name, asset=each.asset, description=each.about) for each in CHECKS],
)
def promises(context: dg.AssetCheckExecutionContext, home: HomeResource) -> Iterator[dg.AssetCheckEvaluation]:
    """Check what is selected, by one audit of the parts that this takes.

    Yields evaluations, not results: of a result Dagster looks up the materialization that it is about, and for that it
    lists every partition of `content_items`, 19 s and 2 GB at a thousand teams (measured).
    """
    names = {key.name for key in context.selected_asset_check_keys}
    with guarded(), home.open() as opened:
        found = list(evaluated(opened, names))
    yield from found


def evaluated(
    opened: OpenHome, names: Collection[str], report: AuditReport | None = None
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield what each check of these names says.

    Args:
        opened: The home.
        names: Which checks.
        report: An audit that was made for another reason and looked at all that these need.
    """
    wanted = [each for each in CHECKS if each.name in names]
    parts = frozenset[AuditPart]().union(*(each.parts for each in wanted))
    if report is None and parts:
        report = audit(opened.services, parts=parts)
    for check in wanted:
        if check.broken is not None:
            counts = check.broken(opened)
            yield _said(check, passed=not next(iter(counts.values())), metadata=counts)
        elif report is not None:
            yield _by_findings(check, report)


def _by_findings(check: Check, report: AuditReport) -> dg.AssetCheckEvaluation:
    kinds = Counter(each.kind for each in report.findings if each.kind in check.kinds | _ALWAYS)
    young = report.young_strays if FindingKind.STRAY in check.kinds else 0
    counts = {kind.value: count for kind, count in sorted(kinds.items())} | ({"young_strays": young} if young else {})
    return _said(
        check,
        passed=not counts,
        is_warning=kinds.keys() <= _MERELY_STRAY,
        metadata={"files": report.files, "files_read": report.files_read, **counts},
    )


def _said(check: Check, *, passed: bool, metadata: dict[str, int], is_warning: bool = False) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(check.asset),
        check_name=check.name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )
