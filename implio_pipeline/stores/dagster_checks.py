"""Checkups of Dagster: its storage, its daemon, and what executes runs. They read; they start nothing."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from implio_pipeline.domain.checkup import Finding, Level
from implio_pipeline.domain.urls import first_of
from implio_pipeline.domain.waiting import WaitCause, WaitingKind, why_waiting
from implio_pipeline.stores.dagster_state import orchestration_facts, refuses

_ASK_SECONDS = 3.0
_NEEDED_RIGHTS = (("create", "jobs"), ("get", "jobs"), ("delete", "jobs"), ("list", "pods"))
"""What a launcher for Kubernetes does with its namespace."""


def check_storage(home: Path, url: str | None, *, catalog_url: str, now: datetime) -> Iterator[Finding]:
    """Examine Dagster's files, its storage and its daemon.

    Args:
        home: The home.
        url: Dagster's database; SQLite in the home when `None`.
        catalog_url: The catalog's database.
        now: The present.
    """
    for name in ("dagster.yaml", "workspace.yaml"):
        if not (home / name).is_file():
            yield Finding(
                code="dagster-file-missing",
                what=f"the home has no {name}, so Dagster cannot run on it",
                remedy="Copy it from a new home of this version, and correct its paths.",
            )
    if url is not None and _place(url) == _place(catalog_url):
        yield Finding(
            code="dagster-shares-the-catalog",
            what="dagster.storage is the catalog's database: each would overwrite the other's version of the tables",
            remedy="Give Dagster a database of its own, on the same server if you like.",
        )
    facts = orchestration_facts(home, url)
    if facts is None:
        if url is not None and refuses(url):
            yield Finding(
                code="dagster-storage-unreachable",
                what=f"Dagster's storage at {_shown(url)} cannot be reached, or refuses the role or its password",
                remedy="Check the server and dagster.storage: host, port, role, its rights, database and password.",
            )
            return
        yield Finding(
            code="dagster-storage-empty",
            what="Dagster's storage cannot be read" if url is None else f"no tables of Dagster at {_shown(url)}",
            remedy="Start `dagster-daemon` once, which makes its tables.",
        )
        return
    cause = why_waiting(WaitingKind.LANDING_FILE, facts, now=now)
    if cause in (WaitCause.NO_DAEMON, WaitCause.CLOCK_WAS_AHEAD, WaitCause.SENSOR_OFF, WaitCause.DEAD_RUN):
        yield Finding(code=cause.value, what=_OF_CAUSES[cause], level=Level.ADVICE)


_OF_CAUSES = {
    WaitCause.NO_DAEMON: "no Dagster daemon reports, so no job runs by itself (unless `implio serve --jobs` runs them)",
    WaitCause.CLOCK_WAS_AHEAD: "the daemon ran under a clock that was ahead, and waits for that time to come",
    WaitCause.SENSOR_OFF: "a sensor is switched off",
    WaitCause.DEAD_RUN: "the process of a run has died, and the run still counts as in progress",
}


def check_celery(url: str, *, queues: Mapping[str, str]) -> Iterator[Finding]:
    """Examine Celery's broker, and whether a worker listens to each queue.

    Args:
        url: The broker.
        queues: What follows if nobody listens to a queue, by its name.
    """
    from celery import Celery  # noqa: PLC0415 -- an extra
    from kombu.exceptions import OperationalError  # noqa: PLC0415

    options = {"socket_connect_timeout": _ASK_SECONDS, "socket_timeout": _ASK_SECONDS}
    app = Celery(broker=url, broker_transport_options=options)
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=_ASK_SECONDS)
            workers = app.control.inspect(timeout=_ASK_SECONDS, connection=connection).active_queues() or {}
    except (OperationalError, OSError) as error:
        yield Finding(
            code="broker-unreachable",
            what=f"Celery's broker at {_shown(url)} does not answer ({type(error).__name__})",
            remedy="Check the address and the password of dagster.broker, and that the broker runs.",
        )
        return
    listened_to = {each["name"] for of_worker in workers.values() for each in of_worker}
    for queue, what in queues.items():
        if queue not in listened_to:
            yield Finding(
                code="no-worker",
                what=f"no Celery worker listens to the queue {queue}, so {what}",
                remedy=f"Start a worker: `celery -A implio_pipeline.orchestration.celery_app worker -Q {queue}`.",
                level=Level.ADVICE,
            )
    if not url.startswith(("rediss://", "amqps://")) and not _is_near(url):
        yield Finding(
            code="broker-in-clear",
            what=f"Celery's broker at {_shown(url)} is used without TLS",
            remedy="Use rediss:// or amqps://: whoever can write to the broker can start processes on every worker.",
            level=Level.ADVICE,
        )


def check_k8s(namespace: str) -> Iterator[Finding]:
    """Examine the rights of this pod in the namespace of the runs."""
    import kubernetes  # noqa: PLC0415 -- an extra

    try:
        kubernetes.config.load_incluster_config()
    except kubernetes.config.ConfigException:
        yield Finding(
            code="not-in-a-cluster",
            what="dagster.launcher is k8s, and this is not a pod whose service account has a token",
            remedy="Make this check in the daemon's pod.",
            level=Level.ADVICE,
        )
        return
    asks = kubernetes.client.AuthorizationV1Api()
    for verb, resource in _NEEDED_RIGHTS:
        group = "batch" if resource == "jobs" else ""
        asked = {"namespace": namespace, "verb": verb, "resource": resource, "group": group}
        access = asks.create_self_subject_access_review({"spec": {"resourceAttributes": asked}})
        if not access.status.allowed:
            yield Finding(
                code="right-missing",
                what=f"this pod's service account may not {verb} {resource} in the namespace {namespace}",
                remedy="Apply the role of the launcher.",
            )


def _place(url: str) -> Sequence[object]:
    known = urlsplit(url)
    return known.hostname, known.port or 5432, known.path, known.query


def _shown(url: str) -> str:
    """Return the address in a URL, without its user and password; of several URLs, the first one's."""
    known = urlsplit(first_of(url))
    try:
        port = f":{known.port}" if known.port else ""
    except ValueError:  # no number
        port = ""
    return f"{known.hostname}{port}{known.path}"


def _is_near(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1", None)
