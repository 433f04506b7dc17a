"""Identifiers: opaque, unique, and a task id that says its day."""

import uuid
from datetime import UTC, date, datetime
from hashlib import sha256

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.formats.identifiers import RandomIdentifiers, new_task_ids, task_id_texts

IDS = RandomIdentifiers()


def ids_of(instants):
    return task_id_texts(new_task_ids(np.array(instants, dtype=np.int64)))


@given(st.lists(st.integers(0, (1 << 48) - 1), max_size=20))
def test_task_ids_are_version_7_uuids_of_their_instant(instants):
    made = [uuid.UUID(one) for one in ids_of(instants)]

    assert [one.version for one in made] == [7] * len(instants)
    assert {one.variant for one in made} <= {uuid.RFC_4122}
    assert [one.int >> 80 for one in made] == instants
    assert [str(one) for one in made] == [str(one).lower() for one in made]


def test_task_ids_of_one_instant_differ():
    assert len(set(ids_of([7] * 10_000))) == 10_000


def test_a_task_id_of_ours_tells_its_utc_day():
    at = datetime(2026, 2, 28, 23, 59, 59, 999000, tzinfo=UTC)

    assert IDS.task_day(ids_of([int(at.timestamp() * 1000)])[0]) == date(2026, 2, 28)


def test_a_foreign_task_id_tells_no_day():
    foreign = [
        "",
        "ad-1",
        str(uuid.UUID(int=5)),
        "0" * 36,
        f"{ids_of([1])[0]} ",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
    ]

    assert [IDS.task_day(one) for one in foreign] == [None] * len(foreign)


def test_a_task_key_is_the_beginning_of_its_digest():
    assert IDS.task_key("é") == sha256("é".encode()).digest()[:16]
    assert len(IDS.request_id()) == 32
    assert IDS.request_id() != IDS.request_id()
