"""Who may do what: one table of roles and acts; what it does not name is denied.

API, page, command line and query door all ask `may`, so that a rule changed here is changed everywhere.
"""

from enum import StrEnum

from implio_pipeline.domain.errors import AccessDenied


class Role(StrEnum):
    """What somebody is in one team."""

    ADMIN = "admin"
    AUTOMATION = "automation specialist"
    MODERATOR = "moderator"
    SPECTATOR = "spectator"
    NO_ACCESS = "no access"
    SERVER = "server"
    """The customer's servers, by the team's API key."""
    OPERATOR = "operator"
    """Who runs this installation, at its command line; what is in items is read by grants alone."""


MEMBER_ROLES = (Role.ADMIN, Role.AUTOMATION, Role.MODERATOR, Role.SPECTATOR, Role.NO_ACCESS)
"""The roles a member of a team can have."""


class Act(StrEnum):
    """What somebody may want to do in one team."""

    SUBMIT_ITEMS = "submit items"
    POLL_ITEMS = "poll decisions"
    REQUEST_DELETION = "request deletion"
    SEE_REQUESTS = "see deletion requests"
    APPROVE_REQUEST = "approve a deletion request"
    CANCEL_REQUEST = "cancel a deletion request"
    LIFT_STANDING = "lift a standing deletion"
    READ_RECEIPTS = "read receipts"
    SEE_RETENTION = "see the retention policy"
    SET_RETENTION = "set the retention policy"
    SEE_STORAGE = "see storage at a glance"
    MANAGE_HOLDS = "place and release legal holds"
    MANAGE_KEYS = "manage API keys"
    MANAGE_MEMBERS = "manage members"
    MANAGE_CALLBACKS = "manage result callbacks"
    SEE_AUDIT_LOG = "see the audit log"
    SEE_QUEUES = "see moderation queues"
    DECIDE_ITEMS = "decide on items"
    MANAGE_QUEUES = "manage moderation queues"
    EXPORT_PERSON = "export what is held on a person"
    MANAGE_TEAM = "add and set up teams"
    MANAGE_ACCESS = "grant access to items"
    QUERY_ITEMS = "query items, within a grant"
    RUN_PIPELINE = "run and look after the pipeline"


_LOOK = frozenset({Act.SEE_STORAGE, Act.SEE_QUEUES})
_PRIVACY = frozenset(
    {
        Act.REQUEST_DELETION,
        Act.SEE_REQUESTS,
        Act.APPROVE_REQUEST,
        Act.CANCEL_REQUEST,
        Act.LIFT_STANDING,
        Act.READ_RECEIPTS,
        Act.SEE_RETENTION,
        Act.SET_RETENTION,
        Act.MANAGE_HOLDS,
        Act.EXPORT_PERSON,
    }
)
PERMISSIONS: dict[Role, frozenset[Act]] = {
    Role.ADMIN: _LOOK
    | _PRIVACY
    | {
        Act.MANAGE_KEYS,
        Act.MANAGE_MEMBERS,
        Act.MANAGE_CALLBACKS,
        Act.SEE_AUDIT_LOG,
        Act.DECIDE_ITEMS,
        Act.MANAGE_QUEUES,
    },
    Role.AUTOMATION: _LOOK | {Act.DECIDE_ITEMS, Act.MANAGE_QUEUES},
    Role.MODERATOR: _LOOK | {Act.DECIDE_ITEMS},
    Role.SPECTATOR: _LOOK,
    Role.NO_ACCESS: frozenset(),
    Role.SERVER: frozenset(
        {
            Act.SUBMIT_ITEMS,
            Act.POLL_ITEMS,
            Act.REQUEST_DELETION,
            Act.LIFT_STANDING,
            Act.SEE_REQUESTS,
            Act.READ_RECEIPTS,
            Act.SEE_QUEUES,
            Act.DECIDE_ITEMS,
        }
    ),
    Role.OPERATOR: _LOOK
    | _PRIVACY
    | {
        Act.MANAGE_KEYS,
        Act.MANAGE_MEMBERS,
        Act.MANAGE_CALLBACKS,
        Act.SEE_AUDIT_LOG,
        Act.DECIDE_ITEMS,
        Act.MANAGE_QUEUES,
        Act.MANAGE_TEAM,
        Act.MANAGE_ACCESS,
        Act.QUERY_ITEMS,
        Act.RUN_PIPELINE,
    },
}


def may(role: Role | None, act: Act) -> bool:
    """Tell whether a role may do something; nobody known may do nothing."""
    return role is not None and act in PERMISSIONS.get(role, frozenset())


def demand(role: Role | None, act: Act) -> None:
    """Let a role pass that may do something.

    Raises:
        AccessDenied: it may not.
    """
    if not may(role, act):
        raise AccessDenied(f"{'nobody known' if role is None else f'the role {role}'} may not {act}")
