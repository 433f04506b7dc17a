"""Submit: what customers' servers post goes straight into the vault, many posts in one commit.

There is no spool: nothing is on disk before it is encrypted, and nothing waits there to be taken in. What is answered
as accepted is live, or was covered by a deletion accepted since it was posted; so a deletion has nothing to drain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import after
from implio_pipeline.domain.intake import PostRecord
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.files.ingest import AddedRows, add_rows
from implio_pipeline.ports.rows import Rows
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """The accepted items of one post, in columns."""

    team: TeamId
    arrived_at: datetime
    """When the post came: the submission instant of each of its items."""
    rows: Rows = field(repr=False)
    post: PostRecord | None = None
    """What is remembered of it, if it has an idempotency key."""


def arrival(services: Services, team: TeamId) -> datetime:
    """Return the submission instant of a post that has just come: later than any the team knows.

    A deletion that was accepted before it, by another host's clock too, ends before it, so it is not swallowed.

    Raises:
        TeamUnknown: there is no such team.
    """
    return after(services.catalog.teams.get(team).newest_at, now=services.clock.now())


def submit(services: Services, team: TeamId, submissions: Sequence[Submission]) -> AddedRows:
    """Commit the submissions of one team at once; on return every item is durable, encrypted, and in its queue.

    Of each submission it is told which items a standing deletion kept out, and how many came of people erased before.

    Items that a deletion accepted meanwhile covers are left out: they are erased by never being written, or by being
    taken out of what was written before anybody could see it.

    Raises:
        TeamUnknown: there is no such team.
        StorageFull: there is no room; nothing was kept.
        PlanOutdated: the team's keys or tombstones kept changing; nothing was kept.
        ClockWrong: the clock disagrees with what the home knows; nothing was kept.
        PostInWork: the idempotency key of one of them is known already; nothing was kept.
    """
    agreed_now(services)
    first = min(each.arrived_at for each in submissions)
    parts = [each.rows for each in submissions]
    posts = [each.post for each in submissions]
    return add_rows(services, services.catalog.teams.get(team), parts, submitted_from=first, posts=posts)
