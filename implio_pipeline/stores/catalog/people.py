"""Operators by pseudonym; their names are sealed, since they belong to no team.

To destroy a name is to delete its row. The pseudonym stays in grants and in the access log, and tells nobody.
"""

import unicodedata

from sqlalchemy import Engine, delete, exists, insert, select
from typing_extensions import override

from implio_pipeline.domain.access import PersonKey
from implio_pipeline.ports.access import People
from implio_pipeline.stores.catalog.access_tables import operators
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.home_seals import home_key
from implio_pipeline.stores.keys.home_seal import HomeSeal, keyed

_KEY = "operator-pseudonym"
_PSEUDONYM_BYTES = 16


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
        if self._sealed(person) is None:
            sealed = self._seal.seal(name.strip(), context=_context(person))
            with writing(self._engine) as connection:
                # Somebody else may have stored the name since; two sealings of one name are equally good.
                if not connection.scalar(select(exists().where(operators.c.person == person))):
                    connection.execute(insert(operators), {"person": person, "sealed": sealed})
        return person

    @override
    def name_of(self, person: PersonKey) -> str | None:
        sealed = self._sealed(person)
        return None if sealed is None else self._seal.unseal(sealed, context=_context(person))

    @override
    def forget(self, person: PersonKey) -> bool:
        with writing(self._engine) as connection:
            return bool(connection.execute(delete(operators).where(operators.c.person == person)).rowcount)

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
        return keyed(self._key, label, text)[:_PSEUDONYM_BYTES].hex()


def _context(person: PersonKey) -> str:
    return f"operator {person}"
