"""Look up: the content of a few items by task id, as a reader may see it now.

What an open request hides is not there, and verdicts that are not in the vault yet are laid over the items.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from implio_pipeline.domain.erasure import Claim
from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated
from implio_pipeline.domain.hold import FOR_EVER
from implio_pipeline.domain.scope import TaskRule
from implio_pipeline.domain.words import FileKind, RequestId, TeamId
from implio_pipeline.flows.erase import find
from implio_pipeline.flows.settle import opened_values
from implio_pipeline.ports import World

_MOST_TRIES = 5


def items_of(world: World, team: TeamId, task_ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return items by task id, each with all its columns; those that are not there, or hidden, are left out.

    Args:
        world: What the flow may touch.
        team: Whose items.
        task_ids: A few; each costs the reading of the file it lies in.

    Raises:
        PlanOutdated: files kept changing underneath.
    """
    wanted = list(dict.fromkeys(task.strip().lower() for task in task_ids))
    conflict: PlanOutdated | FileMissing | KeyMissing = PlanOutdated("requests kept being accepted")
    for _ in range(_MOST_TRIES if wanted else 0):
        newest = world.catalog.requests.newest_tombstone(team)
        try:
            found = _search(world, team, wanted)
        except (PlanOutdated, FileMissing, KeyMissing) as met:
            conflict = met  # a file was swapped, or a key renewed; when it is a fault, it stays
            world.keychain.forget(team)
            continue
        if world.catalog.requests.newest_tombstone(team) == newest:
            return {task: found[task] for task in wanted if task in found}
    if not wanted:
        return {}
    raise conflict


def _search(world: World, team: TeamId, wanted: list[str]) -> dict[str, Mapping[str, Any]]:
    # Verdicts first: one that is settled while we read is in both, and says the same.
    laid_over = {
        task: opened_values(world.keychain, verdict)
        for task in wanted
        if (verdict := world.catalog.moderation.decided(team, task, world.identifiers.task_key(task))) is not None
        and verdict.settled_at is None
    }
    claims = [
        Claim(
            request_id=RequestId(task),
            rule=TaskRule(
                task_key=world.identifiers.task_key(task),
                before=FOR_EVER,
                submitted_on=world.identifiers.task_day(task),
            ),
        )
        for task in wanted
    ]
    hiding = [each.rule for each in world.catalog.requests.tombstones(team, only_open=True)]
    files = [(file, reached) for file, reached in find(world, team, claims) if file.kind is FileKind.ITEMS]
    found: dict[str, Mapping[str, Any]] = {}
    for sealed, (_, reached) in zip(world.catalog.manifest.sealed([file for file, _ in files]), files, strict=True):
        tasks = [str(claim.request_id) for claim in reached]
        for row in world.vault.items(sealed, tasks, hidden=hiding):
            found[row["task_id"]] = {**row, **laid_over.get(row["task_id"], {})}
    return found
