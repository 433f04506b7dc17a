"""`implio settle`: write verdicts into the items' files."""

import typer

from implio_pipeline.cli.arguments import Resume
from implio_pipeline.cli.failures import end_failed, faults_shape
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import good, look, many
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions


def settle_command(context: typer.Context, *, is_resume: Resume = False) -> None:
    """Write moderators' verdicts into the files of their items; readers see them at once either way."""
    session, faults = session_of(context), Faults()
    with session.open_home() as opened, session.steps("Settling: files") as progress:
        summary = apply_decisions(opened.services, again=is_resume, faults=faults, progress=progress)
    text = f"Settled {many(summary.verdicts, 'verdict')} in {many(summary.files, 'file')}"
    failed = f"; {many(len(faults.found), 'file')} left for later" if faults else ""
    shape = {
        "verdicts": summary.verdicts,
        "files": summary.files,
        "lost": summary.lost,
        "failed": faults_shape(faults),
    }
    session.answer(shape, lambda: look(text + failed) if failed else good(text))
    end_failed(faults)
