"""Inspect: does what we promise hold? Counted, never assumed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.erasure import FileWork, NamedRule
from implio_pipeline.domain.request import OPEN_STATES, Request, is_overdue_request
from implio_pipeline.domain.scope import OverdueRule
from implio_pipeline.domain.words import RequestId, TeamId
from implio_pipeline.flows.find import find, is_whole
from implio_pipeline.ports.world import World


@dataclass(kw_only=True, slots=True)
class Agreement:
    """Where catalog and storage differ; all empty when they agree."""

    files: int = 0
    missing: list[str] = field(default_factory=list)
    other_size: list[str] = field(default_factory=list)
    in_clear: list[str] = field(default_factory=list)
    without_live_key: list[str] = field(default_factory=list)
    strays: int = 0


def survivors(world: World, *, teams: list[TeamId] | None = None) -> dict[RequestId, int]:
    """Return how many items survive each completed request, read from the files themselves; only what is not zero.

    Retention is not asked: an item may come in late under a policy that has become longer since.
    """
    found: Counter[RequestId] = Counter()
    for team in teams or [team.team for team in world.catalog.teams.all()]:
        named_rules = [
            NamedRule(request_id=RequestId(each.request_id), rule=each.rule)
            for each in world.catalog.requests.tombstones(team)
            if each.is_erased and not isinstance(each.rule, OverdueRule)
        ]
        for work in _works(world, team, named_rules):
            found.update(world.vault.matched(work))
    return {request_id: rows for request_id, rows in found.items() if rows}


def agreement(world: World) -> Agreement:
    """Compare the catalog's live files with what lies in storage, and their keys with the team keys that live."""
    result = Agreement()
    keys = world.catalog.teams.keys()
    live_keys = {key.key_id for key in keys}
    regions = {team.region for team in world.catalog.teams.all()}
    known: set[str] = {file.path for file in world.catalog.manifest.doomed()}
    for files in chunks(world.catalog.manifest.files()):
        for sealed in world.catalog.manifest.sealed(files):
            file = sealed.file
            result.files += 1
            known.add(file.path)
            look = world.vault.look(file)
            if look is None:
                result.missing.append(file.file_id)
            elif look.size_bytes != file.size_bytes:
                result.other_size.append(file.file_id)
            elif not look.is_encrypted:
                result.in_clear.append(file.file_id)
            if not sealed.keys or any(key.team_key_id not in live_keys for key in sealed.keys):
                result.without_live_key.append(file.file_id)
    result.strays = sum(1 for region in regions for _ in world.vault.strays(region, known=frozenset(known)))
    return result


def late_requests(world: World) -> list[Request]:
    """Return the open requests that are past the day they were due."""
    now = world.clock.now()
    return [each for each in world.catalog.requests.all(states=OPEN_STATES) if is_overdue_request(each, now=now)]


def _works(world: World, team: TeamId, named_rules: list[NamedRule]) -> Iterator[FileWork]:
    """Yield the files that may hold a covered row, each looked at once for all rules."""
    for file, reached in list(find(world, team, named_rules, is_proven=True)):
        (sealed,) = world.catalog.manifest.sealed([file])
        yield FileWork(sealed=sealed, named_rules=reached, is_whole=is_whole(file, reached))
