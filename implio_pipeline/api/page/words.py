"""What the page says: states, kinds and deeds in the words of people who are no engineers."""

from collections.abc import Mapping
from dataclasses import dataclass

from implio_pipeline.domain.request import (
    OPEN_STATES,
    Request,
    RequestState,
    may_be_cancelled,
    next_step,
    why,
)
from implio_pipeline.domain.words import RequestKind

NOTICES: Mapping[str, str] = {
    "asked": "Accepted. The items are hidden from every read from this moment on.",
    "waits": "Accepted and hidden. A second administrator must approve before anything is erased.",
    "approved": "Approved. The erasure may begin.",
    "cancelled": "Cancelled. The items are readable again.",
    "extended": "The due date is put off. Tell whoever asked, and why.",
    "policy": "The retention policy is saved.",
    "held": "The legal hold stands.",
    "released": "The legal hold is released; what it withheld is erased by the next run.",
    "key-ended": "The key is ended: no call with it is answered any more.",
    "role": "The role is changed.",
    "removed": "They are no member of this team any more.",
    "added": "They are a member of this team now.",
    "password": "Your password is changed; every other session of yours is over.",
    "codes": "From now on you are asked for a one-time code.",
    "no-codes": "You are not asked for one-time codes any more.",
    "given-back": "Given back: others are given these items now.",
    "queue": "The queue is there.",
    "no-queue": "The queue is removed.",
    "no-callback": "The callback is removed.",
    "out": "You are signed out.",
}
KINDS: Mapping[RequestKind, str] = {
    RequestKind.USER: "One end user",
    RequestKind.TASK: "One submission",
    RequestKind.DATES: "A range of dates",
    RequestKind.TEAM: "Everything to date",
    RequestKind.RETENTION: "Past retention",
}
CHANNELS: Mapping[str, str] = {
    "file": "by a request file",
    "api": "through the API",
    "page": "on this page",
    "cli": "on the command line",
    "retention": "by the retention policy",
}
HOLD_REASONS: Mapping[str, str] = {
    "legal-claim": "a legal claim",
    "legal-duty": "a legal duty",
    "investigation": "an investigation",
    "other": "another legal reason",
}
_S = RequestState
STATES: Mapping[RequestState, tuple[str, str]] = {
    _S.ACCEPTED: ("Hidden, queued", "going"),
    _S.UNAPPROVED: ("Needs approval", "asks"),
    _S.WAITING: ("In grace period", "asks"),
    _S.CANCELLED: ("Cancelled", "calm"),
    _S.PLANNED: ("Finding files", "going"),
    _S.REWRITING: ("Erasing", "going"),
    _S.VERIFIED: ("Verified", "going"),
    _S.SHREDDED: ("Keys destroyed", "going"),
    _S.HELD: ("Under legal hold", "asks"),
    _S.PARTLY_WITHHELD: ("Partly withheld", "asks"),
    _S.COMPLETED: ("Erased", "good"),
    _S.FAILED: ("Will be tried again", "bad"),
    _S.QUARANTINED: ("Needs attention", "bad"),
    _S.UNVERIFIED: ("Not verified", "bad"),
    _S.RECEIVED: ("Received", "going"),
    _S.REFUSED: ("Refused", "calm"),
}
_NEXT: Mapping[RequestState, str] = {
    _S.UNAPPROVED: "another administrator approves it on this page; until then nothing is erased",
    _S.WAITING: "the erasure begins when the grace period ends, unless it is cancelled",
    _S.QUARANTINED: "whoever runs the installation removes the cause and resumes it",
    _S.UNVERIFIED: "whoever runs the installation looks at the file it names and resumes it",
}
"""Where the domain's words name a command."""
_ORDER = (
    (_S.ACCEPTED, _S.UNAPPROVED, _S.WAITING),
    (_S.PLANNED, _S.REWRITING, _S.FAILED, _S.QUARANTINED, _S.UNVERIFIED),
    (_S.VERIFIED,),
    (_S.SHREDDED, _S.HELD, _S.PARTLY_WITHHELD),
    (_S.COMPLETED,),
)
_STANDING = (_S.UNAPPROVED, _S.WAITING)
"""Nothing happens here by itself."""
_STAGES = ("Hidden", "Erased", "Verified", "Keys destroyed", "Receipt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One step of a request, as a progress line shows it."""

    name: str
    state: str
    """`done`, `here` or `ahead`."""


def stages(request: Request) -> tuple[Stage, ...]:
    """Return the steps of a request and where it is."""
    if request.state is _S.CANCELLED:
        return ()
    here = next(place for place, states in enumerate(_ORDER) if request.state in states)
    is_done = request.state is _S.COMPLETED

    def state(place: int) -> str:
        if is_done or place < here or (place == 0 and here == 0):
            return "done"
        is_going = request.state not in _STANDING and place == (here or 1)
        return "here" if is_going else "ahead"

    return tuple(Stage(name=name, state=state(place)) for place, name in enumerate(_STAGES))


def state_name(request: Request) -> str:
    """Return a request's state in two or three words."""
    return STATES[request.state][0]


def state_tone(request: Request) -> str:
    """Return whether a state is good, going, asking or bad."""
    return STATES[request.state][1]


def reason_of(request: Request) -> str:
    """Return why a request is where it is."""
    return _sentence(why(request))


def next_of(request: Request) -> str:
    """Return what happens next, without a command."""
    return _sentence(_NEXT.get(request.state, next_step(request)))


def is_open(request: Request) -> bool:
    """Tell whether a request is still to be done."""
    return request.state in OPEN_STATES


def is_cancellable(request: Request) -> bool:
    """Tell whether a request may be taken back."""
    return may_be_cancelled(request)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
