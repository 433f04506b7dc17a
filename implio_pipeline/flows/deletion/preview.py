"""Plan: what an erasure would do, with a digest of it; then exactly that, or nothing."""

from implio_pipeline.domain.errors import FileMissing, ImplioError, KeyMissing, PlanChanged, PlanOutdated
from implio_pipeline.domain.file_changes import FileWork, NamedRule
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.plan import ErasurePlan, estimated_ms, plan_digest
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.request import Request, RequestDraft
from implio_pipeline.domain.scope import Rule, covers, kind_of
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.deletion.accept import accept, present_rule, rule_as_accepted
from implio_pipeline.flows.deletion.approval import needs_second_person, person_of, release
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.files.find import holds_in_force, plan_works
from implio_pipeline.flows.races import are_renewed
from implio_pipeline.ports.services import Services

_RULE = RequestId("plan")


def plan_erasure(services: Services, draft: RequestDraft) -> ErasurePlan:
    """Return what carrying out the draft would do; nothing is accepted.

    Raises:
        TeamUnknown: there is no such team.
        RequestRefused: the draft cannot be accepted.
        PlanOutdated: files kept changing underneath.
    """
    team = services.catalog.teams.get(draft.team)
    return _plan(services, team, present_rule(services, draft), who=person_of(services, draft))


def plan_request(services: Services, request: Request) -> ErasurePlan:
    """Return what carrying out an accepted request would do now: what its asker saw, as it is today.

    Raises:
        PlanOutdated: it waits no more, or files kept changing underneath.
    """
    in_force = services.catalog.requests.tombstones_of([request.request_id])
    if request.request_id not in in_force:
        raise PlanOutdated("the request is done or was cancelled")
    team = services.catalog.teams.get(request.team)
    return _plan(services, team, in_force[request.request_id].rule, who=request.asked_by)


def _plan(services: Services, team: Team, rule: Rule, *, who: str | None) -> ErasurePlan:
    works: list[FileWork] = []

    def count() -> tuple[str, list[tuple[int, int]]]:
        nonlocal works
        digest, works = _digest(services, team.team, rule)
        return digest, [_counted(services, work) for work in works]

    def is_race(error: Exception) -> bool:
        is_missing = isinstance(error, FileMissing | KeyMissing)
        return is_missing and are_renewed(
            services.catalog.manifest, services.keychain, team.team, [work.sealed for work in works]
        )

    digest, counts = replan(count, about=f"the files of team {team.team}", is_race=is_race)
    # A file that holds keep of all that is covered, or that only a filter took for one of these, is not written again.
    touched = [(work.sealed.file, goes) for work, (goes, _) in zip(works, counts, strict=True) if goes]
    dropped = sum(goes == file.rows for file, goes in touched)
    items, withheld = sum(goes for goes, _ in counts), sum(stays for _, stays in counts)
    return ErasurePlan(
        team=team.team,
        kind=kind_of(rule),
        digest=digest,
        items=items,
        withheld=withheld,
        queue_entries=_queued(services, team.team, rule),
        files_rewritten=len(touched) - dropped,
        files_dropped=dropped,
        size_bytes=sum(file.size_bytes for file, _ in touched),
        days=tuple(sorted({file.day for file, _ in touched})),
        estimated_ms=estimated_ms(
            files_rewritten=len(touched) - dropped, files_dropped=dropped, threads=services.threads
        ),
        needs_approval=needs_second_person(services, team, kind_of(rule), who=who, items=items + withheld),
    )


def accept_plan(services: Services, draft: RequestDraft, *, digest: str) -> Request | ImplioError:
    """Accept a draft only if it would do exactly what the plan of this digest says.

    Compared twice: before, and once its tombstone stands. From then on no covered item comes in, so what is compared
    is what is erased. It waits meanwhile, so that no other process begins it.

    Raises:
        PlanChanged: it would do something else; the request, if it was accepted, is cancelled.
        TeamUnknown: there is no such team.
        RequestRefused: the draft cannot be accepted.
    """
    rule = present_rule(services, draft)
    before = services.catalog.requests.newest_tombstone(draft.team)
    if _digest(services, draft.team, rule)[0] != digest:
        raise PlanChanged("what would be erased is not what the plan says")
    (answer,) = accept(services, [draft], is_paused=True)
    if isinstance(answer, ImplioError):
        return answer
    others = [
        each.sequence
        for each in services.catalog.requests.tombstones(draft.team)
        if each.sequence != answer.tombstone_sequence
    ]
    is_same = max(others, default=0) <= before
    rule = rule_as_accepted(answer, rule)
    if not is_same or _digest(services, draft.team, rule, tombstone=before)[0] != digest:
        cancel(services, answer.request_id)
        raise PlanChanged("what would be erased changed while the request was accepted")
    teams = {team.team: team for team in services.catalog.teams.all()}
    return release(services, [(answer, rule)], teams).get(answer.request_id, answer)


def _digest(
    services: Services, team: TeamId, rule: Rule, *, tombstone: int | None = None
) -> tuple[str, list[FileWork]]:
    """Return the digest of what a rule would do now, with the works it was made of."""
    position = services.catalog.requests.newest_tombstone(team) if tombstone is None else tombstone
    holds = holds_in_force(services.catalog.holds, team, now=services.clock.now())
    works = _works(services, team, rule)
    digest = plan_digest(
        team,
        rule,
        [work.sealed.file for work in works],
        tombstone=position,
        holds=[hold.hold_id for hold in holds],
    )
    return digest, works


def _works(services: Services, team: TeamId, rule: Rule) -> list[FileWork]:
    def plan() -> list[FileWork]:
        return plan_works(
            services.catalog.manifest,
            services.vault,
            team,
            [NamedRule(request_id=_RULE, rule=rule)],
            holds_in_force(services.catalog.holds, team, now=services.clock.now()),
        )

    return replan(plan, about=f"the files of team {team}")


def _counted(services: Services, work: FileWork) -> tuple[int, int]:
    """Return how many rows of a file would go, and how many a legal hold would keep."""
    if not work.holds:
        return services.vault.count(work), 0
    (spared,) = services.vault.spared(work)
    return spared.survivors, spared.rows


def _queued(services: Services, team: TeamId, rule: Rule) -> int:
    return sum(
        covers(
            rule,
            user_key=entry.user_key,
            task_key=entry.task_key,
            submitted_at=entry.submitted_at,
            outcome=entry.outcome,
        )
        for entry in services.catalog.moderation.entries(team)
    )
