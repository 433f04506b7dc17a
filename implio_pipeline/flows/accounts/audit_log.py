"""The audit log of a team: record what somebody did in it."""

from implio_pipeline.domain.audit_log import AuditAction, AuditEntry
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services


def note_action(
    services: Services,
    accounts: AccountServices,
    action: AuditAction,
    *,
    team: TeamId,
    name: str,
    subject: str | None = None,
    count: int | None = None,
) -> None:
    """Add a line to a team's audit log.

    Args:
        services: What the flow may use.
        accounts: What flows need of members who sign in.
        action: What was done.
        team: The team in which it was done.
        name: Name of the person who did it.
        subject: Opaque id of the request, key or member that it was done to; never a personal value.
        count: How many things it was done to.
    """
    entry = AuditEntry(
        team=team,
        at=accounts.clock.now(),
        who=identity_of(services.keychain, team, name),
        name=name,
        deed=action,
        subject=subject,
        count=count,
    )
    accounts.audit_log.note([entry])
