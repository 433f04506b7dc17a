"""Who may read what: operators by pseudonym, their grants, and the log of what they read.

Rules:

* Lines are only added to the log. Each has the digest of the line before, which reveals a changed or deleted line.
* An operator's name is sealed under the home's root key, since operators do not belong to a team. Deleting its row
  destroys the name. Its pseudonym stays in grants and log, and no longer identifies anybody.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, RowMapping, delete, exists, insert, select, update
from typing_extensions import override

from implio_pipeline.domain.access import Grant, GrantId, GrantRefused, PersonKey
from implio_pipeline.domain.audit_log import GENESIS, LoggedRead, LogLine
from implio_pipeline.domain.errors import TeamUnknown
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.domain.replan import replan, reread
from implio_pipeline.ports.access import AccessLog, Grants, People
from implio_pipeline.stores.catalog.access_tables import access_log, grants, operators
from implio_pipeline.stores.catalog.engine import LOG_LOCK, lock, reading, writing
from implio_pipeline.stores.catalog.home_keys import HOME_ROOT, home_key
from implio_pipeline.stores.catalog.home_root_keys import check_roots, mark_home_spent
from implio_pipeline.stores.catalog.tables import teams
from implio_pipeline.stores.keys.home_seal import HomeSeal, keyed_hash

_GRANT = tuple(name for name in grants.c.keys() if name not in ("sequence", "classes"))  # noqa: SIM118  # of columns
_READ = ("at", "person", "purpose", "door", "rows", "rows_read", "statement")
_LISTS = ("teams", "classes", "columns", "grants")
_PAGE = 1_000
_KEY = "operator-pseudonym"
_PSEUDONYM_BYTES = 16


class SqlGrants(Grants):
    """The port `Grants` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def add(self, grant: Grant) -> None:
        row: dict[str, Any] = {name: getattr(grant, name) for name in _GRANT}
        row["classes"] = sorted(each.value for each in grant.classes)
        roots = [] if grant.sealed is None else [HomeSeal.sealed_under(grant.sealed)]
        with writing(self._engine) as connection:
            check_roots(connection, *roots)
            if not connection.scalar(select(exists().where(teams.c.team == grant.team))):
                raise TeamUnknown("there is no such team")
            connection.execute(insert(grants), row)

    @override
    def get(self, grant_id: GrantId) -> Grant:
        with reading(self._engine) as connection:
            row = connection.execute(select(grants).where(grants.c.grant_id == grant_id)).mappings().one_or_none()
        if row is None:
            raise GrantRefused("there is no such grant")
        return _grant_of(row)

    @override
    def all(self, *, team: TeamId | None = None, person: PersonKey | None = None) -> list[Grant]:
        query = select(grants).order_by(grants.c.sequence)
        if team is not None:
            query = query.where(grants.c.team == team)
        if person is not None:
            query = query.where(grants.c.person == person)
        with reading(self._engine) as connection:
            return [_grant_of(row) for row in connection.execute(query).mappings()]

    @override
    def revoke(self, grant_id: GrantId, *, by: PersonKey, at: datetime) -> None:
        # A grant is revoked once: who revoked it first stays on record.
        is_it = (grants.c.grant_id == grant_id, grants.c.revoked_at.is_(None))
        with writing(self._engine) as connection:
            done = connection.execute(update(grants).where(*is_it).values(revoked_at=at, revoked_by=by))
        if not done.rowcount:
            raise GrantRefused("there is no such grant, or it was revoked before")

    @override
    def mark_reviewed(self, grant_ids: list[GrantId], *, at: datetime) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(grants).where(grants.c.grant_id.in_(grant_ids)).values(reviewed_at=at))


