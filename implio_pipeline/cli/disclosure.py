"""`implio export`, `register` and `processors`: what the law makes a controller show.

A person gets everything that is held on them (GDPR Art. 15). The authority gets the record of processing activities
(Art. 30) and the list of processors (Art. 28).
"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from implio_pipeline.cli.arguments import (
    ADMIN,
    WORK,
    TeamName,
    choice_from,
    named_team,
    secret_from,
    who,
    write_new,
)
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import opened_home, session_of
from implio_pipeline.cli.tables import Fact, facts
from implio_pipeline.documents.register import register_markdown, register_page
from implio_pipeline.domain.access import GrantId, Purpose
from implio_pipeline.domain.ids import ColumnClass
from implio_pipeline.domain.processing import Controller
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.access.export import AccessDraft, ExportMade, export_person
from implio_pipeline.flows.operations.processing_record import RecordSettings, activity_record, record_body

if TYPE_CHECKING:
    from implio_pipeline.settings import Settings

app = typer.Typer()
_register = typer.Typer(help="The record of processing activities (GDPR Art. 30).", no_args_is_help=True)
_processors = typer.Typer(help="The companies that host or otherwise process items.", no_args_is_help=True)
app.add_typer(_register, name="register", rich_help_panel=ADMIN)
app.add_typer(_processors, name="processors", rich_help_panel=ADMIN)


class _Form(StrEnum):
    JSON = "json"
    HTML = "html"
    MARKDOWN = "md"


@app.command("export", rich_help_panel=WORK)
def _export(
    context: typer.Context,
    team: TeamName,
    user: Annotated[str, typer.Option("--user", metavar="ID", help='The user id. "-" reads stdin.')],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="A new folder that only you can read. Default: in the home."),
    ] = None,
    recipient: Annotated[
        Path | None,
        typer.Option(
            "--recipient", metavar="CERT", help="Encrypt to this X.509 certificate (PEM, RSA); `openssl cms` opens it."
        ),
    ] = None,
    asked_by: Annotated[
        str | None,
        typer.Option("--asked-by", metavar="WHO", help="Who asked. Default: you. The ledger keeps a pseudonym."),
    ] = None,
) -> None:
    """Export everything held on one person (GDPR Art. 15).

    Whoever makes an export in clear can read it, so it needs a grant of the identity class for `access-request`.
    An export that is encrypted to a certificate needs no grant. The log of reads and the ledger record both kinds.

    Housekeeping deletes the export after `export_days` days (7), or earlier when a deletion covers it.

    implio export --team acme --user - --out export --recipient jane.pem
    """
    session = session_of(context)
    try:
        certificate = None if recipient is None else recipient.read_bytes()
    except OSError:
        raise BadUse("the file that --recipient names cannot be read") from None
    with session.open_home() as opened, session.steps("Exporting: files") as progress:
        # 1. Reading in clear needs a grant, and is logged before anything is read.
        grants: tuple[GrantId, ...] = ()
        if certificate is None:
            admission = opened.door.admit(
                who(None),
                teams=[named_team(opened, team)],
                classes=frozenset(ColumnClass),
                purpose=Purpose.ACCESS_REQUEST,
            )
            grants = admission.grants
        # 2. Files that wait or were set aside may hold more about this person, so the export says how many there are.
        not_searched = {
            "landingDaysWaiting": len(waiting.days) if (waiting := opened.landing.waiting().get(team_id(team))) else 0,
            "filesSetAside": sum(each.team == team for each in opened.set_aside.list()),
        }
        draft = AccessDraft(
            team=team_id(team),
            user_id=secret_from(user, name="User id"),
            asked_by=asked_by if asked_by is not None else who(None),
            operator=who(None),
            grants=grants,
            folder=None if out is None else out.absolute(),
            recipient=certificate,
            not_searched=not_searched,
        )
        made = export_person(opened, opened.exports, draft, keep=opened.export_keep, progress=progress)
    access = made.access
    shape = {
        "exportId": access.export_id,
        "team": access.team,
        "folder": made.folder,
        "files": made.files,
        "isEncrypted": access.recipient is not None,
        "items": access.items,
        "rejectedItems": access.rejected,
        "queueEntries": access.queue_entries,
        "moderation": access.notes,
        "requests": access.requests,
        "hiddenByOpenRequests": access.hidden,
        "itemsWithoutUserId": access.items_without_user,
        "notSearched": access.not_searched,
        "expiresAt": access.expires_at,
        "ledgerEntry": made.ledger_entry,
    }
    session.answer(shape, lambda: _exported(made))


def _exported(made: ExportMade) -> RenderableType:
    access = made.access
    is_clear = access.recipient is None
    lines: list[Fact] = [
        ("items", access.items, f"and {access.rejected:,} rejected" if access.rejected else ""),
        ("queue entries", access.queue_entries),
        ("verdicts, notes", access.notes),
        ("requests", access.requests),
    ]
    if access.hidden:
        lines.append(("hidden", access.hidden, "by an open deletion request: not exported"))
    unsearched = sum(access.not_searched.values())
    if unsearched:
        lines.append(("not searched", unsearched, "days of landing files or set-aside files, named in the manifest"))
    lines += [
        ("folder", made.folder),
        ("protection", "in clear, readable by you alone" if is_clear else "encrypted to the certificate"),
        ("deleted at", access.expires_at, "or earlier, when a deletion covers it"),
        ("ledger", f"#{made.ledger_entry}", "records who asked and how many items, but no values"),
    ]
    if not is_clear:
        lines.append(("to open", "openssl cms -decrypt -inform DER -in FILE.p7m -inkey KEY.pem -out FILE"))
    return facts(f"Export {access.export_id}, team {access.team}", lines)


@_register.command("export")
def _export_register(
    context: typer.Context,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="json, html or md.")] = "md",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="A new file. Default: stdout.")] = None,
) -> None:
    """Write the record of processing activities.

    It lists categories, retention, processors, transfers, measures and counts, from the live configuration. Name the
    controller under `[controller]` in implio.toml. The record contains nothing about end users.

    implio register export --format html --out record.html
    """
    session = session_of(context)
    asked = choice_from(form, _Form, option="--format")
    with session.open_home() as opened:
        record = activity_record(opened, _configured(opened.settings))
    match _Form.JSON if session.is_json else asked:
        case _Form.JSON:
            text = f"{json.dumps(record_body(record), ensure_ascii=False, indent=2)}\n"
        case _Form.HTML:
            text = register_page(record)
        case _Form.MARKDOWN:
            text = register_markdown(record)
    if out is None:
        sys.stdout.write(text)
        return
    write_new(out, text)
    session.say(f"Written to {out}")


def _configured(settings: "Settings") -> RecordSettings:
    return RecordSettings(
        controller=Controller(**settings.controller.model_dump()),
        places=tuple(settings.places),
        processors=tuple(settings.processor_register),
        are_grants_required=settings.access.grants == "required",
        set_aside_days=settings.set_aside_days,
        export_days=settings.export_days,
        is_landing_archived=settings.landing.after == "archive",
    )


@_processors.command("list")
def _list_processors(context: typer.Context) -> None:
    """Show the processors of implio.toml and the regions that each hosts."""
    with opened_home(context) as (session, opened):
        places, register = opened.settings.places, opened.settings.processor_register
    shapes: list[dict[str, Any]] = [
        {
            "name": each.name,
            "role": each.role,
            "location": each.location,
            "safeguards": each.safeguards or None,
            "since": each.since,
            "regions": sorted(
                place.region for place in places if (place.processor, place.location) == (each.name, each.location)
            ),
        }
        for each in register
    ]
    session.answer_rows(
        shapes,
        ("processor", "role", "location", "hosts", "safeguards", "since"),
        (
            [each.name, each.role, each.location, ", ".join(shape["regions"]), each.safeguards or None, each.since]
            for each, shape in zip(register, shapes, strict=True)
        ),
        empty="No processors.",
    )
