"""`implio audit`, `compact`, `housekeep` and `keys`: check the home, and keep it small and its keys fresh."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import ADMIN, READ
from implio_pipeline.cli.failures import BadUse, ExitCode, end_failed, faults_shape
from implio_pipeline.cli.session import opened_home, session_of
from implio_pipeline.cli.tables import bad, good, table, warning
from implio_pipeline.domain.audit import PARTS
from implio_pipeline.domain.keys import newest_ids
from implio_pipeline.domain.sentences import count
from implio_pipeline.domain.statements import SigningKeyRenewed
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.operations.audit import AuditReport, audit, note_audit
from implio_pipeline.flows.operations.rotate_keys import RotationSummary, newest_key_statement, rotate_keys

app = typer.Typer()
_keys = typer.Typer(help="Rotate keys, so that old backups cannot be read.", no_args_is_help=True)
app.add_typer(_keys, name="keys", rich_help_panel=ADMIN)


@app.command("audit", rich_help_panel=READ)
def _audit(
    context: typer.Context,
    is_full: Annotated[bool, typer.Option("--full", help="Read every file instead of one seventh of them.")] = False,
) -> None:
    """Compare files, catalog, keys, storage and ledger.

    An audit changes no item and no file. Every audit compares the catalog, keys, storage and ledger. It reads one
    seventh of the files, a different one each day, so that audits on seven consecutive days read all of them. The
    ledger records each audit.
    """
    session = session_of(context)
    with session.open_home() as opened, session.steps("Auditing: files") as progress:
        report = audit(opened, is_full=is_full, progress=progress)
        note_audit(opened, report)
    shape = {
        "auditedAt": report.audited_at,
        "part": None if report.part is None else {"number": report.part, "of": PARTS},
        "isHolding": not report.findings,
        "files": report.files,
        "filesRead": report.files_read,
        "rowsRead": report.rows_read,
        "filesChangedMeanwhile": report.files_changed,
        "hiddenRows": report.hidden_rows,
        "tombstones": report.tombstones,
        "receipts": report.receipts,
        "queueEntries": report.queue_entries,
        "findings": [
            {"kind": each.kind, "about": each.about, "team": each.team, "words": each.words} for each in report.findings
        ],
    }
    session.answer(shape, lambda: _audited(report))
    if report.findings:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def _audited(report: AuditReport) -> RenderableType:
    read = f"{count(report.files_read, 'file')} of {report.files:,} read, {count(report.rows_read, 'row')}"
    compared = f"{count(report.tombstones, 'tombstone')} and {count(report.receipts, 'receipt')}"
    lines: list[RenderableType] = [
        good(read) if report.part is None else warning(f"{read}; one part of {PARTS}, --full reads all"),
        good(f"{compared} compared with the catalog"),
    ]
    if report.hidden_rows:
        lines.append(warning(f"{count(report.hidden_rows, 'row')} hidden by open requests: `implio erase --resume`"))
    if not report.findings:
        return Group(*lines, good("Nothing was found."))
    rows = ([each.kind, each.about, each.team, each.words] for each in report.findings)
    return Group(
        *lines, bad(count(len(report.findings), "finding")), table(("kind", "about", "team", "what is wrong"), rows)
    )


@app.command("compact", rich_help_panel=ADMIN)
def _compact(context: typer.Context) -> None:
    """Merge small files into larger ones under new keys."""
    session, faults = session_of(context), Faults()
    with session.open_home() as opened, session.steps("Merging: partitions") as progress:
        summary = compact(opened, rows_per_file=opened.settings.rows_per_file, faults=faults, progress=progress)
    shape = {
        "partitions": summary.partitions,
        "filesBefore": summary.files_before,
        "filesAfter": summary.files_after,
        "skipped": summary.skipped,
        "failed": faults_shape(faults),
    }
    partitions = count(summary.partitions, "partition")
    text = f"{count(summary.files_before, 'file')} of {partitions} became {summary.files_after:,}"
    later = f"; {summary.skipped} left for the next run" if summary.skipped else ""
    session.answer(shape, lambda: good(f"{text}{later}" if summary.partitions else f"Nothing to merge{later}"))
    end_failed(faults)


@app.command("housekeep", rich_help_panel=ADMIN)
def _housekeep(context: typer.Context) -> None:
    """Delete files that nothing refers to and what has expired."""
    from implio_pipeline.jobs import tidy  # noqa: PLC0415 -- opens stores, which `--help` need not load

    session, faults = session_of(context), Faults()
    with session.open_home() as opened:
        done = tidy(opened, faults)
    sweep = done.sweep
    session.answer(
        {
            "doomed": sweep.unlinked,
            "strays": sweep.strays,
            "leftovers": sweep.leftovers,
            "verdictsForgotten": sweep.verdicts,
            "readsNoted": sweep.reads,
            "setAsideDiscarded": done.set_aside,
            "reportsDiscarded": done.reports,
            "exportsDiscarded": done.exports,
            "failed": faults_shape(faults),
        },
        lambda: Group(
            good(
                f"Deleted {count(sweep.unlinked, 'replaced file')}, {count(sweep.strays, 'stray')} "
                f"and {count(sweep.leftovers, 'leftover')}"
            ),
            good(
                f"Discarded {count(done.set_aside, 'set-aside file')}, {count(done.reports, 'report')}, "
                f"{count(done.exports, 'export')} and {count(sweep.verdicts, 'settled verdict')}"
            ),
            good("Scrubbed the catalog"),
        ),
    )
    end_failed(faults)


@_keys.command("rotate")
def _rotate(
    context: typer.Context,
    teams: Annotated[
        list[str] | None,
        typer.Option("--team", metavar="TEAM", help="Only the keys of this team. May be repeated."),
    ] = None,
) -> None:
    """Renew team keys and root keys, and destroy the old ones.

    No file is rewritten. An earlier backup of the catalog then opens only with an earlier backup of the keys folder.
    So back up both afterwards, and destroy the earlier backups of the keys folder.
    """
    session, faults = session_of(context), Faults()
    with session.open_home() as opened, session.steps("Rotating: teams") as progress:
        wanted = [team_id(name) for name in teams] if teams else None
        summary = rotate_keys(opened, teams=wanted, faults=faults, progress=progress)
    shape = {
        "teams": summary.teams,
        "filesRewrapped": summary.files,
        "teamKeysDestroyed": sorted(summary.team_keys_destroyed),
        "rootKeysDestroyed": sorted(summary.root_keys_destroyed),
        "failed": faults_shape(faults),
    }
    session.answer(shape, lambda: _rotated(summary))
    end_failed(faults)


def _rotated(summary: RotationSummary) -> RenderableType:
    destroyed = f"{count(len(summary.team_keys_destroyed), 'team key')}"
    lines: list[RenderableType] = [
        good(
            f"Renewed the keys of {count(summary.teams, 'team')} "
            f"and rewrapped the keys of {count(summary.files, 'file')}"
        ),
        good(f"Destroyed {destroyed} and {count(len(summary.root_keys_destroyed), 'root key')}"),
        warning(
            "Back up the catalog and the keys folder now, and destroy older backups of the keys folder: "
            "only these still open older backups of the catalog"
        ),
    ]
    return Group(*lines)


@_keys.command("make")
def _make(context: typer.Context) -> None:
    """Make the root keys that are missing at the places that the settings name.

    For a new home or region whose root keys are in a key service. Keys that exist are kept.
    """
    session = session_of(context)
    from implio_pipeline.wiring import make_root_keys  # noqa: PLC0415

    keys = make_root_keys(session.home)
    session.answer({"rootKeys": keys}, lambda: table(("root key", "identity"), sorted(keys.items())))


@_keys.command("renew-signing")
def _renew_signing(
    context: typer.Context,
    chains: Annotated[
        list[str] | None,
        typer.Option("--chain", metavar="CHAIN", help="Only this chain: a region, or `home`. May be repeated."),
    ] = None,
) -> None:
    """Give the chains of the ledger new signing keys, and destroy the old ones.

    Each old key signs which key follows it. So whoever has a chain's first public key can still check all of it.
    """
    with opened_home(context) as (session, opened):
        known = opened.ledger.chains()
        if not set(chains or ()) <= set(known):
            raise BadUse(f"--chain must be one of: {', '.join(known)}")
        wanted = [each for each in known if not chains or each in chains]
        for chain in wanted:
            opened.ledger.renew_key(chain)
        newest = [next(opened.ledger.newest_first(SigningKeyRenewed, chain=chain)).statement for chain in wanted]
    shape = {"signingKeys": {each.chain: each.key for each in newest}}
    session.answer(
        shape,
        lambda: Group(
            table(("chain", "new signing key"), [(each.chain, each.key) for each in newest]),
            warning("Back up the folders of these keys now: the old keys sign nothing more"),
        ),
    )


@_keys.command("list")
def _list(context: typer.Context) -> None:
    """Show ids and fingerprints of all keys, and the last rotation."""
    with opened_home(context) as (session, opened):
        statement = newest_key_statement(opened.ledger)
        keys = opened.catalog.teams.keys()
        prints = dict(opened.keychain.ring.identities()) | dict(opened.keychain.fingerprints(keys))
    rotated_at = None if statement is None else statement.at
    newest = newest_ids(prints)
    listed = [{"key": each, "fingerprint": prints[each], "isNewest": each in newest} for each in sorted(prints)]
    session.answer({"lastRotation": rotated_at, "keys": listed}, lambda: _listed(listed, rotated_at))


def _listed(keys: list[dict[str, Any]], rotated_at: datetime | None) -> RenderableType:
    rows = ([each["key"], each["fingerprint"], "live" if each["isNewest"] else "to be destroyed"] for each in keys)
    last = (
        warning("Never rotated: `implio keys rotate`")
        if rotated_at is None
        else good(f"Last rotated {rotated_at:%Y-%m-%d}")
    )
    return Group(table(("key", "fingerprint", "state"), rows), last)
