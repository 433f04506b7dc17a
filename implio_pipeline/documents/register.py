"""The record of processing activities (GDPR Art. 30), as a page to print and as Markdown."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from implio_pipeline.domain.processing import PURPOSES, SUBJECTS, ActivityRecord, categories

_TEMPLATES = {"html": "register.html.j2", "md": "register.md.j2"}


def register_page(record: ActivityRecord) -> str:
    """Return a record as one HTML page, ready to be printed."""
    return _rendered("html", record)


def register_markdown(record: ActivityRecord) -> str:
    """Return a record as Markdown."""
    return _rendered("md", record)


def _rendered(form: str, record: ActivityRecord) -> str:
    at = record.made_at
    return _template(form).render(
        record=record,
        purposes=PURPOSES,
        subjects=SUBJECTS,
        categories=categories(),
        made_at=f"{at.day} {at:%B %Y, %H:%M} UTC",
        transfers=[each for each in record.hosting if each.is_transfer],
    )


@cache
def _template(form: str) -> Template:
    environment = Environment(
        loader=PackageLoader("implio_pipeline.documents", ""),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template(_TEMPLATES[form])


def _cell(text: object) -> str:
    """Escape a text, so that it stays inside its cell of a Markdown table."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