class SqlAccessLog(AccessLog):
    """The port `AccessLog` over a table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def append(self, reads: Sequence[LoggedRead]) -> list[LogLine]:
        added: list[LogLine] = []
        with writing(self._engine) as connection:
            # The chain has one end, so writers of the log wait for each other.
            lock(connection, LOG_LOCK)
            newest = select(access_log.c.line, access_log.c.digest).order_by(access_log.c.line.desc()).limit(1)
            last, previous = connection.execute(newest).one_or_none() or (0, GENESIS)
            for read in reads:
                line = LogLine.chained(read, line=last + 1, previous=previous)
                body = read.body()
                row = {name: getattr(read, name) for name in _READ} | {name: body[name] for name in _LISTS}
                row |= {"line": line.line, "previous": line.previous, "digest": line.digest}
                connection.execute(insert(access_log), row)
                # Reviewers see which grants nobody uses (GDPR Art. 25(2): access as narrow as needed).
                if read.grants:
                    is_used = grants.c.grant_id.in_(read.grants)
                    connection.execute(update(grants).where(is_used).values(last_used_at=read.at))
                added.append(line)
                last, previous = line.line, line.digest
        return added

    @override
    def lines(self, *, after: int = 0) -> Iterator[LogLine]:
        while True:
            # A transaction for each page: a slow reader holds no snapshot for long.
            query = select(access_log).where(access_log.c.line > after).order_by(access_log.c.line).limit(_PAGE)
            with reading(self._engine) as connection:
                page = [_line_of(row) for row in connection.execute(query).mappings()]
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].line

    @override
    def newest(self, count: int) -> list[LogLine]:
        query = select(access_log).order_by(access_log.c.line.desc()).limit(count)
        with reading(self._engine) as connection:
            return [_line_of(row) for row in connection.execute(query).mappings()][::-1]


class SqlPeople(People):
    """The port `People` over a table."""

    def __init__(self, engine: Engine, seal: HomeSeal) -> None:
        self._engine = engine
        self._seal = seal
        self._key: bytes | None = None

    @override
    def person(self, name: str) -> PersonKey:
        return PersonKey(self._keyed("person", unicodedata.normalize("NFC", name).strip()))

    @override
    def remember(self, name: str) -> PersonKey:
        person = self.person(name)

        def put() -> None:
            sealed = self._seal.seal(name.strip(), context=f"operator {person}")
            with writing(self._engine) as connection:
                check_roots(connection, HomeSeal.sealed_under(sealed))
                # Another process may have stored the name since. Both sealed values have the same name.
                if not connection.scalar(select(exists().where(operators.c.person == person))):
                    connection.execute(insert(operators), {"person": person, "sealed": sealed})

        if self._sealed(person) is None:
            replan(put, about=HOME_ROOT)
        return person

    @override
    def name_of(self, person: PersonKey) -> str | None:
        def read() -> str | None:
            sealed = self._sealed(person)
            return None if sealed is None else self._seal.unseal(sealed, context=f"operator {person}")

        return reread(read, about=HOME_ROOT)

    @override
    def forget(self, person: PersonKey) -> bool:
        with writing(self._engine) as connection:
            is_forgotten = bool(connection.execute(delete(operators).where(operators.c.person == person)).rowcount)
            mark_home_spent(connection)
        return is_forgotten

    @override
    def digest(self, text: str) -> str:
        return self._keyed("text", text)

    @override
    def seal(self, text: str, *, context: str) -> bytes:
        return self._seal.seal(text, context=context)

    @override
    def unseal(self, sealed: bytes, *, context: str) -> str:
        return self._seal.unseal(sealed, context=context)

    def _sealed(self, person: PersonKey) -> bytes | None:
        with reading(self._engine) as connection:
            found: bytes | None = connection.scalar(select(operators.c.sealed).where(operators.c.person == person))
        return found

    def _keyed(self, label: str, text: str) -> str:
        if self._key is None:
            self._key = home_key(self._engine, self._seal, _KEY)
        return keyed_hash(self._key, label, text)[:_PSEUDONYM_BYTES].hex()


def _grant_of(row: RowMapping) -> Grant:
    return Grant(classes=frozenset(map(ColumnClass, row["classes"])), **{name: row[name] for name in _GRANT})


def _line_of(row: RowMapping) -> LogLine:
    read = LoggedRead(
        **{name: row[name] for name in _READ if name != "person"},
        person=PersonKey(row["person"]),
        teams=tuple(map(TeamId, row["teams"])),
        classes=frozenset(map(ColumnClass, row["classes"])),
        columns=tuple(row["columns"]),
        grants=tuple(map(GrantId, row["grants"])),
    )
    return LogLine(line=row["line"], read=read, previous=row["previous"], digest=row["digest"])
