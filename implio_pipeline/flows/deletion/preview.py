"""Preview: show what an erasure would do, with a digest; then do exactly that, or nothing.

The digest covers the rule, the files it reaches, the legal holds and the newest tombstone. `accept_plan` compares it
twice: before the request is accepted, and while its tombstone is in force. From then on no covered item comes in, so
what was compared is what is erased.

    plan = plan_erasure(services, draft)            # shown to a person
    accept_plan(services, draft, digest=plan.digest)  # raises PlanChanged if it would now do something else
"""

from dataclasses import replace

from implio_pipeline.domain.errors import FileMissing, ImplioError, KeyMissing, PlanChanged, PlanOutdated
from implio_pipeline.domain.file_changes import FileWork, NamedRule
from implio_pipeline.domain.ids import RequestId, RequestKind, TeamId
from implio_pipeline.domain.instants import next_instant
from implio_pipeline.domain.plan import ErasurePlan, estimated_ms, plan_digest
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.request import Request, RequestDraft
from implio_pipeline.domain.scope import Rule, kind_of
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.deletion.accept import accept, person_of, release, rule_of
from implio_pipeline.flows.deletion.approval import allowance_of
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.files.find import holds_in_force, plan_works
from implio_pipeline.flows.races import are_renewed
from implio_pipeline.ports.services import Services
from implio_pipeline.ports.vault import Vault

_RULE = RequestId("plan")


def plan_erasure(services: Services, draft: RequestDraft) -> ErasurePlan:
    """Return what carrying out the draft would do; nothing is accepted.

    Raises:
        TeamUnknown: there is no such team.
        RequestRefused: the draft cannot be accepted.
        PlanOutdated: the files kept changing.
    """
    team = services.catalog.teams.get(draft.team)
    who = person_of(services.keychain.pseudonym_maker(draft.team), draft)
    return _plan(services, team, _present_rule(services, team, draft), who=who)


def plan_request(services: Services, request: Request) -> ErasurePlan:
    """Return what carrying out an accepted request would do now, for the person who approves it.

    Raises:
        PlanOutdated: the request is done or cancelled, or the files kept changing.
    """
    in_force = services.catalog.requests.tombstones_of([request.request_id])
    if request.request_id not in in_force:
        raise PlanOutdated("the request is done or was cancelled")
    team = services.catalog.teams.get(request.team)
    return _plan(services, team, in_force[request.request_id].rule, who=request.asked_by)


def accept_plan(services: Services, draft: RequestDraft, *, digest: str) -> Request | ImplioError:
    """Accept a draft only if it would do exactly what the plan with this digest says.

    Raises:
        PlanChanged: it would do something else; if the request was accepted already, it is cancelled.
        TeamUnknown: there is no such team.
        RequestRefused: the draft cannot be accepted.
    """
    # 1. Compare before anything is accepted: nothing is hidden for a plan that has changed.
    requests = services.catalog.requests
    rule = _present_rule(services, services.catalog.teams.get(draft.team), draft)
    before = requests.newest_tombstone(draft.team)
    if _digest(services, draft.team, rule)[0] != digest:
        raise PlanChanged("what would be erased is not what the plan says")
    # 2. Accept. The request is paused, so that no other process begins it before the second comparison.
    (answer,) = accept(services, [draft], is_paused=True)
    if isinstance(answer, ImplioError):
        return answer
    # 3. Compare again, as if this tombstone were not there: from here on, no covered item comes in.
    rule = replace(rule, before=answer.accepted_at)
    tombstones = requests.tombstones(draft.team)
    newest_other = max((each.sequence for each in tombstones if each.sequence != answer.tombstone_sequence), default=0)
    if newest_other > before or _digest(services, draft.team, rule, tombstone=before)[0] != digest:
        cancel(services, answer.request_id)
        raise PlanChanged("what would be erased changed while the request was accepted")
    # 4. Release it, unless it needs a second person.
    return release(services, [(answer, rule)]).get(answer.request_id, answer)


def _present_rule(services: Services, team: Team, draft: RequestDraft) -> Rule:
    """Return the draft's scope in keyed pseudonyms, over every item that the team has now."""
    present = next_instant(team.newest_at, now=services.clock.now())
    return rule_of(services.keychain.user_key_maker(draft.team), services.identifiers, draft.scope, before=present)


def _plan(services: Services, team: Team, rule: Rule, *, who: str | None) -> ErasurePlan:
    works: list[FileWork] = []

    def count() -> tuple[str, list[tuple[int, int]]]:
        nonlocal works
        digest, works = _digest(services, team.team, rule)
        return digest, [_counted(services.vault, work) for work in works]

    def is_race(error: Exception) -> bool:
        is_missing = isinstance(error, FileMissing | KeyMissing)
        files = [work.sealed for work in works]
        return is_missing and are_renewed(services.catalog.manifest, services.keychain, team.team, files)

    # 1. Count by reading, file by file: how many rows would go, and how many a legal hold would keep.
    digest, counts = replan(count, about=f"the files of team {team.team}", is_race=is_race)
    items, withheld = sum(goes for goes, _ in counts), sum(stays for _, stays in counts)
    # 2. Leave out files that would not be written: holds keep all that is covered, or a filter was wrong.
    touched = [(work.sealed.file, goes) for work, (goes, _) in zip(works, counts, strict=True) if goes]
    dropped = sum(goes == file.rows for file, goes in touched)
    rewritten = len(touched) - dropped
    # 3. Would it wait for a second person? Withheld items count too: they are erased when the hold ends.
    kind, needs_approval = kind_of(rule), False
    if services.approvals.is_asked and kind is not RequestKind.RETENTION:
        is_above_cap = items + withheld > allowance_of(services, team.team, who).left
        needs_approval = kind is RequestKind.TEAM or is_above_cap
    return ErasurePlan(
        team=team.team,
        kind=kind,
        digest=digest,
        items=items,
        withheld=withheld,
        queue_entries=sum(entry.is_covered_by(rule) for entry in services.catalog.moderation.entries(team.team)),
        files_rewritten=rewritten,
        files_dropped=dropped,
        size_bytes=sum(file.size_bytes for file, _ in touched),
        days=tuple(sorted({file.day for file, _ in touched})),
        estimated_ms=estimated_ms(
            files_rewritten=rewritten,
            rows_rewritten=sum(file.rows for file, goes in touched if goes < file.rows),
            files_dropped=dropped,
            threads=services.threads,
        ),
        needs_approval=needs_approval,
    )


def _digest(
    services: Services, team: TeamId, rule: Rule, *, tombstone: int | None = None
) -> tuple[str, list[FileWork]]:
    """Return the digest of what a rule would do now, and the files that the digest covers."""
    catalog = services.catalog
    newest = catalog.requests.newest_tombstone(team) if tombstone is None else tombstone
    holds = holds_in_force(catalog.holds, team, now=services.clock.now())
    works = replan(
        lambda: plan_works(catalog.manifest, services.vault, team, [NamedRule(request_id=_RULE, rule=rule)], holds),
        about=f"the files of team {team}",
    )
    files, hold_ids = [work.sealed.file for work in works], [hold.hold_id for hold in holds]
    return plan_digest(team, rule, files, tombstone=newest, holds=hold_ids), works


def _counted(vault: Vault, work: FileWork) -> tuple[int, int]:
    """Return how many rows of a file would go, and how many a legal hold would keep."""
    if not work.holds:
        return vault.count(work), 0
    (spared,) = vault.spared(work)
    return spared.survivors, spared.rows
