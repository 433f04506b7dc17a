"""Granting and reading: who is let in, what is written down first, and what an old catalog cannot bring back."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from support.catalogs import copy_catalog
from support.clock import NOW
from support.grants import let_read
from support.home import ADS, CARS, Home, opened_at
from support.items import Ad

from implio_pipeline.domain.access import GrantId, GrantMissing, GrantRefused, Purpose, PurposeMissing
from implio_pipeline.domain.audit import FindingKind
from implio_pipeline.domain.errors import AccessDenied, TeamUnknown
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.domain.statements import AccessLogNoted
from implio_pipeline.flows.access.authorize import ReadAuthorizer, note_read_log, read_log_faults
from implio_pipeline.flows.access.export import AccessDraft, export_person
from implio_pipeline.flows.access.grants import (
    GrantDraft,
    forget_operator,
    grant,
    grant_team_creator,
    names_of,
    review_grants,
    revived_grants,
    revoke,
)
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.restore import restore
from implio_pipeline.remedies import remedy_for_operators

OPERATIONAL, CONTENT, IDENTITY = ColumnClass.OPERATIONAL, ColumnClass.CONTENT, ColumnClass.IDENTITY
JANE = "jane-operator-canary"
NOTE = "note-canary ticket 4711"


def draft(**known) -> GrantDraft:
    plain = {
        "team": ADS,
        "classes": frozenset({CONTENT}),
        "purpose": Purpose.SUPPORT,
        "until": NOW + timedelta(days=14),
        "person": JANE,
        "granted_by": "boss-canary",
        "note": NOTE,
    }
    return GrantDraft(**plain | known)


def door_of(home: Home, *, is_required: bool = True) -> ReadAuthorizer:
    services = home.services
    return ReadAuthorizer(catalog=services.catalog, people=services.people, clock=home.clock, is_required=is_required)


def read_once(home: Home, **known) -> None:
    door = door_of(home)
    door.note(door.admit(JANE, teams=[ADS], classes=None), **{"rows": 1, "rows_read": 1} | known)


def test_an_operator_is_let_in_as_far_as_their_grant_goes_and_no_farther(home: Home) -> None:
    made = grant(home.services, draft())
    door = door_of(home)

    admission = door.admit(JANE, teams=[ADS], classes=None)

    assert admission.classes == {OPERATIONAL, CONTENT}
    assert (admission.purpose, admission.grants) == (Purpose.SUPPORT, (made.grant_id,))
    for asked in (
        {"teams": [CARS], "classes": None},
        {"teams": [ADS, CARS], "classes": None},
        {"teams": [ADS], "classes": frozenset({IDENTITY}), "purpose": Purpose.SUPPORT},
        {"teams": [ADS], "classes": frozenset({CONTENT}), "purpose": Purpose.LEGAL},
    ):
        with pytest.raises(GrantMissing):
            door.admit(JANE, **asked)
    with pytest.raises(GrantMissing):
        door.admit("somebody else", teams=[ADS], classes=None)


@pytest.mark.parametrize("is_required", [True, False])
def test_identity_comes_only_for_a_purpose_that_is_said_and_granted(home: Home, is_required: bool) -> None:
    grant(home.services, draft(classes=frozenset({IDENTITY})))
    door, wanted = door_of(home, is_required=is_required), frozenset({IDENTITY})

    with pytest.raises(PurposeMissing):
        door.admit(JANE, teams=[ADS], classes=wanted)
    with pytest.raises(GrantMissing):
        door.admit(JANE, teams=[ADS], classes=wanted, purpose=Purpose.AUDIT)
    with pytest.raises(GrantMissing):
        door.admit("nobody known", teams=[ADS], classes=wanted, purpose=Purpose.SUPPORT)

    assert IDENTITY in door.admit(JANE, teams=[ADS], classes=wanted, purpose=Purpose.SUPPORT).classes
    assert IDENTITY not in door.admit(JANE, teams=[ADS], classes=None, purpose=Purpose.SUPPORT).classes


def test_where_the_settings_ask_for_no_grant_two_classes_are_open_and_the_third_is_not(home: Home) -> None:
    admission = door_of(home, is_required=False).admit("anybody", teams=[ADS, CARS], classes=None)

    assert admission.classes == {OPERATIONAL, CONTENT}
    assert (admission.purpose, admission.grants) == (None, ())


def test_whoever_was_let_in_is_stopped_when_the_grant_is_revoked_or_ends(home: Home) -> None:
    made = grant(home.services, draft())
    door = door_of(home)
    admission = door.admit(JANE, teams=[ADS], classes=None)
    door.confirm(admission)

    revoke(home.services, made.grant_id, by="boss")
    with pytest.raises(GrantMissing):
        door.confirm(admission)

    grant(home.services, draft(until=NOW + timedelta(hours=1)))
    door.confirm(admission)
    home.clock.pass_by(timedelta(hours=1))
    with pytest.raises(GrantMissing):
        door.confirm(admission)


def test_a_grant_needs_a_team_a_name_and_an_end(home: Home) -> None:
    before = len(home.services.catalog.grants.all())

    for wrong in ({"person": " "}, {"granted_by": ""}, {"until": NOW}, {"classes": frozenset()}):
        with pytest.raises(GrantRefused):
            grant(home.services, draft(**wrong))
    with pytest.raises(TeamUnknown):
        grant(home.services, draft(team=TeamId("nobody")))

    assert len(home.services.catalog.grants.all()) == before
    assert [entry for entry in home.services.ledger.entries() if entry.kind == "grant"] == []


def test_whoever_adds_a_team_may_read_it_for_some_days_and_never_who_its_users_are(home: Home) -> None:
    made = grant_team_creator(home.services, ADS, maker=JANE, days=30)

    assert made is not None
    assert made.classes == {OPERATIONAL, CONTENT}
    assert made.until == NOW + timedelta(days=30)
    assert grant_team_creator(home.services, ADS, maker=JANE, days=0) is None


def test_a_revoked_grant_cannot_be_revoked_again(home: Home) -> None:
    made = grant(home.services, draft())
    revoke(home.services, made.grant_id, by="boss")

    for grant_id in (made.grant_id, GrantId("none")):
        with pytest.raises(GrantRefused):
            revoke(home.services, grant_id, by="boss")
    assert [entry.kind for entry in home.services.ledger.entries()] == ["grant", "grant-revoked"]


def test_no_byte_of_the_home_knows_an_operator_s_name_or_the_note(home: Home) -> None:
    made = grant(home.services, draft())
    read_once(home, statement="select 'zqzq-secret-value'")
    note_read_log(home.services)
    revoke(home.services, made.grant_id, by="boss-canary")

    assert made.person != home.services.keychain.pseudonym(ADS, JANE)
    assert JANE not in repr(made) + repr(draft())
    for path in home.path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for text_ in (JANE, NOTE, "boss-canary", "zqzq-secret-value"):
            assert text_.encode() not in content, path
    assert names_of(home.services, [made.person])[made.person] == JANE
    assert home.services.people.unseal(made.sealed, context=made.grant_id) == NOTE


def test_a_name_can_be_destroyed_once_no_grant_stands_and_the_log_still_holds(home: Home) -> None:
    made = grant(home.services, draft())
    read_once(home)

    with pytest.raises(GrantRefused):
        forget_operator(home.services, JANE)
    revoke(home.services, made.grant_id, by="boss")
    assert forget_operator(home.services, JANE)
    assert not forget_operator(home.services, JANE)

    assert home.services.people.name_of(made.person) is None
    assert names_of(home.services, [made.person])[made.person].startswith("forgotten")
    assert read_log_faults(home.services) == []


def test_a_reading_is_written_down_with_its_grant_and_the_grant_knows_that_it_was_used(home: Home) -> None:
    made = grant(home.services, draft())
    assert review_grants(home.services, team=ADS)[0].grant.last_used_at is None

    read_once(home, rows=7, columns=["title", "title", "day"], statement="select 1")

    (line,) = home.services.catalog.access_log.newest(10)
    assert (line.line, line.read.rows, line.read.columns) == (1, 7, ("day", "title"))
    assert (line.read.person, line.read.grants) == (made.person, (made.grant_id,))
    assert line.read.statement == home.services.people.digest("select 1")
    assert home.services.catalog.grants.get(made.grant_id).last_used_at == NOW


def test_a_review_marks_what_it_showed(home: Home) -> None:
    made = grant(home.services, draft())

    shown = review_grants(home.services)

    assert made.grant_id in {each.grant.grant_id for each in shown}
    assert home.services.catalog.grants.get(made.grant_id).reviewed_at == NOW


def test_an_export_of_a_person_is_written_down_before_it_is_handed_out(home: Home) -> None:
    home.keep(Ad(task="t-1"), Ad(task="t-2", user="bob"))
    exports = _Watching(home)

    export_person(home.services, exports, AccessDraft(team=ADS, user_id="ann", asked_by="dpo", operator=JANE))

    (line,) = exports.log_when_put
    assert (line.read.door.value, line.read.rows, line.read.teams) == ("export", 1, (ADS,))
    assert line.read.classes == set(ColumnClass)
    assert home.services.people.name_of(line.read.person) == JANE


class _Watching:
    """The home's exports, remembering what the log said when something was handed out."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.log_when_put = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._home.opened.exports, name)

    def put(self, *arguments, **known) -> object:
        self.log_when_put = self._home.services.catalog.access_log.newest(10)
        return self._home.opened.exports.put(*arguments, **known)


