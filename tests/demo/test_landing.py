"""What the demo writes is believable, counted right, and about nobody who exists."""

import csv
import gzip
import io
import json
import re
import stat
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from implio_pipeline.demo.landing import CSV_COLUMNS, write_landing
from implio_pipeline.demo.plan import COUNTED, DemoPlan, LandingFile, SheetKind
from implio_pipeline.demo.requests import REQUEST_COLUMNS, write_requests

UNTIL = date(2026, 4, 1)
DAYS = 40
ITEMS = 3_000


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DemoPlan:
    return write_landing(tmp_path_factory.mktemp("landing"), until=UNTIL, days=DAYS, items=ITEMS, seed=5)


def plain(file: LandingFile) -> str:
    content = file.path.read_bytes()
    return (gzip.decompress(content) if file.path.suffix == ".gz" else content).decode()


def items_in(file: LandingFile) -> list[dict]:
    name = file.path.name.removesuffix(".gz").removesuffix(".part")
    if name.endswith(".csv"):
        return [nested(row) for row in csv.DictReader(io.StringIO(plain(file), newline=""))]
    if name.endswith(".json"):
        return json.loads(plain(file))
    return [json.loads(line) for line in plain(file).splitlines()]


def nested(row: dict[str, str]) -> dict:
    item: dict = {}
    for column, cell in row.items():
        if cell:
            *folders, leaf = column.split(".")
            here = item
            for folder in folders:
                here = here.setdefault(folder, {})
            here[leaf] = json.loads(cell) if cell.startswith("[") else cell
    return item


def is_good(item: dict) -> bool:
    price = item["content"].get("price", {"currency": ""})
    return (
        "id" in item
        and isinstance(item["content"]["title"], str)
        and "currency" in price
        and not isinstance(item["content"].get("images"), str)
    )


def of_kind(plan: DemoPlan, kind: SheetKind) -> list[LandingFile]:
    return [file for file in plan.files if file.kind is kind]


def good_with_days(plan: DemoPlan, team: str) -> list[tuple[dict, date]]:
    found = []
    for file in plan.files:
        if file.team == team and file.kind in COUNTED:
            found += [
                (item, datetime.fromisoformat(item["submittedAt"]).astimezone(UTC).date())
                for item in filter(is_good, items_in(file))
            ]
    return found


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path, plan):
    again = write_landing(tmp_path / "again", until=UNTIL, days=DAYS, items=ITEMS, seed=5)
    other = write_landing(tmp_path / "other", until=UNTIL, days=DAYS, items=ITEMS, seed=6)

    first = [file.path.read_bytes() for file in plan.files]

    assert first == [file.path.read_bytes() for file in again.files]
    assert first != [file.path.read_bytes() for file in other.files]


def test_the_plan_counts_what_the_files_hold(plan):
    for team in plan.teams:
        good = good_with_days(plan, team.team)
        counted = [file for file in plan.files if file.team == team.team and file.kind in COUNTED]
        read = [item for file in counted for item in items_in(file)]

        assert len(good) == team.good
        assert len(read) - len(good) == team.bad > 0
        assert sum("user" not in item for item, _ in good) == team.guests
        assert sum("result" not in item for item, _ in good) == team.waiting
        assert team.good - len({item["id"] for item, _ in good}) == team.revisions > 0
    assert plan.good == ITEMS


def test_every_file_knows_its_own_counts(plan):
    for file in plan.files:
        if file.kind is not SheetKind.UNREADABLE:
            items = items_in(file)
            assert (file.good, file.good + file.bad) == (sum(map(is_good, items)), len(items))


def test_the_picks_are_as_many_items_and_days_as_the_plan_says(plan):
    for team in plan.teams:
        good = good_with_days(plan, team.team)
        for pick in (team.busy, team.light):
            days = [day for item, day in good if item.get("user", {}).get("id") == pick.user_id]
            assert (len(days), len(set(days))) == (pick.items, pick.days)
        assert sum(team.span.since <= day < team.span.until for _, day in good) == team.span.items > 0
        assert (team.light.items, team.light.days) == (3, 3)
        assert team.busy.items >= 50
        assert team.busy.days > DAYS // 2


def test_the_picked_users_are_in_no_file_that_does_not_count(plan):
    users = {user.user_id for team in plan.teams for user in (team.busy, team.light)}

    for file in plan.files:
        if file.kind not in COUNTED:
            assert not any(f'"{user}"' in plain(file) for user in users)


def test_every_day_has_items_and_a_file_is_as_old_as_its_day(plan):
    for team in plan.teams:
        days = {day for _, day in good_with_days(plan, team.team)}
        assert days == {UNTIL - timedelta(days=back) for back in range(1, DAYS + 1)}
    for file in of_kind(plan, SheetKind.DAY):
        modified = datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
        assert f"{modified:%Y-%m-%d}" in file.path.name


def test_most_days_are_arrays_as_post_takes_them_and_every_format_is_there(plan):
    for team in plan.teams:
        names = [file.path.name for file in of_kind(plan, SheetKind.DAY) if file.team == team.team]
        formats = Counter(name.partition(".")[2] for name in names)

        assert set(formats) == {"json", "ndjson", "jsonl.gz", "csv", "json.gz"}
        assert formats["json"] > len(names) / 2


def test_every_counted_item_says_when_it_was_submitted_since_a_new_team_s_old_files_are_not_believed(plan):
    for file in plan.files:
        if file.kind in COUNTED:
            sent = datetime.fromtimestamp(file.path.stat().st_mtime, UTC).date()
            said = [datetime.fromisoformat(item["submittedAt"]).date() for item in filter(is_good, items_in(file))]
            assert said
            assert file.kind is SheetKind.BACKFILL or set(said) == {sent}


