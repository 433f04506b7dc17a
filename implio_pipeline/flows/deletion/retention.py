"""Retain: what a team's retention policy no longer allows goes down the same path as any request."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import Channel, FileKind, RequestId, RequestKind, TeamId
from implio_pipeline.domain.instants import next_instant
from implio_pipeline.domain.request import OPEN_STATES, PEOPLE_STATES, WITHHELD_STATES, Request, RequestDraft
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import Cutoffs, Overdue, OverdueRule, Reach, is_overdue, reach
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class OverduePreview:
    """What a retention run would remove from one team; exact, and found without opening a file."""

    team: TeamId
    policy: str
    items: int
    rejected: int
    """Items that had failed validation and are kept beside the others."""
    withheld: int
    """Of both, those that a legal hold keeps for now, as the newest retention request counted them."""
    files_whole: int
    files_mixed: int
    size_bytes: int


def preview_retention(
    services: Services, *, today: date, teams: Iterable[TeamId] | None = None
) -> list[OverduePreview]:
    """Return what a retention run on that day would remove."""
    return [_preview(services, team, limits) for team, limits in _policies(services, today, teams)]


def preview_policy(services: Services, team: Team, policy: RetentionPolicy, *, today: date) -> OverduePreview:
    """Return what a run on that day would remove from a team if it had another policy."""
    return _preview(services, replace(team, policy=policy), policy.cutoffs(today=today))


def retain(
    services: Services, *, today: date, teams: Iterable[TeamId] | None = None, faults: Faults | None = None
) -> list[Request]:
    """Accept one retention request for each team with overdue items, and return them.

    The backlog is derived from policy and manifest, so a run that was missed is made up by the next. What an open
    retention request covers already, as one that a legal hold keeps from being carried out, is not asked for again.
    Verdicts are settled first, since a policy may go by outcome. A team that fails stops no other.

    Args:
        services: What the flow may touch.
        today: The UTC day by which items are overdue.
        teams: These teams; all when `None`.
        faults: Told of what failed; when `None`, the first is raised at the end.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; nothing was accepted.
        CatalogTampered: a team's policy is not as it was written; what others' policies ask for was accepted first.
    """
    agreed_now(services)
    requests: list[Request] = []
    wanted = None if teams is None else frozenset(teams)
    policies = _policies(services, today, wanted)
    with collecting(faults) as failed:
        # A file whose back-off lasts is tried all the same: a policy that goes by outcome needs the verdicts now.
        apply_decisions(
            services, teams=[team.team for team, _ in policies if team.policy.by_outcome], again=True, faults=failed
        )
        for team, limits in policies:
            with failed.isolate(f"retention of team {team.team}"):
                requests += _retain_team(services, team, limits, today)
        for team in services.catalog.teams.all():
            if team.is_altered and (wanted is None or team.team in wanted):
                with failed.isolate(f"policy of team {team.team}"):
                    words = f"the policy of team {team.team} is not as it was written, so nothing of it was removed"
                    raise CatalogTampered(words)
    return requests


def _retain_team(services: Services, team: Team, limits: Cutoffs, today: date) -> list[Request]:
    overdue = _overdue(services, team, limits)
    if not overdue:
        return []  # what was asked for already is not even read: most teams have nothing overdue on most days
    asked = _asked(services, team)
    if not any(_is_new(file, limits, asked) for file in overdue):
        return []
    draft = RequestDraft(
        team=team.team,
        scope=Overdue(cutoffs=limits),
        channel=Channel.RETENTION,
        received_at=services.clock.now(),
        asked_by="retention policy",
    )
    outcomes = accept(services, [draft], policy=f"{team.policy.text}; on {today.isoformat()}")
    return [each for each in outcomes if isinstance(each, Request)]


def _policies(services: Services, today: date, teams: Iterable[TeamId] | None) -> list[tuple[Team, Cutoffs]]:
    wanted = None if teams is None else frozenset(teams)
    return [
        (team, team.policy.cutoffs(today=today))
        for team in services.catalog.teams.all()
        if wanted is None or team.team in wanted
    ]


def _asked(services: Services, team: Team) -> list[Cutoffs]:
    """Return what open retention requests cover that come to their end without a person's help."""
    rules = {each.request_id: each.rule for each in services.catalog.requests.tombstones(team.team, only_open=True)}
    return [
        rule.cutoffs
        for request in services.catalog.requests.all(team=team.team, states=OPEN_STATES - PEOPLE_STATES)
        if isinstance(rule := rules.get(request.request_id), OverdueRule)
    ]


def _is_new(file: VaultFile, limits: Cutoffs, asked: Iterable[Cutoffs]) -> bool:
    """Tell whether the file holds an overdue item that no open request covers."""
    overdue = [outcome for outcome, rows in file.outcomes.items() if rows and is_overdue(file.day, outcome, limits)]
    return any(not any(is_overdue(file.day, outcome, each) for each in asked) for outcome in overdue)


def _overdue(services: Services, team: Team, limits: Cutoffs) -> list[VaultFile]:
    named = NamedRule(request_id=RequestId("overdue"), rule=_rule(services, team, limits))
    return list(services.catalog.manifest.candidates(team.team, [named], is_proven=True))


def _rule(services: Services, team: Team, limits: Cutoffs) -> OverdueRule:
    return OverdueRule(cutoffs=limits, before=next_instant(team.newest_at, now=services.clock.now()))


def _preview(services: Services, team: Team, limits: Cutoffs) -> OverduePreview:
    files = _overdue(services, team, limits)
    rule = _rule(services, team, limits)
    whole = sum(reach(rule, file) is Reach.EVERYTHING for file in files)
    return OverduePreview(
        team=team.team,
        policy=team.policy.text,
        items=_rows(files, FileKind.ITEMS, limits),
        rejected=_rows(files, FileKind.REJECTED, limits),
        withheld=_withheld(services, team),
        files_whole=whole,
        files_mixed=len(files) - whole,
        size_bytes=sum(file.size_bytes for file in files),
    )


def _withheld(services: Services, team: Team) -> int:
    """Return what holds kept from the newest retention request that meets one: it covers all that is overdue."""
    held = services.catalog.requests.all(team=team.team, states=WITHHELD_STATES)
    counts = [each.withheld.items for each in held if each.kind is RequestKind.RETENTION and each.withheld]
    return counts[-1] if counts else 0


def _rows(files: Iterable[VaultFile], kind: FileKind, limits: Cutoffs) -> int:
    return sum(
        count
        for file in files
        if file.kind is kind
        for outcome, count in file.outcomes.items()
        if is_overdue(file.day, outcome, limits)
    )
