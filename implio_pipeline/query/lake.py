"""Open the lake for reading: SQL in DuckDB over the vault files of one or more teams.

* A reader sees only columns of granted classes, and no item that an accepted deletion covers. Both are checked before
  every statement, so a revoked grant or a new tombstone takes effect at the next one.
* Every statement that read anything is in the log of reads, also one that failed: how it fails can reveal what it read.
* Nothing is written to disk in clear.
* No error message contains a value of an item.
"""

import re
import secrets
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from implio_pipeline.domain.columns import columns_of, rule_columns
from implio_pipeline.domain.errors import ClassNotGranted, FileMissing, PlanOutdated, QueryRefused
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import ColumnClass, FileKind, RequestId, TaskKey, TeamId
from implio_pipeline.domain.replan import reread
from implio_pipeline.domain.scope import Coverage, Rule, TaskRule, UserRule, coverage_of
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.access.authorize import Admission, ReadAuthorizer
from implio_pipeline.flows.moderation.apply_decisions import opened_values
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.query import pending_decisions
from implio_pipeline.query.result import Result
from implio_pipeline.settings import Settings
from implio_pipeline.stores.catalog.catalog import SqlCatalog
from implio_pipeline.stores.keys.keychain import TeamKeychain
from implio_pipeline.stores.vault.dataset import Partition, SealedDataset, reader_schema
from implio_pipeline.stores.vault.encoding import decode, named_keys
from implio_pipeline.stores.vault.filters import Finder
from implio_pipeline.stores.vault.predicate import hidden, match, task_key
from implio_pipeline.stores.vault.storage import RegionStorage

