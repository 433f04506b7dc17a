"""Decide who may do what: one table of roles and acts, and grants to read items.

Rules:
* Everything that the table or a grant does not allow is denied.
* The API, the page, the command line and the query door all ask `may`, so that a changed rule applies everywhere.
* Roles allow acts; only a grant allows reading the values in items. Operators have no standing access to items.
* An operator is an employee of the company that runs this installation. Here a name is always a keyed pseudonym.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

from implio_pipeline.domain.errors import AccessDenied, ImplioError
from implio_pipeline.domain.ids import ColumnClass, TeamId, sensitive


class Role(StrEnum):
    """The role of a person or program in one team."""

    ADMIN = "admin"
    AUTOMATION = "automation specialist"
    MODERATOR = "moderator"
    SPECTATOR = "spectator"
    NO_ACCESS = "no access"
    SERVER = "server"
    """One of the customer's servers, authenticated by an API key of the team."""
    OPERATOR = "operator"
    """Somebody who runs this installation, at its command line. Reading items needs a grant as well."""


MEMBER_ROLES = (Role.ADMIN, Role.AUTOMATION, Role.MODERATOR, Role.SPECTATOR, Role.NO_ACCESS)
"""The roles that a member of a team can have."""


class Act(StrEnum):
    """Something that a person or program can do in a team."""

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
    """Return whether a role may do something; without a role, nothing is allowed."""
    return role is not None and act in PERMISSIONS.get(role, frozenset())


def require(role: Role | None, act: Act) -> None:
    """Check that a role may do something.

    Raises:
        AccessDenied: the role may not do it.
    """
    if not may(role, act):
        raise AccessDenied(f"{'an unknown person' if role is None else f'the role {role}'} may not {act}")


GrantId = NewType("GrantId", str)
PersonKey = NewType("PersonKey", str)
"""32 hexadecimal digits: the keyed pseudonym of an operator's name, made with the home's own key."""

LONGEST_GRANT = timedelta(days=366)
"""The longest period of a grant. An assignment that continues needs a new grant, and so a new decision."""
LONG_OPEN = timedelta(days=90)
"""A review reports grants that have been open for longer than this."""
TEAM_CREATOR_CLASSES = frozenset({ColumnClass.OPERATIONAL, ColumnClass.CONTENT})
"""The classes that the person who adds a team may read during the first days: never the identity of its users."""


class Purpose(StrEnum):
    """The purpose of an assignment. The set is closed, so that reads can be counted by purpose."""

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
    """The grant cannot be given, revoked or found."""

    code: str = "grant-refused"
    remedy: str = "Look at the grants in force, then correct it."


class GrantMissing(AccessDenied):
    """No grant of the reader allows this. Without a grant everything is denied."""

    code: str = "grant-missing"
    remedy: str = (
        "Ask the person who runs this installation for a grant that names the team, the classes and the purpose."
    )


class PurposeMissing(AccessDenied):
    """The identity class can be read only for a stated purpose."""

    code: str = "purpose-missing"
    remedy: str = "Say what it is for; the grant must name the same."


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """Permission of one operator to read one team's items. The free note and the operator's name are sealed."""

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
        """Return whether the grant is valid now; it ends at the instant `until`, which is not included."""
        return self.revoked_at is None and now < self.until


@dataclass(frozen=True, kw_only=True, slots=True)
class GrantReview:
    """A grant in force, with the remarks that a reviewer should look into."""

    grant: Grant
    remarks: tuple[str, ...]


def grants_of(
    grants: Iterable[Grant], *, person: PersonKey, team: TeamId, now: datetime, purpose: Purpose | None = None
) -> tuple[Grant, ...]:
    """Return the grants in force for one operator and one team, of one purpose if `purpose` is given."""
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
    """Return the classes that one operator may read of one team now; empty without a grant.

    The identity class is included only if the caller states a purpose and a grant for that purpose names the class.
    """
    in_force = grants_of(grants, person=person, team=team, now=now, purpose=purpose)
    # GDPR Art. 5(1)(b), purpose limitation: who somebody is can only be read for a stated purpose (decision 0050).
    named = frozenset(each for grant in in_force for each in grant.classes)
    return named if purpose is not None else named - {ColumnClass.IDENTITY}


def check_grant(*, classes: frozenset[ColumnClass], granted_at: datetime, until: datetime) -> None:
    """Check that a grant names a class and ends within the allowed period.

    Raises:
        GrantRefused: it names no class, ends before it begins, or lasts longer than a year.
    """
    if not classes:
        raise GrantRefused("a grant names at least one class", remedy="Name a class, such as operational.")
    # An end within a year forces somebody to look at each assignment again.
    if not granted_at < until <= granted_at + LONGEST_GRANT:
        remedy = "Give its days or its end; an assignment that continues needs a new grant."
        raise GrantRefused("a grant must end in the future, within 366 days", remedy=remedy)


def review(
    grants: Iterable[Grant], *, now: datetime, expires_within: timedelta, open_for: timedelta
) -> list[GrantReview]:
    """Return the grants in force, those with the most remarks first, then the oldest."""
    found = [
        GrantReview(grant=grant, remarks=_remarks(grant, now=now, expires_within=expires_within, open_for=open_for))
        for grant in grants
        if grant.is_in_force(now=now)
    ]
    return sorted(found, key=lambda each: (-len(each.remarks), each.grant.granted_at, each.grant.grant_id))


def _remarks(grant: Grant, *, now: datetime, expires_within: timedelta, open_for: timedelta) -> tuple[str, ...]:
    # A self-granted class is shown, not refused: a home with one operator has nobody else (decision 0050).
    remarks = {
        "expires soon": grant.until - now <= expires_within,
        "never used": grant.last_used_at is None,
        "open for long": now - grant.granted_at > open_for,
        "granted to oneself": grant.granted_by == grant.person,
        "names people": ColumnClass.IDENTITY in grant.classes,
    }
    return tuple(words for words, is_so in remarks.items() if is_so)
