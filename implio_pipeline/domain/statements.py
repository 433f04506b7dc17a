"""The statements of the ledger: one type for each kind of entry.

Rules:
* A statement has keyed pseudonyms, instants, ids and counts, never a personal value: the ledger cannot be changed, so
  nothing in it can be erased.
* `domain/ledger_codec.py` alone knows the name and the JSON of each kind.
* A field without a default is in every entry, as null if it is `None`. A field that has its default value is left out.

The receipts are in `domain/receipt.py`, the statement about keys in `domain/keys.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from implio_pipeline.domain.access import GrantId, PersonKey, Purpose
from implio_pipeline.domain.hold import Hold, HoldId, HoldReason
from implio_pipeline.domain.ids import Channel, ColumnClass, Region, RequestId, TeamId, UserKey
from implio_pipeline.domain.instants import due_at
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.retention import ChangeState
from implio_pipeline.domain.scope import Rule, kind_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """What one entry of the ledger says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownStatement(Statement):
    """An entry of a kind that this version does not know. It is signed like any other and has no effect."""

    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class AboutRequest(Statement):
    """A statement about one request."""

    request_id: RequestId
    team: TeamId


@dataclass(frozen=True, kw_only=True, slots=True)
class TombstonePlaced(AboutRequest):
    """A request was accepted, and what it covers is hidden. The entry is enough for a restore to carry it out again."""

    channel: Channel
    scope: str
    """Keyed pseudonym of the scope."""
    received_at: datetime
    rule: Rule
    policy: str | None = None
    asked_by: str | None = None
    standing: bool = False
    gate: RequestState | None = None
    """`UNAPPROVED` or `WAITING`: the state in which the request had to wait before it could begin."""
    not_before: datetime | None = None
    items_alone: int | None = None
    """The number of items, if one person decided on the request alone."""

    @classmethod
    def of(cls, request: Request, rule: Rule, *, has_gate: bool = False) -> "TombstonePlaced":
        """Return the tombstone of an accepted request.

        Args:
            request: The request.
            rule: What it covers.
            has_gate: Whether the tombstone has what a restore must know of the state in which the request waits.
        """
        is_unapproved = has_gate and request.state is RequestState.UNAPPROVED
        is_waiting = has_gate and request.state is RequestState.WAITING and request.next_attempt_at is not None
        return cls(
            request_id=request.request_id,
            team=request.team,
            channel=request.channel,
            scope=request.scope_pseudonym,
            received_at=request.received_at,
            rule=rule,
            policy=request.policy,
            asked_by=request.asked_by,
            standing=request.is_standing,
            gate=request.state if is_unapproved or is_waiting else None,
            not_before=request.next_attempt_at if is_waiting else None,
            items_alone=request.covered_items if has_gate and request.is_alone and not is_unapproved else None,
        )

    def request(self) -> Request:
        """Return the request as the ledger knows it, in the state in which it had to wait.

        A request that has since passed that state without an approval waits again.
        """
        return Request(
            request_id=self.request_id,
            team=self.team,
            kind=kind_of(self.rule),
            channel=self.channel,
            state=self.gate or RequestState.ACCEPTED,
            received_at=self.received_at,
            accepted_at=self.rule.before,
            due_at=due_at(self.received_at),
            scope_pseudonym=self.scope,
            tombstone_sequence=0,
            next_attempt_at=self.not_before,
            policy=self.policy,
            asked_by=self.asked_by,
            covered_items=self.items_alone or 0,
            is_alone=self.items_alone is not None,
            is_standing=self.standing,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestApproved(AboutRequest):
    """A second person approved a request."""

    approved_at: datetime
    approved_by: str | None
    """Keyed pseudonym."""
    items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DueDateExtended(AboutRequest):
    """The due date of a request was extended."""

    due_at: datetime
    days: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TombstoneLifted(AboutRequest):
    """A request was cancelled: what it covered can be read again."""

    lifted_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingLifted(AboutRequest):
    """New items of the person are accepted again."""

    lifted_at: datetime | None
    lifted_by: str | None
    """Keyed pseudonym."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldPlaced(Statement):
    """A legal hold prevents items from being erased."""

    hold_id: HoldId
    team: TeamId
    scope: str
    """Keyed pseudonym of the scope."""
    reason: HoldReason
    placed_at: datetime
    until: datetime
    rule: Rule

    @classmethod
    def of(cls, hold: Hold) -> "HoldPlaced":
        """Return the entry of a hold."""
        return cls(
            hold_id=hold.hold_id,
            team=hold.team,
            scope=hold.scope_pseudonym,
            reason=hold.reason,
            placed_at=hold.placed_at,
            until=hold.until,
            rule=hold.rule,
        )

    def hold(self) -> Hold:
        """Return the hold as the ledger knows it, without its sealed part."""
        return Hold(
            hold_id=self.hold_id,
            team=self.team,
            rule=self.rule,
            scope_pseudonym=self.scope,
            reason=self.reason,
            placed_at=self.placed_at,
            until=self.until,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldReleased(Statement):
    """A legal hold was released before its end."""

    hold_id: HoldId
    team: TeamId
    released_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyChanged(Statement):
    """A change of a team's retention or cap came into force, waits for a second person, or was refused."""

    change_id: str
    team: TeamId
    state: ChangeState
    was: str
    policy: str
    was_cap_percent: int
    cap_percent: int
    items: int
    asked_at: datetime
    asked_by: str
    decided_by: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockRead(Statement):
    """The clock's reading: once a day, and when somebody confirmed that the clock is right."""

    at: datetime
    is_confirmed: bool
    newest_known: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GrantMade(Statement):
    """An operator was given access to some classes of a team's items."""

    grant_id: GrantId
    team: TeamId
    person: PersonKey
    classes: frozenset[ColumnClass]
    purpose: Purpose
    granted_by: PersonKey
    granted_at: datetime
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class GrantRevoked(Statement):
    """An operator's access was revoked."""

    grant_id: GrantId
    team: TeamId
    revoked_by: PersonKey
    revoked_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonExported(Statement):
    """Everything held on one person was handed out."""

    export_id: str
    team: TeamId
    region: Region
    user_key: UserKey
    asked_by: str
    """Keyed pseudonym."""
    at: datetime
    expires_at: datetime
    recipient: str | None
    """`sha256:` and the digest of the certificate that it is encrypted for."""
    counts: Mapping[str, int]
    hidden_by_open_requests: int
    manifest: str
    """`sha256:` and the digest of the export's manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessLogNoted(Statement):
    """The length of the log of reads, and the digest of its last line."""

    lines: int
    digest: str
    noted_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessLogShortened(Statement):
    """A restore brought back an older log of reads; lines that were noted before are lost."""

    lines: int
    digest: str
    lost: int
    shortened_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditMade(Statement):
    """The home audited itself."""

    audited_at: datetime
    is_full: bool
    files: int
    files_read: int
    findings: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreMade(Statement):
    """A backup was restored, and what was erased since was erased again."""

    restored_at: datetime
    is_proven: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningKeyRenewed(Statement):
    """A chain of the ledger gets a new signing key. The old one signs this entry, and the batch that names the key."""

    chain: Region
    key: str
    """The name that batches give the key."""
    public_key: bytes
    renewed_at: datetime
