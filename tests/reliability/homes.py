"""Small prepared homes, and what must be in them afterwards: two teams, three days, about 200 items."""

import csv
import gzip
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from support.catalogs import copy_home

from implio_pipeline import wiring
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import Channel, FileKind, Region, TeamId
from implio_pipeline.domain.request import RequestDraft, RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import Scope
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.approval import approve
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.ports.services import Services

ADS, CARS = TeamId("ads"), TeamId("cars")
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=123_456)
DAYS = tuple(NOON - timedelta(days=days) for days in (40, 3, 2))
USERS = ("u0", "u1", "u2", "u3", "u4", "u5", "u6", None)
OUTCOMES = ("approved", "refused", "no decision", None)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One submission. Its name is its title and is unique."""

    name: str
    team: TeamId
    user: str | None
    at: datetime
    outcome: str | None

    def ad(self) -> dict[str, Any]:
        content = {"title": self.name, "body": f"body of {self.name}", "customerSpecific": {"n": 1}}
        ad: dict[str, Any] = {"id": f"item of {self.name}", "submittedAt": self.at.isoformat(), "content": content}
        if self.user:
            ad["user"] = {"id": self.user, "emailAddresses": [f"{self.user}@example.org"]}
        if self.outcome:
            ad["result"] = {"outcome": self.outcome}
        return ad


def items(prefix: str, team: TeamId, count: int, *, days: tuple[datetime, ...] = DAYS) -> list[Item]:
    """Return items spread over days, users and outcomes."""
    return [
        Item(
            name=f"{prefix}-{number:03}",
            team=team,
            user=USERS[number % len(USERS)],
            at=days[number % len(days)] + timedelta(seconds=number, microseconds=number),
            outcome=OUTCOMES[number // 2 % len(OUTCOMES)],
        )
        for number in range(count)
    ]


def init(folder: Path, *, threads: int = 1) -> None:
    """Make a home with the teams `ads` (eu) and `cars` (us).

    It ingests landing files without waiting for them to settle.
    """
    wiring.init_home(folder)
    settings = folder / "implio.toml"
    head = f"rows_per_file = 100\nthreads = {threads}\n"
    tail = "\n[landing]\nsettle_seconds = 0\n\n[workers]\nlease_seconds = 1\n"
    settings.write_text(f"{head}{settings.read_text()}{tail}")
    with opened_at(folder) as opened:
        add_team(opened, ADS, region=Region("eu"))
        add_team(opened, CARS, region=Region("us"))
    (folder / "landing" / ADS).mkdir(exist_ok=True)
    (folder / "landing" / CARS).mkdir(exist_ok=True)


@contextmanager
def opened_at(folder: Path) -> Iterator[wiring.OpenHome]:
    with wiring.open_home(folder) as opened:
        yield opened


def copy(template: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    copy_home(template, to, symlinks=True)
    return to


def land(home: Path, team: TeamId, name: str, content: bytes) -> None:
    """Put a complete landing file into the folder, as a careful sender does."""
    folder = home / "landing" / team
    unfinished = folder / f".{name}.part"
    unfinished.write_bytes(content)
    unfinished.rename(folder / name)


def as_array(listed: Iterable[Item], *, bad: Iterable[dict[str, Any]] = ()) -> bytes:
    return json.dumps([*(item.ad() for item in listed), *bad]).encode()


def as_lines(listed: Iterable[Item]) -> bytes:
    return gzip.compress(b"\n".join(json.dumps(item.ad()).encode() for item in listed), mtime=0)


def as_sheet(listed: Iterable[Item]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["id", "submittedAt", "content.title", "content.body", "user.id", "result.outcome"])
    for item in listed:
        rows.writerow(
            [f"item of {item.name}", item.at.isoformat(), item.name, "body", item.user or "", item.outcome or ""]
        )
    return text.getvalue().encode()


def bad_ads(count: int, user: str) -> list[dict[str, Any]]:
    """Return items of a user that fail validation."""
    return [{"id": f"bad-{n}", "content": {"title": n}, "user": {"id": user}} for n in range(count)]


def fill(home: Path) -> list[Item]:
    """Ingest the items of every prepared home, in three landing files a team, so that each day has small files."""
    taken: list[Item] = []
    for team, count in ((ADS, 120), (CARS, 60)):
        listed = items(f"base-{team}", team, count)
        taken += listed
        for part in range(3):
            bad = bad_ads(2, "u2") if part == 0 else []
            land(
                home, team, f"base-{part}.json", as_array(listed[part * count // 3 : (part + 1) * count // 3], bad=bad)
            )
    with opened_at(home) as opened:
        ingest(opened)
    return taken


def ask(services: Services, team: TeamId, *scopes: Scope) -> None:
    now = services.clock.now()
    drafts = [RequestDraft(team=team, scope=scope, channel=Channel.CLI, received_at=now) for scope in scopes]
    for answer in accept(services, drafts):
        assert not isinstance(answer, ImplioError), answer
        if answer.state is RequestState.UNAPPROVED:
            approve(services, answer.request_id, name="a second person")


def pause(services: Services, team: TeamId, scope: Scope) -> None:
    """Make requests that wait until somebody approves or cancels them."""
    draft = RequestDraft(team=team, scope=scope, channel=Channel.CLI, received_at=services.clock.now())
    (answer,) = accept(services, [draft], is_paused=True)
    assert not isinstance(answer, ImplioError), answer


def set_policy(services: Services, team: TeamId, policy: RetentionPolicy) -> None:
    services.catalog.teams.set_policy(team, policy)


def rows_of(opened: wiring.OpenHome, kind: FileKind, *, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Read every live row from the files; `None` means all columns."""
    files = [file for file in opened.catalog.manifest.files() if file.kind is kind]
    found = []
    for sealed in opened.catalog.manifest.sealed(files):
        found += [row | {"team": sealed.file.team} for row in opened.vault.read(sealed, columns=columns).to_pylist()]
    return found


def task_of(opened: wiring.OpenHome, name: str) -> str:
    return next(str(row["task_id"]) for row in rows_of(opened, FileKind.ITEMS) if row["title"] == name)


def age(path: Path, seconds: float) -> None:
    then = datetime.now(UTC).timestamp() - seconds
    os.utime(path, (then, then))
