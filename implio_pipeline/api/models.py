"""The API's bodies and answers, a struct each.

The JSON that is read and written, the OpenAPI document's components and the reference at `/docs` all come from here, so
they cannot differ (decision 0070). Fields are camel case in JSON. Generated clients name their classes after these. A
field that is `UNSET` is absent. An item is described by the structs that items are decoded with, in `formats`.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, convert

from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.waiting import WaitCause

_Count = Annotated[int, Meta(ge=0)]
_MaybeCount = Annotated[_Count | None, Meta(description="`null` means not known. It never means 0.")]
_Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
_Name = Annotated[str, Meta(min_length=1)]
_Names = Annotated[list[_Name], Meta(max_length=20)]


class Model(Struct, rename="camel", forbid_unknown_fields=True):
    """The base of every struct here. Each subclass is a component of the OpenAPI document."""


class Problem(Struct, kw_only=True):
    """A failure (RFC 9457), with a stable code and a remedy."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str


class AcceptedAd(Model):
    """An item that is kept."""

    id: Annotated[str, Meta(description="The customer's id.")]
    task_id: Annotated[str, Meta(description="The id of this submission.")]
    unknown_properties: (
        Annotated[
            list[str],
            Meta(description="JSON pointers of properties that are not in the schema; they are kept as sent."),
        ]
        | UnsetType
    ) = UNSET


class Fault(Model):
    """What is wrong with an item, and where."""

    message: str
    params: dict[str, Any]
    code: int
    data_path: Annotated[str, Meta(description="Where in the item, as a JSON pointer.")]
    schema_path: str


class RejectedAd(Model):
    """An item that is not kept."""

    original_ad: Annotated[Any, Meta(description="The item as it was sent; as text when not JSON or too large.")]
    reason: str
    errors: list[Fault]


class Submission(Model):
    """What became of a post, item by item."""

    batch_id: str
    accepted: list[AcceptedAd]
    rejected: list[RejectedAd]
    kept_out: (
        Annotated[_Count, Meta(description="Rejected items of users with a standing deletion; absent when 0.")]
        | UnsetType
    ) = UNSET
    returned: (
        Annotated[_Count, Meta(description="Accepted items of users erased before; absent when 0.")] | UnsetType
    ) = UNSET


class PolledItem(Model):
    """The ids of a submission."""

    id: str
    batch_id: str | None
    task_id: str


class PolledAd(Model, kw_only=True):
    """An item as it is now."""

    items: list[PolledItem]
    ad: (
        Annotated[
            dict[str, Any],
            Meta(description="The item as it was sent, without its result; absent with `noAdContent`."),
        ]
        | UnsetType
    ) = UNSET
    packed_at: Annotated[_Count, Meta(description="When this answer was made, in milliseconds since 1970.")]
    result: Annotated[
        dict[str, Any] | None,
        Meta(description="As it was sent, or as it was decided here; `null` when there is none."),
    ]


class PollingInfo(Model):
    """Where the next poll begins."""

    new_timestamp: _Count
    newer_ads_exist: bool


class Poll(Model):
    """Items with their results."""

    polling_info: PollingInfo
    ads: list[PolledAd]


class Outcome(Model):
    """What became of the items that a deletion covers."""

    matched: _MaybeCount
    erased: _MaybeCount
    withheld: _MaybeCount
    newer: _MaybeCount
    not_reachable: _MaybeCount


class Hold(Model):
    """A legal hold, and how many items of the deletion it keeps."""

    hold_id: str
    reason: str
    items: _Count


class Withheld(Model):
    """Items that legal holds keep from being erased."""

    items: _Count
    holds: list[Hold]


class Deletion(Model):
    """A deletion request: its state, and what became of its items."""

    request_id: str
    team: str
    kind: Annotated[str, Meta(description="`user`, `task`, `dates`, `team` or `overdue`.")]
    channel: Annotated[str, Meta(description="How it was made: `api`, `page`, `file`, `cli` or `retention`.")]
    state: Annotated[str, Meta(description="See the list of states at `/docs`.")]
    status_url: Annotated[str, Meta(description="The path of this request on this server.")]
    receipt_url: Annotated[
        str | None, Meta(description="`null` until something was erased, or a legal hold kept everything.")
    ]
    received_at: _Instant
    hidden_at: Annotated[_Instant, Meta(description="Since then no read shows the items.")]
    due_at: Annotated[_Instant, Meta(description="One month after it was received (GDPR Art. 12(3)).")]
    extended_at: _Instant | None
    erased_at: _Instant | None
    completed_at: _Instant | None
    is_standing: Annotated[bool, Meta(description="Whether later items of the user are kept out too.")]
    standing_lifted_at: Annotated[
        _Instant | None, Meta(description="Since then the user's new items are accepted again.")
    ]
    is_approved: Annotated[bool, Meta(description="Whether a second person approved it.")]
    policy: Annotated[str | None, Meta(description="The retention policy that asked for it.")]
    items: Annotated[_Count, Meta(description="How many items it covers at most, as counted last.")]
    queue_entries_removed: Annotated[_Count, Meta(description="Items that left a moderation queue.")]
    outcome: Outcome
    withheld: Withheld | None
    attempts: Annotated[_Count, Meta(description="How many attempts have failed.")]
    next_attempt_at: _Instant | None
    error: Annotated[str | None, Meta(description="Why the last attempt failed.")]
    error_code: str | None
    error_file: Annotated[str | None, Meta(description="Opaque id of the file at which the last attempt failed.")]
    error_day: Annotated[str | None, Meta(description="UTC day of that file's partition.")]
    why: str
    next: str


