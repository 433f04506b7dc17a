"""How long the oldest file or request has waited, and why.

The facts come from the catalog, the watched folders and Dagster's own storage. What is not known is reported as not
known. It is never taken as a sign that all is well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from implio_pipeline.domain.request import NEEDS_PERSON_STATES, WITHHELD_STATES, Request, RequestState

HEARTBEAT_LASTS = timedelta(minutes=3)
"""Dagster's daemons report every 30 s. Without a report for three minutes, the daemon counts as stopped."""
_CLOCK_TOLERANCE = timedelta(minutes=1)


class WaitingKind(StrEnum):
    """What waits."""

    LANDING_FILE = "landing-file"
    REQUEST_FILE = "request-file"
    REQUEST = "request"


class WaitCause(StrEnum):
    """Why it waits."""

    NO_DAEMON = "no-daemon"
    SENSOR_OFF = "sensor-off"
    CLOCK_WAS_AHEAD = "clock-was-ahead"
    DEAD_RUN = "dead-run"
    QUEUED = "queued"
    AT_WORK = "at-work"
    NOT_TAKEN_UP = "not-taken-up"
    NOT_KNOWN = "not-known"
    APPROVAL = "approval"
    GRACE_PERIOD = "grace-period"
    LEGAL_HOLD = "legal-hold"
    BACK_OFF = "back-off"
    PERSON = "person"


SENTENCES: Mapping[WaitCause, str] = {
    WaitCause.NO_DAEMON: "no Dagster daemon is running on this home",
    WaitCause.SENSOR_OFF: "the sensor that looks for it is switched off",
    WaitCause.CLOCK_WAS_AHEAD: "the daemon ran under a clock that was ahead, and waits for that time to come",
    WaitCause.DEAD_RUN: "the process of a run has died, and the run still counts as in progress",
    WaitCause.QUEUED: "runs are waiting for a free place in the queue",
    WaitCause.AT_WORK: "a run counts as in progress",
    WaitCause.NOT_TAKEN_UP: "a daemon reported within the last three minutes, and has not started on it yet",
    WaitCause.NOT_KNOWN: "Dagster's storage cannot be read here",
    WaitCause.APPROVAL: "a second person must approve it",
    WaitCause.GRACE_PERIOD: "the team's grace period has not ended",
    WaitCause.LEGAL_HOLD: "a legal hold covers what is left of it",
    WaitCause.BACK_OFF: "the last attempt failed, and the next one is not due yet",
    WaitCause.PERSON: "a person must look at it first",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class OrchestrationFacts:
    """What Dagster's storage says about daemons, sensors and runs."""

    heartbeat_at: datetime | None
    """When the daemon that evaluates sensors last reported; `None` if never."""
    sensors_off: frozenset[str] = frozenset()
    """The names of sensors that somebody switched off."""
    newest_tick_at: datetime | None = None
    """The latest instant that a sensor or schedule recorded."""
    dead_runs: int = 0
    """Runs that count as started, although their process has ended."""
    runs_at_work: int = 0
    runs_queued: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """What waits, since when, and why."""

    what: WaitingKind
    since: datetime
    """When a file arrived here, or a request was received. For a request from a file: the date of the file."""
    cause: WaitCause

    @property
    def sentence(self) -> str:
        """The cause in words."""
        return SENTENCES[self.cause]


_SENSORS: Mapping[WaitingKind, str] = {
    WaitingKind.LANDING_FILE: "landing_sensor",
    WaitingKind.REQUEST_FILE: "requests_sensor",
    WaitingKind.REQUEST: "requests_sensor",
}


def why_waiting(what: WaitingKind, facts: OrchestrationFacts | None, *, now: datetime) -> WaitCause:
    """Return why something waits that a sensor should take up: the first cause that explains it.

    Args:
        what: What waits.
        facts: What Dagster's storage says; `None` if it cannot be read.
        now: The present.
    """
    if facts is None:
        return WaitCause.NOT_KNOWN
    # 1. Dagster plans the next tick after the newest one: with a clock that was ahead, that may be far in the future.
    if facts.newest_tick_at is not None and facts.newest_tick_at > now + _CLOCK_TOLERANCE:
        return WaitCause.CLOCK_WAS_AHEAD
    # 2. Without a daemon nobody evaluates sensors, whatever else is configured.
    if facts.heartbeat_at is None or not now - HEARTBEAT_LASTS <= facts.heartbeat_at <= now + _CLOCK_TOLERANCE:
        return WaitCause.NO_DAEMON
    # 3. A sensor that is switched off looks for nothing.
    if _SENSORS[what] in facts.sensors_off:
        return WaitCause.SENSOR_OFF
    # A request file is accepted in the tick itself, so runs do not delay it.
    if what is not WaitingKind.REQUEST_FILE:
        if facts.dead_runs:
            return WaitCause.DEAD_RUN
        if facts.runs_queued:
            return WaitCause.QUEUED
        if facts.runs_at_work:
            return WaitCause.AT_WORK
    return WaitCause.NOT_TAKEN_UP


def why_open(request: Request, facts: OrchestrationFacts | None, *, now: datetime) -> WaitCause:
    """Return why an open request is not completed."""
    if request.state is RequestState.UNAPPROVED:
        return WaitCause.APPROVAL
    if request.state in NEEDS_PERSON_STATES:
        return WaitCause.PERSON
    if request.state in WITHHELD_STATES:
        return WaitCause.LEGAL_HOLD
    if request.next_attempt_at is not None and request.next_attempt_at > now:
        return WaitCause.GRACE_PERIOD if request.state is RequestState.WAITING else WaitCause.BACK_OFF
    return why_waiting(WaitingKind.REQUEST, facts, now=now)
