"""What every catalog promises of grants, of operators' names and of the log of reads."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select
from support.ring import OneKey
from test_catalog import ADS, CARS, NOW, add_team

from implio_pipeline.domain.access import Grant, GrantId, GrantRefused, PersonKey, Purpose
from implio_pipeline.domain.audit_log import GENESIS, LoggedRead, ReadDoor, chain_faults
from implio_pipeline.domain.errors import TeamUnknown
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.stores.catalog import access as access_log
from implio_pipeline.stores.catalog.access_tables import operators
from implio_pipeline.stores.catalog.catalog import SqlCatalog, open_catalog
from implio_pipeline.stores.catalog.engine import reading
from implio_pipeline.stores.catalog.home_keys import home_key
from implio_pipeline.stores.keys.home_seal import HomeSeal

ANN, BOB = PersonKey("a" * 32), PersonKey("b" * 32)
MANY_READS = 7


@pytest.fixture
def catalog(url: str) -> Iterator[SqlCatalog]:
    opened = open_catalog(url, OneKey())
    add_team(opened, ADS)
    add_team(opened, CARS)
    yield opened
    opened.close()


def a_grant(name: str = "g-1", **known: object) -> Grant:
    plain = Grant(
        grant_id=GrantId(name),
        person=ANN,
        team=ADS,
        classes=frozenset({ColumnClass.OPERATIONAL, ColumnClass.IDENTITY}),
        purpose=Purpose.ACCESS_REQUEST,
        granted_by=BOB,
        granted_at=NOW,
        until=NOW + timedelta(days=9, microseconds=1),
        sealed=HomeSeal.join("home/seal/1", b"a key", b"\x00\xff"),
    )
    return replace(plain, **known)


def a_read(rows: int = 1, **known: object) -> LoggedRead:
    plain = LoggedRead(
        at=NOW,
        person=ANN,
        teams=(ADS, CARS),
        classes=frozenset({ColumnClass.OPERATIONAL, ColumnClass.CONTENT}),
        purpose=None,
        door=ReadDoor.QUERY,
        rows_read=5,
        rows=rows,
        columns=("day", "title"),
        grants=(GrantId("g-1"),),
        statement="d" * 32,
    )
    return replace(plain, **known)


def test_a_grant_comes_back_as_it_was_stored_and_is_found_by_team_and_person(catalog: SqlCatalog) -> None:
    first, other = a_grant(), a_grant("g-2", person=BOB, team=CARS, sealed=None)
    catalog.grants.add(first)
    catalog.grants.add(other)

    assert catalog.grants.get(first.grant_id) == first
    assert catalog.grants.all() == [first, other]
    assert catalog.grants.all(team=CARS) == catalog.grants.all(person=BOB) == [other]
    assert catalog.grants.all(team=CARS, person=ANN) == []
    with pytest.raises(GrantRefused):
        catalog.grants.get(GrantId("none"))
    with pytest.raises(TeamUnknown):
        catalog.grants.add(a_grant("g-3", team=TeamId("nobody")))


def test_a_grant_is_revoked_once_and_reviewed_as_often_as_one_likes(catalog: SqlCatalog) -> None:
    made = a_grant()
    catalog.grants.add(made)
    catalog.grants.revoke(made.grant_id, by=BOB, at=NOW)
    catalog.grants.mark_reviewed([made.grant_id], at=NOW)
    catalog.grants.mark_reviewed([made.grant_id], at=NOW + timedelta(days=1))

    with pytest.raises(GrantRefused):
        catalog.grants.revoke(made.grant_id, by=ANN, at=NOW)

    reviewed = NOW + timedelta(days=1)
    assert catalog.grants.get(made.grant_id) == replace(made, revoked_at=NOW, revoked_by=BOB, reviewed_at=reviewed)


def test_the_log_comes_back_in_order_chained_and_in_pages(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_PAGE", 3)
    catalog.grants.add(a_grant())
    reads = [a_read(rows) for rows in range(MANY_READS)]

    added = catalog.access_log.append(reads[:4]) + catalog.access_log.append(reads[4:])

    assert [line.read for line in added] == reads
    assert [line.line for line in added] == list(range(1, MANY_READS + 1))
    assert added[0].previous == GENESIS
    assert list(catalog.access_log.lines()) == added
    assert list(catalog.access_log.lines(after=5)) == added[5:]
    assert catalog.access_log.newest(2) == added[-2:]
    assert list(chain_faults(catalog.access_log.lines(), {MANY_READS: added[-1].digest})) == []
    assert catalog.grants.get(GrantId("g-1")).last_used_at == NOW


def test_an_empty_log_has_no_newest_line(catalog: SqlCatalog) -> None:
    assert catalog.access_log.newest(1) == []
    assert list(catalog.access_log.lines()) == []


class Overtaken(HomeSeal):
    """Makes a key, and meanwhile somebody else has made and stored the first."""

    def __init__(self, catalog: SqlCatalog) -> None:
        super().__init__(OneKey())
        self._catalog = catalog
        self.first: bytes | None = None

    def new_key(self) -> tuple[bytes, str, bytes]:
        made = super().new_key()
        if self.first is None:
            self.first = b""
            self.first = home_key(self._catalog._engine, self, "any")
        return made


def test_of_two_first_keys_of_a_home_one_wins(catalog: SqlCatalog) -> None:
    seal = Overtaken(catalog)

    second = home_key(catalog._engine, seal, "any")

    assert second == seal.first
    assert home_key(catalog._engine, seal, "another") != second


def test_a_name_is_kept_once_and_destroyed_once(catalog: SqlCatalog) -> None:
    person = catalog.people.remember("Ann")
    with reading(catalog._engine) as connection:
        first = connection.scalar(select(operators.c.sealed))

    assert catalog.people.remember(" Ann ") == person
    with reading(catalog._engine) as connection:
        assert connection.scalars(select(operators.c.sealed)).all() == [first]
    assert catalog.people.forget(person)
    assert not catalog.people.forget(person)
    assert catalog.people.name_of(person) is None
