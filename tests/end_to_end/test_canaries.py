"""A full cycle with canaries in every place a person may be named; afterwards no byte of the home knows them.

The clock is real where files are watched, so landing files are dated back rather than waited for.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.catalogs import ON_POSTGRESQL, copy_home, octets_of
from support.changed import changed
from support.clock import StillClock
from support.grants import let_read
from support.moderation import feed
from support.serving import serving
from typer.testing import CliRunner

from implio_pipeline import open_lake, wiring
from implio_pipeline.cli import app
from implio_pipeline.domain.errors import QueryRefused
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import Channel, ColumnClass, FileKind, Region, TeamId
from implio_pipeline.domain.moderation import Approve, Move, Refuse
from implio_pipeline.domain.request import Request, RequestDraft
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.clock import confirm_clock
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.deletion.take_requests import take_requests
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.flows.moderation.decide import decide
from implio_pipeline.flows.moderation.webhooks import allow_hosts, set_callback
from implio_pipeline.flows.operations.audit import survivors
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.stores.webhook_client import HttpWebhookClient

ADS = TeamId("ads")
SUBMITTED = datetime(2025, 6, 1, 12, tzinfo=UTC)
CANARIES = {
    "user": "canary-user-7f3a91",
    "name": "Canary-Name-Quetzal",
    "e-mail": "canary.mail.5512@example.org",
    "phone": "+4670canary0001",
    "title": "canary-title-heliotrope",
    "body": "canary-body-" + "zephyr" * 40,
    "item": "canary-item-2207",
    "address": "203.0.113.77",
    "custom": "canary-custom-iban",
    "asker": "canary-asker-dpo",
    "reason": "canary-reason-art17",
    "key": "canary-idempotency",
    "verdict": "canary-verdict-obscene",
    "feedback": "canary-feedback-sorry",
    "note": "canary-note-she-called-again",
    "moderator": "canary.moderator@example.org",
    "callback": "canary-callback-path",
}
KINDS = ["user", "task", "dates", "team", "retention"]


def an_ad(number: int, *, is_canary: bool) -> dict[str, Any]:
    value = CANARIES if is_canary else {name: f"other-{name}-{number}" for name in CANARIES}
    return {
        "id": f"{value['item']}-{number}",
        "submittedAt": (SUBMITTED if is_canary else SUBMITTED - timedelta(days=3)).isoformat(),
        "content": {
            "title": value["title"],
            "body": f"{value['body']} {number}",
            "customerSpecific": {"note": value["custom"]},
        },
        "user": {
            "id": value["user"],
            "name": value["name"],
            "emailAddresses": [value["e-mail"]],
            "phoneNumbers": [value["phone"]],
        },
        "location": {"ipAddress": value["address"]},
    }


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[wiring.OpenHome]:
    wiring.init_home(tmp_path / "home")
    with wiring.open_home(tmp_path / "home") as opened_at:
        # The team is older than its files, so that their dates are believed; the clock then goes on to now.
        add_team(changed(opened_at, clock=StillClock(SUBMITTED - timedelta(days=30))), ADS, region=Region("eu"))
        confirm_clock(opened_at)
        let_read(opened_at, ADS)
        yield opened_at


def land(opened: wiring.OpenHome, name: str, content: bytes) -> None:
    folder = opened.settings.home / "landing" / ADS
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    os.utime(folder / name, (SUBMITTED.timestamp() + 3600,) * 2)


def land_everything(opened: wiring.OpenHome) -> None:
    """Land good items and bad ones, as an array, as lines and as a sheet."""
    good = [an_ad(number, is_canary=True) for number in range(40)]
    others = [an_ad(number, is_canary=False) for number in range(40)]
    bad = an_ad(99, is_canary=True)
    bad["content"]["price"] = {"amount": "not a number"}
    land(opened, f"{CANARIES['user']}.json", json.dumps([*good, *others, bad]).encode())
    torn = f'{{"id": "x", "user": {{"id": "{CANARIES["user"]}"}}, "content": {{"title": "{CANARIES["title"]}'
    land(opened, "lines.ndjson", b"\n".join([json.dumps(an_ad(41, is_canary=True)).encode(), torn.encode()]))
    cells = f"{CANARIES['item']}-s,{SUBMITTED.isoformat()},{CANARIES['title']},b,{CANARIES['user']}"
    land(opened, "sheet.csv", f"id,submittedAt,content.title,content.body,user.id\n{cells}\n".encode())
    ingest(opened)


def moderate(opened: wiring.OpenHome, tasks: list[str]) -> None:
    """Decide on items, each with a note; settle some of the verdicts, and leave callbacks waiting."""
    allow_hosts(opened, ADS, ["127.0.0.1"])
    set_callback(opened, HttpWebhookClient(may_use_http=True), ADS, f"http://127.0.0.1/{CANARIES['callback']}")
    said = {"feedback": (CANARIES["feedback"],), "note": CANARIES["note"]}
    for number, task in enumerate(tasks[:12]):
        verdict = Refuse(reasons=(CANARIES["verdict"],), **said) if number % 2 else Approve(**said)
        decide(opened, ADS, task, verdict, by=CANARIES["moderator"])
        if number == 5:
            apply_decisions(opened)
    decide(opened, ADS, tasks[12], Move(queue="Escalated", note=CANARIES["note"]), by=CANARIES["moderator"])


def found_in(home: Path, canaries: dict[str, str]) -> dict[str, list[str]]:
    """Return the files whose name or content knows a canary, in any of the spellings bytes may have.

    The rows of a home's database are searched like a file.
    """
    found: dict[str, list[str]] = {}
    paths = sorted(home.rglob("*"))
    contents = {path.relative_to(home).as_posix(): path.read_bytes() if path.is_file() else b"" for path in paths}
    if ON_POSTGRESQL and (home / "implio.toml").exists():
        contents["the database"] = octets_of(home)
    for name, content in contents.items():
        for canary, text in canaries.items():
            spellings = [text.encode(), text.encode("utf-16-le"), text.encode().hex().encode()]
            if text in name or any(spelling in content for spelling in spellings):
                found.setdefault(canary, []).append(name)
    return found


def task_ids(home: Path) -> list[str]:
    with open_lake(home, team=ADS, classes=list(ColumnClass), purpose="audit") as lake:
        rows = lake.sql("select task_id from items where user_id = $user order by 1", {"user": CANARIES["user"]})
    return [task for (task,) in rows.fetchall()]


def ask(opened: wiring.OpenHome, *scopes: Scope) -> None:
    drafts = [
        RequestDraft(
            team=ADS,
            scope=scope,
            channel=Channel.PAGE,
            received_at=opened.clock.now(),
            idempotency_key=f"{CANARIES['key']}-{number}",
            asked_by=CANARIES["asker"],
            reason=CANARIES["reason"],
        )
        for number, scope in enumerate(scopes)
    ]
    assert all(isinstance(answer, Request) for answer in accept(opened, drafts))


def ask_by(opened: wiring.OpenHome, kind: str, tasks: list[str]) -> None:
    match kind:
        case "user":
            ask(opened, ByUser(user_id=CANARIES["user"]))
        case "task":
            with open_lake(opened.settings.home, team=ADS) as lake:
                rejected = [task for (task,) in lake.sql("select task_id from rejected").fetchall()]
            ask(opened, *(ByTask(task_id=task) for task in [*tasks, *rejected]))
        case "dates":
            ask(opened, ByDates(start=SUBMITTED, end=SUBMITTED + timedelta(days=1)))
        case "team":
            ask(opened, ByTeam())
        case _:
            age = (opened.clock.now().date() - SUBMITTED.date()).days
            opened.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=age - 1))
            retain(opened, today=opened.clock.now().date())


@pytest.mark.parametrize("kind", KINDS)
def test_after_an_erasure_no_byte_of_the_home_knows_whom_it_was_about(opened: wiring.OpenHome, kind: str) -> None:
    home = opened.settings.home
    land_everything(opened)
    tasks = task_ids(home)
    assert len(tasks) == 42
    moderate(opened, tasks)
    assert {seal.kind for seal in opened.catalog.teams.seals(ADS)} == {"decision", "note", "callback"}
    canaries = CANARIES | {f"task {number}": task for number, task in enumerate(tasks)}
    waiting = {"user", "name", "e-mail", "title", "body", "verdict", "feedback", "note", "moderator", "callback"}
    assert not found_in(home, {name: CANARIES[name] for name in waiting})

    ask_by(opened, kind, tasks)
    erase(opened)

    assert found_in(home, canaries) == {}
    assert [seal.kind for seal in opened.catalog.teams.seals(ADS)] == ["callback"]
    assert opened.catalog.moderation.traces(ADS) == []
    assert feed(opened).entries == ()
    assert survivors(opened) == {}
    assert opened.ledger.check() == []
    with open_lake(home, team=ADS, classes=list(ColumnClass), purpose="audit") as lake:
        ((left,),) = lake.sql("select count(*) from items").fetchall()
        ((rejected,),) = lake.sql("select count(*) from rejected").fetchall()
    assert left == (0 if kind in ("team", "retention") else 40)
    assert rejected == 0


@pytest.mark.parametrize("channel", ["cli", "inbox"])
def test_neither_channel_nor_failure_leaves_a_trace_in_home_temporary_folders_or_logs(
    opened: wiring.OpenHome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    channel: str,
) -> None:
    home, temporary = opened.settings.home, tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    land(opened, f"broken-{CANARIES['user']}.json", f'[{{"user": {{"id": "{CANARIES["user"]}"'.encode())
    land_everything(opened)
    near = an_ad(77, is_canary=False) | {"submittedAt": SUBMITTED.isoformat()}
    land(opened, "near.json", json.dumps([near]).encode())
    ingest(opened)
    compact(opened, rows_per_file=2500)  # so that a file is rewritten, not dropped unread
    (mixed,) = [each for each in opened.catalog.manifest.files() if each.low_key != each.high_key and _is_near(each)]
    file = home / "vault" / mixed.region / mixed.path
    # 1. A refusal; then a request whose erasure fails, since a file is not there.
    file.rename(tmp_path / "away")
    said = ""
    if channel == "cli":
        said += cli(home, "erase", "--team", CANARIES["name"], "--user", CANARIES["user"], exit_code=3)
        said += cli(home, "erase", "--team", "ads", "--user", "-", stdin=CANARIES["user"], exit_code=1)
    else:
        asked = {"team": "ads", "type": "user", "userId": CANARIES["user"], "reason": CANARIES["reason"]}
        dropped = home / "requests" / "inbox" / f"{CANARIES['user']}.json"
        dropped.write_text(json.dumps([asked, {**asked, "team": CANARIES["name"]}]))
        os.utime(dropped, (SUBMITTED.timestamp(),) * 2)
        assert take_requests(opened).refused == 1
        assert list(erase(opened).failed.values()) == ["file-missing"]
    file.parent.mkdir(exist_ok=True)  # a day's folder that is empty goes with the pass
    (tmp_path / "away").rename(file)
    # 2. The same once more, and it does not fail.
    said += cli(home, "erase", "--resume", exit_code=0)
    said += cli(home, "status", exit_code=5) if channel == "cli" else ""
    assert [request.state.value for request in opened.catalog.requests.all()] == ["completed"]
    # 3. What could not be read is kept sealed for some days, and then it is not.
    later = opened.clock.now() + timedelta(days=1)
    opened.set_aside.expire(later)
    landing_reports = 2  # of the broken file, and of the file with bad items
    assert opened.leftovers.expire_reports(before=later) == landing_reports + (channel == "inbox")
    housekeep(opened)

    assert found_in(home, CANARIES) == {}
    assert found_in(temporary, CANARIES) == {}
    out, err = capfd.readouterr()
    told = f"{said}{caplog.text}{out}{err}"
    assert [name for name, text in CANARIES.items() if text in told] == []


def test_what_comes_through_the_api_leaves_no_trace_once_it_is_erased(
    empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    copy_home(empty_home, home)
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    good = [without_instant(an_ad(number, is_canary=True)) for number in range(20)]
    others = [without_instant(an_ad(number, is_canary=False)) for number in range(20)]
    said = {"moderator": CANARIES["moderator"], "note": CANARIES["note"]}
    with serving(home, "--jobs") as server, server.client() as client:
        # 1. Items come in, bad ones are refused; what is no post at all is refused too.
        posted = client.post("/v1/ads", json=[*good, *others, good[0] | {"content": CANARIES["body"]}]).json()
        assert (len(posted["accepted"]), len(posted["rejected"])) == (40, 1)
        assert client.post("/v1/ads", json={"user": CANARIES["user"]}).status_code == 400
        assert client.post(f"/v1/ads?userId={CANARIES['user']}", json=[]).status_code == 400
        # 2. Moderators see some of them and decide.
        shown = client.post("/v1/queues/Default/next", json={"moderator": CANARIES["moderator"]}).json()["items"]
        refusal = said | {"outcome": "refused", "reasons": [CANARIES["verdict"]], "feedback": [CANARIES["feedback"]]}
        decided = [client.post(f"/v1/tasks/{each['taskId']}/decision", json=refusal) for each in shown[:4]]
        assert {each.status_code for each in decided} == {200}
        assert client.get("/v1/ads", params={"timestamp": 0}).text.count(CANARIES["verdict"]) == 4
        assert found_in(home, CANARIES) == {}
        # 3. Deletions that are refused, and those that are not.
        assert client.delete("/v1/ads", params={"userid": CANARIES["user"]}).status_code == 400
        assert client.delete("/v1/ads", params={"userId": CANARIES["user"], "taskId": "t"}).status_code == 400
        asked = [client.delete("/v1/ads", params={"userId": CANARIES["user"]})]
        asked += [client.delete("/v1/ads", params={"taskId": each["taskId"]}) for each in shown[:2]]
        assert {each.status_code for each in asked} == {202}
        for each in asked:
            while client.get(each.json()["statusUrl"]).json()["state"] != "completed":
                time.sleep(0.05)
        late = client.post(f"/v1/tasks/{shown[5]['taskId']}/decision", json=refusal)
        assert (late.status_code, CANARIES["verdict"] in late.text) == (410, False)
    with wiring.open_home(home) as opened:
        housekeep(opened)

    assert found_in(home, CANARIES) == {}
    assert found_in(temporary, CANARIES) == {}
    out, err = capfd.readouterr()
    assert [name for name, text in CANARIES.items() if text in f"{out}{err}"] == []


def without_instant(ad: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in ad.items() if name != "submittedAt"}


def _is_near(file: VaultFile) -> bool:
    return file.day == SUBMITTED.date() and file.kind is FileKind.ITEMS


def cli(home: Path, *arguments: str, exit_code: int, stdin: str | None = None) -> str:
    """Run a command and return all that it said."""
    result = CliRunner().invoke(app, ["--home", str(home), *arguments], input=stdin, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_only_the_owner_may_read_what_a_full_cycle_leaves(opened: wiring.OpenHome) -> None:
    previous = os.umask(0)
    try:
        home = opened.settings.home
        land_everything(opened)
        ask(opened, ByUser(user_id=CANARIES["user"]))
        erase(opened)
        compact(opened, rows_per_file=2500)
        housekeep(opened)
    finally:
        os.umask(previous)

    public = {"implio.toml", *(f"ledger/{chain}/public.pem" for chain in ("home", "eu", "us"))}
    open_to_others = {
        path.relative_to(home).as_posix(): oct(path.stat().st_mode & 0o777)
        for path in home.rglob("*")
        if path.stat().st_mode & 0o077 and path.parent != home / "landing"  # a team's folder is its sender's
    }
    assert {name: mode for name, mode in open_to_others.items() if name not in public} == {}


def test_while_items_wait_for_erasure_only_the_queue_knows_their_task_ids_and_nothing_knows_the_person(
    opened: wiring.OpenHome,
) -> None:
    home = opened.settings.home
    land_everything(opened)
    moderate(opened, task_ids(home))
    ask(opened, ByUser(user_id=CANARIES["user"]))
    compact(opened, rows_per_file=2500)
    housekeep(opened)

    assert found_in(home, CANARIES) == {}


def test_a_query_too_large_for_memory_writes_nothing_in_clear(
    opened: wiring.OpenHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, connect = opened.settings.home, duckdb.connect
    land(opened, "many.json", json.dumps([an_ad(number, is_canary=True) for number in range(3_000)]).encode())
    ingest(opened)

    def connect_with_little_memory(path: str, config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        return connect(path, config=config | {"memory_limit": "20MB"})

    monkeypatch.setattr("implio_pipeline.query.lake.duckdb.connect", connect_with_little_memory)
    query = "select body || i::varchar as text, title, user_id from items, range(20) as copies(i) order by hash(text)"
    with open_lake(home, team=ADS, classes=list(ColumnClass), purpose="audit", threads=1) as lake:
        # DuckDB's own wheel cannot write encrypted: it must stop rather than spill in clear.
        with pytest.raises(QueryRefused, match="memory"):
            lake.sql(query)
        seen = found_in(home, CANARIES)

    assert seen == {}
    assert list((home / "tmp").rglob("*")) == []


@pytest.mark.parametrize("spelling", ["utf-8", "utf-16-le", "hex"])
def test_the_search_itself_finds_a_canary_that_is_there(tmp_path: Path, spelling: str) -> None:
    text = CANARIES["user"].encode()
    planted = text.hex().encode() if spelling == "hex" else CANARIES["user"].encode(spelling)

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"\0\1" + planted + b"\2")

    assert found_in(tmp_path, CANARIES) == {"user": ["folder/file"]}
