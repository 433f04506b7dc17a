"""`implio doctor`: whether the installation is set up correctly, and what to do where it is not."""

from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from implio_pipeline.cli.arguments import READ
from implio_pipeline.cli.failures import ExitCode
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import bad, good, warning
from implio_pipeline.domain.checkup import CheckedPart, Finding, Level
from implio_pipeline.domain.waiting import WaitCause
from implio_pipeline.remedies import remedy_of_code, remedy_of_wait

app = typer.Typer()
_LINES = {Level.GOOD: good, Level.ADVICE: warning, Level.WRONG: bad}


@app.command("doctor", rich_help_panel=READ)
def _doctor(context: typer.Context) -> None:
    """Check addresses, permissions, clock and settings.

    Changes no data, and works even when the home cannot be opened. `implio status` shows what waits, and `implio audit`
    checks the data.
    """
    # Storage takes a second to import; `--help` must not wait for it.
    from implio_pipeline.flows.operations.doctor import examine  # noqa: PLC0415
    from implio_pipeline.wiring import examined_home  # noqa: PLC0415

    session = session_of(context)
    with examined_home(session.home) as (_, checkups), session.waiting("Examining"):
        parts = list(examine(checkups))
    is_right = all(each.is_right for each in parts)
    session.answer(
        {"isRight": is_right, "parts": [{"about": each.about, "findings": _shapes(each)} for each in parts]},
        lambda: _view(parts),
    )
    if not is_right:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def _shapes(part: CheckedPart) -> list[dict[str, Any]]:
    return [
        {"code": each.code, "level": each.level, "what": each.what, "remedy": _remedy(each)} for each in part.findings
    ]


def _remedy(finding: Finding) -> str:
    if finding.level is Level.GOOD or finding.remedy:
        return finding.remedy
    if finding.code in set(WaitCause):
        return remedy_of_wait(WaitCause(finding.code))
    return remedy_of_code(finding.code)


def _view(parts: list[CheckedPart]) -> RenderableType:
    lines: list[RenderableType] = []
    for part in parts:
        if not part.findings:
            lines.append(good(part.about))
        for each in part.findings:
            lines.append(_LINES[each.level](f"{part.about}: {each.what}"))
            if remedy := _remedy(each):
                lines.append(Padding.indent(Text(remedy, style="dim"), 2))
    return Group(*lines)
