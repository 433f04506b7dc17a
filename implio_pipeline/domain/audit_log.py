"""The audit log of a team: who did what, when, to which opaque id, and how many; no value of any item."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.sensitive import sensitive


class Deed(StrEnum):
    """What somebody did."""

    SIGNED_IN = "signed in"
    ASKED = "asked to remove items"
    APPROVED = "approved a request"
    CANCELLED = "cancelled a request"
    LIFTED = "lifted a standing deletion"
    EXTENDED = "put off a due date"
    READ_RECEIPT = "read a receipt"
    SET_POLICY = "changed the retention policy"
    ASKED_POLICY = "asked to change the retention policy"
    APPROVED_POLICY = "approved a change of the retention policy"
    REFUSED_POLICY = "refused a change of the retention policy"
    PLACED_HOLD = "placed a legal hold"
    RELEASED_HOLD = "released a legal hold"
    ADDED_MEMBER = "added a member"
    SET_ROLE = "changed a member's role"
    REMOVED_MEMBER = "removed a member"
    RESET_PASSWORD = "reset a member's password"  # noqa: S105 -- words, no password
    MADE_KEY = "made an API key"
    REVOKED_KEY = "revoked an API key"
    DECIDED = "decided on an item"
    MOVED_ITEM = "moved an item to another queue"
    CHANGED_CALLBACK = "changed the result callback"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One line of a team's audit log."""

    team: TeamId
    at: datetime
    who: str
    """Keyed pseudonym of the name, the same as requests keep of who asked."""
    name: str = sensitive()
    deed: Deed
    subject: str | None = None
    """Opaque id of a request, hold, member or key."""
    count: int | None = None
    sequence: int = 0
