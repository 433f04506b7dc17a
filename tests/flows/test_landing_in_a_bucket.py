"""Landing files, requests, files set aside and exports in buckets: flows promise the same as in folders."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.buckets import use_server
from support.catalogs import copy_home
from support.changed import changed
from support.depth import examples
from support.home import ADS, Home, opened_at
from support.promises import disagreements
from support.s3_proxy import Fault, proxied
from support.servers import S3Server

from implio_pipeline.domain.errors import BucketRefused, ImplioError
from implio_pipeline.domain.residency import ResidencyRefused, check_shared_bucket
from implio_pipeline.domain.scope import ByTeam, ByUser
from implio_pipeline.flows.access.export import AccessDraft, export_person, purge_exports
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.take_requests import TakenRequests, take_requests
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.ingest import IngestSummary, ingest
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.work import Worker
from implio_pipeline.ports.exports import Origin
from implio_pipeline.settings import Settings
from implio_pipeline.stores.objects.bucket import Timeouts
from implio_pipeline.wiring import examined_home

QUICK = [Phase.explicit, Phase.generate]
PASSING = [Fault.BUSY, Fault.RESET, Fault.LOST_ANSWER, Fault.BUSY_AFTER, Fault.CUT]
SOON = datetime.now(UTC) + timedelta(hours=1)
"""Later than any object is written: the storage dates them by a clock of its own."""
PLACES = {"landing": "landing files", "requests": "request files", "set_aside": "files set aside", "exports": "exports"}


@dataclass(kw_only=True)
class Buckets:
    """An open home whose places are in a bucket, and what senders do."""

    home: Home
    client: Any
    bucket: str
    prefix: str

    @property
    def services(self) -> Any:
        return changed(self.home.services, landing=self.home.opened.landing)

    def put(self, key: str, *values: object) -> None:
        body = b"\n".join(json.dumps(each).encode() for each in values)
        self.client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}", Body=body)

    def land(self, name: str, *items: tuple[str, str]) -> None:
        self.put(f"landing/ads/{name}", *({"id": task, "content": {}, "user": {"id": user}} for task, user in items))

    def left(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        return [each["Key"].removeprefix(f"{self.prefix}/") for each in found.get("Contents", ())]

    def items(self) -> list[str]:
        return sorted(row["item_id"] for row in self.home.rows(ADS))

    def ingest(self) -> IngestSummary:
        return ingest(self.services, faults=Faults())

    def take(self) -> TakenRequests:
        return take_requests(self.services)


def in_buckets(home: Path, bucket: str) -> str:
    """Give a closed home a prefix of a bucket for everything that others put or get. Returns the prefix."""
    prefix = str(uuid4())
    with (home / "implio.toml").open("a") as file:
        for name in PLACES:
            file.write(f'\n[{name}]\nurl = "s3://{bucket}/{prefix}/{name}"\n')
            file.write('requesters = ["dpo", "support"]\n' if name == "requests" else "")
    for name in ("landing", "requests", "set-aside"):
        shutil.rmtree(home / name)
    return prefix


@pytest.fixture
def buckets(
    empty_home: Path, tmp_path: Path, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Buckets]:
    use_server(server, monkeypatch)
    copy_home(empty_home, tmp_path / "home")
    prefix = in_buckets(tmp_path / "home", bucket)
    with opened_at(tmp_path / "home", at=SOON) as home:
        yield Buckets(home=home, client=server.client(), bucket=bucket, prefix=prefix)


def test_items_come_in_a_request_erases_them_and_nothing_lies_in_a_folder(buckets: Buckets) -> None:
    # given good and unreadable files, a report, and a request
    buckets.land("jane-doe.ndjson", ("a", "ann"), ("b", "bob"))
    buckets.put("landing/ads/bad.json", "zqzq")
    buckets.put("landing/ads/half.ndjson", {"id": 7}, {"id": "c", "content": {}, "user": {"id": "cid"}})
    buckets.put("landing/nobody/x.ndjson", {"id": "x"})

    # when they are taken
    summary = buckets.ingest()

    # then what is good is in the vault, and what is not is sealed or reported
    assert (summary.files, summary.set_aside, summary.items, summary.rejected) == (2, 1, 3, 1)
    assert buckets.items() == ["a", "b", "c"]
    places = [key.split("/")[0] for key in buckets.left()]
    assert (places.count("set_aside"), places.count("landing")) == (2, 2)  # the report, and the file of no team
    assert buckets.ingest().files == 0

    # and a request is accepted for who asked, and carried out
    buckets.put("requests/dpo/ask.json", {"team": "ads", "type": "user", "userId": "ann"})
    taken = buckets.take()
    assert [len(taken.accepted), taken.refused] == [1, 0]
    assert not erase(buckets.services).failed
    assert buckets.items() == ["b", "c"]
    assert not any(key.startswith("requests") for key in buckets.left())
    assert not any((buckets.home.path / name).exists() for name in ("landing", "requests", "set-aside", "exports"))
    assert buckets.home.services.catalog.claims.in_hand() == []


def test_a_later_deletion_reaches_what_waits_in_landing_set_aside_and_exports(buckets: Buckets) -> None:
    # given a landing object that waits, a file set aside, and an export in clear
    buckets.land("first.ndjson", ("a", "ann"), ("b", "bob"))
    buckets.put("landing/ads/bad.json", "zqzq")
    buckets.ingest()
    draft = AccessDraft(team=ADS, user_id="ann", asked_by="clerk")
    made = export_person(buckets.services, buckets.home.opened.exports, draft)
    assert made.folder == f"s3://{buckets.bucket}/{buckets.prefix}/exports/{made.access.export_id}"
    buckets.land("second.ndjson", ("a2", "ann"), ("b2", "bob"))

    # when everything of the team is deleted
    buckets.home.ask(ByUser(user_id="ann"), ByTeam())
    erase(buckets.services)
    purge_exports(buckets.services, buckets.home.opened.exports)
    summary = buckets.ingest()

    # then nothing of it is left
    assert summary.erased_before in (0, 2)
    assert "a2" not in buckets.items()
    assert [key for key in buckets.left() if not key.startswith("landing/ads/.rejected/")] == []


def test_housekeeping_sweeps_incomplete_uploads_and_reports_and_cut_records(buckets: Buckets) -> None:
    for name in ("landing/ads/big.json", "requests/dpo/big.json", "set_aside/x", "exports/x"):
        buckets.client.create_multipart_upload(Bucket=buckets.bucket, Key=f"{buckets.prefix}/{name}")
    buckets.put(f"exports/{'a' * 32}.json", "cut")
    buckets.put("requests/dpo/a.json.refused.json", {})

    summary = housekeep(buckets.services, stray_age=timedelta(days=-36_500))
    expired = buckets.home.opened.leftovers.expire_reports(before=buckets.home.clock.now() + timedelta(days=36_500))

    assert (summary.leftovers, expired, buckets.left()) == (5, 1, [])
    assert not buckets.client.list_multipart_uploads(Bucket=buckets.bucket, Prefix=buckets.prefix).get("Uploads")


def test_a_worker_that_was_paused_cannot_commit_a_file_that_another_took(
    buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets.land("a.ndjson", ("a", "ann"))
    claims = buckets.home.services.catalog.claims
    kept = Worker.claim

    def lose(self: Worker, *arguments: Any, **known: Any) -> Any:
        found = kept(self, *arguments, **known)
        claims.give_back(found)  # as when the lease ends before the commit
        return found

    monkeypatch.setattr(Worker, "claim", lose)
    buckets.put("requests/dpo/ask.json", {"team": "ads", "type": "user", "userId": "ann"})
    assert buckets.ingest().files == 0
    assert dict(buckets.take().failed) == {"claim-lost": 1}
    assert buckets.items() == []
    assert len(buckets.left()) == 2
    monkeypatch.undo()


@settings(max_examples=examples(6), suppress_health_check=list(HealthCheck), deadline=None, phases=QUICK)
@given(faults=st.lists(st.sampled_from([Fault.NONE, Fault.NONE, *PASSING]), max_size=30))
def test_whatever_the_storage_does_nothing_is_taken_twice_and_nothing_is_lost(
    empty_home: Path, tmp_path_factory: Any, server: S3Server, bucket: str, faults: list[Fault]
) -> None:
    folder = tmp_path_factory.mktemp("faulty") / "home"
    copy_home(empty_home, folder)
    prefix = in_buckets(folder, bucket)
    with pytest.MonkeyPatch.context() as patch, proxied(server.url) as proxy:
        use_server(server.at(proxy.url), patch)
        with opened_at(folder, at=SOON) as home:
            buckets = Buckets(home=home, client=server.client(), bucket=bucket, prefix=prefix)
            for place in home.opened.buckets.values():
                place._timeouts = Timeouts(connect_seconds=5, call_seconds=20, retries=1, retry_seconds=10)
            # given landing files, one of which cannot be read, and request files, one of which is refused
            for number in range(3):
                buckets.land(f"{number}.ndjson", (f"a{number}", "ann"), (f"b{number}", "bob"))
            buckets.put("landing/ads/bad.json", "zqzq")
            buckets.put("requests/dpo/ask.json", {"team": "ads", "type": "user", "userId": "ann"})
            buckets.put("requests/support/wrong.json", {"team": "ads", "type": "zqzq"})
            # when they are taken while the storage fails, and again when it answers
            left = list(faults)
            proxy.fault = lambda _: left.pop() if left else Fault.NONE
            for _ in range(3):
                with suppress(ImplioError):
                    buckets.ingest()
                with suppress(ImplioError):
                    buckets.take()
            proxy.reset()
            home.clock.pass_by(timedelta(days=1))  # what failed is put off for a while
            buckets.ingest()
            buckets.take()
            erase(buckets.services)
            # then each item is there once, each request once, and nothing waits
            assert buckets.items() == ["b0", "b1", "b2"]
            assert len(home.services.catalog.requests.all()) == 1
            assert len(home.receipts()) == 1
            kinds = [re.sub(r"[0-9a-f]{16,}", "*", key) for key in buckets.left()]
            assert {kind for kind in kinds if not kind.startswith("set_aside/")} <= {
                "requests/support/wrong.json.refused.json",
                "requests/support/wrong.json.2.refused.json",
                "requests/support/wrong.json.3.refused.json",
                "landing/ads/.rejected/*.json",
            }
            assert any(one.origin is Origin.LANDING for one in home.opened.set_aside.list())
            assert home.services.catalog.claims.in_hand() == []
            assert disagreements(home.services) == []


def test_a_bucket_that_keeps_what_is_deleted_is_refused_at_the_start(
    empty_home: Path, tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(server, monkeypatch)
    copy_home(empty_home, tmp_path / "home")
    in_buckets(tmp_path / "home", locked := server.new_bucket(locked=True))
    server.client().put_object_lock_configuration(
        Bucket=locked,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )

    with pytest.raises(BucketRefused), opened_at(tmp_path / "home"):
        pass

    with examined_home(tmp_path / "home") as (_, checkups):
        wrong = {
            checkup.about: {finding.code for finding in checkup.examine()}
            for checkup in checkups
            if checkup.about.startswith("Bucket of")
        }
    assert set(wrong) == {f"Bucket of {name}" for name in PLACES.values()}
    assert all("bucket-locked" in codes for codes in wrong.values())


def test_doctor_finds_nothing_wrong_with_good_buckets(buckets: Buckets) -> None:
    with examined_home(buckets.home.path) as (_, checkups):
        found = [
            finding
            for checkup in checkups
            if checkup.about in {"Folders of the home", *(f"Bucket of {name}" for name in PLACES.values())}
            for finding in checkup.examine()
        ]

    assert {finding.code for finding in found if finding.level.name == "WRONG"} == set()
    assert sum(finding.code == "bucket-permissions" for finding in found) == len(PLACES)
    assert not [key for key in buckets.left() if "implio-checkup" in key]


def test_a_bucket_of_all_regions_is_where_the_items_of_each_may_be(buckets: Buckets) -> None:
    places = buckets.home.opened.settings.places

    check_shared_bucket("landing files", places, "eu-central-1")
    check_shared_bucket("landing files", places, None)
    with pytest.raises(ResidencyRefused):
        check_shared_bucket("landing files", places, "us-east-1")


WRONG_SETTINGS = {
    "a bucket without anybody who may ask": {"requests": {"url": "s3://bucket/a"}},
    "somebody who may ask below another": {"requests": {"url": "s3://bucket/a", "requesters": ["a/b"]}},
    "landing files among those of the vault": {"landing": {"url": "vault/eu/landing"}},
    "a ledger in the place of exports": {"exports": {"url": "ledger"}},
    "no address of a bucket": {"landing": {"url": "s3://B"}},
    "landing and requests in one prefix": {
        "landing": {"url": "s3://bucket/a"},
        "requests": {"url": "s3://bucket/a/requests", "requesters": ["dpo"]},
    },
}


@pytest.mark.parametrize("given", WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_settings_that_would_mix_places_are_refused(tmp_path: Path, given: dict) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Settings(home=tmp_path, **given)
