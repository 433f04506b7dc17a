"""Submit: posted items go straight into the vault, many posts in one commit (decision 0020).

Rules:

* There is no spool: items are encrypted before they reach the disk, and none waits there to be taken in.
* An accepted post is live when it is answered, unless a deletion accepted since then covers it. So a deletion has no
  queue to drain first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.domain.instants import next_instant
from implio_pipeline.domain.intake import PostRecord
from implio_pipeline.domain.replan import discarding, replan
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.files.intake import Intake, PartResult
from implio_pipeline.ports.rows import Rows
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """The valid items of one post, in columns."""

    team: TeamId
    arrived_at: datetime
    """When the post arrived. It is the submission instant of all its items."""
    rows: Rows = field(repr=False)
    post: PostRecord | None = None
    """What is remembered of the post, if it has an idempotency key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AddedRows:
    """What was committed."""

    files: list[SealedFile]
    parts: list[PartResult]
    """One for each part given, in the same order."""


def submission_instant(services: Services, team: TeamId) -> datetime:
    """Return the submission instant of a post that has just arrived: later than any instant that the team knows.

    So no deletion that was accepted before the post covers it, even if another host with a faster clock accepted it.

    Raises:
        TeamUnknown: there is no such team.
    """
    return next_instant(services.catalog.teams.get(team).newest_at, now=services.clock.now())


def submit(services: Services, team: TeamId, submissions: Sequence[Submission]) -> AddedRows:
    """Commit the submissions of one team at once; on return every item is durable, encrypted and in its queue.

    Items that a deletion covers are left out: they are never written, or are taken out of the staged file before
    anybody can see it. The answer says for each submission which items a standing deletion kept out, and how many items
    are of people who were erased before.

    Raises:
        TeamUnknown: there is no such team.
        StorageFull: the disk is full; nothing was kept.
        PlanOutdated: the team's keys or tombstones kept changing; nothing was kept.
        ClockWrong: the clock disagrees with what the home knows; nothing was kept.
        PostInWork: an idempotency key is known already; nothing was kept.
    """
    agreed_now(services)
    return add_rows(
        services,
        services.catalog.teams.get(team),
        [each.rows for each in submissions],
        submitted_from=min(each.arrived_at for each in submissions),
        posts=[each.post for each in submissions],
    )


def add_rows(
    services: Services,
    team: Team,
    parts: Iterable[Rows],
    *,
    submitted_from: datetime | None = None,
    posts: Sequence[PostRecord | None] = (),
) -> AddedRows:
    """Write items that are already in columns and commit them at once, under the team's rules.

    Args:
        services: What the flow may use.
        team: The team that owns the items.
        parts: The items; iterated again when another process committed first.
        submitted_from: No item was submitted before this instant; `None` when that is not known. With it, only rules
            that end later are read, and no item is too old.
        posts: What to remember of each part in the same commit.

    Raises:
        PlanOutdated: the team's keys or tombstones kept changing; nothing was kept.
        PostInWork: a post is known already; nothing was kept.
    """

    def add() -> AddedRows:
        intake = Intake(services=services, team=team, submitted_from=submitted_from)
        with discarding(intake.discard):
            added = [intake.add(rows, FileKind.ITEMS) for rows in parts]
            intake.posts = tuple(
                replace(post, kept_out=part.kept_out, returned=part.returned)
                for post, part in zip(posts, added, strict=False)  # rows without a post come from tests and benchmarks
                if post is not None
            )
            intake.commit(None)
        return AddedRows(files=intake.staged, parts=added)

    about = f"the keys or tombstones of team {team.team}"
    return replan(add, about=about, again=lambda: services.keychain.forget(team.team))
