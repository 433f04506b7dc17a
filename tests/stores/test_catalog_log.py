"""SQLite's write-ahead log: who copies it back, when, and that no commit waits for it."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from implio_pipeline.stores.catalog import sqlite as module
from implio_pipeline.stores.catalog.engine import connect, reading, writing
from implio_pipeline.stores.catalog.sqlite import LogCheckpoints


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    moved = Hand()
    monkeypatch.setattr(module, "time", moved)
    return moved


@pytest.fixture
def engine(tmp_path: Path, hand: Hand) -> Iterator[Engine]:
    del hand  # before the engine looks at it
    made = connect(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    with writing(made) as connection:
        connection.execute(text("CREATE TABLE kept (value BLOB)"))
    yield made
    made.dispose()


def put(engine: Engine, *, pages: int = 1) -> None:
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO kept VALUES (zeroblob(:size))"), {"size": 4096 * pages})


def copied(engine: Engine, beside: Path) -> int:
    """Return how many rows the database has without its log."""
    shutil.copyfile(str(engine.url.database), beside)
    with closing(sqlite3.connect(beside)) as alone:
        try:
            return int(alone.execute("SELECT count(*) FROM kept").fetchone()[0])
        except sqlite3.OperationalError:  # not even the table
            return 0


def test_the_log_is_copied_after_half_a_second_by_whoever_writes_then(
    engine: Engine, hand: Hand, tmp_path: Path
) -> None:
    hand.now += 0.4
    put(engine)
    before = copied(engine, tmp_path / "before")
    hand.now += 0.2
    put(engine)

    assert (before, copied(engine, tmp_path / "after")) == (0, 2)


def test_a_full_log_is_copied_sooner_and_an_empty_one_late_again(engine: Engine, hand: Hand, tmp_path: Path) -> None:
    hand.now += 1
    put(engine, pages=6_000)
    hand.now += 0.2
    put(engine)
    soon = copied(engine, tmp_path / "soon")
    for _ in range(4):  # few pages each time
        hand.now += 0.5
        put(engine)
    hand.now += 0.4
    put(engine)

    assert soon == 2
    assert copied(engine, tmp_path / "late") == 6


def test_no_commit_copies_a_log_that_is_not_yet_too_large_to_leave(engine: Engine, tmp_path: Path) -> None:
    for _ in range(5):
        put(engine, pages=3_000)  # the clock stands still

    assert copied(engine, tmp_path / "copy") == 0


def test_a_log_that_nobody_copies_is_copied_by_a_commit_in_the_end(engine: Engine, tmp_path: Path) -> None:
    for _ in range(6):
        put(engine, pages=3_000)

    assert copied(engine, tmp_path / "copy") >= 5


def test_a_reader_of_an_older_snapshot_stops_neither_the_writer_nor_later_copies(
    engine: Engine, hand: Hand, tmp_path: Path
) -> None:
    put(engine)
    with reading(engine) as connection:
        connection.execute(text("SELECT count(*) FROM kept")).all()
        hand.now += 1
        put(engine)
        put(engine)
        held = copied(engine, tmp_path / "held")
    hand.now += 1
    put(engine)

    assert held <= 1  # nothing newer than the reader's snapshot
    assert copied(engine, tmp_path / "free") == 4


class Told:
    """An engine whose copies end as they are told to."""

    def __init__(self, *answers: tuple[int, int, int]) -> None:
        self.answers, self.asked = list(answers), 0
        self.connection = self

    def connect(self) -> "Told":
        return self

    cursor = __enter__ = connect

    def __exit__(self, *_: object) -> None: ...

    def execute(self, _: str) -> "Told":
        self.asked += 1
        return self

    def fetchone(self) -> tuple[int, int, int]:
        return self.answers.pop(0)

    def close(self) -> None: ...


def test_while_somebody_else_copies_a_full_log_it_is_looked_at_as_often_as_before(hand: Hand) -> None:
    copies, engine = LogCheckpoints(), Told((0, 8_000, 8_000), (1, -1, -1), (0, 8_000, 8_000))

    hand.now += 0.5
    for _ in range(3):
        copies.checkpoint_if_due(engine)  # type: ignore[arg-type]
        hand.now += 0.13

    assert engine.asked == 3
