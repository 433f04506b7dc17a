"""The audit log of a team: note what somebody did in it."""

from implio_pipeline.domain.audit_log import AuditAction, AuditEntry
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services


def note(
    services: Services,
    accounts: AccountServices,
    deed: AuditAction,
    *,
    team: TeamId,
    name: str,
    subject: str | None = None,
    count: int | None = None,
) -> None:
    """Add a line to a team's audit log.

    Args:
        services: Makes the person's pseudonym.
        accounts: Where the log is.
        deed: What was done.
        team: In which team.
        name: Who did it.
        subject: The opaque id of what it was done to; never a value.
        count: To how many.
    """
    entry = AuditEntry(
        team=team,
        at=accounts.clock.now(),
        who=identity_of(services.keychain, team, name),
        name=name,
        deed=deed,
        subject=subject,
        count=count,
    )
    accounts.audit_log.note([entry])
