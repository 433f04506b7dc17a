"""Read the items of a few task ids, with all their columns; items that a tombstone hides are left out.

Rules:

* Reading takes no lock. If files are replaced or a request is accepted during it, the read is repeated.
* Vault and catalog together give what a reader may see: `stored_rows` reads the vault alone, `get_items` both.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from implio_pipeline.domain.errors import PlanOutdated
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.ids import FileKind, RequestId, TeamId
from implio_pipeline.domain.replan import replan, reread
from implio_pipeline.domain.scope import FOR_EVER, TaskRule
from implio_pipeline.flows.files.find import find
from implio_pipeline.flows.moderation.apply_decisions import opened_values
from implio_pipeline.ports.rows import Rows
from implio_pipeline.ports.services import Services


def stored_rows(services: Services, team: TeamId, task_ids: Iterable[str]) -> list[Rows]:
    """Return the rows of these tasks as their vault files hold them, without pending decisions.

    A task that is unknown, erased or hidden has no row.

    Raises:
        PlanOutdated: files kept being replaced.
    """
    names, identifiers = [task_id.strip().lower() for task_id in task_ids], services.identifiers
    named_rules = [
        NamedRule(
            request_id=RequestId(name),
            rule=TaskRule(
                task_key=identifiers.task_key(name), before=FOR_EVER, submitted_on=identifiers.task_day(name)
            ),
        )
        for name in names
    ]
    if not named_rules:
        return []

    def read() -> list[Rows]:
        # A completed tombstone has nothing left to hide; only open ones are applied to each row.
        hidden = [tombstone.rule for tombstone in services.catalog.requests.tombstones(team, only_open=True)]
        files = find(services.catalog.manifest, services.vault, team, named_rules)
        found = [(file, reached) for file, reached in files if file.kind is FileKind.ITEMS]
        sealed = services.catalog.manifest.sealed([file for file, _ in found])
        return [
            services.vault.disclosed(each, [named.rule for named in reached], hidden=hidden).rows
            for each, (_, reached) in zip(sealed, found, strict=True)
        ]

    return reread(read, about=f"the files of team {team}")


def get_items(services: Services, team: TeamId, task_ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return items by task id as readers see them: with pending decisions, without hidden items.

    Args:
        services: What the flow may use.
        team: The team that owns the items.
        task_ids: A few: for each one, a vault file is read.

    Raises:
        PlanOutdated: files kept being replaced, or requests kept being accepted.
    """
    wanted = list(dict.fromkeys(task.strip().lower() for task in task_ids))
    requests, moderation = services.catalog.requests, services.catalog.moderation

    def read() -> dict[str, Mapping[str, Any]]:
        newest = requests.newest_tombstone(team)
        # Decisions are read before items. One that is applied in between is in both, with the same values.
        found = {task: moderation.decided(team, task, services.identifiers.task_key(task)) for task in wanted}
        pending = {
            task: opened_values(services.catalog, services.keychain, verdict)
            for task, verdict in found.items()
            if verdict is not None and verdict.settled_at is None
        }
        items = {row["task_id"]: row for rows in stored_rows(services, team, wanted) for row in rows.to_pylist()}
        # A request that was accepted in between hides items and removes their decisions: read again.
        if requests.newest_tombstone(team) != newest:
            raise PlanOutdated("a request was accepted during the reading")
        return {task: {**items[task], **pending.get(task, {})} for task in wanted if task in items}

    return replan(read, about=f"the tombstones of team {team}")
