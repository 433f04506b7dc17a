"""Who may do what: one table of roles and acts, and grants to read items; what neither names is denied.

API, page, command line and query door all ask `may`, so that a rule changed here is changed everywhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

from implio_pipeline.domain.errors import AccessDenied, ImplioError
from implio_pipeline.domain.ids import ColumnClass, TeamId, sensitive


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


GrantId = NewType("GrantId", str)
PersonKey = NewType("PersonKey", str)
"""32 hexadecimal digits: the keyed pseudonym of an operator's name under the home's own key."""

LONGEST = timedelta(days=366)
"""No assignment is granted for longer; one that goes on is granted again, by somebody who looked at it."""
LONG_OPEN = timedelta(days=90)
"""A review names grants that have been open for longer."""
MAKER_CLASSES = frozenset({ColumnClass.OPERATIONAL, ColumnClass.CONTENT})
"""What whoever adds a team may read of it for the first days; never who its users are."""


class Purpose(StrEnum):
    """What an assignment is for; a closed set, so that reads can be counted by it."""

    SET_UP = "set-up"
    ENGINEERING = "engineering"
    QUALITY = "quality"
    SUPPORT = "support"
    MODERATION = "moderation"
    INCIDENT = "incident"
    ACCESS_REQUEST = "access-request"
    LEGAL = "legal"
    AUDIT = "audit"


class GrantRefused(ImplioError):
    """The grant cannot be given, revoked or found so."""

    code: str = "grant-refused"
    remedy: str = "Look at the grants that stand, then correct it."


class GrantMissing(AccessDenied):
    """No grant of the reader allows this; without one everything is denied."""

    code: str = "grant-missing"
    remedy: str = "Ask who runs the installation for a grant of the team, the classes and the purpose."


class PurposeMissing(AccessDenied):
    """The identity class is read for a purpose that is said, or not at all."""

    code: str = "purpose-missing"
    remedy: str = "Say what it is for; the grant must name the same."


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """One operator's access to one team; the free note and the operator's name are sealed."""

    grant_id: GrantId
    person: PersonKey
    team: TeamId
    classes: frozenset[ColumnClass]
    purpose: Purpose
    granted_by: PersonKey
    granted_at: datetime
    until: datetime
    revoked_at: datetime | None = None
    revoked_by: PersonKey | None = None
    reviewed_at: datetime | None = None
    last_used_at: datetime | None = None
    sealed: bytes | None = sensitive(default=None)

    def is_in_force(self, *, now: datetime) -> bool:
        """Tell whether the grant allows anything now; at the instant it ends it no longer does."""
        return self.revoked_at is None and now < self.until


@dataclass(frozen=True, kw_only=True, slots=True)
class Reviewed:
    """A grant that stands, and what somebody who reviews it should ask about."""

    grant: Grant
    remarks: tuple[str, ...]


def grants_of(
    grants: Iterable[Grant], *, person: PersonKey, team: TeamId, now: datetime, purpose: Purpose | None = None
) -> tuple[Grant, ...]:
    """Return the grants that stand for one operator and one team; of that purpose alone when one is said."""
    return tuple(
        grant
        for grant in grants
        if grant.person == person
        and grant.team == team
        and grant.is_in_force(now=now)
        and purpose in (None, grant.purpose)
    )


def classes_allowed(
    grants: Iterable[Grant], *, person: PersonKey, team: TeamId, now: datetime, purpose: Purpose | None = None
) -> frozenset[ColumnClass]:
    """Return the classes that one operator may read of one team now: none, unless a grant says so.

    The identity class is there only when the purpose is said, and a grant for that very purpose names it.
    """
    in_force = grants_of(grants, person=person, team=team, now=now, purpose=purpose)
    named = frozenset(each for grant in in_force for each in grant.classes)
    return named if purpose is not None else named - {ColumnClass.IDENTITY}


def check_grant(*, classes: frozenset[ColumnClass], granted_at: datetime, until: datetime) -> None:
    """Let a grant pass that names something and ends in good time.

    Raises:
        GrantRefused: it names no class, ends before it begins, or runs for more than a year.
    """
    if not classes:
        raise GrantRefused("a grant names at least one class", remedy="Name a class, such as operational.")
    if not granted_at < until <= granted_at + LONGEST:
        remedy = "Give its days or its end; an assignment that goes on is granted again."
        raise GrantRefused("a grant ends in the future, within 366 days", remedy=remedy)


def review(grants: Iterable[Grant], *, now: datetime, expires_within: timedelta, open_for: timedelta) -> list[Reviewed]:
    """Return the grants that stand, those with the most remarks first, then the oldest."""
    found = [
        Reviewed(grant=grant, remarks=_remarks(grant, now=now, expires_within=expires_within, open_for=open_for))
        for grant in grants
        if grant.is_in_force(now=now)
    ]
    return sorted(found, key=lambda each: (-len(each.remarks), each.grant.granted_at, each.grant.grant_id))


def _remarks(grant: Grant, *, now: datetime, expires_within: timedelta, open_for: timedelta) -> tuple[str, ...]:
    remarks = {
        "expires soon": grant.until - now <= expires_within,
        "never used": grant.last_used_at is None,
        "open for long": now - grant.granted_at > open_for,
        "granted to oneself": grant.granted_by == grant.person,
        "names people": ColumnClass.IDENTITY in grant.classes,
    }
    return tuple(words for words, is_so in remarks.items() if is_so)
