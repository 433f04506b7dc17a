"""People who sign in: members, their sessions, and the audit logs of teams.

Rules:

* Names and addresses are sealed under the home's root key. A member is found by a keyed hash of the address.
* A session is found by the hash of its token. A copy of the catalog reveals no name, and its hashes do not sign anybody
  in.
* A team always has an administrator. The team is locked while that is checked.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from typing_extensions import override

from implio_pipeline.domain.access import Role
from implio_pipeline.domain.accounts import (
    FORGET_FAILURES,
    SESSION_LONGEST,
    Attempts,
    Credential,
    Member,
    MemberId,
    Session,
    check_keeps_admin,
)
from implio_pipeline.domain.audit_log import AuditAction, AuditEntry
from implio_pipeline.domain.errors import MemberRefused
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.replan import replan, reread
from implio_pipeline.ports.accounts import AuditLog, Members
from implio_pipeline.stores.catalog import teams
from implio_pipeline.stores.catalog.access_tables import audit_log, members, memberships, sessions, sign_in_attempts
from implio_pipeline.stores.catalog.engine import lock, reading, writing
from implio_pipeline.stores.catalog.home_keys import HOME_ROOT, home_key
from implio_pipeline.stores.catalog.home_root_keys import check_roots, mark_home_spent
from implio_pipeline.stores.keys.home_seal import HomeSeal, keyed_hash

_LOOKUP = "member-lookup"


_ATTEMPTS_LOCK = 0x7369676E696E
"""PostgreSQL's advisory lock for counts of attempts to sign in."""


