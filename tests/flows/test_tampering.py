"""Whoever can write the catalog and holds no key: no bit of it makes a receipt lie, or hidden items readable.

Every column of every table that decides is altered, one at a time, in a home of its own. Then the audit names it, and
no erasure signs a receipt for what is left. A column that is added makes these tests fail until it is authenticated, or
stands in `DECIDES_NOTHING` with a reason.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Column, LargeBinary, Table, select, update
from support.catalogs import ON_POSTGRESQL, ROW, alter_catalog, copy_catalog, copy_home, rows_in
from support.changed import changed
from support.clock import NOW
from support.depth import few, some
from support.home import ADS, CARS, Home, a_home, opened_at
from support.items import Ad

from implio_pipeline import open_lake
from implio_pipeline.domain.audit import FindingKind
from implio_pipeline.domain.errors import CatalogTampered, ImplioError
from implio_pipeline.domain.ids import Channel, RequestId
from implio_pipeline.domain.plan import Appointment, ApprovalPolicy
from implio_pipeline.domain.request import WITHHELD_STATES, RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByTask, ByUser
from implio_pipeline.flows.accounts.api_keys import add_api_key, authenticate_api_key
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.approval import allowance_of, approve
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold
from implio_pipeline.flows.deletion.policy_changes import change_policy
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.stores.catalog.access_tables import api_keys
from implio_pipeline.stores.catalog.column_types import Counts, Day, Instant, WithheldItems, Word
from implio_pipeline.stores.catalog.row_macs import AUTHENTICATED, RowMacs, _covered
from implio_pipeline.stores.catalog.tables import (
    appointments,
    file_outcomes,
    holds,
    policy_changes,
    requests,
    standing_rules,
    tallies,
    team_sizes,
    teams,
    tombstones,
    vault_files,
)

DECIDING = (
    teams,
    tombstones,
    requests,
    holds,
    vault_files,
    file_outcomes,
    appointments,
    policy_changes,
    team_sizes,
    api_keys,
    standing_rules,
    tallies,
)
DECIDES_NOTHING = {
    ("tombstones", "in_ledger"): "only whether the ledger is told (again); before a receipt the ledger is asked itself",
    ("standing_rules", "in_ledger"): "only whether the ledger is told (again) of its lifting",
    ("file_outcomes", "line"): "the order of a receipt's lines",
    ("policy_changes", "sequence"): "the order of a list",
    ("api_keys", "last_used_at"): "only shown",
}


@pytest.fixture(scope="module")
def stage(scratch: Path) -> Path:
    """A closed home with a request that is open, one that is done, one that a hold keeps in part; and a policy."""
    folder = scratch / "tampering"
    with a_home(folder) as home:
        for user in ("ann", "bob", "cid", "dan"):
            home.keep(*(Ad(task=f"{user}-{each}", user=user) for each in range(3)))
        home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=300))
        change_policy(home.services, ADS, cap_percent=10, by="Otto")
        names = {name: identity_of(home.services.keychain, ADS, name) for name in ("who", "by")}
        home.services.catalog.teams.add_appointment(Appointment(team=ADS, **names, at=NOW))
        add_api_key(home.services, ADS, label="shop", by="Otto")
        until = NOW + timedelta(days=90)
        place_hold(
            home.services, HoldDraft(team=ADS, scope=ByTask(task_id="cid-1"), until=until, words="w", holder="h")
        )
        home.ask(ByUser(user_id="dan"), ByUser(user_id="cid"))
        erase(home.services)
        home.answers(ByUser(user_id="eve"), is_standing=True)
        erase(home.services)
        home.ask(ByUser(user_id="ann"))
    return folder


@pytest.fixture(scope="module")
def open_request(stage: Path) -> RequestId:
    (newest,) = rows_in(stage / "catalog", "select request_id from requests order by tombstone_sequence desc limit 1")
    return RequestId(newest["request_id"])


@pytest.fixture
def altered(stage: Path, scratch: Path) -> Iterator[Callable[[str], Home]]:
    """Open a copy of the stage whose catalog was changed by a statement."""
    made: list[Any] = []

    def alter(statement: str, *values: Any) -> Home:
        close()
        folder = scratch / "altered"
        copy_home(stage, folder)
        assert alter_catalog(folder, statement, *values) > 0, statement
        opening = opened_at(folder)
        made.append((opening, folder))
        return opening.__enter__()

    def close() -> None:
        while made:
            opening, folder = made.pop()
            opening.__exit__(None, None, None)
            shutil.rmtree(folder)

    yield alter
    close()


@pytest.fixture
def again(stage: Path, scratch: Path) -> Iterator[Callable[..., Home]]:
    """Change the staged catalog of one open home by a statement, each time from the start: a process that runs on.

    A home that is opened for each case is many times slower: it is opened anew only when a case erased something.
    """
    folder = scratch / "again"
    with ExitStack() as stack:
        home: Home | None = None

        def alter(statement: str, *values: Any) -> Home:
            nonlocal home
            if home is None or stored_below(folder) != stored_below(stage):
                stack.close()
                copy_home(stage, folder)
                stack.callback(shutil.rmtree, folder)
                home = stack.enter_context(opened_at(folder))
            put_into(stage / "catalog", folder / "catalog")
            assert alter_catalog(folder, statement, *values) > 0, statement
            return home

        yield alter


def fewer(cases: list[Any]) -> list[Any]:
    """Return the cases to try: on PostgreSQL a sample, since each takes a second there and MACs are made alike."""
    return list(few(cases, 4)) if ON_POSTGRESQL else cases


def put_into(stage: Path, catalog: Path) -> None:
    """Put the staged catalog in the place of another one, which a process has open."""
    if ON_POSTGRESQL:
        copy_catalog(stage, catalog)
        return
    with (
        closing(sqlite3.connect(stage / "catalog.db")) as staged,
        closing(sqlite3.connect(catalog / "catalog.db")) as connection,
    ):
        staged.backup(connection)


def stored_below(folder: Path) -> dict[str, int]:
    """Return the files of vault and ledger that only erasing changes, with their sizes."""
    vault = {str(path.relative_to(folder)): path.stat().st_size for path in (folder / "vault").rglob("*.parquet")}
    return vault | {"ledger": sum(path.stat().st_size for path in (folder / "ledger").rglob("*.jsonl"))}


def other_value(column: Column[Any], value: Any) -> Any:
    """Return another value of the column's own kind, as somebody would write it who wants something of it."""
    kind = column.type
    if isinstance(kind, Instant):
        return 4_000_000_000_000_000 if value is None else value + 40 * 86_400_000_000
    if isinstance(kind, Day):
        return "2020-01-01"
    if isinstance(kind, Word):
        return next(word.value for word in kind.words if word.value != value)
    if isinstance(kind, Boolean):
        return not value
    if isinstance(kind, JSON | WithheldItems | Counts):
        return '{"matched": 7}' if isinstance(kind, Counts) or value is None or value in ("{}", {}) else "{}"
    if isinstance(kind, LargeBinary):
        return bytes(16) if value is None else bytes(len(value))
    if isinstance(value, int) or (value is None and kind.python_type is int):
        return (value or 0) + 7
    return f"x{value or ''}"[: getattr(kind, "length", None)]


