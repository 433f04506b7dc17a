"""Operators' names: sealed under the home's own key, found again by whoever opens the home, and gone when destroyed."""

import pytest
from sqlalchemy import select
from support.catalogs import octets_of, only_sqlite
from support.home import ADS, Home, opened_at, ring_of

from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.stores.catalog.access import SqlPeople
from implio_pipeline.stores.catalog.access_tables import operators
from implio_pipeline.stores.catalog.engine import reading
from implio_pipeline.stores.keys.home_seal import HomeSeal

JANE = "Jané Öperator"


def people_of(home: Home) -> SqlPeople:
    return SqlPeople(home.opened.catalog._engine, HomeSeal(ring_of(home)))


def test_a_name_is_the_same_person_for_whoever_opens_the_home(home: Home) -> None:
    person = home.services.people.remember(JANE)

    with opened_at(home.path) as again:
        assert again.services.people.person(JANE) == person
        assert again.services.people.name_of(person) == JANE
    assert people_of(home).person(JANE) == person


def test_two_spellings_of_one_name_are_one_person(home: Home) -> None:
    people = people_of(home)

    assert people.person("Jane\u0301 O\u0308perator") == people.person(JANE)


def test_a_seal_opens_only_where_it_was_made_for(home: Home) -> None:
    people = people_of(home)
    sealed = people.seal("a note", context="grant-1")

    assert people.unseal(sealed, context="grant-1") == "a note"
    for wrong, context in ((sealed, "grant-2"), (sealed[:-1] + b"\x00", "grant-1"), (b"", "grant-1")):
        with pytest.raises(KeyMissing):
            people.unseal(wrong, context=context)


def test_a_person_is_no_text_and_no_user_of_a_team(home: Home) -> None:
    people = people_of(home)

    known = {people.person("ann"), people.digest("ann"), home.services.keychain.pseudonym(ADS, "ann")}

    assert len(known) == 3


@only_sqlite
def test_a_name_that_was_destroyed_is_in_no_byte_of_the_catalog(home: Home) -> None:
    person = home.services.people.remember(JANE)
    with reading(home.opened.catalog._engine) as connection:
        sealed = connection.scalar(select(operators.c.sealed).where(operators.c.person == person))

    home.services.people.forget(person)
    home.services.catalog.scrub(is_thorough=False)

    stored = octets_of(home.path)
    assert sealed is not None
    assert sealed not in stored
    assert home.services.people.name_of(person) is None
