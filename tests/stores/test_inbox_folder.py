"""Deletion requests by file: what becomes a draft, what is refused and how, and what is left of the file."""

import getpass
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import PurePath

import pytest
from support.claiming import NOBODY
from support.set_aside import KeysInMemory

from implio_pipeline.domain.errors import ImplioError, RequestIdReused, TeamUnknown
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser
from implio_pipeline.stores.inbox import WatchedInbox, inbox_folder
from implio_pipeline.stores.objects.folder import ObjectFolder
from implio_pipeline.stores.set_aside import SetAside

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
USER = {"team": "acme", "type": "user", "userId": "u-1"}
TASK = "019aa5f0-0000-7000-8000-000000000001"


class StoppedClock:
    def now(self):
        return NOW


class World:
    def __init__(self, path):
        self.root = path / "inbox"
        self.root.mkdir()
        self.aside = SetAside(ObjectFolder(path / "aside"), KeysInMemory(), StoppedClock())
        self.inbox = WatchedInbox(inbox_folder(self.root, clock=StoppedClock()), self.aside)

    def drop(self, name, content, age=60.0):
        path = self.root / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        os.utime(path, (0, NOW.timestamp() - age))

    def take(self, name, content):
        self.drop(name, content)
        with next(self.inbox.claim(NOBODY)) as file:
            entries = file.entries()
            file.finish([(each.position, each.draft) for each in entries if isinstance(each.draft, ImplioError)])
        return entries


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def codes_in(entries):
    return [(each.position, getattr(each.draft, "code", None)) for each in entries]


@pytest.mark.parametrize("year", [1970, 1980, 2019, 2031])
def test_a_request_file_with_a_date_that_cannot_be_was_received_when_it_is_taken(world, year):
    world.drop("a.json", USER, age=NOW.timestamp() - datetime(year, 1, 2, tzinfo=UTC).timestamp())

    with next(world.inbox.claim(NOBODY)) as file:
        (found,) = file.entries()

    assert found.draft.received_at == NOW


def test_each_kind_becomes_its_scope(world):
    dates = {"team": "acme", "type": "dates", "from": "2026-01-01T00:00Z", "to": "2026-01-02T02:00:00.5+02:00"}
    values = [
        {**USER, "requestId": "r-1", "reason": "asked"},
        {"team": "acme", "type": "task", "taskId": TASK},
        dates,
        {"team": "acme", "type": "team", "confirm": "acme"},
    ]

    drafts = [one.draft for one in world.take("a.json", values)]

    assert [draft.scope for draft in drafts] == [
        ByUser(user_id="u-1"),
        ByTask(task_id=TASK),
        ByDates(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 2, 0, 0, 0, 500_000, tzinfo=UTC)),
        ByTeam(),
    ]
    assert {(draft.channel, draft.received_at, draft.asked_by) for draft in drafts} == {
        (Channel.FILE, NOW - timedelta(seconds=60), getpass.getuser())
    }
    assert (drafts[0].idempotency_key, drafts[0].reason, drafts[1].idempotency_key) == ("r-1", "asked", None)
    assert list(world.root.glob("*")) == [world.root / ".claimed"]


@pytest.mark.parametrize(
    ("name", "content"),
    {
        "an object": ("a.json", USER),
        "an array": ("a.json", [USER]),
        "lines": ("a.ndjson", json.dumps(USER).encode() + b"\r\n\n"),
        "lines with a mark": ("a.jsonl", b"\xef\xbb\xbf" + json.dumps(USER).encode()),
        "a sheet": ("a.csv", b"team,type,userId,from\r\nacme,user,u-1,\r\n"),
    }.values(),
)
def test_every_format_is_read(world, name, content):
    [found] = world.take(name, content)

    assert found.draft.scope == ByUser(user_id="u-1")


def test_refusals_are_written_beside_without_values(world):
    content = [USER, {**USER, "userId": "zqzq-canary", "zqzq": 1}, {**USER, "type": "zqzq"}]

    world.take("ask.json", content)

    path = world.root / "ask.json.refused.json"
    text = json.loads(path.read_text())
    assert [(one["position"], one["code"]) for one in text["refused"]] == [(2, "unknown-field"), (3, "unknown-type")]
    assert set(text["refused"][0]) == {"position", "code", "reason", "remedy"}
    assert "zqzq" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert world.inbox.waiting() == []
    assert list((world.root / ".claimed").iterdir()) == []


def test_a_refusal_replaces_none_of_an_earlier_file_of_the_same_name(world):
    for kind in ("first", "second", "third"):
        world.take("ask.json", {**USER, kind: 1} if kind != "second" else {**USER, "type": "zqzq"})

    told = {path.name: json.loads(path.read_text())["refused"][0]["code"] for path in world.root.glob("*.refused.json")}
    assert told == {
        "ask.json.refused.json": "unknown-field",
        "ask.json.2.refused.json": "unknown-type",
        "ask.json.3.refused.json": "unknown-field",
    }
    assert world.inbox.refusals() == 3
    assert world.inbox.waiting() == []