_VIEWS = {"items": FileKind.ITEMS, "rejected": FileKind.REJECTED}
_QUEUE = "queue"
_FEW_DAYS = 500
"""Of more days, the files of the whole team are read, in one statement."""
_VIEW_NAMES = (*_VIEWS, _QUEUE)
_READING = {"SELECT", "EXPLAIN", "RELATION"}
_WORD = re.compile(r"\w+")
_COLUMN_NAMES = frozenset({"team", "day", "queue"} | {column.name for kind in FileKind for column in columns_of(kind)})
"""Names that the audit log may keep. Any other name in a statement is free text and may be personal data."""
_QUEUE_SCHEMA = pa.schema(
    {
        "task_id": pa.string(),
        "team": pa.string(),
        "queue": pa.string(),
        "user_key": pa.binary(),
        "submitted_at": pa.timestamp("us", tz="UTC"),
        "outcome": pa.string(),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What was known of a team when a view was opened."""

    rules: Sequence[Rule]
    """The rules of its open tombstones."""
    newest: datetime
    """The newest submission of its items. Rules that end later were not compared with times."""


class Lake:
    """The lake of one team or several teams.

    A tombstone hides its items from the next statement on. A verdict shows from the next statement on too, before it is
    written into the file of its item. Until then its reasons and its actor are sealed, so readers without the identity
    class do not see them.

    Several threads may share a lake; their statements run one after another. Open one lake per thread to run them at
    once.

    Args:
        settings: The settings of the home.
        storage: Where the vault files are.
        catalog: The open catalog of the home.
        ring: The key ring of the home.
        door: Confirms the admission before each statement, and logs each statement before its rows are returned.
        admission: The reader, the teams, and the classes that the reader may decrypt.
        threads: Threads of DuckDB.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        storage: RegionStorage,
        catalog: SqlCatalog,
        ring: KeyRing,
        door: ReadAuthorizer,
        admission: Admission,
        threads: int,
    ) -> None:
        self.teams = admission.teams
        self.granted = admission.classes
        self._door = door
        self._admission = admission
        self._catalog = catalog
        self._threads = threads
        self._keychain = TeamKeychain(ring, catalog.teams.keys, granted=self.granted)
        self._storage = storage
        self._temporary = settings.home / "tmp"
        self._lock = threading.RLock()
        """Allows one statement at a time: each may reopen the lake, and all cursors share the registered views."""
        self._opened_at: list[int] = []
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._views: dict[str, ds.Dataset | pa.Table] = {}
        self._pending: pa.Table | None = None
        self._given_queue: pa.Table | None = None
        """The queue, if the current statement reads it."""

    def sql(self, query: str, params: Mapping[str, Any] | None = None) -> Result:
        """Run one reading statement over `items`, `rejected` and `queue`.

        Args:
            query: SQL of DuckDB.
            params: Values for `$name` in the query.

        Raises:
            QueryRefused: the query is not exactly one reading statement, or DuckDB cannot run it.
            ClassNotGranted: the query names a column of a class that was not granted.
            GrantMissing: the grant of the reader was revoked or has ended.
        """
        self._door.confirm(self._admission)
        with self._lock:
            self._given_queue = None
            for view in self._sealed_views():
                view.forget_readings()
            try:
                result = reread(lambda: self._run(query, params), about="the lake", again=self._reset)
            except Exception:
                # How a statement fails can reveal what it read, so a failed one that read anything is logged too.
                if readings := self._readings():
                    self._log(query, readings, columns=(), rows=0)
                raise
            readings = self._readings()
        self._log(query, readings, columns=result.columns, rows=len(result))
        return result

    def _log(
        self, query: str, readings: Sequence[tuple[int, AbstractSet[str]]], *, columns: Iterable[str], rows: int
    ) -> None:
        """Log a reading, with the known columns that it read, names or returns."""
        named = (set(_WORD.findall(query.lower())) | set(columns)) & _COLUMN_NAMES
        self._door.note(
            self._admission,
            rows=rows,
            rows_read=sum(rows for rows, _ in readings),
            columns=named.union(*(columns for _, columns in readings)),
            statement=query,
        )

    def _readings(self) -> list[tuple[int, AbstractSet[str]]]:
        """Return how many rows, and which columns, the statement took from each view, whatever it did with them."""
        found: list[tuple[int, AbstractSet[str]]] = [
            (view.rows_read, view.columns_read) for view in self._sealed_views() if view.columns_read or view.rows_read
        ]
        if self._given_queue is not None:  # a table in memory, so count all of it: DuckDB does not report what it reads
            found.append((self._given_queue.num_rows, frozenset(self._given_queue.column_names)))
        return found

    def _run(self, query: str, params: Mapping[str, Any] | None) -> Result:
        connection = self._current()
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type.name not in _READING:
                raise QueryRefused("this is not one reading statement")
            with connection.cursor() as cursor:
                for view in _VIEW_NAMES:
                    if view in query.lower():  # maybe not as a table; then it is opened for nothing
                        self._register(cursor, view)
                return Result(cursor.sql(query, params=dict(params) if params else None).to_arrow_table())
        except duckdb.Error as error:
            fault = self._fault()
            if fault is None and _is_lost_file(error):
                fault = FileMissing("a file of the lake is not in storage")
            if fault is None and _is_broken_scan(error):
                self._check_files()
            raise (self._explained(error) if fault is None else fault) from None
        except FileNotFoundError:
            raise FileMissing("a file of the lake is not in storage") from None

    def user_key(self, user_id: str, *, team: str | None = None) -> bytes:
        """Return the pseudonym of a user id, as in the column `user_key`.

        Args:
            user_id: The id that the customer gave.
            team: The team of the user; by default the first team of the lake.

        Raises:
            ClassNotGranted: the reader was not granted the identity class.
        """
        return self._keychain.user_key(team_id(team) if team else self.teams[0], user_id)

    def close(self) -> None:
        """Close the connection. DuckDB reports an error when the interpreter ends with an open one."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _current(self) -> duckdb.DuckDBPyConnection:
        newest = [self._catalog.requests.newest_tombstone(team) for team in self.teams]
        newest += [self._catalog.moderation.newest(team) for team in self.teams]
        if self._connection is None or newest != self._opened_at:
            self.close()
            self._connection = self._connect()
            self._opened_at = newest
        return self._connection

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config={"threads": self._threads})
        # Global, because each statement runs on its own cursor, which inherits no setting of the connection. Without
        # it, days would depend on the time zone of the reader's machine.
        connection.execute("set global timezone = 'UTC'")
        connection.execute("set temp_file_encryption = true")  # spilled rows are personal data
        connection.execute("set temp_directory = $folder", {"folder": str(self._temporary)})
        # Read verdicts before files: one that is written into its file in between is in both, with the same value.
        self._pending = self._verdicts()
        self._views = {}
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        return connection

    def _reset(self) -> None:
        self._opened_at = []
        for team in self.teams:
            self._keychain.forget(team)

    def _fault(self) -> Exception | None:
        """Return the error that kept a scan from starting, if any, and reset it."""
        found: Exception | None = None
        for view in self._sealed_views():
            found, view.fault = found or view.fault, None
        return found

    def _check_files(self) -> None:
        """Check the files of the scan that broke off.

        Raises:
            FileTampered: a file is not the one in the catalog.
        """
        for view in self._sealed_views():
            view.check()

    def _sealed_views(self) -> list[SealedDataset]:
        return [view for view in self._views.values() if isinstance(view, SealedDataset)]

    def _register(self, cursor: duckdb.DuckDBPyConnection, name: str) -> None:
        if name == _QUEUE:
            self._given_queue = self._view(name)
        if self._pending is None or _VIEWS.get(name) is not FileKind.ITEMS:
            cursor.register(name, self._view(name))
            return
        # Random names, which no statement can know: a direct read of these tables would not be logged.
        in_files, verdicts = (f"{part}_{secrets.token_hex(16)}" for part in ("in_files", "verdicts"))
        cursor.register(in_files, self._view(name))
        cursor.register(verdicts, self._pending)
        cursor.execute(pending_decisions.statement_of_view(self.granted, in_files=in_files, verdicts=verdicts))

    def _view(self, name: str) -> ds.Dataset | pa.Table:
        """Return the rows of a view. They are opened when a statement first names it."""
        if name not in self._views:
            self._views[name] = self._queue() if name == _QUEUE else self._open(_VIEWS[name])
        return self._views[name]

    def _open(self, kind: FileKind) -> ds.Dataset:
        manifest, known = self._catalog.manifest, dict[TeamId, _Known]()
        partitions: list[Partition] = []
        covered: list[pc.Expression] = []
        for team in self.teams:
            rules = [tombstone.rule for tombstone in self._catalog.requests.tombstones(team, only_open=True)]
            days = [(team, each.day) for each in manifest.partitions(team) if each.kind is kind]
            newest = (manifest.newest_item(team, kind) if rules and days else None) or datetime.min.replace(tzinfo=UTC)
            known[team] = _Known(rules=rules, newest=newest)
            partitions += days
            if rules and days:
                parts = [hidden(rules, task_ids=self._task_ids(team, kind, rules), newest=newest)]
                if kind is FileKind.REJECTED:
                    parts.append(self._rejected_of(team, rules))
                is_team = pc.field("team") == pa.scalar(str(team))
                covered += [is_team & part for part in parts if part is not None]
        if not partitions:
            return ds.dataset(reader_schema(kind, self.granted).empty_table())
        return SealedDataset(
            partitions,
            files_in=lambda wanted: self._files_in(wanted, kind, known),
            that_may_hold=manifest.that_may_hold,
            kind=kind,
            storage=self._storage,
            keys_of=self._keys_of,
            granted=self.granted,
            hidden=covered,
        )

    def _files_in(
        self, wanted: Collection[Partition], kind: FileKind, known: Mapping[TeamId, "_Known"]
    ) -> Iterator[VaultFile]:
        """Yield the files of partitions, without those of which every row is hidden.

        Raises:
            PlanOutdated: a file has newer items than those for which the hidden rows were worked out.
        """
        for team in self.teams:
            days = {day for its_team, day in wanted if its_team == team}
            # Without the membership filters, which are most of a row: they are read only for a rule that needs one.
            files = (
                self._catalog.manifest.of_days(team, days)
                if len(days) <= _FEW_DAYS
                else self._catalog.manifest.files(team, is_filtered=False)
            )
            rules, newest = known[team].rules, known[team].newest
            # A rule by user or task never covers a whole file, and there may be thousands of them.
            whole = [rule for rule in rules if not isinstance(rule, UserRule | TaskRule)]
            for file in files:
                if file.kind is not kind or file.day not in days:
                    continue
                if rules and file.last_submitted_at > newest:
                    raise PlanOutdated(f"team {team} has newer items")
                if not any(coverage_of(rule, file) is Coverage.EVERYTHING for rule in whole):
                    yield file

    def _keys_of(self, files: Sequence[VaultFile]) -> dict[str, bytes]:
        """Return the raw keys of files, of the granted classes. Raises `PlanOutdated` if one was replaced."""
        raw: dict[str, bytes] = {}
        for each in self._catalog.manifest.sealed(files):
            raw |= named_keys(each.file.file_id, self._keychain.file_keys(each.file.team, each.keys))
        return raw

    def _near(self, team: TeamId, kind: FileKind, rules: Iterable[Rule]) -> list[tuple[SealedFile, list[Rule]]]:
        """Return the files of a kind that may hold a row of these rules, each with the rules that may reach it."""
        asked = [NamedRule(request_id=RequestId(str(number)), rule=rule) for number, rule in enumerate(rules)]
        reaches = Finder(asked)
        near = [
            (file, [named.rule for named in reached])
            for file in (self._catalog.manifest.candidates(team, asked) if asked else ())
            if file.kind is kind and (reached := reaches(file))
        ]
        sealed = self._catalog.manifest.sealed([file for file, _ in near])
        return [(each, reached) for each, (_, reached) in zip(sealed, near, strict=True)]

    def _task_ids(self, team: TeamId, kind: FileKind, rules: Iterable[Rule]) -> dict[TaskKey, str]:
        """Return the task ids of rules by task, which have only keys. Reads them from the files that may hold them."""
        wanted = {rule.task_key: rule for rule in rules if isinstance(rule, TaskRule)}
        found: dict[TaskKey, str] = {}
        for each, _ in self._near(team, kind, wanted.values()):
            for task_id in self._rows(each, ["task_id"])["task_id"].to_pylist():
                if (key := task_key(task_id)) in wanted:
                    found[key] = task_id
        return found

    def _rejected_of(self, team: TeamId, rules: Iterable[Rule]) -> pc.Expression | None:
        """Return an expression for rejected rows that rules by user cover; `None` when there are none.

        A rejected row may be of several people, and keeps their keys as one text. To search each row of a scan for each
        rule would take 16 s for 3,000 rules and 2,500 rows (measured). So the few files that may hold such a person are
        read once, by the predicate that erases, and their rows are hidden by task id.
        """
        found: list[str] = []
        users = [rule for rule in rules if isinstance(rule, UserRule)]
        for each, reached in self._near(team, FileKind.REJECTED, users):
            rows = self._rows(each, rule_columns(each.file.kind))
            found += rows["task_id"].filter(pa.array(match(rows, reached).mask)).to_pylist()
        return pc.field("task_id").isin(pa.array(found, pa.string())) if found else None

    def _rows(self, sealed: SealedFile, columns: list[str]) -> pa.Table:
        file = sealed.file
        raw = self._keychain.file_keys(file.team, sealed.keys)
        return decode(self._storage.read_cached(file), file_id=file.file_id, raw=raw, columns=columns)

    def _verdicts(self) -> pa.Table | None:
        """Return the verdicts that are not yet in the vault, or `None` if there are none, which costs nothing."""
        unsettled = [verdict for team in self.teams for verdict in self._catalog.moderation.unsettled(team)]
        if not unsettled:
            return None
        is_opened = ColumnClass.IDENTITY in self.granted
        return pending_decisions.table_of_verdicts(
            (
                verdict,
                opened_values(self._catalog, self._keychain, verdict)
                if is_opened
                else {"outcome": verdict.decided.value},
            )
            for verdict in unsettled
        )

    def _queue(self) -> pa.Table:
        entries = [entry for team in self.teams for entry in self._catalog.moderation.entries(team)]
        rows = [{name: getattr(entry, name) for name in _QUEUE_SCHEMA.names} for entry in entries]
        return pa.Table.from_pylist(rows, schema=_QUEUE_SCHEMA)

    def _explained(self, error: duckdb.Error) -> QueryRefused | ClassNotGranted:
        """Return our error for an error of DuckDB, without its values."""
        first_line = str(error).splitlines()[0]
        if isinstance(error, duckdb.BinderException):
            for column in (*columns_of(FileKind.ITEMS), *columns_of(FileKind.REJECTED)):
                if f'"{column.name}"' in first_line and column.column_class not in self.granted:
                    return ClassNotGranted(f"column {column.name} is of the {column.column_class} class")
        if isinstance(error, duckdb.BinderException | duckdb.ParserException | duckdb.CatalogException):
            return QueryRefused(first_line)
        if isinstance(error, duckdb.OutOfMemoryException) or "crypto module" in first_line:
            # The wheel of DuckDB has no cipher for writing. It must stop rather than spill in clear (decision 0006).
            return QueryRefused(
                "it needs more memory than DuckDB has here, and nothing is written to disk in clear",
                remedy="Ask for fewer rows or columns, or aggregate before sorting and joining.",
            )
        return QueryRefused(f"DuckDB could not run it: {type(error).__name__}")


def _is_broken_scan(error: duckdb.Error) -> bool:
    return "reading the stream" in str(error)


def _is_lost_file(error: duckdb.Error) -> bool:
    return "No such file" in str(error) or "FileNotFoundError" in str(error)
