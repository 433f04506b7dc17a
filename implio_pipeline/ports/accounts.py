"""People who sign in: members, their sessions, the audit logs of teams, and passwords and codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.access import Role
from implio_pipeline.domain.accounts import Credential, Member, MemberId, Session
from implio_pipeline.domain.audit_log import AuditEntry
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.clock import Clock


class Members(Protocol):
    """Members, their roles and passwords, and their sessions."""

    def add(self, member: Member, *, password_hash: str) -> None:
        """Add a member with their roles.

        Raises:
            MemberRefused: there is a member with this address.
        """

    def get(self, member_id: MemberId) -> Member:
        """Return a member.

        Raises:
            MemberRefused: there is no such member.
        """

    def find(self, email: str) -> Member | None:
        """Return the member with an address."""

    def all(self, team: TeamId | None = None) -> list[Member]:
        """Return the members of a team, or of all, by name. Each has all their roles."""

    def set_role(self, member_id: MemberId, team: TeamId, role: Role | None) -> None:
        """Give a member a role in a team. `None` removes them from it.

        Raises:
            MemberRefused: the team would have no administrator left.
            TeamUnknown: there is no such team.
        """

    def remove(self, member_id: MemberId) -> None:
        """Delete a member, their roles and their sessions.

        Raises:
            MemberRefused: a team would have no administrator left.
        """

    def credential(self, member_id: MemberId) -> Credential:
        """Return what a member signs in with."""

    def set_password(self, member_id: MemberId, *, password_hash: str, is_temporary: bool) -> None:
        """Replace a member's password, and end all their sessions."""

    def set_code_secret(self, member_id: MemberId, secret: str | None) -> None:
        """Ask for one-time codes of this secret from now on. `None` ends asking for codes."""

    def use_code(self, member_id: MemberId, step: int) -> bool:
        """Mark a code's step as used. Returns `False` if this step or a later one was used before."""

    def begin_attempt(self, email: str, *, origin: str, now: datetime) -> datetime | None:
        """Count an attempt as failed until it succeeds. If it is not allowed now, return when the next one is.

        The attempt is counted before the password is compared, so that parallel guesses count like guesses in a row.

        Args:
            email: Whose account.
            origin: From where, such as a network address. Each origin has a count of its own.
            now: The present.
        """

    def forget_attempts(self, email: str, *, origin: str | None = None) -> None:
        """Reset the count of an origin after a success, or of all origins (`None`) after a password was reset."""

    def add_session(self, session: Session) -> None:
        """Store a session. Sessions that ended long ago are deleted."""

    def session(self, session_id: str) -> Session | None:
        """Return a session, live or not."""

    def save_session(self, session: Session) -> None:
        """Store when a session was last seen."""

    def end_session(self, session_id: str) -> None:
        """Delete a session. A missing session is ignored."""


class AuditLog(Protocol):
    """The audit logs of teams."""

    def note(self, entries: Sequence[AuditEntry]) -> None:
        """Add lines, durable on return."""

    def newest(self, team: TeamId, *, most: int) -> list[AuditEntry]:
        """Return a team's newest lines, newest first."""


class SignInSecrets(Protocol):
    """Password hashes, which are slow on purpose; tokens of sessions; one-time codes.

    Source: RFC 6238 (codes).
    """

    def hash(self, password: str) -> str:
        """Return a salted hash of a password."""

    def is_right(self, password: str, password_hash: str | None) -> bool:
        """Tell whether a password has this hash. With `None` it takes as long and returns `False`."""

    def new_password(self) -> str:
        """Return a new password: 100 random bits, in groups that can be read out."""

    def new_token(self) -> str:
        """Return a new token of a session: 256 random bits."""

    def new_code_secret(self) -> str:
        """Return a new secret of one-time codes: 160 random bits, base 32."""

    def code_step(self, secret: str, code: str, *, at: datetime) -> int | None:
        """Return the time step of a code, `None` for a wrong code.

        The steps before and after the present one are accepted, since clocks differ.
        """

    def code_address(self, secret: str, *, email: str) -> str:
        """Return the `otpauth` address from which an authenticator app takes the secret."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountServices:
    """What flows about people who sign in use."""

    clock: Clock
    members: Members
    audit_log: AuditLog
    secrets: SignInSecrets
