"""The record of processing activities: made from the settings and from what the catalog and the ledger hold.

A measure is listed with its state, such as the day of the last audit, so that nobody has to believe the settings.

Source: GDPR Art. 30(1) and (2).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from implio_pipeline.domain.ids import ColumnClass, FileKind
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.processing import (
    PURPOSES,
    SUBJECTS,
    ActivityRecord,
    Controller,
    Hosting,
    RetainedData,
    TeamRecord,
    categories,
    gaps_of,
)
from implio_pipeline.domain.residency import Place, Processor
from implio_pipeline.domain.statements import AuditMade, RestoreMade
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.operations.epochs import epoch_open_since
from implio_pipeline.flows.operations.rotate_keys import newest_key_statement
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordSettings:
    """The settings that the record shows."""

    controller: Controller
    places: tuple[Place, ...]
    processors: tuple[Processor, ...]
    are_grants_required: bool
    set_aside_days: int
    export_days: int
    is_landing_archived: bool


def activity_record(services: Services, configured: RecordSettings) -> ActivityRecord:
    """Return the record of processing activities as of now.

    Raises:
        LedgerBroken: the ledger cannot be read, so the last audit and rotation are not known.
    """
    now, catalog = services.clock.now(), services.catalog
    hosting = tuple(Hosting.of(place, configured.processors) for place in configured.places)
    return ActivityRecord(
        made_at=now,
        controller=configured.controller,
        hosting=hosting,
        processors=configured.processors,
        teams=tuple(_team_record(catalog, team, now=now) for team in catalog.teams.all()),
        kept=_kept(configured),
        measures=tuple(_measures(services, configured)),
        gaps=gaps_of(configured.controller, hosting),
    )


def record_body(record: ActivityRecord) -> dict[str, Any]:
    """Return a record as JSON values."""
    return {
        "madeAt": instant_text(record.made_at),
        "controller": {
            "name": record.controller.name or None,
            "contact": record.controller.contact or None,
            "dataProtectionOfficer": record.controller.dpo or None,
        },
        "purposes": list(PURPOSES),
        "dataSubjects": list(SUBJECTS),
        "personalData": [
            {
                "class": each.name,
                "words": each.words,
                "columns": [{"name": name, "erased": rule} for name, rule in each.columns],
            }
            for each in categories()
        ],
        "regions": [
            {
                "region": each.region,
                "keptIn": each.kept_in,
                "processor": each.processor,
                "role": each.role,
                "location": each.location,
                "isTransfer": each.is_transfer,
                "safeguards": each.safeguards or None,
            }
            for each in record.hosting
        ],
        "processors": [
            {
                "name": each.name,
                "role": each.role,
                "location": each.location,
                "safeguards": each.safeguards or None,
                "since": None if each.since is None else each.since.isoformat(),
            }
            for each in record.processors
        ],
        "teams": [
            {
                "team": each.team,
                "region": each.region,
                "retention": each.policy,
                "items": each.items,
                "itemsWithoutUserId": each.unreachable,
                "rejectedItems": each.rejected,
                "queueEntries": each.queued,
                "legalHolds": each.holds,
                "grants": each.grants,
                "grantsOfIdentity": each.grants_identity,
            }
            for each in record.teams
        ],
        "otherRecords": [{"what": each.what, "form": each.form, "kept": each.how_long} for each in record.kept],
        "measures": [{"measure": name, "state": state} for name, state in record.measures],
        "gaps": list(record.gaps),
    }


def _team_record(catalog: Catalog, team: Team, *, now: datetime) -> TeamRecord:
    parts = list(catalog.manifest.partitions(team.team))
    items = sum(part.rows for part in parts if part.kind is FileKind.ITEMS)
    grants = [each for each in catalog.grants.all(team=team.team) if each.is_in_force(now=now)]
    return TeamRecord(
        team=team.team,
        region=team.region,
        policy=team.policy.text,
        items=items,
        unreachable=catalog.manifest.anonymous_items(team.team),
        rejected=sum(part.rows for part in parts) - items,
        queued=len(catalog.moderation.entries(team.team)),
        holds=sum(each.is_in_force(now=now) for each in catalog.holds.all(team.team)),
        grants=len(grants),
        grants_identity=sum(ColumnClass.IDENTITY in each.classes for each in grants),
    )


def _kept(configured: RecordSettings) -> tuple[RetainedData, ...]:
    return (
        RetainedData(
            what="Deletion requests",
            form="the scope sealed, a keyed pseudonym beside it",
            how_long="the sealed scope until the erasure is complete; the pseudonym as the standing rule",
        ),
        RetainedData(
            what="Ledger of tombstones and receipts",
            form="signed and chained; keyed pseudonyms and counts, no personal value",
            how_long="without limit, as proof (GDPR Art. 5(2))",
        ),
        RetainedData(
            what="Grants and the log of reads",
            form="operators as keyed pseudonyms, their names sealed; no value and no SQL text",
            how_long="without limit; a name until it is destroyed (implio access forget)",
        ),
        RetainedData(
            what="Files that could not be read",
            form="sealed under a key of their own",
            how_long=f"{configured.set_aside_days} days",
        ),
        RetainedData(
            what="Exports for access requests",
            form="encrypted to the recipient, or in a folder for its maker alone",
            how_long=f"{configured.export_days} days, or until a deletion covers the person",
        ),
        RetainedData(
            what="Landing files",
            form="as they were sent",
            how_long="archived by setting" if configured.is_landing_archived else "until they are ingested",
        ),
    )


def _measures(services: Services, configured: RecordSettings) -> Iterable[tuple[str, str]]:
    """Yield each measure of protection and its state (GDPR Art. 30(1)(g), Art. 32(1))."""
    now, ledger, catalog = services.clock.now(), services.ledger, services.catalog
    yield "Encryption", "AES-256-GCM for every file and column, keys of its own for each file and class of columns"
    statement = newest_key_statement(ledger)
    rotated = "never yet" if statement is None else _ago(now, statement.at)
    yield "Rotation of keys, so that old backups cannot be read", rotated
    if not catalog.destroys_at_once:
        open_since = epoch_open_since(services)
        yield (
            "Keys of erased items, in old copies of the database",
            "destroyed: nothing opens what was erased"
            if open_since is None
            else f"destroyed for what was erased before {instant_text(open_since)}; later ones with the next epoch",
        )
    yield "Pseudonyms", "a keyed digest of the user id wherever an item must be found without its identity"
    access = "identity columns need a grant by team, purpose and time; other columns are open to operators"
    if configured.are_grants_required:
        access = "every reading needs a grant by team, class, purpose and time; denied by default"
    yield "Least privilege", access
    newest = catalog.access_log.newest(1)
    lines = newest[0].line if newest else 0
    yield "Log of reads", f"reaches line {lines:,}; chained, and noted in the signed ledger daily"
    approvals = "not asked for, by setting"
    if services.approvals.is_asked:
        named = ", ".join(f"{team.team} {team.cap_percent} %" for team in catalog.teams.all())
        approvals = "for whole teams" + (f", and above these shares of a team's items: {named}" if named else "")
    yield "Approval by a second person", approvals
    audited = next(ledger.newest_first(AuditMade), None)
    audit_state = "never yet"
    if audited is not None:
        findings = f", with {audited.statement.findings} findings" if audited.statement.findings else ""
        audit_state = _ago(now, audited.statement.audited_at) + findings
    yield "Self-audit of files, catalog, keys and ledger", audit_state
    restored = next(ledger.newest_first(RestoreMade), None)
    restore_state = "never yet"
    if restored is not None:
        proof = "" if restored.statement.is_proven else ", not proven"
        restore_state = _ago(now, restored.statement.restored_at) + proof
    yield "Restore, with everything erased again", restore_state
    yield "Deletion", "hidden at once, rewritten away, verified by reading, keys destroyed, signed receipt"
    yield "Residency", "each team in one region; a region's files and keys lie apart from any other's"


def _ago(now: datetime, at: datetime) -> str:
    days = max(0, (now - at) // timedelta(days=1))
    return f"last on {at.date().isoformat()}, {days} {'day' if days == 1 else 'days'} ago"
