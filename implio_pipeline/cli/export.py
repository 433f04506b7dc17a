"""`implio export`: everything held on one person, for that person."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from implio_pipeline.cli.arguments import TeamName, secret_from, who
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import facts
from implio_pipeline.domain.access import GrantId, Purpose
from implio_pipeline.domain.ids import ColumnClass
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.access.export import AccessDraft, ExportMade, export_person

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome


def export_command(
    context: typer.Context,
    team: TeamName,
    user: Annotated[str, typer.Option("--user", metavar="ID", help="The user id; `-` reads it from stdin.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="A new folder, for you alone; in the home when not given."),
    ] = None,
    recipient: Annotated[
        Path | None,
        typer.Option(
            "--recipient", metavar="CERT", help="Encrypt to this X.509 certificate (PEM, RSA); `openssl cms` opens it."
        ),
    ] = None,
    asked_by: Annotated[
        str | None,
        typer.Option(
            "--asked-by", metavar="WHO", help="Who asked; the ledger keeps a keyed pseudonym. You, by default."
        ),
    ] = None,
) -> None:
    """Hand out everything held on one person, and note in the ledger that it was done.

    In clear it can be read by whoever makes it, so that a grant of the identity class for `access-request` is asked
    for; encrypted to a certificate it needs none. Either is noted in the audit log of reads.

    The export is purged by itself after the days set in `export_days` (7), or earlier when a deletion covers it.

    implio export --team acme --user - --out export --recipient jane.pem
    """
    session = session_of(context)
    certificate = None if recipient is None else _read(recipient)
    with session.open_home() as opened, session.steps("Exporting: files") as progress:
        grants: tuple[GrantId, ...] = ()
        if certificate is None:
            teams = [opened.services.catalog.teams.get(team_id(team)).team]
            admission = opened.door.admit(
                who(None), teams=teams, classes=frozenset(ColumnClass), purpose=Purpose.ACCESS_REQUEST
            )
            grants = admission.grants
        draft = AccessDraft(
            team=team_id(team),
            user_id=secret_from(user, name="User id"),
            asked_by=asked_by if asked_by is not None else who(None),
            operator=who(None),
            grants=grants,
            folder=None if out is None else out.absolute(),
            recipient=certificate,
            not_searched=not_searched(opened, team),
        )
        made = export_person(opened.services, opened.exports, draft, keep=opened.export_keep, progress=progress)
    session.answer(_shape(made), lambda: _view(made))


def not_searched(opened: "OpenHome", team: str) -> dict[str, int]:
    """Count the places that may hold more of a person and that nobody can look into yet."""
    return {
        "landingDaysWaiting": len(opened.services.landing.waiting().get(team_id(team), [])),
        "filesSetAside": sum(each.team == team for each in opened.set_aside.list()),
    }


def _read(recipient: Path) -> bytes:
    try:
        return recipient.read_bytes()
    except OSError:
        raise BadUse("--recipient names no file that can be read") from None


def _shape(made: ExportMade) -> dict[str, Any]:
    access = made.access
    return {
        "exportId": access.export_id,
        "team": access.team,
        "folder": str(made.folder),
        "files": list(made.files),
        "isEncrypted": access.recipient is not None,
        "items": access.items,
        "rejectedItems": access.rejected,
        "queueEntries": access.queue_entries,
        "moderation": access.notes,
        "requests": access.requests,
        "hiddenByOpenRequests": access.hidden,
        "itemsWithoutUserId": access.items_without_user,
        "notSearched": dict(access.not_searched),
        "expiresAt": instant_text(access.expires_at),
        "ledgerEntry": made.ledger_entry,
    }


def _view(made: ExportMade) -> RenderableType:
    access = made.access
    is_clear = access.recipient is None
    lines: list[tuple[str, object] | tuple[str, object, str]] = [
        ("items", access.items, f"and {access.rejected:,} rejected ones" if access.rejected else ""),
        ("queue entries", access.queue_entries),
        ("verdicts, notes", access.notes),
        ("requests", access.requests),
    ]
    if access.hidden:
        lines.append(("hidden", access.hidden, "by an open deletion request: not handed out"))
    unsearched = sum(access.not_searched.values())
    if unsearched:
        lines.append(("not searched", unsearched, "days of landing files or files set aside; the manifest names them"))
    lines += [
        ("folder", made.folder),
        ("protection", "in clear, for you alone" if is_clear else "encrypted to the certificate"),
        ("purged at", access.expires_at, "by housekeeping, or before when a deletion covers it"),
        ("ledger", f"#{made.ledger_entry}", "says who asked and how much, no value"),
    ]
    if not is_clear:
        lines.append(("to open", "openssl cms -decrypt -inform DER -in FILE.p7m -inkey KEY.pem -out FILE"))
    return facts(f"Export {access.export_id}, team {access.team}", lines)
