"""`implio register`: the record of processing activities, from live configuration."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import good
from implio_pipeline.documents.register import register_markdown, register_page
from implio_pipeline.domain.processing import ActivityRecord, Controller
from implio_pipeline.flows.operations.processing_record import Configured, activity_record, record_body

if TYPE_CHECKING:
    from implio_pipeline.settings import Settings

app = typer.Typer(help="The record of processing activities (GDPR Art. 30).", no_args_is_help=True)


class Form(StrEnum):
    """How the record is written."""

    JSON = "json"
    HTML = "html"
    MARKDOWN = "md"


@app.command("export")
def export_command(
    context: typer.Context,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="json, html or md.")] = "md",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file; stdout when not given.")
    ] = None,
) -> None:
    """Write the record of processing activities: categories, retention, processors, transfers, measures, counts.

    Name who answers for it under `[controller]` in implio.toml. Nothing in the record is about an end user.

    implio register export --format html --out record.html
    """
    session = session_of(context)
    asked = _form(form)
    written = Form.JSON if session.is_json else asked
    with session.open_home() as opened:
        record = activity_record(opened.services, configured(opened.settings))
    text = _text(record, written)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadUse("--out names a file that is there already") from None
    session.say(str(good(f"Written to {out}")))


def configured(settings: "Settings") -> Configured:
    """Return what the settings say that the record repeats."""
    return Configured(
        controller=Controller(**settings.controller.model_dump()),
        places=tuple(settings.places),
        processors=tuple(settings.processor_register),
        are_grants_required=settings.access.grants == "required",
        set_aside_days=settings.set_aside_days,
        export_days=settings.export_days,
        is_landing_archived=settings.landing.after == "archive",
    )


def _form(text: str) -> Form:
    try:
        return Form(text)
    except ValueError:
        raise BadUse(f"--format takes one of {', '.join(Form)}") from None


def _text(record: ActivityRecord, written: Form) -> str:
    match written:
        case Form.JSON:
            return f"{json.dumps(record_body(record), ensure_ascii=False, indent=2)}\n"
        case Form.HTML:
            return register_page(record)
        case Form.MARKDOWN:
            return register_markdown(record)
