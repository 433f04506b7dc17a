"""What the API's bodies and answers are: a struct each.

The JSON that is read and written, the OpenAPI document's components and the reference at `/docs` all come from here, so
that they cannot differ. Names are in camel case in JSON; generated clients name their classes after these. A field that
is `UNSET` is absent. The item itself is described by the structs that items are decoded with.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, convert

from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.waiting import Cause

Count = Annotated[int, Meta(ge=0)]
MaybeCount = Annotated[Count | None, Meta(description="Null is not known; it is never 0.")]
Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Name = Annotated[str, Meta(min_length=1)]
Names = Annotated[list[Name], Meta(max_length=20)]


class Model(Struct, rename="camel", forbid_unknown_fields=True):
    """What all have in common; each subclass is a component of the OpenAPI document."""


class Problem(Struct, kw_only=True):
    """A failure (RFC 9457), with a stable code and what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str


class AcceptedAd(Model):
    """An item that is kept."""

    id: Annotated[str, Meta(description="The customer's id.")]
    task_id: Annotated[str, Meta(description="Of this submission.")]
    unknown_properties: (
        Annotated[
            list[str],
            Meta(description="JSON pointers of properties that nobody reads here; they are kept as they were sent."),
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

    original_ad: Annotated[Any, Meta(description="The item as it was sent; text when it was no JSON or too large.")]
    reason: str
    errors: list[Fault]


class Submission(Model):
    """What became of a post."""

    batch_id: str
    accepted: list[AcceptedAd]
    rejected: list[RejectedAd]
    kept_out: (
        Annotated[Count, Meta(description="Rejected items of users whose deletion is standing; absent when 0.")]
        | UnsetType
    ) = UNSET
    returned: (
        Annotated[Count, Meta(description="Accepted items of users who were erased before; absent when 0.")] | UnsetType
    ) = UNSET


class PolledItem(Model):
    """The names of a submission."""

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
    packed_at: Annotated[Count, Meta(description="When this answer was made, in milliseconds since 1970.")]
    result: Annotated[
        dict[str, Any] | None,
        Meta(description="As it was sent, or as it was decided since; `null` when there is none."),
    ]


class PollingInfo(Model):
    """Where to go on."""

    new_timestamp: Count
    newer_ads_exist: bool


class Poll(Model):
    """Items with their results."""

    polling_info: PollingInfo
    ads: list[PolledAd]


class Outcome(Model):
    """What became of the items that a deletion covers."""

    matched: MaybeCount
    erased: MaybeCount
    withheld: MaybeCount
    newer: MaybeCount
    not_reachable: MaybeCount


class Hold(Model):
    """A legal hold, and how many of the items it keeps."""

    hold_id: str
    reason: str
    items: Count


class Withheld(Model):
    """What legal holds keep for now."""

    items: Count
    holds: list[Hold]


class Deletion(Model):
    """A deletion request: where it is, and what became of its items."""

    request_id: str
    team: str
    kind: Annotated[str, Meta(description="`user`, `task`, `dates`, `team` or `overdue`.")]
    channel: Annotated[str, Meta(description="Through which door it came.")]
    state: Annotated[str, Meta(description="See the list of states at `/docs`.")]
    status_url: Annotated[str, Meta(description="Where to ask again, on this server.")]
    receipt_url: Annotated[
        str | None, Meta(description="`null` until something was erased, or a legal hold kept all of it.")
    ]
    received_at: Instant
    hidden_at: Annotated[Instant, Meta(description="From then on no read shows the items.")]
    due_at: Annotated[Instant, Meta(description="One month after it was received (GDPR Art. 12(3)).")]
    extended_at: Instant | None
    erased_at: Instant | None
    completed_at: Instant | None
    is_standing: Annotated[bool, Meta(description="Whether the user's later items stay out too.")]
    standing_lifted_at: Annotated[Instant | None, Meta(description="From then on new items of the user come in again.")]
    is_approved: Annotated[bool, Meta(description="Whether a second person approved it.")]
    policy: Annotated[str | None, Meta(description="The retention policy that made it.")]
    items: Annotated[Count, Meta(description="Items that it covers at the most, as counted last.")]
    queue_entries_removed: Annotated[Count, Meta(description="Items that left a moderation queue.")]
    outcome: Outcome
    withheld: Withheld | None
    attempts: Annotated[Count, Meta(description="Attempts that failed.")]
    next_attempt_at: Instant | None
    error: Annotated[str | None, Meta(description="What the last attempt failed of.")]
    error_code: str | None
    error_file: Annotated[str | None, Meta(description="Opaque id of the file that the last attempt failed at.")]
    error_day: Annotated[str | None, Meta(description="UTC day of that file's partition.")]
    why: str
    next: str


class DeletionPage(Model):
    """A page of requests, newest first."""

    deletions: list[Deletion]
    next: Annotated[str | None, Meta(description="Give it as `after` for the next page.")]


class Receipt(Model):
    """The signed entry of the ledger."""

    sequence: Count
    kind: str
    body: Annotated[dict[str, Any], Meta(description="What was erased and how it was verified; nothing personal.")]
    previous: str
    digest: str
    signature: str


class Queue(Model):
    """A moderation queue."""

    queue: str
    waiting: Count


class Queues(Model):
    """The team's queues, those that every team has first."""

    queues: list[Queue]


class NextAsked(Model):
    """A call for the next items."""

    moderator: Name


class Note(Model):
    """What a moderator wrote on an item."""

    written_at: Instant
    text: str


class WaitingAd(Model):
    """An item that waits for a decision."""

    task_id: str
    queue: str
    submitted_at: Instant
    ad: dict[str, Any]
    notes: list[Note]


class NextAds(Model):
    """Items that are locked for one moderator."""

    locked_until: Instant
    items: list[WaitingAd]


class Decision(Model):
    """An outcome, or a queue to move the item to."""

    moderator: Name
    outcome: Literal["approved", "refused"] | None = None
    reasons: Annotated[Names | None, Meta(description="Needed with `refused`.")] = None
    feedback: Names | None = None
    note: Name | None = None
    queue: Annotated[Name | None, Meta(description="Moves the item there instead of deciding.")] = None


class Decided(Model):
    """What became of an item."""

    task_id: str
    queue: Annotated[str, Meta(description="Where a moved item waits.")] | UnsetType = UNSET
    outcome: str | UnsetType = UNSET
    decided_at: Instant | UnsetType = UNSET
    timestamp: Annotated[Count, Meta(description="Its place in the polling feed.")] | UnsetType = UNSET


class Wait(Model):
    """What waits longest of its kind."""

    what: Annotated[str, Meta(description="`landing-file`, `request-file` or `request`.")]
    since: Instant
    seconds: Count
    cause: Annotated[Cause, Meta(description="Why, for programs.")]
    why: str
    remedy: Annotated[str, Meta(description="What whoever runs the server can do.")]


class WaitingLongest(Model):
    """What waits longest."""

    waiting: Annotated[list[Wait], Meta(description="The oldest of each kind; none when all is done.")]


class Health(Model):
    """The server answers."""

    status: Literal["alive"]


MODELS: tuple[type[Struct], ...] = (Problem, *Model.__subclasses__())
"""Every component but the item."""


def deletion_of(request: Request, outcome: RequestOutcome) -> Deletion:
    """Return the one view of a request, with where it is followed."""
    url = status_url(request)
    receipt_url = f"{url}/receipt" if request.has_receipt else None
    return convert(request_view(request, outcome) | {"statusUrl": url, "receiptUrl": receipt_url}, Deletion)


def status_url(request: Request) -> str:
    """Return where a request is followed, relative to the server, whose names only callers know."""
    return f"/v1/deletions/{request.request_id}"
