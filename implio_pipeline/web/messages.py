"""Short texts of the page, for people who are not engineers. `domain.sentences` words the state of a request."""

from collections.abc import Mapping

from implio_pipeline.domain.ids import RequestKind

NOTICES: Mapping[str, str] = {
    "asked": "Accepted. The items are hidden from every read from this moment on.",
    "waits": "Accepted and hidden. A second administrator must approve before we erase anything.",
    "approved": "Approved. The erasure may begin.",
    "approved-many": "Approved. The erasures may begin.",
    "policy-waits": "Asked for. The old policy is in force until a second administrator approves.",
    "policy-approved": "Approved. The new policy is in force.",
    "policy-refused": "Refused. The policy stays as it was.",
    "cancelled": "Cancelled. The items are readable again.",
    "lifted": "Lifted. New items of this person come in again.",
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
