"""Look up: the items of a few task ids, whole, less those that a tombstone hides."""

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


def get_items(services: Services, team: TeamId, task_ids: Iterable[str]) -> list[Rows]:
    """Return the rows of these tasks; one that was never here, is erased or is hidden has none.

    Raises:
        PlanOutdated: files kept changing underneath.
    """
    named_rules = [_named_rule(services, task_id) for task_id in task_ids]
    if not named_rules:
        return []

    def read() -> list[Rows]:
        hidden = [tombstone.rule for tombstone in services.catalog.requests.tombstones(team, only_open=True)]
        files = find(services.catalog.manifest, services.vault, team, named_rules)
        found = [(file, reached) for file, reached in files if file.kind is FileKind.ITEMS]
        sealed = services.catalog.manifest.sealed([file for file, _ in found])
        return [
            services.vault.covered(each, [named.rule for named in reached], hidden=hidden)
            for each, (_, reached) in zip(sealed, found, strict=True)
        ]

    return reread(read, about=f"the files of team {team}")


def items_of(services: Services, team: TeamId, task_ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return items by task id as a reader may see them now, each with all its columns; hidden ones are left out.

    Verdicts that are not in the vault yet are laid over the items.

    Args:
        services: What the flow may touch.
        team: Whose items.
        task_ids: A few; each costs the reading of the file it lies in.

    Raises:
        PlanOutdated: files kept changing underneath, or requests kept being accepted.
    """
    wanted = list(dict.fromkeys(task.strip().lower() for task in task_ids))

    def read() -> dict[str, Mapping[str, Any]]:
        newest = services.catalog.requests.newest_tombstone(team)
        # Verdicts first: one that is settled while we read is in both, and says the same.
        pending_decisions = _unsettled(services, team, wanted)
        found = {row["task_id"]: row for rows in get_items(services, team, wanted) for row in rows.to_pylist()}
        if services.catalog.requests.newest_tombstone(team) != newest:
            raise PlanOutdated("a request was accepted meanwhile")
        return {task: {**found[task], **pending_decisions.get(task, {})} for task in wanted if task in found}

    return replan(read, about=f"the tombstones of team {team}")


def _unsettled(services: Services, team: TeamId, wanted: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    verdicts = services.catalog.moderation
    found = {task: verdicts.decided(team, task, services.identifiers.task_key(task)) for task in wanted}
    return {
        task: opened_values(services.keychain, verdict)
        for task, verdict in found.items()
        if verdict is not None and verdict.settled_at is None
    }


def _named_rule(services: Services, task_id: str) -> NamedRule:
    name = task_id.strip().lower()
    rule = TaskRule(
        task_key=services.identifiers.task_key(name), before=FOR_EVER, submitted_on=services.identifiers.task_day(name)
    )
    return NamedRule(request_id=RequestId(name), rule=rule)
