"""Audit log: note what somebody did in a team."""

from implio_pipeline.domain.audit_log import AuditEntry, Deed
from implio_pipeline.domain.words import TeamId
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.desk import Desk
from implio_pipeline.ports.world import World


def note(
    world: World,
    desk: Desk,
    deed: Deed,
    *,
    team: TeamId,
    name: str,
    subject: str | None = None,
    count: int | None = None,
) -> None:
    """Add a line to a team's audit log; subjects are opaque ids, never values."""
    entry = AuditEntry(
        team=team,
        at=desk.clock.now(),
        who=identity_of(world, team, name),
        name=name,
        deed=deed,
        subject=subject,
        count=count,
    )
    desk.audit_log.note([entry])