class DeletionPage(Model):
    """A page of requests, newest first."""

    deletions: list[Deletion]
    next: Annotated[str | None, Meta(description="Send it as `after` to get the next page.")]


class Receipt(Model):
    """The entry of the ledger, with the proof that it is in a signed batch."""

    chain: Annotated[str, Meta(description="The chain of the ledger: the region of the team.")]
    sequence: Annotated[int, Meta(ge=1, description="The number of the entry in its chain.")]
    kind: str
    body: Annotated[dict[str, Any], Meta(description="What was erased and how it was verified; nothing personal.")]
    digest: Annotated[str, Meta(description="The hash of the entry as a leaf of its batch's Merkle tree (RFC 9162).")]
    proof: Annotated[
        dict[str, Any],
        Meta(
            description="`batch`: what was signed; `signature`: Ed25519 over it; `path`: from the digest to its root."
        ),
    ]


class Queue(Model):
    """A moderation queue."""

    queue: str
    waiting: _Count


class Queues(Model):
    """The team's queues. The built-in ones come first."""

    queues: list[Queue]


class NextAsked(Model):
    """Asks for the next items of a queue."""

    moderator: _Name


class Note(Model):
    """A moderator's note on an item."""

    written_at: _Instant
    text: str


class WaitingAd(Model):
    """An item that waits for a decision."""

    task_id: str
    queue: str
    submitted_at: _Instant
    ad: dict[str, Any]
    notes: list[Note]


class NextAds(Model):
    """Items that one moderator has locked."""

    locked_until: _Instant
    items: list[WaitingAd]


class DecisionOutcome(StrEnum):
    """What a moderator can decide."""

    # A class, not a literal type: generated clients then have a readable name for it.
    APPROVED = "approved"
    REFUSED = "refused"


class Decision(Model):
    """An outcome, or a queue to move the item to."""

    moderator: _Name
    outcome: DecisionOutcome | None = None
    reasons: Annotated[_Names | None, Meta(description="Needed with `refused`.")] = None
    feedback: _Names | None = None
    note: _Name | None = None
    queue: Annotated[_Name | None, Meta(description="Move the item there instead of deciding.")] = None


class Decided(Model):
    """What became of an item."""

    task_id: str
    queue: Annotated[str, Meta(description="Where a moved item waits.")] | UnsetType = UNSET
    outcome: str | UnsetType = UNSET
    decided_at: _Instant | UnsetType = UNSET
    timestamp: Annotated[_Count, Meta(description="Its position in the polling feed.")] | UnsetType = UNSET


class Wait(Model):
    """The oldest of its kind that waits."""

    what: Annotated[str, Meta(description="`landing-file`, `request-file` or `request`.")]
    since: _Instant
    seconds: _Count
    cause: Annotated[WaitCause, Meta(description="Why, for programs.")]
    why: str
    remedy: Annotated[str, Meta(description="What the operator of the server can do.")]


class WaitingLongest(Model):
    """What has waited longest."""

    waiting: Annotated[list[Wait], Meta(description="The oldest of each kind. Empty when nothing waits.")]


class Health(Model):
    """The server answers."""

    status: Literal["alive", "ready"]


MODELS: tuple[type[Struct], ...] = (Problem, *Model.__subclasses__())
"""Every component but the item's."""


def deletion_of(request: Request, outcome: RequestOutcome) -> Deletion:
    """Return the view of a request that programs get, with the paths where it is followed.

    Paths are relative: the server does not know by which name its callers reach it.
    """
    url = f"/v1/deletions/{request.request_id}"
    receipt_url = f"{url}/receipt" if request.has_receipt else None
    return convert(request_view(request, outcome) | {"statusUrl": url, "receiptUrl": receipt_url}, Deletion)