def cases(path: Path, table: Table) -> Iterator[tuple[str, Any, Any]]:
    """Yield each column, of each row of the team, with another value for it."""
    rows = rows_in(path / "catalog", f"select {ROW} as its_row, * from {table.name} where team = 'ads' order by {ROW}")
    assert rows, table.name
    for row in _telling(table, rows):
        for column in table.c:
            yield column.name, row["its_row"], other_value(column, row[column.name])


def _telling(table: Table, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows that differ in kind: the newest (open) and the oldest (done); of files those that are live."""
    if table is vault_files:
        rows = [row for row in rows if row["state"] == "live"]
    return rows if table is tallies else [rows[0], rows[-1]][: len(rows)]


@pytest.mark.parametrize("table", DECIDING, ids=lambda table: table.name)
def test_no_column_that_decides_can_be_altered_unnoticed_or_make_a_receipt_lie(stage, open_request, again, table):
    unnoticed, lies = [], []
    for column, row, value in fewer(some(cases(stage, table))):
        home = again(f"update {table.name} set {column} = ? where {ROW} = ?", value, row)

        findings, is_told = looked_at_and_erased(home, open_request)

        decides = (table.name, column) not in DECIDES_NOTHING
        if decides and findings.isdisjoint({FindingKind.CATALOG_TAMPERED, FindingKind.TOMBSTONE_DIFFERS}):
            unnoticed.append((column, row))
        if is_told and any(path.exists() for path in files_of_stage(stage, home)):
            lies.append((column, row))
        assert decides or is_told

    assert (unnoticed, lies) == ([], [])


def looked_at_and_erased(home: Home, open_request: RequestId) -> tuple[set[FindingKind], bool]:
    """Audit, then erase; tell what the audit finds, and whether the open request got a receipt.

    Whatever either refuses is explained: another error than ours fails the test.
    """
    findings = {finding.kind for finding in audit(home.services).findings}
    with suppress(ImplioError):
        erase(home.services, again=True)
    return findings, home.services.ledger.receipt(open_request) is not None


def files_of_stage(stage: Path, home: Home) -> list[Path]:
    """Return where the altered home keeps the files that held an item of ann before it was altered."""
    key = home.user_key("ann")
    query = "select day, file_id from vault_files where state = 'live' and low_key = ? and team = 'ads'"
    found = rows_in(stage / "catalog", query, key)
    assert found
    return [home.path / "vault" / "eu" / "team=ads" / f"day={row['day']}/{row['file_id']}.parquet" for row in found]


@pytest.mark.parametrize("table", DECIDING, ids=lambda table: table.name)
def test_a_row_taken_away_is_named_and_no_receipt_is_signed_for_what_is_left(stage, open_request, again, table):
    live = "and state = 'live'" if table is vault_files else ""
    rows = rows_in(stage / "catalog", f"select {ROW} as its_row from {table.name} where team = 'ads' {live}")
    for row in fewer(rows):
        home = again(f"delete from {table.name} where {ROW} = ?", row["its_row"])

        findings, is_told = looked_at_and_erased(home, open_request)

        assert findings
        assert not (is_told and any(path.exists() for path in files_of_stage(stage, home)))


@pytest.mark.parametrize("table", DECIDING, ids=lambda table: table.name)
def test_a_home_that_is_opened_after_a_change_opens_or_says_why_not(stage, altered, table):
    for column, row, value in fewer(list(cases(stage, table))[::4]):
        with suppress(ImplioError):
            altered(f"update {table.name} set {column} = ? where {ROW} = ?", value, row)


ATTACKS = {
    "another user in the tombstone": "update tombstones set user_key = zeroblob(16) where not is_erased",
    "ranges of nothing": "update vault_files set low_key = zeroblob(16), high_key = zeroblob(16)",
    "the tombstone lifted": "update tombstones set is_lifted = true where not is_erased",
    "the tombstone said to be erased": "update tombstones set is_erased = true where not is_erased",
    "the tombstone of another team": "update tombstones set team = 'cars' where not is_erased",
}


@pytest.mark.parametrize("statement", ATTACKS.values(), ids=ATTACKS)
def test_hidden_items_do_not_become_readable_by_changing_the_catalog(altered, statement):
    home = altered(statement)

    with pytest.raises(CatalogTampered), open_lake(home.path, team="ads", as_="tester") as lake:
        lake.sql("select count(*) from items")


def test_before_a_receipt_the_rule_is_compared_with_the_ledger_even_where_its_row_is_authenticated(altered):
    home = altered("update requests set attempts = attempts")
    bobs, (request,) = home.user_key("bob"), home.services.catalog.requests.all()[-1:]
    with home.opened.catalog._engine.begin() as connection:  # as whoever has the catalog's key would do it
        macs, is_it = RowMacs.of(connection), tombstones.c.request_id == request.request_id
        row = dict(connection.execute(select(tombstones).where(is_it)).mappings().one())
        mac = macs.mac(tombstones, row | {"user_key": bobs})
        connection.execute(update(tombstones).where(is_it).values(user_key=bobs, mac=mac))
        macs.count(connection, tombstones, ADS, added=[mac], removed=[row["mac"]])
    before = home.tasks(ADS)

    assert list(home.services.catalog.alterations()) == []
    summary = erase(home.services)

    assert summary.failed == {request.request_id: "catalog-tampered"}
    assert "user" in summary.failures[request.request_id].facts
    assert home.services.ledger.receipt(request.request_id) is None
    assert home.tasks(ADS) == before
    assert FindingKind.TOMBSTONE_DIFFERS in {finding.kind for finding in audit(home.services).findings}


@pytest.mark.parametrize("state", ["unapproved", "quarantined", "completed", "cancelled", "held", "waiting"])
def test_a_request_whose_state_was_altered_is_reported_by_every_pass_and_by_the_audit(altered, state):
    home = altered("update requests set state = ? where state = 'accepted'", state)
    (request,) = home.services.catalog.requests.all()[-1:]

    summary = erase(home.services)

    assert summary.failed == {request.request_id: "catalog-tampered"}
    assert (request.state.value, request.error_code) == ("unverified", "catalog-tampered")
    assert (FindingKind.CATALOG_TAMPERED, request.request_id) in {
        (finding.kind, finding.about) for finding in audit(home.services).findings
    }


def test_a_policy_that_was_altered_removes_nothing_and_the_run_says_so(altered):
    home = altered("update teams set keep_days = 0 where team = 'ads'")

    with pytest.raises(CatalogTampered):
        retain(home.services, today=(NOW + timedelta(days=20)).date())

    assert home.services.catalog.requests.all()[-1].kind.value == "user"


def test_an_altered_team_stops_no_other_teams_requests(altered):
    home = altered("update teams set cap_percent = 100 where team = 'ads'")

    refused, accepted = accept(
        home.services, [home.draft(ByUser(user_id="x")), home.draft(ByUser(user_id="x"), team=CARS)]
    )

    assert getattr(refused, "code", None) == "catalog-tampered"
    assert hasattr(accepted, "request_id")


CAPS = {
    "a change of policy was another's": "update policy_changes set is_alone = false",
    "a change of policy is gone": "delete from policy_changes",
    "the team was larger": "update team_sizes set items = 1000000",
    "an appointment is older": "update appointments set at = 0",
    "an appointment is gone": "delete from appointments",
}


@pytest.mark.parametrize("statement", CAPS.values(), ids=CAPS)
def test_where_what_a_cap_is_judged_by_was_altered_nobody_decides_alone_and_other_teams_go_on(altered, statement):
    home = altered(statement)
    home.services = changed(home.services, approvals=ApprovalPolicy(cap_from_items=1_000))
    by = {"channel": Channel.PAGE, "asked_by": "who"}

    ads, cars = accept(
        home.services,
        [
            replace(home.draft(ByUser(user_id="bob")), **by),
            replace(home.draft(ByUser(user_id="bob"), team=CARS), **by),
        ],
    )

    assert (ads.state, cars.state) == (RequestState.UNAPPROVED, RequestState.ACCEPTED)
    with pytest.raises(CatalogTampered):
        allowance_of(home.services, ADS, ads.asked_by)
    if "appointments" in statement:
        with pytest.raises(CatalogTampered):
            approve(home.services, ads.request_id, name="by")


def test_a_key_whose_maker_was_altered_is_no_key(altered):
    home = altered("update api_keys set expires_at = null")
    _, text = add_api_key(home.services, ADS, label="new", by="Otto")
    assert authenticate_api_key(home.services, text).made_by == identity_of(home.services.keychain, ADS, "Otto")

    alter_catalog(home.path, "update api_keys set made_by = 'somebody else' where label = 'new'")

    with pytest.raises(CatalogTampered):
        authenticate_api_key(home.services, text)


def test_what_a_mac_leaves_out_is_listed_with_its_reason():
    apart = {(table.name, column) for table, kind in AUTHENTICATED.items() for column in kind.apart}
    elsewhere = {
        ("vault_files", "state"),  # counted while live
        ("vault_files", "user_filter"),
        ("vault_files", "task_filter"),  # both by their digest, which is in the MAC
        ("tombstones", "is_erased"),
        ("tombstones", "is_lifted"),  # counted while it stands, and the ledger knows
    }

    assert {*AUTHENTICATED, tallies} == set(DECIDING)
    assert apart == elsewhere | set(DECIDES_NOTHING)
    assert all(
        column.name in _covered(table) or column.name == "mac" or (table.name, column.name) in apart
        for table in AUTHENTICATED
        for column in table.c
    )


@pytest.mark.parametrize("change", ["sequence = 0", "sequence = -1", "team = 'cars'"])
def test_a_hold_that_was_moved_out_of_sight_is_missed_before_anything_is_erased(
    altered: Callable[[str], Home], open_request: RequestId, change: str
) -> None:
    home = altered(f"update holds set {change}")
    held = {each.request_id for each in home.services.catalog.requests.all(team=ADS, states=WITHHELD_STATES)}

    summary = erase(home.services, again=True)

    assert held
    assert dict.fromkeys([*held, open_request], CatalogTampered.code).items() <= summary.failed.items()
    assert not summary.completed
    assert not summary.withheld


def test_a_live_file_that_is_named_as_doomed_is_not_unlinked_and_stops_no_other_team(altered):
    home = altered("update vault_files set state = 'doomed' where team = 'ads' and state = 'live'")
    before = home.stored()
    (of_another_team,) = home.ask(ByUser(user_id="ann"), team=CARS)

    summary = erase(home.services)

    assert set(before) <= set(home.stored())
    assert summary.completed == [of_another_team.request_id]
    assert FindingKind.CATALOG_TAMPERED in {finding.kind for finding in audit(home.services).findings}