def test_an_inbox_that_is_not_there_holds_nothing(world):
    world.root.rmdir()

    assert (world.inbox.waiting(), world.inbox.refusals(), list(world.inbox.passed_over())) == ([], 0, [])


def test_a_link_of_a_refusals_name_is_not_followed(world, tmp_path):
    (tmp_path / "elsewhere").write_text("kept")
    (world.root / "ask.json.refused.json").symlink_to(tmp_path / "elsewhere")

    world.take("ask.json", {**USER, "more": 1})

    assert (tmp_path / "elsewhere").read_text() == "kept"
    assert (world.root / "ask.json.2.refused.json").is_file()


def test_a_refusal_by_the_flow_is_written_too(world):
    world.drop("ask.json", USER)

    with next(world.inbox.claim(NOBODY)) as file:
        file.entries()
        file.finish(
            [
                (1, TeamUnknown("no team has this name")),
                (2, RequestIdReused("it was used", remedy="Use another.")),
            ]
        )

    one, two = json.loads((world.root / "ask.json.refused.json").read_text())["refused"]
    assert (one["code"], one["reason"], one["remedy"]) == ("team-unknown", "no team has this name", TeamUnknown.remedy)
    assert (two["code"], two["reason"], two["remedy"]) == ("request-id-reused", "it was used", "Use another.")


UNREADABLE = {
    "no JSON": ("a.json", b"zqzq{", "not-json"),
    "no JSON line": ("a.ndjson", b"zqzq\nzqzq", "not-json"),
    "no UTF-8": ("a.json", b'"\xff"', "not-json"),
    "nested without end": ("a.json", b"[" * 100_000, "not-json"),
    "no number": ("a.json", b"NaN", "not-json"),
    "nothing": ("a.json", b"[]", "no-entries"),
    "no line": ("a.jsonl", b"\n", "no-entries"),
    "too large": ("a.json", b" " * (16 * 1024 * 1024 + 1), "too-large"),
    "too many": ("a.json", b"[" + b"1," * 100_000 + b"1]", "too-many-entries"),
    "a sheet with a column of another": ("a.csv", b"team,type,colour\n", "unknown-field"),
    "a sheet of semicolons": ("a.csv", b"team;type;userId\nacme;user;u-1\n", "not-commas"),
    "a sheet of tabs": ("a.csv", b"team\ttype\tuserId\n", "not-commas"),
    "a sheet without teams": ("a.csv", b"type,userId\n", "missing-field"),
    "a sheet with a column twice": ("a.csv", b"team,type,type\n", "duplicate-field"),
    "a sheet whose header is cut short": ("a.csv", b'team,type,"userId\nacme,user,u', "not-csv"),
}


@pytest.mark.parametrize(("name", "content", "code"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_sealed_away_and_named(world, name, content, code):
    [found] = world.take(name, content)

    text = json.loads((world.root / f"{name}.refused.json").read_text())
    assert (found.draft.code, text["refused"][0]["code"]) == (code, code)
    assert b"".join(world.aside.open(text["setAside"])) == content


def test_a_bad_line_a_repeated_field_and_a_ragged_row_are_refused_alone(world):
    lines = b'{"team":"acme","type":"user","userId":"a","userId":"b"}\nnope\n' + json.dumps(USER).encode()
    sheet = b"team,type,userId\nacme,user\nacme,user,u-1\n"

    first, second = world.take("a.jsonl", lines), world.take("b.csv", sheet)

    assert [(one.position, getattr(one.draft, "code", None)) for one in first] == [
        (1, "duplicate-field"),
        (2, "not-json"),
        (3, None),
    ]
    assert [(one.position, getattr(one.draft, "code", None)) for one in second] == [(2, "wrong-cell-count"), (3, None)]


def test_links_pipes_reports_and_young_files_are_left_alone(world, tmp_path):
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps(USER))
    os.utime(outside, (0, 0))
    (world.root / "link.json").symlink_to(outside)
    os.mkfifo(world.root / "pipe.json")
    world.drop("a.json.refused.json", {})
    world.drop("young.json", USER, age=1)
    world.drop(".hidden.json", USER)
    world.drop("zipped.json.bz2", USER)

    assert world.inbox.waiting() == []
    assert list(world.inbox.claim(NOBODY)) == []


def test_a_request_file_not_finished_is_put_back(world):
    world.drop("a.json", USER)

    with next(world.inbox.claim(NOBODY)) as file:
        file.entries()
        assert world.inbox.waiting() == []

    assert world.inbox.waiting() == [PurePath("a.json")]