class SqlMembers(Members):
    """The port `Members` over tables."""

    def __init__(self, engine: Engine, seal: HomeSeal) -> None:
        self._engine = engine
        self._seal = seal
        self._key: bytes | None = None

    @override
    def add(self, member: Member, *, password_hash: str) -> None:
        named = json.dumps({"email": member.email, "name": member.name})
        row = {
            "member_id": member.member_id,
            "email_lookup": self.lookup(member.email),
            "password_hash": password_hash,
            "is_temporary": member.is_temporary,
            "created_at": member.created_at,
        }
        roles = [{"member_id": member.member_id, "team": team, "role": role} for team, role in member.roles.items()]

        def put() -> None:
            sealed = self._seal.seal(named, context=f"member {member.member_id}")
            with writing(self._engine) as connection:
                check_roots(connection, HomeSeal.sealed_under(sealed))
                try:
                    # The lookup is unique, so that of two invitations of one address one fails.
                    connection.execute(insert(members), row | {"sealed": sealed})
                except IntegrityError:
                    raise MemberRefused("there is a member with this address already") from None
                if roles:
                    connection.execute(insert(memberships), roles)

        replan(put, about=HOME_ROOT)

    @override
    def get(self, member_id: MemberId) -> Member:
        found = self._read(members.c.member_id == member_id)
        if not found:
            raise MemberRefused("there is no such member")
        return found[0]

    @override
    def find(self, email: str) -> Member | None:
        found = self._read(members.c.email_lookup == self.lookup(email))
        return found[0] if found else None

    @override
    def all(self, team: TeamId | None = None) -> list[Member]:
        def read() -> list[Member]:
            with reading(self._engine) as connection:
                return self._of_team(connection, team)

        return reread(read, about=HOME_ROOT)

    @override
    def set_role(self, member_id: MemberId, team: TeamId, role: Role | None) -> None:
        its_own = (memberships.c.member_id == member_id, memberships.c.team == team)

        def put() -> None:
            with writing(self._engine) as connection:
                # Locked, so that two administrators cannot remove each other at the same moment.
                teams.lock(connection, team)
                check_keeps_admin(self._of_team(connection, team), team, but=member_id, role=role)
                connection.execute(delete(memberships).where(*its_own))
                if role is not None:
                    connection.execute(insert(memberships), {"member_id": member_id, "team": team, "role": role})

        reread(put, about=HOME_ROOT)

    @override
    def remove(self, member_id: MemberId) -> None:
        query = select(memberships.c.team).where(memberships.c.member_id == member_id)

        def take_out() -> None:
            with writing(self._engine) as connection:
                for team in sorted(connection.scalars(query)):  # in one order, so that two removals do not deadlock
                    teams.lock(connection, TeamId(team))
                    check_keeps_admin(self._of_team(connection, TeamId(team)), TeamId(team), but=member_id, role=None)
                for table in (memberships, sessions, members):
                    connection.execute(delete(table).where(table.c.member_id == member_id))
                mark_home_spent(connection)

        reread(take_out, about=HOME_ROOT)

    @override
    def credential(self, member_id: MemberId) -> Credential:
        def read() -> Credential:
            with reading(self._engine) as connection:
                row = connection.execute(select(members).where(members.c.member_id == member_id)).mappings().one()
            sealed = row["sealed_code"]
            return Credential(
                member_id=member_id,
                password_hash=row["password_hash"],
                code_secret=None if sealed is None else self._seal.unseal(sealed, context=f"codes {member_id}"),
                code_step=row["code_step"],
            )

        return reread(read, about=HOME_ROOT)

    @override
    def set_password(self, member_id: MemberId, *, password_hash: str, is_temporary: bool) -> None:
        values = {"password_hash": password_hash, "is_temporary": is_temporary}
        with writing(self._engine) as connection:
            connection.execute(update(members).where(members.c.member_id == member_id).values(values))
            # End the sessions of the old password: somebody who stole it may have opened them.
            connection.execute(delete(sessions).where(sessions.c.member_id == member_id))

    @override
    def set_code_secret(self, member_id: MemberId, secret: str | None) -> None:
        its_own = members.c.member_id == member_id

        def put() -> None:
            sealed = None if secret is None else self._seal.seal(secret, context=f"codes {member_id}")
            roots = [] if sealed is None else [HomeSeal.sealed_under(sealed)]
            with writing(self._engine) as connection:
                check_roots(connection, *roots)
                connection.execute(update(members).where(its_own).values(sealed_code=sealed))
                mark_home_spent(connection)  # the secret of before

        replan(put, about=HOME_ROOT)

    @override
    def use_code(self, member_id: MemberId, step: int) -> bool:
        # RFC 6238, 5.2: a code is accepted once. The update compares the step, so of two sign-ins one succeeds.
        is_new = (members.c.member_id == member_id, members.c.code_step < step)
        with writing(self._engine) as connection:
            return connection.execute(update(members).where(*is_new).values(code_step=step)).rowcount == 1

    @override
    def begin_attempt(self, email: str, *, origin: str, now: datetime) -> datetime | None:
        table, lookup = sign_in_attempts, self.lookup(email) + self.lookup(origin)
        with writing(self._engine) as connection:
            # Counted before the password is compared, so that parallel guesses count like guesses in a row. Guesses at
            # different servers take turns too.
            lock(connection, _ATTEMPTS_LOCK)
            row = connection.execute(select(table).where(table.c.email_lookup == lookup)).mappings().one_or_none()
            attempts = Attempts() if row is None else Attempts(failures=row["failures"], newest_at=row["newest_at"])
            until = attempts.locked_until()
            if until is not None and now < until:
                return until
            after = attempts.one_more(now=now)
            # Delete old counts of all addresses (GDPR Art. 5(1)(e), storage limitation).
            connection.execute(delete(table).where(table.c.newest_at < now - FORGET_FAILURES))
            connection.execute(delete(table).where(table.c.email_lookup == lookup))
            values = {"email_lookup": lookup, "failures": after.failures, "newest_at": now}
            connection.execute(insert(table), values)
        return None

    @override
    def forget_attempts(self, email: str, *, origin: str | None = None) -> None:
        column, lookup = sign_in_attempts.c.email_lookup, self.lookup(email)
        if origin is None:
            # All origins of this account: their lookups begin with the lookup of the address.
            is_wanted = and_(column >= lookup, column < lookup + b"\xff" * (len(lookup) + 1))
        else:
            is_wanted = column == lookup + self.lookup(origin)
        with writing(self._engine) as connection:
            connection.execute(delete(sign_in_attempts).where(is_wanted))

    @override
    def add_session(self, session: Session) -> None:
        with writing(self._engine) as connection:
            connection.execute(delete(sessions).where(sessions.c.began_at < session.began_at - SESSION_LONGEST))
            connection.execute(insert(sessions), asdict(session))

    @override
    def session(self, session_id: str) -> Session | None:
        with reading(self._engine) as connection:
            query = select(sessions).where(sessions.c.session_id == session_id)
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else Session(**row)

    @override
    def save_session(self, session: Session) -> None:
        with writing(self._engine) as connection:
            its_own = sessions.c.session_id == session.session_id
            connection.execute(update(sessions).where(its_own).values(seen_at=session.seen_at))

    @override
    def end_session(self, session_id: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(delete(sessions).where(sessions.c.session_id == session_id))

    def _read(self, *conditions: Any) -> list[Member]:
        def read() -> list[Member]:
            with reading(self._engine) as connection:
                return self._members(connection, *conditions)

        return reread(read, about=HOME_ROOT)

    def _of_team(self, connection: Connection, team: TeamId | None) -> list[Member]:
        if team is None:
            return self._members(connection)
        theirs = select(memberships.c.member_id).where(memberships.c.team == team)
        return self._members(connection, members.c.member_id.in_(theirs))

    def _members(self, connection: Connection, *conditions: Any) -> list[Member]:
        # 1. The rows, and all roles of these members in one query.
        rows = connection.execute(select(members).where(*conditions)).mappings().all()
        roles: dict[str, dict[TeamId, Role]] = {}
        theirs = memberships.c.member_id.in_([row["member_id"] for row in rows])
        query = select(memberships).where(theirs).order_by(memberships.c.team)
        for row in connection.execute(query).mappings():
            roles.setdefault(row["member_id"], {})[row["team"]] = Role(row["role"])
        # 2. Names are opened here, so the database cannot sort by them.
        found: list[Member] = []
        for row in rows:
            named = json.loads(self._seal.unseal(row["sealed"], context=f"member {row['member_id']}"))
            found.append(
                Member(
                    member_id=row["member_id"],
                    email=named["email"],
                    name=named["name"],
                    created_at=row["created_at"],
                    roles=roles.get(row["member_id"], {}),
                    has_codes=row["sealed_code"] is not None,
                    is_temporary=row["is_temporary"],
                )
            )
        return sorted(found, key=lambda member: (member.name.casefold(), member.member_id))

    def lookup(self, text: str) -> bytes:
        """Return the keyed hash of a text, such as a mail address: the same for every process of this home."""
        if self._key is None:
            self._key = home_key(self._engine, self._seal, _LOOKUP)
        return keyed_hash(self._key, "lookup", text)


class SqlAuditLog(AuditLog):
    """The port `AuditLog` over a table."""

    def __init__(self, engine: Engine, seal: HomeSeal) -> None:
        self._engine = engine
        self._seal = seal

    @override
    def note(self, entries: Sequence[AuditEntry]) -> None:
        if not entries:
            return

        def put() -> None:
            names = [self._seal.seal(entry.name, context=f"audit-log {entry.team} {entry.who}") for entry in entries]
            rows = [
                {
                    "team": entry.team,
                    "at": entry.at,
                    "who": entry.who,
                    "sealed_name": sealed,
                    "deed": entry.deed.value,
                    "subject": entry.subject,
                    "count": entry.count,
                }
                for entry, sealed in zip(entries, names, strict=True)
            ]
            with writing(self._engine) as connection:
                check_roots(connection, *{HomeSeal.sealed_under(sealed) for sealed in names})
                connection.execute(insert(audit_log), rows)

        replan(put, about=HOME_ROOT)

    @override
    def newest(self, team: TeamId, *, most: int) -> list[AuditEntry]:
        query = select(audit_log).where(audit_log.c.team == team).order_by(audit_log.c.sequence.desc()).limit(most)

        def read() -> list[AuditEntry]:
            with reading(self._engine) as connection:
                return [
                    AuditEntry(
                        **{name: row[name] for name in ("team", "at", "who", "subject", "count", "sequence")},
                        name=self._seal.unseal(row["sealed_name"], context=f"audit-log {row['team']} {row['who']}"),
                        deed=AuditAction(row["deed"]),
                    )
                    for row in connection.execute(query).mappings()
                ]

        return reread(read, about=HOME_ROOT)
