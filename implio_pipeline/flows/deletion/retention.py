"""Retention: items older than their team's policy allows are erased by the same path as any other request.

Rules:

* What is overdue is derived from the policy and the catalog at each run, so a missed run is made up by the next one
  (GDPR Art. 5(1)(e), storage limitation).
* A retention request needs no approval: it was decided with the policy. Legal holds apply as always.
* A team whose row was altered keeps everything: nobody knows which policy was decided on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import partial

from implio_pipeline.domain.claims import ClaimKind
from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import Channel, FileKind, RequestId, RequestKind, TeamId
from implio_pipeline.domain.instants import next_instant
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.request import NEEDS_PERSON_STATES, OPEN_STATES, WITHHELD_STATES, Request, RequestDraft
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import Coverage, Cutoffs, Overdue, OverdueRule, coverage_of, is_overdue
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.flows.work import Worker, working
from implio_pipeline.ports.catalog import Manifest, Teams
from implio_pipeline.ports.requests import Requests
from implio_pipeline.ports.services import Services

RETAINING = "retention"
"""The name of this work, for `implio status`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OverduePreview:
    """What a retention run would remove from one team; exact, although no file is opened."""

    team: TeamId
    policy: str
    items: int
    rejected: int
    """Stored text of items that failed validation."""
    withheld: int
    """Of both, those that a legal hold keeps for now, as the newest retention request counted them."""
    files_whole: int
    files_mixed: int
    size_bytes: int


def preview_retention(
    services: Services, *, today: date, teams: Iterable[TeamId] | None = None
) -> list[OverduePreview]:
    """Return what a retention run on that day would remove from each team."""
    wanted = None if teams is None else frozenset(teams)
    return [preview_policy(services, team, team.policy, today=today) for team in _teams(services.catalog.teams, wanted)]


def preview_policy(services: Services, team: Team, policy: RetentionPolicy, *, today: date) -> OverduePreview:
    """Return what a retention run on that day would remove from a team if it had this policy."""
    limits = policy.cutoffs(today=today)
    rule = _rule(services, team, limits)
    files = _overdue(services.catalog.manifest, team, rule)
    whole = sum(coverage_of(rule, file) is Coverage.EVERYTHING for file in files)
    rows = dict.fromkeys(FileKind, 0)
    for file in files:
        for outcome, count in file.outcomes.items():
            rows[file.kind] += count if is_overdue(file.day, outcome, limits) else 0
    # The newest retention request that meets a hold covers all that is overdue, so its count is the count of all.
    held = services.catalog.requests.all(team=team.team, states=WITHHELD_STATES)
    withheld = [each.withheld.items for each in held if each.kind is RequestKind.RETENTION and each.withheld]
    return OverduePreview(
        team=team.team,
        policy=policy.text,
        items=rows[FileKind.ITEMS],
        rejected=rows[FileKind.REJECTED],
        withheld=withheld[-1] if withheld else 0,
        files_whole=whole,
        files_mixed=len(files) - whole,
        size_bytes=sum(file.size_bytes for file in files),
    )


def count_overdue_files(services: Services, *, today: date) -> int:
    """Return how many files have a day on which something may be overdue, from sums: no file's row is read."""
    ends: dict[TeamId, date] = {}
    for team in services.catalog.teams.all():
        limits = team.policy.cutoffs(today=today)
        days = [day for _, day in limits.by_outcome] + ([] if limits.every is None else [limits.every])
        if days:
            ends[team.team] = max(days)
    sums = services.catalog.manifest.partitions() if ends else ()
    return sum(each.files for each in sums if each.team in ends and each.day < ends[each.team])


