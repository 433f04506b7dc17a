"""A job that several workers share, as processes of the multiprocess executor load it."""

import multiprocessing
import os
from pathlib import Path

import dagster as dg

from implio_pipeline.domain.file_changes import FileWork, Rewrite
from implio_pipeline.jobs import CARRY_OUT_REQUESTS
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.workers import workers_executor
from implio_pipeline.settings import load_settings
from implio_pipeline.stores.vault.vault import EncryptedVault
from support.clock import NOW
from support.daemon import wait_until
from support.stage import HomeInTime

GATE = "TEST_GATE"


def erasure() -> dg.JobDefinition:
    """Return the job over the home that `IMPLIO_HOME` names.

    In a worker's process no file is rewritten until the file exists that `TEST_GATE` names: a test sees all at work.
    """
    home = os.environ["IMPLIO_HOME"]
    if GATE in os.environ and multiprocessing.parent_process():
        _wait_at(Path(os.environ[GATE]))
    definitions = build_definitions(
        HomeInTime(home=home, now=NOW.isoformat()), executor=workers_executor(load_settings(Path(home)))
    )
    return definitions.get_repository_def().get_job(CARRY_OUT_REQUESTS)


def _wait_at(gate: Path) -> None:
    rewrite = EncryptedVault.rewrite

    def wait_and_rewrite(vault: EncryptedVault, work: FileWork) -> Rewrite:
        wait_until(gate.exists, "the gate opens")
        return rewrite(vault, work)

    EncryptedVault.rewrite = wait_and_rewrite
