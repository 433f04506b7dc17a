"""The self-audit: once a week every file is read again; a finding fails the run, so that somebody looks."""

from datetime import UTC

import dagster as dg

from implio_pipeline.domain.audit import AuditFinding
from implio_pipeline.domain.days import day_of
from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.flows.audit import AuditReport, audit, note_audit
from implio_pipeline.orchestration.assets.items import QUICK_RETRIES
from implio_pipeline.orchestration.assets.requests import AS_OF_TAG
from implio_pipeline.orchestration.guarded import guarded
from implio_pipeline.orchestration.launches import WORKS_ON_FILES
from implio_pipeline.orchestration.pictures import markdown_table
from implio_pipeline.orchestration.resources import HomeResource

SELF_AUDIT = "self_audit"
FINDINGS_CODE = "audit-findings"
_REMEDY = "Run `implio audit --full`; it names every finding."
_MOST_SHOWN = 200
_TENTHS = 10


class AuditScope(dg.Config):
    """How much is read."""

    is_full: bool = True
    """Every file; otherwise the day's part of seven."""


@dg.op(name="audit", out=dg.Out(dg.Nothing), retry_policy=QUICK_RETRIES)
def audit_op(context: dg.OpExecutionContext, config: AuditScope, home: HomeResource) -> None:
    """Compare files, catalog, keys, storage and ledger, and fail when anything does not hold.

    Raises:
        dagster.Failure: something was found, or the audit could not be carried out.
    """
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        tenth = _TENTHS * done // max(1, total)
        if tenth > told:
            told = tenth
            context.log.info("%s of %s files audited", done, total)

    with guarded():
        with home.open() as house:
            report = audit(house.world, is_full=config.is_full, progress=tell)
            note_audit(house.world, report)
        counts = _counts(report)
        if not report.findings:
            context.add_output_metadata(counts)
            return
        for each in report.findings[:_MOST_SHOWN]:
            context.log.error("%s: %s: %s", each.kind.value, each.about, each.words)
        raise dg.Failure(
            description=FINDINGS_CODE,
            metadata={
                "code": FINDINGS_CODE,
                "remedy": _REMEDY,
                **counts,
                "findings_named": dg.MetadataValue.md(_table(report.findings)),
            },
            allow_retries=False,
        )


@dg.job(
    name=SELF_AUDIT,
    executor_def=dg.in_process_executor,
    tags=WORKS_ON_FILES,
    description="Reads files, catalog, keys, storage and ledger against each other; a finding fails the run.",
)
def audit_job() -> None:
    """Audit."""
    audit_op()


@dg.schedule(
    name="audit_weekly",
    job_name=SELF_AUDIT,
    cron_schedule="15 5 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reads every file again, every Sunday.",
)
def audit_schedule(context: dg.ScheduleEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
    """Ask for one audit a week; after a pause the one latest is made up for."""
    with guarded():
        try:
            with home.open():
                pass
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
        day = day_of(context.scheduled_execution_time.astimezone(UTC)).isoformat()
        return dg.RunRequest(run_key=f"{SELF_AUDIT}:{day}", tags={AS_OF_TAG: day})


def _counts(report: AuditReport) -> dict[str, int]:
    return {
        "files": report.files,
        "files_read": report.files_read,
        "rows_read": report.rows_read,
        "hidden_rows": report.hidden_rows,
        "tombstones": report.tombstones,
        "receipts": report.receipts,
        "findings": len(report.findings),
        **{f"findings_{kind.value}": count for kind, count in report.by_kind.items()},
    }


def _table(findings: list[AuditFinding]) -> str:
    rows = [[each.kind.value, each.about, each.team or "", each.words] for each in findings[:_MOST_SHOWN]]
    return markdown_table(("kind", "about", "team", "what"), rows)
