"""Waits: the oldest landing file, request file and open request, since when each waits, and why."""

from implio_pipeline.domain.request import OPEN_STATES
from implio_pipeline.domain.waiting import OrchestrationFacts, Wait, WaitingKind, why_open, why_waiting
from implio_pipeline.flows.files.ingest import failed_landings, marks_put_off
from implio_pipeline.ports.services import Services


def oldest_waits(services: Services, facts: OrchestrationFacts | None) -> tuple[Wait, ...]:
    """Return the oldest of each kind that waits.

    Of the open requests, one that could be carried out now comes first: a request under a legal hold may wait for
    years, and would hide all others.

    Args:
        services: What the flow may use.
        facts: What Dagster knows of its daemon and runs; `None` when that is not known.
    """
    now = services.clock.now()
    # Landing files whose back-off lasts do not wait for anybody; `implio status` lists them separately.
    left = marks_put_off(failed_landings(services), now=now)
    waits = [
        Wait(what=what, since=since, cause=why_waiting(what, facts, now=now))
        for what, since in (
            (WaitingKind.LANDING_FILE, services.landing.waiting_since(but=left)),
            (WaitingKind.REQUEST_FILE, services.inbox.waiting_since()),
        )
        if since is not None
    ]
    requests = services.catalog.requests.all(states=OPEN_STATES)
    if requests:
        oldest = min(requests, key=lambda each: (not each.is_ready(now=now), each.received_at))
        cause = why_open(oldest, facts, now=now)
        waits.append(Wait(what=WaitingKind.REQUEST, since=oldest.received_at, cause=cause))
    return tuple(waits)
