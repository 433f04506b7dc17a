"""Short texts of the page, for people who are not engineers. `domain.sentences` describes the state of a request.

*Hidden*: nobody can read the items, and they can come back. *Erased*: gone, and checked. *Held back*: hidden, and a
legal hold keeps them.
"""

from collections.abc import Mapping

from implio_pipeline.domain.ids import RequestKind

NOTICES: Mapping[str, str] = {
    "asked": "Accepted. The items are hidden now: nobody can read them.",
    "waits": "Accepted and hidden. A second administrator must approve before we erase anything.",
    "approved": "Approved. The erasure can begin.",
    "approved-many": "Approved. The erasures can begin.",
    "policy-waits": "The new policy waits for a second administrator. Until then the old policy is in force.",
    "policy-approved": "Approved. The new policy is in force.",
    "policy-refused": "Refused. The policy stays as it was.",
    "cancelled": "Cancelled. The items can be read again.",
    "lifted": "Lifted. New items of this person are accepted again.",
    "extended": "The due date is extended. Tell the person who asked, and say why.",
    "policy": "The retention policy is saved.",
    "held": "The legal hold is in force.",
    "released": "The legal hold is released. The next run erases what it held back.",
    "key-ended": "The key is revoked. Calls with it are refused now.",
    "role": "The role is changed.",
    "removed": "They are not a member of this team any more.",
    "added": "They are a member of this team now.",
    "password": "Your password is changed. Your other sessions have ended.",
    "codes": "From now on we ask you for a one-time code when you sign in.",
    "no-codes": "We do not ask you for one-time codes any more.",
    "given-back": "Given back. Other moderators can take these items now.",
    "queue": "The queue is added.",
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
    "page": "on the web page",
    "cli": "on the command line",
    "retention": "by the retention policy",
}
