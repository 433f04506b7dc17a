"""Turns at the catalog: one writer at a time, those in a hurry first, nobody for ever."""

import threading
import time

import pytest

from implio_pipeline.stores.catalog import turns as module
from implio_pipeline.stores.catalog.turns import Turns


def in_thread(act):
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_between_the_writes_of_one_in_a_hurry_nobody_else_writes():
    turns, order = Turns(), []
    hurries, waits = threading.Event(), threading.Event()

    def other():
        hurries.wait()
        waits.set()
        with turns.taken():
            order.append("other")

    thread = in_thread(other)
    with turns.urgent():
        hurries.set()
        waits.wait()
        for each in ("first", "second"):
            with turns.taken():
                order.append(each)
            time.sleep(0.02)
    thread.join()

    assert order == ["first", "second", "other"]


def test_while_one_in_a_hurry_is_on_the_way_nobody_else_begins_and_it_goes_first():
    turns, order = Turns(), []

    def other():
        turns.give_way()
        with turns.taken():
            order.append("other")

    def hurrying():
        with turns.urgent(), turns.taken():
            order.append("hurrying")

    with turns.hurried():
        thread = in_thread(other)
        time.sleep(0.02)
        in_thread(hurrying).join()
    thread.join()

    assert order == ["hurrying", "other"]


def test_whoever_waits_too_long_has_its_turn(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.02)
    turns, order = Turns(), []

    def other():
        turns.give_way()
        with turns.taken():
            order.append("other")

    with turns.urgent():
        thread = in_thread(other)
        thread.join(5)

    assert order == ["other"]


def test_one_writes_at_a_time():
    turns, inside, most = Turns(), [], []

    def write():
        for _ in range(200):
            with turns.taken():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [in_thread(write) for _ in range(4)]
    for thread in threads:
        thread.join()

    assert max(most) == 1


def test_a_failure_gives_the_turn_back():
    turns = Turns()

    def fail():
        with turns.urgent(), turns.taken():
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- our own, one line above
        fail()

    done = []

    def write():
        with turns.taken():
            done.append(1)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(5)
    assert (turns.is_urgent, done) == (False, [1])


def test_a_write_within_a_write_is_refused_and_does_not_wait_for_itself():
    turns, wrote = Turns(), []

    def write():
        with turns.unnested():
            wrote.append(True)

    with turns.unnested():
        with pytest.raises(RuntimeError, match="within another one"):
            write()
        in_thread(write).join()
    write()

    assert wrote == [True, True]