def test_the_backfill_is_the_largest_file_and_spreads_over_the_oldest_days(plan):
    for file in of_kind(plan, SheetKind.BACKFILL):
        days = {datetime.fromisoformat(item["submittedAt"]).astimezone(UTC).date() for item in items_in(file)}

        assert days == {plan.since + timedelta(days=day) for day in range(len(days))}
        assert len(days) >= 2
        assert file.good == max(each.good for each in plan.files if each.team == file.team)


def test_accidents_are_there_once_a_team(plan):
    for kind in (SheetKind.RESENT, SheetKind.UNREADABLE, SheetKind.UNFINISHED):
        assert [file.team for file in of_kind(plan, kind)] == [team.team for team in plan.teams]
    for file in of_kind(plan, SheetKind.UNREADABLE):
        with pytest.raises(json.JSONDecodeError):
            json.loads(plain(file))
    for file in of_kind(plan, SheetKind.UNFINISHED):
        assert file.path.suffix == ".part"
    days = {file.path.read_bytes() for file in of_kind(plan, SheetKind.DAY)}
    for file in of_kind(plan, SheetKind.RESENT):
        assert file.path.read_bytes() in days


def test_files_are_private_and_no_half_written_one_is_left(plan):
    found = sorted(path for path in plan.root.rglob("*") if path.is_file())

    assert found == sorted(file.path for file in plan.files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_nobody_in_it_can_exist(plan):
    text = "".join(plain(file) for file in plan.files)

    assert set(re.findall(r"@([\w.-]+\w)", text)) <= {"example.com", "example.org", "example.net"}
    assert all(re.fullmatch(r"\+1-\d{3}-555-01\d\d", phone) for phone in re.findall(r"\+\d[\d -]{6,}\d", text))
    assert set(re.findall(r"\b(\d+\.\d+\.\d+)\.\d+\b", text.replace("Chrome/126.0 ", ""))) == {
        "192.0.2",
        "198.51.100",
        "203.0.113",
    }


def test_adverts_read_like_adverts(plan):
    items = [item for team in plan.teams for item, _ in good_with_days(plan, team.team)]
    firsts = [item["content"] for item in items if item["content"].get("status") == "new"]

    assert all(230 <= len(content["body"]) <= 680 for content in firsts)
    assert not any(set("{}|") & set(content["title"] + content["body"]) for content in firsts)
    assert {content["languageExpected"] for content in firsts} == {"de", "en", "fr", "sv"}


def test_shares_are_as_on_a_real_marketplace(plan):
    items = [item for team in plan.teams for item, _ in good_with_days(plan, team.team)]
    outcomes = Counter(item.get("result", {}).get("outcome") for item in items)
    per_user = Counter(item["user"]["id"] for item in items if "user" in item).values()

    assert set(outcomes) == {None, "approved", "refused", "no decision"}
    assert 0.09 < outcomes[None] / len(items) < 0.15
    assert 0.04 < sum("user" not in item for item in items) / len(items) < 0.06
    assert sum(count <= 3 for count in per_user) > 0.7 * len(per_user)
    assert max(per_user) >= 50


def test_csv_columns_are_named_like_json_paths(plan):
    file = next(file for file in plan.files if file.path.suffix == ".csv")

    header = plain(file).partition("\n")[0]

    assert header == ",".join(CSV_COLUMNS)
    assert isinstance(next(item for item in items_in(file) if "user" in item)["user"]["emailAddresses"], list)


def test_too_few_days_or_items_are_refused_with_the_number_needed(tmp_path):
    with pytest.raises(ValueError, match="at least 14 days"):
        write_landing(tmp_path, until=UNTIL, days=3)
    with pytest.raises(ValueError, match="so 100, not 50"):
        write_landing(tmp_path, until=UNTIL, days=20, items=100)


def test_the_shortest_demo_has_every_kind_of_file(tmp_path):
    shortest = write_landing(tmp_path, until=UNTIL, days=14, items=140)

    assert {file.kind for file in shortest.files} == set(SheetKind)
    assert shortest.good == 140


def test_repr_of_a_plan_tells_no_user(plan):
    assert not any(f"{team.busy.user_id}'" in repr(plan) or team.busy.email in repr(plan) for team in plan.teams)


def test_requests_of_all_kinds_in_all_formats_are_dropped(tmp_path, plan):
    tasks = {"acme": ["6f0c0f5e-0000-4000-8000-000000000001"]}

    files = write_requests(tmp_path, plan, task_ids=tasks, leaving="globex")

    asks = [ask for file in files if not file.is_bad for ask in asks_in(file.path)]
    assert Counter(ask["type"] for ask in asks) == {"user": 4, "task": 1, "dates": 2, "team": 1}
    assert all(set(ask) <= set(REQUEST_COLUMNS) for ask in asks)
    assert [file.asks for file in files] == [len(asks_in(file.path)) for file in files]
    assert sorted(tmp_path.iterdir()) == [file.path for file in files]


def test_two_requests_are_bad_an_unknown_team_and_inverted_dates(tmp_path, plan):
    files = write_requests(tmp_path, plan, task_ids={}, leaving=None)

    unknown, inverted = (asks_in(file.path)[0] for file in files if file.is_bad)

    assert unknown["team"] not in {team.team for team in plan.teams}
    assert inverted["from"] > inverted["to"]


def asks_in(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(path.read_text(), newline=""))
        return [{column: cell for column, cell in row.items() if cell} for row in rows]
    if path.suffix == ".ndjson":
        return [json.loads(line) for line in path.read_text().splitlines()]
    asked = json.loads(path.read_text())
    return asked if isinstance(asked, list) else [asked]
