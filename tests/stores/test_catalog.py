"""What every catalog promises, port by port; and the samples that the catalog's other tests use.

Runs on SQLite and on PostgreSQL.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest
from support.home import NOBODY_APPROVES
from support.ring import OneKey

from implio_pipeline.domain.errors import PlanOutdated, RequestUnknown, TeamInvalid, TeamUnknown
from implio_pipeline.domain.file_changes import Change, FileOutcome, NamedRule
from implio_pipeline.domain.files import FileKey, SealedFile, VaultFile
from implio_pipeline.domain.ids import (
    Channel,
    ColumnClass,
    FileId,
    FileKind,
    KeyId,
    KeyPurpose,
    Region,
    RequestId,
    RequestKind,
    TaskKey,
    TeamId,
    UserKey,
)
from implio_pipeline.domain.intake import LandingRecord, LandingState
from implio_pipeline.domain.keys import TeamKey
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.request import PreparedRequest, Request, RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import Cutoffs, DatesRule, OverdueRule, Rule, TaskRule, TeamRule, UserRule, kind_of
from implio_pipeline.domain.team import Team
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.stores.catalog.catalog import SqlCatalog, open_catalog

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
DAY = date(2026, 2, 1)
ADS = TeamId("ads")
CARS = TeamId("cars")
_numbers = count(1)


@pytest.fixture
def catalog(url: str) -> Iterator[SqlCatalog]:
    opened = open_catalog(url, OneKey())
    add_team(opened, ADS)
    add_team(opened, CARS)
    yield opened
    opened.close()


def number() -> int:
    return next(_numbers)


def user(n: int) -> UserKey:
    return UserKey(n.to_bytes(16, "big"))


def task(n: int) -> TaskKey:
    return TaskKey(n.to_bytes(16, "little"))


def team_key(team: TeamId, purpose: KeyPurpose, version: int = 1) -> TeamKey:
    return TeamKey(
        key_id=KeyId(f"{team}.{purpose}.{version}"),
        team=team,
        purpose=purpose,
        version=version,
        root_key_id=f"eu/{purpose}/1",
        created_at=NOW,
        wrapped=os.urandom(40),
    )


def add_team(catalog: Catalog, team: TeamId) -> Team:
    made = Team(team=team, region=Region("eu"), created_at=NOW)
    catalog.teams.add(made, [team_key(team, purpose) for purpose in KeyPurpose])
    return made


def sealed_file(team: TeamId = ADS, *, version: int = 1, **known: object) -> SealedFile:
    file_id = FileId(f"{number():032x}")
    first = NOW - timedelta(days=20)
    plain = VaultFile(
        file_id=file_id,
        team=team,
        region=Region("eu"),
        day=DAY,
        kind=FileKind.ITEMS,
        rows=10,
        size_bytes=5_000_000_000,
        digest=os.urandom(32).hex(),
        low_key=user(10),
        high_key=user(20),
        anonymous_rows=2,
        most_of_one_user=3,
        first_submitted_at=first,
        last_submitted_at=first + timedelta(microseconds=1),
        outcomes={"approved": 7, "undecided": 3},
        user_filter=b"users",
        task_filter=b"tasks",
    )
    file = replace(plain, **known)
    return SealedFile(file=file, keys=wrapped_keys(file, version=version))


def wrapped_keys(file: VaultFile, *, version: int = 1) -> tuple[FileKey, ...]:
    return tuple(
        FileKey(
            file_id=file.file_id,
            column_class=column_class,
            team_key_id=KeyId(f"{file.team}.{column_class}.{version}"),
            wrapped=os.urandom(40),
        )
        for column_class in ColumnClass
    )


def change(catalog: Catalog, team: TeamId = ADS, **parts: object) -> Change:
    planned_at = catalog.requests.newest_tombstone(team)
    return replace(Change(team=team, planned_at=planned_at, committed_at=NOW), **parts)


def commit_files(catalog: Catalog, *files: SealedFile) -> None:
    catalog.manifest.commit(change(catalog, files[0].file.team, add=files))


def request_for(rule: Rule, team: TeamId = ADS, **known: object) -> Request:
    plain = Request(
        request_id=RequestId(f"req-{number()}"),
        team=team,
        kind=kind_of(rule),
        channel=Channel.API,
        state=RequestState.ACCEPTED,
        received_at=NOW,
        accepted_at=NOW,
        due_at=NOW + timedelta(days=31),
        scope_pseudonym="ab" * 16,
        tombstone_sequence=0,
        sealed=f"{team}.seal.1\0sealed scope".encode(),
    )
    return replace(plain, **known)


def prepared(request: Request, rule: Rule, key: str) -> PreparedRequest:
    return PreparedRequest(request=request, rule=rule, key=key)


def accept(catalog: Catalog, rule: Rule, team: TeamId = ADS, **known: object) -> Request:
    return catalog.requests.accept(
        [prepared(request_for(rule, team, **known), rule, f"key-{number()}")], approvals=NOBODY_APPROVES
    )[0]


def entry(team: TeamId = ADS, **known: object) -> QueueEntry:
    n = number()
    plain = QueueEntry(
        task_id=f"task-{n}",
        task_key=task(n),
        team=team,
        queue="Default",
        user_key=user(n),
        submitted_at=NOW - timedelta(days=1),
        outcome=None,
    )
    return replace(plain, **known)


def landing(team: TeamId = ADS, **known: object) -> LandingRecord:
    plain = LandingRecord(
        team=team,
        digest=f"{number():064x}",
        size_bytes=1234,
        state=LandingState.INGESTED,
        items=10,
        rejected=1,
        erased_before=2,
        too_old=1,
        taken_at=NOW,
    )
    return replace(plain, **known)


def outcome(request: Request, file: VaultFile) -> FileOutcome:
    return FileOutcome(
        request_id=request.request_id,
        kind=file.kind,
        digest_before=file.digest,
        digest_after=None,
        rows_before=file.rows,
        rows_after=0,
        matched=file.rows,
        keys_destroyed=3,
        size_before_bytes=file.size_bytes,
        is_read_back=False,
    )


def named(rule: Rule) -> NamedRule:
    return NamedRule(request_id=RequestId("any"), rule=rule)


def moved(catalog: Catalog, request: Request, *states: RequestState) -> Request:
    for state in states:
        after = request.moved(state)
        catalog.requests.save([(after, request.state)])
        request = after
    return request


def begun(catalog: Catalog, request: Request) -> Request:
    return moved(catalog, request, RequestState.PLANNED, RequestState.REWRITING)


def shredded(catalog: Catalog, request: Request) -> Request:
    return moved(catalog, begun(catalog, request), RequestState.SHREDDED)


# ---------------------------------------------------------------------------------------------------------- teams


def test_a_team_is_returned_as_it_was_added(catalog: Catalog) -> None:
    policy = RetentionPolicy(keep_days=30, by_outcome={"refused": 7})
    bikes = Team(team=TeamId("bikes"), region=Region("us"), created_at=NOW, policy=policy)

    catalog.teams.add(bikes, [])

    assert catalog.teams.get(bikes.team) == bikes
    assert [team.team for team in catalog.teams.all()] == ["ads", "bikes", "cars"]


def test_a_team_is_added_once(catalog: Catalog) -> None:
    key = team_key(ADS, KeyPurpose.SEAL, 2)

    with pytest.raises(TeamInvalid, match="ads already"):
        catalog.teams.add(Team(team=ADS, region=Region("us"), created_at=NOW), [key])

    assert catalog.teams.get(ADS).region == "eu"
    assert key not in catalog.teams.keys(ADS)


def test_a_team_that_is_not_there_is_unknown(catalog: Catalog) -> None:
    nobody = TeamId("nobody")

    for ask in (
        lambda: catalog.teams.get(nobody),
        lambda: catalog.teams.set_policy(nobody, RetentionPolicy()),
        lambda: catalog.manifest.commit(Change(team=nobody, planned_at=0, committed_at=NOW)),
        lambda: accept(catalog, TeamRule(before=NOW), nobody),
    ):
        with pytest.raises(TeamUnknown):
            ask()


def test_a_name_with_nul_is_as_unknown_as_any_other(catalog: Catalog) -> None:
    # PostgreSQL refuses NUL in a text.
    for unknown in (TeamId(f"{ADS}\0"), TeamId("\0"), TeamId(f"{ADS}\U0010ffff")):
        with pytest.raises(TeamUnknown):
            catalog.teams.get(unknown)
        assert list(catalog.manifest.files(unknown)) == []
        assert catalog.requests.all(team=unknown) == []
        assert catalog.requests.latest(ADS, unknown) is None
        with pytest.raises(RequestUnknown):
            catalog.requests.get(RequestId(unknown))
        assert catalog.api_keys.all(unknown) == []


def test_a_policy_takes_the_place_of_the_one_before(catalog: Catalog) -> None:
    catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=90, by_outcome={"refused": 7}))

    catalog.teams.set_policy(ADS, RetentionPolicy(by_outcome={"undecided": 400}))

    assert catalog.teams.get(ADS).policy == RetentionPolicy(by_outcome={"undecided": 400})
    assert catalog.teams.get(CARS).policy == RetentionPolicy()


def test_team_keys_come_newest_version_first(catalog: Catalog) -> None:
    second = team_key(ADS, KeyPurpose.CONTENT, 2)

    catalog.manifest.commit(change(catalog, new_team_keys=(second,)))

    keys = catalog.teams.keys(ADS)
    assert keys[0] == second
    assert len(keys) == len(KeyPurpose) + 1
    assert {key.team for key in keys} == {ADS}


# ------------------------------------------------------------------------------------------------------- manifest


def test_a_committed_file_is_live_exactly_as_it_was_added(catalog: Catalog) -> None:
    full = sealed_file()
    nobodys = sealed_file(CARS, low_key=None, high_key=None, kind=FileKind.REJECTED, outcomes={})

    commit_files(catalog, full)
    commit_files(catalog, nobodys)

    assert list(catalog.manifest.files()) == [full.file, nobodys.file]
    assert list(catalog.manifest.files(CARS)) == [nobodys.file]


def test_files_are_found_by_day(catalog: Catalog) -> None:
    first, second = sealed_file(), sealed_file(day=DAY + timedelta(days=1))
    commit_files(catalog, second, first)

    found = list(catalog.manifest.files(ADS, day=second.file.day))

    assert found == [second.file]
    assert list(catalog.manifest.files(ADS)) == [first.file, second.file]


def test_a_listing_sees_one_instant_while_others_commit(catalog: Catalog) -> None:
    old = [sealed_file() for _ in range(3)]
    commit_files(catalog, *old)
    listing = catalog.manifest.files(ADS)
    seen = [next(listing)]

    catalog.manifest.commit(change(catalog, remove=tuple(sealed.file.file_id for sealed in old), add=(sealed_file(),)))

    assert [*seen, *listing] == [sealed.file for sealed in old]
    assert len(list(catalog.manifest.files(ADS))) == 1


def test_sealed_files_come_in_the_order_asked(catalog: Catalog) -> None:
    files = [sealed_file() for _ in range(1200)]
    commit_files(catalog, *files)

    found = catalog.manifest.sealed([sealed.file for sealed in reversed(files)])

    assert found == files[::-1]


def test_a_file_that_is_gone_cannot_be_unsealed(catalog: Catalog) -> None:
    live, gone = sealed_file(), sealed_file()
    commit_files(catalog, live, gone)
    catalog.manifest.commit(change(catalog, remove=(gone.file.file_id,)))

    with pytest.raises(PlanOutdated, match="1 of 2 files are no longer live"):
        catalog.manifest.sealed([live.file, gone.file])


def test_a_removed_file_is_doomed_until_it_is_unlinked(catalog: Catalog) -> None:
    old, new = sealed_file(), sealed_file()
    commit_files(catalog, old)

    catalog.manifest.commit(change(catalog, remove=(old.file.file_id,), add=(new,)))

    assert list(catalog.manifest.files()) == [new.file]
    assert list(catalog.manifest.files_to_unlink()) == [[replace(old.file, user_filter=b"", task_filter=b"")]]
    catalog.manifest.forget_unlinked([old.file, new.file])
    assert list(catalog.manifest.files_to_unlink()) == []
    assert list(catalog.manifest.files()) == [new.file]


def test_a_file_is_removed_once(catalog: Catalog) -> None:
    old, kept = sealed_file(), sealed_file()
    commit_files(catalog, old, kept)
    removal = change(catalog, remove=(old.file.file_id, kept.file.file_id), add=(sealed_file(),))
    catalog.manifest.commit(change(catalog, remove=(old.file.file_id,)))

    with pytest.raises(PlanOutdated, match="1 of 2 files to remove are no longer live"):
        catalog.manifest.commit(removal)

    assert list(catalog.manifest.files()) == [kept.file]
    assert catalog.manifest.sealed([kept.file]) == [kept]


def test_a_file_of_another_team_is_not_removed(catalog: Catalog) -> None:
    theirs = sealed_file(CARS)
    commit_files(catalog, theirs)

    with pytest.raises(PlanOutdated, match="no longer live"):
        catalog.manifest.commit(change(catalog, ADS, remove=(theirs.file.file_id,)))

    assert catalog.manifest.sealed([theirs.file]) == [theirs]


def test_work_planned_before_a_tombstone_is_planned_again(catalog: Catalog) -> None:
    planned = change(catalog, add=(sealed_file(),))
    accept(catalog, UserRule(user_key=user(1), before=NOW))

    with pytest.raises(PlanOutdated, match="tombstone"):
        catalog.manifest.commit(planned)

    assert list(catalog.manifest.files()) == []


def test_a_tombstone_of_another_team_does_not_disturb(catalog: Catalog) -> None:
    file = sealed_file()
    planned = change(catalog, add=(file,))
    accept(catalog, UserRule(user_key=user(1), before=NOW), CARS)

    catalog.manifest.commit(planned)

    assert list(catalog.manifest.files()) == [file.file]


def test_a_landing_file_is_taken_once_with_all_that_came_of_it(catalog: Catalog) -> None:
    record = landing()
    catalog.manifest.commit(change(catalog, add=(sealed_file(),), landing=record, queue=(entry(),)))

    with pytest.raises(PlanOutdated, match="landing file already"):
        catalog.manifest.commit(change(catalog, add=(sealed_file(),), landing=record, queue=(entry(),)))

    assert len(list(catalog.manifest.files())) == 1
    assert len(catalog.moderation.entries()) == 1


def test_a_file_removed_and_added_is_wrapped_again_in_place(catalog: Catalog) -> None:
    old = sealed_file()
    commit_files(catalog, old)
    second = tuple(team_key(ADS, KeyPurpose(column_class)) for column_class in ColumnClass)
    second = tuple(team_key(ADS, key.purpose, 2) for key in second)
    new = SealedFile(file=old.file, keys=wrapped_keys(old.file, version=2))

    catalog.manifest.commit(
        change(
            catalog,
            new_team_keys=second,
            remove=(old.file.file_id,),
            add=(new,),
            shred_team_keys=tuple(KeyId(f"ads.{column_class}.1") for column_class in ColumnClass),
        )
    )

    assert catalog.manifest.sealed([old.file]) == [new]
    assert list(catalog.manifest.files_to_unlink()) == []
    assert {key.key_id for key in catalog.teams.keys(ADS) if key.version == 1} == {"ads.pseudonym.1", "ads.seal.1"}


def test_a_team_key_that_still_wraps_a_live_file_is_not_shredded(catalog: Catalog) -> None:
    file = sealed_file()
    rotation = change(catalog, shred_team_keys=(KeyId("ads.content.1"),))
    commit_files(catalog, file)

    with pytest.raises(PlanOutdated, match="1 live files are still wrapped"):
        catalog.manifest.commit(rotation)

    assert catalog.manifest.sealed([file.file]) == [file]
    assert KeyId("ads.content.1") in {key.key_id for key in catalog.teams.keys(ADS)}


def test_a_file_wrapped_under_a_shredded_team_key_is_not_committed(catalog: Catalog) -> None:
    catalog.manifest.commit(change(catalog, shred_team_keys=(KeyId("ads.content.1"),)))

    with pytest.raises(PlanOutdated, match="1 team keys that new files are wrapped under are shredded"):
        commit_files(catalog, sealed_file())

    assert list(catalog.manifest.files()) == []


def test_two_rotations_of_one_version_do_not_both_happen(catalog: Catalog) -> None:
    catalog.manifest.commit(change(catalog, new_team_keys=(team_key(ADS, KeyPurpose.CONTENT, 2),)))

    with pytest.raises(PlanOutdated, match="this version already"):
        catalog.manifest.commit(change(catalog, new_team_keys=(team_key(ADS, KeyPurpose.CONTENT, 2),)))
    with pytest.raises(PlanOutdated, match="no longer has all the keys"):
        catalog.manifest.commit(change(catalog, shred_team_keys=(KeyId("ads.content.0"),)))

    assert len(catalog.teams.keys(ADS)) == len(KeyPurpose) + 1


def test_rows_without_a_user_are_counted_in_live_files(catalog: Catalog) -> None:
    kept, gone = sealed_file(anonymous_rows=3), sealed_file(anonymous_rows=50)
    commit_files(catalog, kept, gone, sealed_file(anonymous_rows=4, kind=FileKind.REJECTED))
    catalog.manifest.commit(change(catalog, remove=(gone.file.file_id,)))

    counted = catalog.manifest.anonymous_items(ADS)

    assert counted == 7
    assert catalog.manifest.anonymous_items(CARS) == 0


def test_candidates_are_the_files_a_claim_reaches_and_no_others(catalog: Catalog) -> None:
    low, high = sealed_file(low_key=user(0), high_key=user(9)), sealed_file(low_key=user(10), high_key=user(19))
    commit_files(catalog, low, high)
    commit_files(catalog, sealed_file(CARS, low_key=user(0), high_key=user(9)))
    gone = sealed_file(low_key=user(0), high_key=user(9))
    commit_files(catalog, gone)
    catalog.manifest.commit(change(catalog, remove=(gone.file.file_id,)))

    one = list(catalog.manifest.candidates(ADS, [named(UserRule(user_key=user(9), before=NOW))]))
    many = list(
        catalog.manifest.candidates(ADS, [named(UserRule(user_key=user(n), before=NOW)) for n in range(9, 900)])
    )

    assert one == [low.file]
    assert sorted(many, key=lambda file: file.file_id) == [low.file, high.file]
    assert list(catalog.manifest.candidates(ADS, [])) == []


# ------------------------------------------------------------------------------------------------------- requests

RULES: dict[str, Rule] = {
    "a user": UserRule(user_key=user(7), before=NOW),
    "a task of a known day": TaskRule(task_key=task(7), before=NOW, submitted_on=DAY),
    "a foreign task": TaskRule(task_key=task(7), before=NOW),
    "dates": DatesRule(start=NOW - timedelta(days=3), end=NOW - timedelta(days=1), before=NOW),
    "a team": TeamRule(before=NOW),
    "retention": OverdueRule(cutoffs=Cutoffs(every=DAY, by_outcome=(("refused", DAY), ("undecided", DAY))), before=NOW),
    "retention by outcome alone": OverdueRule(cutoffs=Cutoffs(every=None, by_outcome=(("refused", DAY),)), before=NOW),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_tombstone_keeps_its_rule(catalog: Catalog, rule: Rule) -> None:
    request = accept(catalog, rule)

    (tombstone,) = catalog.requests.tombstones(ADS)

    assert tombstone.rule == rule
    assert (tombstone.request_id, tombstone.team, tombstone.is_erased) == (request.request_id, ADS, False)
    assert tombstone.sequence == request.tombstone_sequence == catalog.requests.newest_tombstone(ADS)


def test_an_accepted_request_is_returned_whole(catalog: Catalog) -> None:
    rule = UserRule(user_key=user(7), before=NOW)
    asked = request_for(rule, policy="kept 30 days", next_attempt_at=NOW, error_code="x", attempts=3)

    (accepted,) = catalog.requests.accept([prepared(asked, rule, "once")], approvals=NOBODY_APPROVES)

    assert catalog.requests.get(asked.request_id) == accepted
    assert accepted == replace(asked, tombstone_sequence=accepted.tombstone_sequence)


def test_a_request_that_is_not_there_is_unknown(catalog: Catalog) -> None:
    with pytest.raises(RequestUnknown, match="no request"):
        catalog.requests.get(RequestId("req-none"))


def test_the_same_idempotency_key_returns_the_first_request_for_thirty_days(catalog: Catalog) -> None:
    rule = UserRule(user_key=user(7), before=NOW)
    (first,) = catalog.requests.accept([prepared(request_for(rule), rule, "once")], approvals=NOBODY_APPROVES)
    late, too_late = (NOW + timedelta(days=30) - timedelta(seconds=1), NOW + timedelta(days=30))

    (again,) = catalog.requests.accept(
        [prepared(request_for(rule, accepted_at=late), rule, "once")], approvals=NOBODY_APPROVES
    )
    (other_team,) = catalog.requests.accept(
        [prepared(request_for(rule, CARS), rule, "once")], approvals=NOBODY_APPROVES
    )
    (after,) = catalog.requests.accept(
        [prepared(request_for(rule, accepted_at=too_late), rule, "once")], approvals=NOBODY_APPROVES
    )

    assert again == first
    assert len({first.request_id, other_team.request_id, after.request_id}) == 3
    assert len(catalog.requests.tombstones(ADS)) == 2


def test_a_batch_is_accepted_in_its_order_and_each_key_once(catalog: Catalog) -> None:
    rules = [UserRule(user_key=user(n), before=NOW) for n in range(600)]
    asked = [prepared(request_for(rule, ADS if n % 2 else CARS), rule, f"key-{n}") for n, rule in enumerate(rules)]

    accepted = catalog.requests.accept([*asked, asked[0], asked[1]], approvals=NOBODY_APPROVES)

    assert accepted[-2:] == accepted[:2]
    sequences = [request.tombstone_sequence for request in accepted[:-2]]
    assert sequences == sorted(set(sequences))
    standing = catalog.requests.tombstones(ADS) + catalog.requests.tombstones(CARS)
    assert [tombstone.rule for tombstone in sorted(standing, key=lambda one: one.sequence)] == rules
    assert [request.request_id for request in accepted[:-2]] == [each.request.request_id for each in asked]


def test_nothing_asked_is_nothing_done(catalog: Catalog) -> None:
    requests = catalog.requests

    requests.save([])
    requests.complete([])
    requests.in_ledger([])
    catalog.manifest.forget_unlinked([])

    assert requests.accept([], approvals=NOBODY_APPROVES) == []
    assert catalog.manifest.sealed([]) == []


def test_accepting_takes_the_covered_entries_off_the_queues_at_once(catalog: Catalog) -> None:
    theirs, others, late = entry(user_key=user(7)), entry(user_key=user(8)), entry(user_key=user(7), submitted_at=NOW)
    foreign = entry(CARS, user_key=user(7))
    catalog.manifest.commit(change(catalog, queue=(theirs, others, late)))
    catalog.manifest.commit(change(catalog, CARS, queue=(foreign,)))

    accepted = accept(catalog, UserRule(user_key=user(7), before=NOW))

    assert accepted.queue_removed == catalog.requests.get(accepted.request_id).queue_removed == 1
    assert catalog.moderation.entries(ADS) == [others, late]
    assert catalog.moderation.entries(CARS) == [foreign]


def test_an_entry_covered_twice_counts_once(catalog: Catalog) -> None:
    catalog.manifest.commit(change(catalog, queue=(entry(user_key=user(7)), entry())))
    rules = (UserRule(user_key=user(7), before=NOW), TeamRule(before=NOW))

    accepted = catalog.requests.accept(
        [prepared(request_for(rule), rule, str(rule)) for rule in rules], approvals=NOBODY_APPROVES
    )

    assert sum(request.queue_removed for request in accepted) == 2
    assert catalog.moderation.entries() == []


def test_requests_are_listed_oldest_first_by_team_and_state(catalog: Catalog) -> None:
    rule = TeamRule(before=NOW)
    first, theirs, second = accept(catalog, rule), accept(catalog, rule, CARS), accept(catalog, rule)
    planned = first.moved(RequestState.PLANNED)

    catalog.requests.save([(planned, RequestState.ACCEPTED)])

    assert catalog.requests.all() == [planned, theirs, second]
    assert catalog.requests.all(team=ADS) == [planned, second]
    assert catalog.requests.all(states={RequestState.ACCEPTED}) == [theirs, second]
    assert catalog.requests.all(team=ADS, states={RequestState.PLANNED, RequestState.FAILED}) == [planned]
    assert catalog.requests.all(states=()) == []


def test_requests_are_moved_all_or_none(catalog: Catalog) -> None:
    rule = TeamRule(before=NOW)
    first, second = accept(catalog, rule), accept(catalog, rule)
    moves = [(request.moved(RequestState.PLANNED), RequestState.ACCEPTED) for request in (first, second)]
    catalog.requests.save(moves[1:])

    with pytest.raises(PlanOutdated, match="1 of 2 requests"):
        catalog.requests.save(moves)

    assert catalog.requests.get(first.request_id) == first
    assert catalog.requests.get(second.request_id) == moves[1][0]


def test_outcomes_are_kept_with_the_commit_and_stamped_with_its_instant(catalog: Catalog) -> None:
    request = begun(catalog, accept(catalog, TeamRule(before=NOW)))
    first, second = sealed_file(), sealed_file()
    commit_files(catalog, first, second)

    for sealed in (first, second):
        removal = change(catalog, remove=(sealed.file.file_id,), outcomes=(outcome(request, sealed.file),))
        catalog.manifest.commit(removal)

    lines = [replace(outcome(request, sealed.file), committed_at=NOW) for sealed in (first, second)]
    assert catalog.requests.outcomes([request.request_id]) == {request.request_id: lines}


@pytest.mark.parametrize("state", [RequestState.VERIFIED, RequestState.SHREDDED, RequestState.PARTLY_WITHHELD])
def test_no_file_is_removed_for_a_request_that_is_being_finished(catalog: Catalog, state: RequestState) -> None:
    finished = begun(catalog, accept(catalog, TeamRule(before=NOW)))
    request = begun(catalog, accept(catalog, TeamRule(before=NOW)))
    file = sealed_file()
    commit_files(catalog, file)
    between = [RequestState.SHREDDED] if state is RequestState.PARTLY_WITHHELD else []
    moved(catalog, finished, *between, state)
    lines = (outcome(request, file.file), outcome(finished, file.file))

    with pytest.raises(PlanOutdated, match="finishes a request"):
        catalog.manifest.commit(change(catalog, remove=(file.file.file_id,), outcomes=lines))

    assert [each.file_id for each in catalog.manifest.files()] == [file.file.file_id]
    assert catalog.requests.outcomes([request.request_id, finished.request_id]) == {}


def test_completing_destroys_the_sealed_scope_and_the_lines_and_leaves_the_tombstone(catalog: Catalog) -> None:
    request, other = (begun(catalog, accept(catalog, TeamRule(before=NOW))) for _ in range(2))
    file = sealed_file()
    commit_files(catalog, file)
    lines = (outcome(request, file.file), outcome(other, file.file))
    catalog.manifest.commit(change(catalog, remove=(file.file.file_id,), outcomes=lines))
    done = replace(moved(catalog, request, RequestState.SHREDDED), completed_at=NOW)

    catalog.requests.complete([done])

    assert catalog.requests.get(request.request_id) == replace(
        done, state=RequestState.COMPLETED, sealed=None, covered_items=10, is_exact=True
    )
    assert catalog.requests.outcomes([request.request_id]) == {}
    assert [tombstone.is_erased for tombstone in catalog.requests.tombstones(ADS)] == [True, False]
    assert [tombstone.request_id for tombstone in catalog.requests.tombstones(ADS, only_open=True)] == [
        other.request_id
    ]
    assert len(catalog.requests.outcomes([other.request_id])[other.request_id]) == 1
    assert catalog.requests.get(other.request_id).sealed == b"ads.seal.1\0sealed scope"


def test_only_shredded_requests_are_completed_and_only_once(catalog: Catalog) -> None:
    done, early = shredded(catalog, accept(catalog, TeamRule(before=NOW))), accept(catalog, TeamRule(before=NOW))

    with pytest.raises(PlanOutdated):
        catalog.requests.complete([done, early])
    still = catalog.requests.get(done.request_id)
    catalog.requests.complete([done])
    with pytest.raises(PlanOutdated):
        catalog.requests.complete([done])

    assert still == done
    assert catalog.requests.get(early.request_id) == early


def test_a_tombstone_waits_for_the_ledger_until_it_is_there(catalog: Catalog) -> None:
    first, second = accept(catalog, TeamRule(before=NOW)), accept(catalog, UserRule(user_key=user(1), before=NOW), CARS)
    before = catalog.requests.without_ledger()

    catalog.requests.in_ledger([first.tombstone_sequence])

    assert before == [
        (first, catalog.requests.tombstones(ADS)[0]),
        (second, catalog.requests.tombstones(CARS)[0]),
    ]
    assert catalog.requests.without_ledger() == before[1:]


def test_a_lifting_waits_for_the_ledger_although_another_process_has_just_written_the_tombstone(
    catalog: Catalog,
) -> None:
    request = accept(catalog, TeamRule(before=NOW), state=RequestState.UNAPPROVED)
    placed = catalog.requests.without_ledger()

    catalog.requests.cancel(request.moved(RequestState.CANCELLED), was=request.state)
    catalog.requests.in_ledger([tombstone.sequence for _, tombstone in placed])
    waits = catalog.requests.lifted_without_ledger()
    catalog.requests.in_ledger([request.tombstone_sequence], is_lifting=True)

    assert [each.request_id for each in waits] == [request.request_id]
    assert catalog.requests.lifted_without_ledger() == []


@pytest.mark.parametrize("ids", [("a", "b"), ("b", "a")])
def test_of_requests_that_cover_an_entry_the_oldest_takes_it_from_a_cancelled_one(
    catalog: Catalog, ids: tuple[str, str]
) -> None:
    waits = entry(submitted_at=NOW - timedelta(hours=1))
    catalog.manifest.commit(change(catalog, queue=(waits,)))
    rules = [UserRule(user_key=waits.user_key, before=NOW), TeamRule(before=NOW), TeamRule(before=NOW)]
    first, older, newer = (
        accept(catalog, rule, request_id=RequestId(name), state=RequestState.UNAPPROVED)
        for rule, name in zip(rules, ("first", *ids), strict=True)
    )

    def cancel(request: Request) -> list[QueueEntry]:
        catalog.requests.cancel(request.moved(RequestState.CANCELLED), was=request.state)
        return list(catalog.moderation.entries(ADS))

    assert cancel(first) == []
    assert cancel(newer) == []
    assert cancel(older) == [waits]


def test_sequences_never_come_twice(catalog: Catalog) -> None:
    assert catalog.requests.newest_tombstone(ADS) == 0

    first, second = accept(catalog, TeamRule(before=NOW)), accept(catalog, TeamRule(before=NOW), CARS)

    assert 0 < first.tombstone_sequence < second.tombstone_sequence
    assert catalog.requests.newest_tombstone(ADS) == first.tombstone_sequence


# --------------------------------------------------------------------------------------------- landings and queues


def test_landing_files_are_remembered_by_team_and_content(catalog: Catalog) -> None:
    first = landing(reason="not JSON", state=LandingState.SET_ASIDE)
    second = landing(CARS, digest=first.digest, taken_at=NOW - timedelta(days=1), size_bytes=99)

    for record in (first, second):
        catalog.manifest.commit(change(catalog, record.team, landing=record))

    assert catalog.landings.seen(ADS, first.digest) == first
    assert catalog.landings.seen(ADS, "0" * 64) is None
    assert catalog.landings.all() == [second, first]
    assert catalog.landings.all(ADS) == [first]
    assert catalog.landings.has_size(CARS, 99)
    assert not catalog.landings.has_size(ADS, 99)


def test_every_team_starts_with_two_queues_and_gains_those_its_entries_name(catalog: Catalog) -> None:
    entries = (entry(queue="Photos"), entry(queue="Default"), entry(queue="Photos"))

    catalog.manifest.commit(change(catalog, queue=entries))

    counts = catalog.moderation.counts()
    assert counts == {
        ("ads", "Default"): 1,
        ("ads", "Escalated"): 0,
        ("ads", "Photos"): 2,
        ("cars", "Default"): 0,
        ("cars", "Escalated"): 0,
    }


def test_entries_wait_oldest_first(catalog: Catalog) -> None:
    young, old, older = (
        entry(),
        entry(submitted_at=NOW - timedelta(days=2)),
        entry(submitted_at=NOW - timedelta(days=9)),
    )
    nobodys = entry(user_key=None, outcome="no decision")

    catalog.manifest.commit(change(catalog, queue=(young, old, older, nobodys)))

    assert catalog.moderation.entries() == [older, old, young, nobodys]


# Sums and look-ups, so that no flow reads a large catalog whole


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_the_sums_of_partitions_are_those_of_their_files_whatever_the_size_of_a_page(
    catalog: Catalog, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("implio_pipeline.stores.catalog.manifest._PARTITIONS_AT_ONCE", page)
    for team, days in ((ADS, 4), (CARS, 2)):
        kinds = [FileKind.ITEMS, FileKind.ITEMS, FileKind.REJECTED]
        files = [
            sealed_file(team, day=DAY + timedelta(days=day), kind=kind, rows=10 * day + place)
            for day in range(days)
            for place, kind in enumerate(kinds[: 1 + day])
        ]
        commit_files(catalog, *files)
        catalog.manifest.commit(change(catalog, team, remove=(files[-1].file.file_id,)))

    for team in (None, ADS, CARS):
        expected: dict[tuple[TeamId, date, FileKind], list[VaultFile]] = {}
        for file in catalog.manifest.files(team):
            expected.setdefault((file.team, file.day, file.kind), []).append(file)
        found = list(catalog.manifest.partitions(team))
        assert {(each.team, each.day, each.kind): (each.files, each.rows, each.size_bytes) for each in found} == {
            key: (len(files), sum(file.rows for file in files), sum(file.size_bytes for file in files))
            for key, files in expected.items()
        }
        assert [(each.team, each.day) for each in found] == sorted((each.team, each.day) for each in found)


def test_partitions_with_few_small_files_are_left_out(catalog: Catalog) -> None:
    commit_files(catalog, *(sealed_file(rows=9) for _ in range(3)), sealed_file(rows=10))
    commit_files(catalog, sealed_file(CARS, rows=9), sealed_file(CARS, rows=9, kind=FileKind.REJECTED))

    (found,) = catalog.manifest.partitions(rows_below=10, from_files=2)

    assert (found.team, found.files, found.rows) == (ADS, 3, 27)


def test_a_path_is_known_while_its_file_is_live_or_not_unlinked_and_only_as_it_is(catalog: Catalog) -> None:
    live, doomed, gone = files = [sealed_file() for _ in range(3)]
    commit_files(catalog, *files)
    catalog.manifest.commit(change(catalog, remove=(doomed.file.file_id, gone.file.file_id)))
    catalog.manifest.forget_unlinked([gone.file])
    elsewhere = live.file.path.replace("team=ads", "team=cars")

    asked = [live.file.path, doomed.file.path, gone.file.path, elsewhere, "not-ours.tmp"]

    assert catalog.manifest.unknown(asked) == {gone.file.path, elsewhere, "not-ours.tmp"}


def test_requests_are_counted_by_kind_and_state(catalog: Catalog) -> None:
    first = accept(catalog, UserRule(user_key=user(1), before=NOW))
    accept(catalog, UserRule(user_key=user(2), before=NOW), CARS)
    accept(catalog, TeamRule(before=NOW))
    catalog.requests.save([(replace(first, state=RequestState.PLANNED), RequestState.ACCEPTED)])

    assert catalog.requests.counts() == {
        (RequestKind.USER, RequestState.PLANNED): 1,
        (RequestKind.USER, RequestState.ACCEPTED): 1,
        (RequestKind.TEAM, RequestState.ACCEPTED): 1,
    }
