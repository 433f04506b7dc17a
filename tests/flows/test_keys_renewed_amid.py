"""Keys renewed amid a flow: it plans again by itself, and only a key really gone ends it."""

from collections.abc import Callable

import pytest
from reliability.renewals import FLOWS, fill, renewals
from support.changed import impatient
from support.home import ADS, Home, opened_at

from implio_pipeline import open_lake
from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.preview import plan_erasure
from implio_pipeline.flows.operations.rotate_keys import rotate_keys

NewHome = Callable[[], Home]
STEP = 11
"""Here before every eleventh call; `python -m reliability renewals` tries every one."""


@pytest.mark.parametrize("name", FLOWS)
def test_keys_renewed_amid_a_flow_change_no_outcome(name: str) -> None:
    row = renewals(name, step=STEP)

    assert row.calls > 1
    assert row.breaches == []


@pytest.mark.parametrize("name", ["erase", "erase a team", "compact", "export", "rotate"])
def test_a_key_that_is_really_gone_ends_the_flow_as_such(new_home: NewHome, name: str) -> None:
    home = new_home()
    fill(home)
    FLOWS[name].prepare(home)
    for path in (home.path / "keys" / "eu").glob("identity.*.key"):
        path.unlink()

    with opened_at(home.path, threads=1, is_restoring=True) as working:
        if name.startswith("erase"):
            failed = erase(working.services).failed
            assert set(failed.values()) == {"key-missing"}
        else:
            with pytest.raises(KeyMissing):
                FLOWS[name].run(working.services, working)


def test_a_plan_is_made_again_under_renewed_keys(new_home: NewHome) -> None:
    home = new_home()
    fill(home)
    home.services.catalog.teams.set_limits(ADS, cap_percent=100, grace_hours=0)
    counted = home.vault.count
    once: list[object] = []

    def rotate_then_count(work: object) -> int:
        if not once:
            with opened_at(home.path) as another:
                once.append(rotate_keys(impatient(another.services)))
        return counted(work)

    home.vault.count = rotate_then_count

    plan = plan_erasure(home.services, home.draft(ByUser(user_id="ann")))

    assert once
    assert plan.items == 2


def test_the_query_door_reads_on_when_keys_are_renewed_while_it_opens(new_home: NewHome) -> None:
    home = new_home()
    fill(home)
    with open_lake(home.path, team=ADS) as lake:
        unwrap, once = lake._keychain.file_keys, []

        def rotate_then_unwrap(*known: object) -> object:
            if not once:
                with opened_at(home.path) as another:
                    once.append(rotate_keys(impatient(another.services)))
            return unwrap(*known)

        lake._keychain.file_keys = rotate_then_unwrap

        rows = lake.sql("select count(*) from items").fetchall()

    assert once
    assert rows == [(4,)]