def retain(
    services: Services, *, today: date, teams: Iterable[TeamId] | None = None, faults: Faults | None = None
) -> list[Request]:
    """Accept one retention request for each team that has overdue items, and return them.

    Args:
        services: What the flow may use.
        today: The UTC day by which items are overdue.
        teams: These teams; all when `None`.
        faults: Records each team that failed; when `None`, the first fault is raised at the end.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; nothing was accepted. A clock that is ahead would make
            items overdue that may still be kept.
        CatalogTampered: a team's row was altered; the other teams' requests were accepted first.
    """
    agreed_now(services)
    requests: list[Request] = []
    wanted = None if teams is None else frozenset(teams)
    chosen = _teams(services.catalog.teams, wanted)
    with collecting(faults) as failed, working(services, RETAINING) as worker:
        # 1. Write pending decisions into the files: a policy may keep items longer or shorter by outcome. Files whose
        #    back-off lasts are tried too, since their outcome is needed now.
        by_outcome = [team.team for team in chosen if team.policy.by_outcome]
        apply_decisions(services, teams=by_outcome, again=True, faults=failed)
        # 2. Accept a request for each team with overdue items that no open request covers.
        for team in chosen:
            with failed.isolate(f"retention of team {team.team}"):
                requests += _retain_team(services, worker, team, today)
        # 3. Report the teams whose row was altered, including those altered during this run.
        for team in _teams(services.catalog.teams, wanted):
            if team.is_altered:
                with failed.isolate(f"policy of team {team.team}"):
                    words = f"the policy of team {team.team} was altered, so none of its items were removed"
                    raise CatalogTampered(words)
    return requests


def _teams(teams: Teams, wanted: frozenset[TeamId] | None) -> list[Team]:
    return [team for team in teams.all() if wanted is None or team.team in wanted]


def _retain_team(services: Services, worker: Worker, team: Team, today: date) -> list[Request]:
    # 1. Is anything overdue? On most days, most teams end here.
    limits = team.policy.cutoffs(today=today)
    overdue = _overdue(services.catalog.manifest, team, _rule(services, team, limits))
    if not overdue:
        return []

    # 2. Does an open request cover it already? A legal hold may keep a request open for years, and without this check
    #    each run would add another one.
    def is_asked() -> bool:
        asked = _asked(services.catalog.requests, team.team)
        return not any(_is_new(file, limits, asked) for file in overdue)

    if is_asked():
        return []
    # 3. Accept the request. Of several workers, one does it for each team.
    claims = worker.claim(ClaimKind.TEAM, [f"retention/{team.team}"])
    try:
        if not claims or is_asked():
            return []
        return _accept(services, team, limits, today)
    finally:
        worker.give_back(claims)


def _accept(services: Services, team: Team, limits: Cutoffs, today: date) -> list[Request]:
    draft = RequestDraft(
        team=team.team,
        scope=Overdue(cutoffs=limits),
        channel=Channel.RETENTION,
        received_at=services.clock.now(),
        asked_by="retention policy",
    )
    answers = accept(services, [draft], policy=f"{team.policy.text}; on {today.isoformat()}")
    return [each for each in answers if isinstance(each, Request)]


def _rule(services: Services, team: Team, limits: Cutoffs) -> OverdueRule:
    return OverdueRule(cutoffs=limits, before=next_instant(team.newest_at, now=services.clock.now()))


def _overdue(manifest: Manifest, team: Team, rule: OverdueRule) -> list[VaultFile]:
    named = NamedRule(request_id=RequestId("overdue"), rule=rule)
    find = partial(manifest.candidates, team.team, [named], is_proven=True)
    return replan(lambda: list(find()), about=f"the files of team {team.team}")


def _asked(requests: Requests, team: TeamId) -> list[Cutoffs]:
    """Return the cutoffs of the open retention requests, without those that wait for a person."""
    rules = {each.request_id: each.rule for each in requests.tombstones(team, only_open=True)}
    return [
        rule.cutoffs
        for request in requests.all(team=team, states=OPEN_STATES - NEEDS_PERSON_STATES)
        if isinstance(rule := rules.get(request.request_id), OverdueRule)
    ]


def _is_new(file: VaultFile, limits: Cutoffs, asked: Iterable[Cutoffs]) -> bool:
    """Tell whether the file holds an overdue item that no open request covers."""
    overdue = [outcome for outcome, rows in file.outcomes.items() if rows and is_overdue(file.day, outcome, limits)]
    return any(not any(is_overdue(file.day, outcome, each) for each in asked) for outcome in overdue)