def test_housekeeping_notes_the_log_in_the_ledger_once(home: Home) -> None:
    grant(home.services, draft())
    read_once(home)
    read_once(home)

    assert housekeep(home.services).reads == 2
    assert housekeep(home.services).reads == 0

    (entry,) = home.services.ledger.newest_first(AccessLogNoted)
    assert (entry.body["lines"], entry.body["digest"]) == (2, home.services.catalog.access_log.newest(1)[0].digest)
    assert home.services.ledger.check() == []


TAMPERINGS = {
    "fewer rows": "update access_log set rows = 0 where line = 2",
    "another reader": "update access_log set person = 'x' where line = 2",
    "a line gone": "delete from access_log where line = 2",
    "the end cut off": "delete from access_log where line > 1",
    "everything gone": "delete from access_log",
}


@pytest.mark.parametrize("statement", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_log_that_was_tampered_with_is_found_by_the_audit(home: Home, statement: str) -> None:
    grant(home.services, draft())
    for _ in range(3):
        read_once(home)
    note_read_log(home.services)
    assert FindingKind.ACCESS_LOG_BROKEN not in audit(home.services).by_kind

    engine = create_engine(home.opened.settings.catalog)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()

    assert len(read_log_faults(home.services)) == 1
    assert audit(home.services).by_kind == {FindingKind.ACCESS_LOG_BROKEN: 1}


def test_an_old_catalog_brings_back_no_revoked_grant_and_its_shorter_log_is_told(home: Home) -> None:
    made = grant(home.services, draft())
    read_once(home)
    _back_up(home)
    read_once(home)
    note_read_log(home.services)
    revoke(home.services, made.grant_id, by="boss")
    folder = home.path
    home.opened.close()
    _put_back(folder)

    with opened_at(folder) as again:
        assert revived_grants(again.services) == [made.grant_id]
        assert audit(again.services).by_kind == {FindingKind.GRANT_REVIVED: 1, FindingKind.ACCESS_LOG_BROKEN: 1}

        summary = restore(again.services)

        assert (summary.grants_revoked, summary.reads_lost) == (1, 1)
        assert revived_grants(again.services) == []
        assert read_log_faults(again.services) == []
        assert again.services.catalog.grants.get(made.grant_id).revoked_at == NOW
        with pytest.raises(GrantMissing):
            door_of(again).admit(JANE, teams=[ADS], classes=None)
        let_read(again.services, ADS, person=JANE)
        read_once(again)
        assert note_read_log(again.services) == 1
        assert read_log_faults(again.services) == []


def _back_up(home: Home) -> None:
    home.services.catalog.scrub()  # empties the write-ahead log into the file
    copy_catalog(home.path / "catalog", home.path.parent / "catalog-backup")


def _put_back(folder: Path) -> None:
    copy_catalog(folder.parent / "catalog-backup", folder / "catalog")


def test_a_line_can_be_added_by_many_at_once_and_the_chain_holds(home: Home) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    grant(home.services, draft())
    door = door_of(home)
    admission = door.admit(JANE, teams=[ADS], classes=None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda rows: door.note(admission, rows=rows, rows_read=rows), range(40)))

    assert sorted(line.read.rows for line in home.services.catalog.access_log.lines()) == list(range(40))
    assert read_log_faults(home.services) == []


def test_what_is_refused_at_the_door_is_a_denial(home: Home) -> None:
    with pytest.raises(AccessDenied) as denied:
        door_of(home).admit(JANE, teams=[ADS], classes=frozenset({CONTENT}))

    assert "implio access grant" in remedy_for_operators(denied.value)
    assert JANE not in str(denied.value) + denied.value.remedy


def test_a_name_is_one_person_whatever_white_space_surrounds_it(home: Home) -> None:
    person = home.services.people.remember(JANE)

    assert home.services.people.person(f"  {JANE} ") == person
    assert home.services.people.person(JANE.upper()) != person
