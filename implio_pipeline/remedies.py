"""What an operator can do about a failure or a wait: the commands, by code.

The remedy of a failure itself names no command, no option and no header, because a page and the API show it, too. The
command line and Dagster speak to people who have the commands, and take their remedies from here.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.waiting import Wait, WaitCause

_OF_ANY = "Run `implio status` and look at what it names."
_REMEDIES: Mapping[str, str] = {
    "request-unknown": "Run `implio requests list` to see the requests that exist.",
    "plan-changed": "Run it again with --preview, look, and give the new digest.",
    "cancel-too-late": "Give the team a grace period for the next time: `implio team set TEAM --grace-hours 24`.",
    "hold-refused": "Run `implio holds list` to see the holds in force.",
    "team-unknown": "Run `implio team list`, or make it with `implio team add TEAM --region REGION`.",
    "home-missing": "Run `implio init HOME`, then pass --home or set IMPLIO_HOME.",
    "catalog-tampered": (
        "Keep a copy of the catalog for the investigation, then restore a backup of it and run `implio restore`; "
        "if the catalog can still be opened, `implio audit` names every altered row."
    ),
    "api-key-refused": (
        "Send a valid key of the team in one X-Api-Key header; "
        "make one with `implio api-keys add --team TEAM --label LABEL`."
    ),
    "api-key-unknown": "Run `implio api-keys list` to see the team's keys.",
    "plain-http-refused": "Leave --http out, or serve on 127.0.0.1 or ::1.",
    "address-unavailable": "Choose another with --host and --port, or stop the program that uses it.",
    "class-not-granted": "Ask for the class with --classes if your assignment allows it.",
    "member-refused": "Run `implio members list` to see the members.",
    "file-tampered": (
        "Take the named file out of the vault and restore it from a backup, then run `implio erase --resume`."
    ),
    "file-missing": "Restore the named file from a backup, then run `implio status`.",
    "clock-behind": (
        "Set the machine's clock right, then run it again; if the clock is right now and was ahead before, run "
        "`implio clock confirm`."
    ),
    "clock-ahead": (
        "Set the machine's clock right, then run it again; if the clock is right and nothing ran here for so long, run "
        "`implio clock confirm`."
    ),
    "key-service-denied": (
        "Compare the permissions with those in docs/KEYS.md. For AWS KMS set valid AWS credentials, for Transit a "
        "valid token in BAO_TOKEN or BAO_TOKEN_FILE, then run it again."
    ),
    "key-service-unavailable": (
        "Check that the key service runs, is unsealed and can be reached from here, then run it again; what waits is "
        "tried again in any case."
    ),
    "key-returned": "Run `implio restore`: it destroys the key again, and erases again what was erased.",
    "catalog-outdated": "Run `implio restore`: it erases again what the ledger knows was erased.",
    "catalog-unsafe": (
        "Turn on `fsync` and `full_page_writes` at the server; for a server that is used only for tests, set "
        "catalog_server.allow_unsafe_server."
    ),
    "queue-unknown": (
        "Run `implio queue list` to see the queues that exist, or add it with `implio queue add QUEUE --team TEAM`."
    ),
    "callback-refused": (
        "Give an https URL whose host is on the team's allow list: "
        "`implio callbacks set --team TEAM --allow HOST --url URL`."
    ),
    "callback-unknown": "Make one with `implio callbacks set --team TEAM --allow HOST --url URL`.",
    "grant-refused": "Run `implio access list` to see the grants in force.",
    "grant-missing": (
        "Ask for `implio access grant NAME --team TEAM --classes … --purpose … --days …`; "
        "`implio access list` shows the grants in force."
    ),
    "purpose-missing": "Say what it is for with --purpose (in Python: purpose=…); the grant must name the same.",
}
_OF_WAITS: Mapping[WaitCause, str] = {
    WaitCause.NO_DAEMON: (
        "Start `dagster-daemon`; or do it by hand: `implio ingest`, `implio requests take`, `implio erase --resume`."
    ),
    WaitCause.SENSOR_OFF: "Switch it on in Dagster's UI under Automation.",
    WaitCause.CLOCK_WAS_AHEAD: "Check the machine's clock, then start `dagster-daemon` again.",
    WaitCause.DEAD_RUN: (
        "Wait a minute: the daemon marks the run as failed and starts another. If it does not, start `dagster-daemon`."
    ),
    WaitCause.QUEUED: "Wait, or raise `max_concurrent_runs` in dagster.yaml.",
    WaitCause.AT_WORK: "Wait; Dagster's UI shows the run.",
    WaitCause.NOT_TAKEN_UP: (
        "Wait some seconds; if it still waits after three minutes, look whether `dagster-daemon` runs."
    ),
    WaitCause.NOT_KNOWN: "Look at Dagster's UI, under Deployment.",
    WaitCause.APPROVAL: "Approve it with `implio requests approve ID`, or cancel it.",
    WaitCause.GRACE_PERIOD: "Wait, or cancel it with `implio requests cancel ID`.",
    WaitCause.LEGAL_HOLD: "Release the hold when it may end: `implio holds release ID`.",
    WaitCause.BACK_OFF: "Wait, or try now with `implio erase --resume`.",
    WaitCause.PERSON: "See what it needs with `implio requests show ID`, then `implio erase --resume`.",
}


def remedy_for_operators(error: ImplioError) -> str:
    """Return what to do about a failure. A remedy that was given where the failure was found comes first."""
    return error.remedy if error.has_own_remedy else remedy_of_code(error.code)


def remedy_of_code(code: str) -> str:
    """Return what to do about a failure of which only the code is known."""
    known = {kind.code: kind.remedy for kind in _kinds(ImplioError) if kind.remedy != ImplioError.remedy}
    for kind in _kinds(ImplioError):
        known |= kind.remedies
    return _REMEDIES.get(code, known.get(code, _OF_ANY))


def remedy_of_wait(cause: WaitCause) -> str:
    """Return what to do about something that waits for this reason."""
    return _OF_WAITS[cause]


def wait_view(wait: Wait, *, now: datetime) -> dict[str, str | int]:
    """Return a wait in JSON's types, as commands and the API give it."""
    return {
        "what": wait.what.value,
        "since": instant_text(wait.since),
        "seconds": max(0, int((now - wait.since).total_seconds())),
        "cause": wait.cause.value,
        "why": wait.sentence,
        "remedy": remedy_of_wait(wait.cause),
    }


def _kinds(kind: type[ImplioError]) -> Iterator[type[ImplioError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)
