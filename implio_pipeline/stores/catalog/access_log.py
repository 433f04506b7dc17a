"""The log of reads: only ever added to, each line chained to the one before."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Engine, RowMapping, insert, select, update
from typing_extensions import override

from implio_pipeline.domain.access import GrantId, PersonKey
from implio_pipeline.domain.audit_log import GENESIS, LogLine, Read, chained
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.ports.access import AccessLog
from implio_pipeline.stores.catalog.access_tables import access_log, grants
from implio_pipeline.stores.catalog.engine import LOG_LOCK, lock, reading, writing

_PLAIN = ("at", "person", "purpose", "door", "rows", "rows_read", "statement")
_PAGE = 1_000


class SqlAccessLog(AccessLog):
    """The port `AccessLog` over a table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def append(self, reads: Sequence[Read]) -> list[LogLine]:
        added: list[LogLine] = []
        with writing(self._engine) as connection:
            lock(connection, LOG_LOCK)  # the chain has one end, so appends take turns
            newest = select(access_log.c.line, access_log.c.digest).order_by(access_log.c.line.desc()).limit(1)
            last, previous = connection.execute(newest).one_or_none() or (0, GENESIS)
            for read in reads:
                line = chained(read, line=last + 1, previous=previous)
                connection.execute(insert(access_log), _row_of(line))
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


def _row_of(line: LogLine) -> dict[str, object]:
    body = line.read.body()
    lists = {name: body[name] for name in ("teams", "classes", "columns", "grants")}
    plain = {name: getattr(line.read, name) for name in _PLAIN}
    return {"line": line.line, "previous": line.previous, "digest": line.digest} | plain | lists


def _line_of(row: RowMapping) -> LogLine:
    read = Read(
        at=row["at"],
        person=PersonKey(row["person"]),
        teams=tuple(map(TeamId, row["teams"])),
        classes=frozenset(map(ColumnClass, row["classes"])),
        purpose=row["purpose"],
        door=row["door"],
        rows=row["rows"],
        rows_read=row["rows_read"],
        columns=tuple(row["columns"]),
        grants=tuple(map(GrantId, row["grants"])),
        statement=row["statement"],
    )
    return LogLine(line=row["line"], read=read, previous=row["previous"], digest=row["digest"])
