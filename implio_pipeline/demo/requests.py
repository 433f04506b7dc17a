"""Write deletion requests for what the demo wrote: every kind, every file format, and two that must be refused."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from implio_pipeline.demo.drop import drop
from implio_pipeline.demo.plan import DemoPlan, TeamPlan

REQUEST_COLUMNS = ("team", "type", "userId", "taskId", "from", "to", "confirm", "requestId", "reason")
"""The columns of a request file in CSV. In JSON, the fields have the same names."""
_UNKNOWN_TEAM = "initech"

_Fields = dict[str, str]
"""The fields of one request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _RequestFile:
    """One file in the inbox."""

    path: Path
    asks: int
    is_bad: bool = False
    """Whether its requests must be refused."""


def write_requests(
    inbox: Path, plan: DemoPlan, *, task_ids: Mapping[str, Sequence[str]], leaving: str | None
) -> tuple[_RequestFile, ...]:
    """Write request files into the inbox. Returns them in the order of their names.

    Args:
        inbox: The folder that the pipeline watches. It is made if it is missing.
        plan: Each team's light and busy user and its span of days are requested.
        task_ids: By team, tasks to delete. May be empty: ingestion makes task ids.
        leaving: The team whose items are all deleted, or None.

    Raises:
        KeyError: the demo has no such team.
    """
    first, *others = plan.teams
    tasks = [_by_task(team, task) for team, of_team in task_ids.items() for task in of_team]
    one = _by_user(first.team, first.light.user_id)
    several = [*(_by_user(team.team, team.light.user_id) for team in others), *tasks]
    spans = [_by_dates(team.team, team.span.since, team.span.until) for team in plan.teams]
    listed = [_listed(team, number) for number, team in enumerate(plan.teams, start=1)]
    gone = [] if leaving is None else [_by_team(plan.team(leaving).team)]
    sheets = (
        ("01-one-user.json", [one], _json(one)),
        ("02-several.json", several, _json(several)),
        ("03-dates.ndjson", spans, b"".join(map(_json, spans))),
        ("04-list.csv", listed, _csv(listed)),
        ("05-team-leaves.json", gone, b"".join(map(_json, gone))),
    )
    written = [_RequestFile(path=drop(inbox / name, content), asks=len(asks)) for name, asks, content in sheets if asks]
    return (*written, *_write_bad(inbox, first))


def _write_bad(inbox: Path, team: TeamPlan) -> tuple[_RequestFile, ...]:
    bad = {
        "06-unknown-team.json": _by_user(_UNKNOWN_TEAM, "nobody-1"),
        "07-dates-inverted.json": _by_dates(team.team, team.span.until, team.span.since),
    }
    return tuple(_RequestFile(path=drop(inbox / name, _json(ask)), asks=1, is_bad=True) for name, ask in bad.items())


def _by_user(team: str, user_id: str) -> _Fields:
    return {"team": team, "type": "user", "userId": user_id}


def _by_task(team: str, task_id: str) -> _Fields:
    return {"team": team, "type": "task", "taskId": task_id}


def _by_dates(team: str, since: date, until: date) -> _Fields:
    return {"team": team, "type": "dates", "from": f"{since}T00:00Z", "to": f"{until}T00:00Z"}


def _by_team(team: str) -> _Fields:
    return {"team": team, "type": "team", "confirm": team}


def _listed(team: TeamPlan, number: int) -> _Fields:
    """Return a request as in the table of a data protection officer, who gives it an opaque id."""
    return _by_user(team.team, team.busy.user_id) | {"requestId": f"case-{number:04}", "reason": "right to erasure"}


def _json(value: object) -> bytes:
    return f"{json.dumps(value, ensure_ascii=False)}\n".encode()


def _csv(asks: Sequence[_Fields]) -> bytes:
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, REQUEST_COLUMNS, restval="", lineterminator="\n")
    rows.writeheader()
    rows.writerows(asks)
    return text.getvalue().encode()
