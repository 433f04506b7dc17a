"""Retain: what a team's retention policy no longer allows goes down the same path as any request."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from implio_pipeline.domain.erasure import Claim
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.matching import Reach, is_overdue, reach
from implio_pipeline.domain.request import Request, RequestDraft
from implio_pipeline.domain.retention import RetentionPolicy, cutoffs, policy_text
from implio_pipeline.domain.scope import Cutoffs, Overdue, OverdueRule
from implio_pipeline.domain.team import Team
from implio_pipeline.domain.words import Channel, FileKind, RequestId, TeamId
from implio_pipeline.flows.accept import accept
from implio_pipeline.ports import World


@dataclass(frozen=True, kw_only=True, slots=True)
class OverduePreview:
    """What a retention run would remove from one team; exact, and found without opening a file."""

    team: TeamId
    policy: str
    items: int
    rejected: int
    """Items that had failed validation and are kept beside the others."""
    files_whole: int
    files_mixed: int
    size_bytes: int


def preview_retention(world: World, *, today: date, teams: Iterable[TeamId] | None = None) -> list[OverduePreview]:
    """Return what a retention run on that day would remove."""
    return [_preview(world, team, limits) for team, limits in _policies(world, today, teams)]


def preview_policy(world: World, team: Team, policy: RetentionPolicy, *, today: date) -> OverduePreview | None:
    """Return what a run on that day would remove from a team if it had another policy; `None` when it keeps all."""
    limits = cutoffs(policy, today=today)
    return None if limits is None else _preview(world, replace(team, policy=policy), limits)


def retain(world: World, *, today: date, teams: Iterable[TeamId] | None = None) -> list[Request]:
    """Accept one retention request for each team with overdue items, and return them.

    The backlog is derived from policy and manifest, so a run that was missed is made up by the next.
    """
    requests: list[Request] = []
    for team, limits in _policies(world, today, teams):
        if not any(True for _ in _overdue(world, team, limits)):
            continue
        now = world.clock.now()
        draft = RequestDraft(
            team=team.team,
            scope=Overdue(cutoffs=limits),
            channel=Channel.RETENTION,
            received_at=now,
            asked_by="retention policy",
        )
        outcomes = accept(world, [draft], policy=f"{policy_text(team.policy)}; on {today.isoformat()}")
        requests += [each for each in outcomes if isinstance(each, Request)]
    return requests


def _policies(world: World, today: date, teams: Iterable[TeamId] | None) -> list[tuple[Team, Cutoffs]]:
    wanted = None if teams is None else frozenset(teams)
    return [
        (team, limits)
        for team in world.catalog.teams.all()
        if (wanted is None or team.team in wanted) and (limits := cutoffs(team.policy, today=today)) is not None
    ]


def _overdue(world: World, team: Team, limits: Cutoffs) -> list[VaultFile]:
    claim = Claim(request_id=RequestId("overdue"), rule=OverdueRule(cutoffs=limits, before=world.clock.now()))
    return list(world.catalog.manifest.candidates(team.team, [claim]))


def _preview(world: World, team: Team, limits: Cutoffs) -> OverduePreview:
    files = _overdue(world, team, limits)
    rule = OverdueRule(cutoffs=limits, before=world.clock.now())
    whole = sum(reach(rule, file) is Reach.EVERYTHING for file in files)
    return OverduePreview(
        team=team.team,
        policy=policy_text(team.policy),
        items=_rows(files, FileKind.ITEMS, limits),
        rejected=_rows(files, FileKind.REJECTED, limits),
        files_whole=whole,
        files_mixed=len(files) - whole,
        size_bytes=sum(file.size_bytes for file in files),
    )


def _rows(files: Iterable[VaultFile], kind: FileKind, limits: Cutoffs) -> int:
    return sum(
        count
        for file in files
        if file.kind is kind
        for outcome, count in file.outcomes.items()
        if is_overdue(file.day, outcome, limits)
    )
