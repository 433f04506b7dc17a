"""The landing folder and the files set aside: nothing lost, nothing taken twice, no link followed."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from support.claiming import NOBODY
from support.set_aside import KeysInMemory

from implio_pipeline.domain.errors import FileMissing, FileTampered, LandingInvalid
from implio_pipeline.domain.ids import TeamId, UserKey
from implio_pipeline.formats.limits import LandingLimits, LandingPolicy
from implio_pipeline.ports.exports import Origin
from implio_pipeline.ports.landing import WaitingFiles
from implio_pipeline.stores import watched
from implio_pipeline.stores.keys.sealer import OVERHEAD_BYTES
from implio_pipeline.stores.landing.zone import LandingFolder
from implio_pipeline.stores.objects.folder import ObjectFolder
from implio_pipeline.stores.set_aside import CHUNK_BYTES, SetAside

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOOD, BAD = {"id": "1", "content": {}, "user": {"id": "u"}}, {"id": 7, "content": {"body": "zqzq-canary"}}
TEAM = TeamId("acme")
FEW_REPORTED = LandingLimits(max_reported=3)


class StoppedClock:
    def __init__(self):
        self.at = NOW

    def now(self):
        return self.at


class KnownKeys:
    def user_key(self, team, user_id):
        return UserKey(f"{team}/{user_id}".encode().ljust(16, b".")[:16])

    def pseudonym(self, team, text):
        return sha256(f"{team}/{text}".encode()).hexdigest()[:32]

    def user_key_maker(self, team):
        return lambda user_id: self.user_key(team, user_id)


class World:
    def __init__(self, path, limits=FEW_REPORTED, **policy):
        self.root = path / "landing"
        self.team = self.root / TEAM
        self.team.mkdir(parents=True)
        self.clock = StoppedClock()
        self.aside = SetAside(ObjectFolder(path / "aside"), KeysInMemory(), self.clock)
        self.limits = limits
        self.zone = LandingFolder(
            self.root, KnownKeys(), self.aside, clock=self.clock, limits=self.limits, policy=LandingPolicy(**policy)
        )

    def land(self, name, *values, age=60.0):
        path = self.team / name
        path.write_text("\n".join(map(json.dumps, values)))
        os.utime(path, (0, NOW.timestamp() - age))
        return path

    def left(self):
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def take(file):
    pieces = list(file.pieces())
    return [row for one in pieces for row in one.items.to_pylist()], [entry for one in pieces for entry in one.report]


def test_a_file_is_taken_and_its_plaintext_is_gone(world):
    world.land("items.ndjson", GOOD, GOOD)

    for claim in world.zone.claim(TEAM, NOBODY):
        with claim as file:
            rows, report = take(file)
            assert file.arrived_at == NOW - timedelta(seconds=60)
            assert len(file.digest()) == 32
            file.finish(report)

    assert [row["user_key"] for row in rows] == [b"acme/u".ljust(16, b".")] * 2
    assert {row["submitted_at"] for row in rows} == {NOW - timedelta(seconds=60)}
    assert world.left() == []
    assert world.zone.waiting() == {}


def test_waiting_tells_the_days_of_arrival_the_files_and_their_size_by_team(world):
    world.land("a.json", GOOD)
    world.land("b.json", GOOD, age=86_400)
    world.land("c.json", GOOD, age=86_401)

    days = (date(2026, 11, 22), date(2026, 11, 23))
    size = sum(path.stat().st_size for path in world.team.iterdir())
    assert world.zone.waiting() == {TEAM: WaitingFiles(days=days, files=3, size_bytes=size)}


def test_a_report_names_positions_and_errors_but_no_value(world):
    world.land("items.jsonl", GOOD, BAD, BAD, BAD, BAD)

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        _, report = take(file)
        digest = file.digest()
        file.finish(report)

    path = world.team / ".rejected" / f"{digest[:16]}.json"
    text = json.loads(path.read_text())
    assert (text["accepted"], text["rejectedTotal"], text["rejectedListed"]) == (1, 4, 3)
    assert [one["position"] for one in text["rejected"]] == [2, 3, 4]
    assert path.stat().st_mode & 0o777 == 0o600
    assert "zqzq" not in path.read_text()
    assert world.zone.waiting() == {}


def test_a_report_counts_unknown_properties_by_name_without_a_value(world):
    ad = {"content": {"images": [{"src": "s", "alt": "zqzq"}, {"src": "r", "alt": "zqzq"}]}, "user": {"level": "zqzq"}}
    world.land("a.ndjson", *[ad | {"id": str(number)} for number in range(3)], {"id": "x", "content": {}})

    for claimed in world.zone.claim(TEAM, NOBODY):
        with claimed as file:
            (piece,) = file.pieces()
            file.finish(piece.report)

    (path,) = (world.team / ".rejected").iterdir()
    assert (piece.items.num_rows, piece.with_unknown, piece.report) == (4, 3, ())
    assert json.loads(path.read_text())["unknownProperties"] == {"/content/images/*/alt": 3, "/user/level": 3}
    assert "zqzq" not in path.read_text()


def test_a_report_is_never_written_through_a_link(world, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (world.team / ".rejected").symlink_to(elsewhere)
    world.land("items.jsonl", GOOD, BAD)

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        file.finish(take(file)[1])

    assert list(elsewhere.iterdir()) == []
    assert len(list((world.team / ".rejected").iterdir())) == 1


def test_what_is_not_a_settled_plain_file_of_a_known_kind_is_left_alone(world, tmp_path):
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    os.utime(outside, (0, 0))
    (world.team / "link.json").symlink_to(outside)
    os.mkfifo(world.team / "pipe.json")
    (world.team / "folder.json").mkdir()
    (world.root / "linked").symlink_to(world.team)
    (world.root / "No Team").mkdir()
    for name in (".hidden.json", "a.json.part", "b.tmp", "c.crdownload", "d.txt", "e.gz"):
        world.land(name, GOOD)
    world.land("young.json", GOOD, age=1)

    assert world.zone.waiting() == {}
    assert list(world.zone.claim(TEAM, NOBODY)) == []
    assert list(world.zone.claim(TeamId("linked"), NOBODY)) == []


def test_a_file_dated_far_ahead_is_taken_as_of_now(world):
    world.land("ahead.json", GOOD, age=-999_999)

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        assert file.arrived_at == NOW


def test_items_dated_after_their_file_but_before_its_claim_come_in(world):
    """File systems date files by a coarser clock than senders date items, up to 10 ms behind."""
    between, after = (NOW + timedelta(seconds=seconds) for seconds in (-59, 1))
    world.land("coarse.ndjson", *(GOOD | {"submittedAt": at.isoformat()} for at in (between, NOW, after)), GOOD)

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        rows, report = take(file)

    assert [row["submitted_at"] for row in rows] == [between, NOW, NOW - timedelta(seconds=60)]
    assert [entry["position"] for entry in report] == [3]


@pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="no leases here")
def test_a_file_that_somebody_has_open_for_writing_is_left_alone(world):
    path = world.land("a.json", GOOD)

    with path.open("a"):
        assert world.zone.waiting() == {}

    assert TEAM in world.zone.waiting()


def test_a_file_is_claimed_once(world):
    world.land("a.json", GOOD)

    with next(world.zone.claim(TEAM, NOBODY)):
        assert world.zone.waiting() == {}
        assert list(world.zone.claim(TEAM, NOBODY)) == []


def test_worker_processes_read_a_claimed_file_by_themselves_and_count_its_lines(tmp_path):
    world = World(tmp_path, limits=LandingLimits(chunk_bytes=100, piece_bytes=1, parallel_from_bytes=0))
    world.land("a.ndjson", *([GOOD] * 9), BAD, *([GOOD] * 9), BAD)

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        rows, report = take(file)
        file.finish(report)
    world.zone.close()

    assert (len(rows), [one["position"] for one in report]) == (18, [10, 20])
    assert world.zone.waiting() == {}


def test_a_file_put_back_while_processes_read_it_leaves_no_descriptor_open(tmp_path):
    world = World(tmp_path, limits=LandingLimits(chunk_bytes=100, piece_bytes=1, parallel_from_bytes=0))
    world.land("a.ndjson", *([GOOD] * 90))
    lies = len(list(Path("/proc/self/fd").iterdir()))

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        pieces = file.pieces()
        next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    world.zone.close()

    assert world.left() == ["acme/a.ndjson"]
    assert len(list(Path("/proc/self/fd").iterdir())) == lies


def test_a_file_not_finished_is_put_back_under_its_name(world):
    world.land("a.json", GOOD)

    with pytest.raises(ZeroDivisionError), next(world.zone.claim(TEAM, NOBODY)):
        raise ZeroDivisionError

    assert world.left() == ["acme/a.json"]


def test_a_file_put_back_never_replaces_one_that_has_come_meanwhile(world):
    world.land("a.json", GOOD)

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        world.land("a.json", BAD)
        file.release()

    assert len(world.left()) == 2
    assert json.loads((world.team / "a.json").read_text()) == BAD


def test_a_file_claimed_by_a_process_that_died_is_offered_again(world):
    world.land("a.json", GOOD)
    program = (
        "import os, sys; sys.path[:0] = sys.argv[2:]; from test_landing_zone import *\n"
        "w = World.__new__(World); root = Path(sys.argv[1])\n"
        "zone = LandingFolder(root, KnownKeys(), None, clock=StoppedClock())\n"
        "claim = next(zone.claim(TEAM, NOBODY)).__enter__(); os._exit(9)"
    )

    code = subprocess.run(
        [sys.executable, "-c", program, str(world.root), *map(str, Path(__file__).parents[:2])],
        check=False,
    ).returncode

    assert code == 9
    assert world.left()[0].startswith(".claimed/acme/")
    assert TEAM in world.zone.waiting()
    with next(world.zone.claim(TEAM, NOBODY)) as file:
        rows, report = take(file)
        file.finish(report)
    assert len(rows) == 1
    assert world.left() == []


def test_a_file_written_to_while_it_is_read_is_refused(world):
    world.land("a.ndjson", GOOD)

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        [path] = (world.root / ".claimed" / TEAM).iterdir()
        with path.open("a") as late:
            late.write("\n{}")
        with pytest.raises(LandingInvalid):
            take(file)


def test_a_policy_may_archive_what_was_taken(tmp_path):
    world = World(tmp_path, archive=tmp_path / "archive")
    world.land("a.json", GOOD)

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        file.finish(take(file)[1])

    assert world.left() == []
    assert len(list((tmp_path / "archive" / TEAM).iterdir())) == 1


def test_a_file_set_aside_is_sealed_and_can_be_opened_again(world, tmp_path):
    content = world.land("a.json", "zqzq-canary").read_bytes()

    with next(world.zone.claim(TEAM, NOBODY)) as file:
        with pytest.raises(LandingInvalid):
            take(file)
        file.set_aside("landing-invalid: no array")

    [sealed] = world.aside.list()
    assert (sealed.origin, sealed.team, sealed.code, sealed.reason) == (
        Origin.LANDING,
        TEAM,
        "landing-invalid",
        "no array",
    )
    assert b"".join(world.aside.open(sealed.id)) == content
    assert world.left() == []
    for path in (tmp_path / "aside").iterdir():
        assert b"zqzq" not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 5_000_000])
def test_what_is_sealed_comes_back_whole(world, size):
    content = os.urandom(size)

    sealed = world.aside.seal(
        [content[:7], content[7:]], origin=Origin.REQUEST, team=None, code="not-json", reason="It is not JSON."
    )

    assert b"".join(world.aside.open(sealed)) == content
    assert world.aside.list()[0].size_bytes == size


def test_a_sealed_file_that_was_altered_is_refused(world, tmp_path):
    sealed = world.aside.seal([bytes(3 * CHUNK_BYTES)], origin=Origin.REQUEST, team=None, code="c", reason="r")
    path = tmp_path / "aside" / f"{sealed}.sealed"
    whole, step = path.read_bytes(), CHUNK_BYTES + OVERHEAD_BYTES
    swapped = whole[step : 2 * step] + whole[:step] + whole[2 * step :]

    for altered in (whole[:-step], whole[:-1], whole + b"x", swapped, bytes([whole[0] ^ 1]) + whole[1:], b""):
        path.write_bytes(altered)
        with pytest.raises(FileTampered):
            list(world.aside.open(sealed))


def test_sealed_files_are_discarded_one_by_one_or_by_age(world, tmp_path):
    first = world.aside.seal([b"1"], origin=Origin.REQUEST, team=None, code="c", reason="r")
    world.clock.at += timedelta(days=2)
    second = world.aside.seal([b"2"], origin=Origin.REQUEST, team=None, code="c", reason="r")
    remains = tmp_path / "aside" / f"{'0' * 32}.sealed"
    remains.write_bytes(b"")
    os.utime(remains, (0, 0))

    assert world.aside.expire(NOW + timedelta(days=1)) == (first,)
    assert [one.id for one in world.aside.list()] == [second]
    assert not remains.exists()
    world.aside.discard(second)
    world.aside.discard(second)
    assert list((tmp_path / "aside").iterdir()) == []


def test_folders_that_are_almost_a_teams_are_named_with_the_team_meant(world):
    for name in ("Ads", "ads ", "\uff41ds", "adz", "ads"):
        (world.root / name).mkdir(exist_ok=True)
    for name in ("~$items.csv", "Thumbs.db", "desktop.ini", ".DS_Store", "items.csv.crdownload", "ITEMS.CSV.PART"):
        (world.root / "ads" / name).write_text("x")

    assert dict(world.zone.misnamed([TeamId("ads")])) == {"Ads": "ads", "ads ": "ads", "\uff41ds": "ads"}
    assert set(world.zone.passed_over()) == {"Ads", "ads ", "\uff41ds"}


def _put_back(claim):
    with claim:
        return claim.mark


@pytest.mark.parametrize("place", ["opened", "claimed"])
def test_a_file_that_cannot_be_looked_at_or_claimed_hides_no_other_and_fails_alone(world, monkeypatch, place):
    # given three files, one of which the disk refuses
    (world.root / "ads").mkdir(exist_ok=True)
    for name in ("a.ndjson", "bad.ndjson", "c.ndjson"):
        path = world.root / "ads" / name
        path.write_text("{}")
        os.utime(path, (NOW.timestamp() - 60,) * 2)
    owner, name = (watched, "open_plain") if place == "opened" else (os, "rename")
    real = getattr(owner, name)

    def refused(name, *rest, **known):
        if name == "bad.ndjson":
            raise OSError(errno.EIO, "Input/output error")
        return real(name, *rest, **known)

    monkeypatch.setattr(owner, name, refused)

    # when they are claimed
    claims, bad = list(world.zone.claim(TeamId("ads"), NOBODY)), []
    for claim in claims:
        try:
            with claim as file:
                assert file.size_bytes == 2
        except OSError:
            bad.append(claim)

    # then all come, and the bad one raises when it is entered; it has a mark by which it is left alone, and waits still
    assert (len(claims), len(bad)) == (3, 1)
    assert "bad" not in bad[0].words
    assert bad[0].mark not in [_put_back(claim) for claim in world.zone.claim(TeamId("ads"), NOBODY, but={bad[0].mark})]
    marks = {claim.mark for claim in claims}
    assert world.zone.waiting(but=marks) == {}
    assert world.zone.has(TeamId("ads"), marks | {"gone"}) == marks
    assert world.zone.waiting() != {}


def test_the_mark_of_a_file_is_the_same_after_it_was_put_back_and_another_once_it_was_written_to(world):
    (world.root / "ads").mkdir(exist_ok=True)
    path = world.root / "ads" / "a.ndjson"
    path.write_text("{}")
    os.utime(path, (NOW.timestamp() - 60,) * 2)
    marks = []
    for content in ("{}", None, "{ }"):
        if content is not None:
            path.write_text(content)
            os.utime(path, (NOW.timestamp() - 60,) * 2)
        with next(world.zone.claim(TeamId("ads"), NOBODY)) as file:
            marks.append(file.mark)

    assert marks[0] == marks[1] != marks[2]


def test_a_file_that_may_not_be_read_is_counted_among_what_is_never_taken(world, monkeypatch):
    (world.root / "ads").mkdir(exist_ok=True)
    for name in ("open.ndjson", "closed.ndjson"):
        (world.root / "ads" / name).write_text("{}")
    assert list(world.zone.passed_over()) == []

    # whoever runs the tests may be root, who may read everything
    monkeypatch.setattr(os, "access", lambda name, *_, **__: name != "closed.ndjson")

    assert list(world.zone.passed_over()) == ["ads/closed.ndjson"]


def test_a_file_that_is_discarded_while_files_are_listed_is_passed_over(world, tmp_path):
    kept = world.aside.seal([b"x"], origin=Origin.LANDING, team=TeamId("acme"), code="c", reason="r")
    (tmp_path / "aside" / f"{'a' * 32}.json").symlink_to("gone")  # what a listing sees of a file unlinked since
    (tmp_path / "aside" / "notes.json").write_text("{}")

    assert [one.id for one in world.aside.list()] == [kept]


def test_folders_that_are_not_there_hold_nothing(world):
    shutil.rmtree(world.root)

    assert (dict(world.zone.waiting()), list(world.zone.passed_over())) == ({}, [])


@pytest.mark.parametrize("identifier", ["", "../../etc/passwd", "0" * 32])
def test_an_unknown_id_opens_nothing(world, identifier):
    with pytest.raises(FileMissing):
        list(world.aside.open(identifier))
    world.aside.discard(identifier)
