"""A vault in buckets: what flows promise holds there too, whatever the object storage does in between."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.buckets import move_into_bucket, use_server
from support.catalogs import copy_home
from support.depth import examples
from support.home import ADS, Home, opened_at
from support.items import Ad
from support.promises import disagreements
from support.s3_proxy import Fault, S3Proxy, proxied
from support.servers import S3Server

from implio_pipeline import open_lake
from implio_pipeline.domain.checkup import Level
from implio_pipeline.domain.errors import BucketRefused, CacheTooSmall, FileTampered, ImplioError
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.residency import ResidencyRefused
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.stores.objects.bucket import ObjectBucket, Timeouts
from implio_pipeline.stores.objects.bucket_settings import check_bucket
from implio_pipeline.stores.objects.cache import CiphertextCache

PASSING = [Fault.BUSY, Fault.RESET, Fault.LOST_ANSWER, Fault.BUSY_AFTER, Fault.CUT]


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    with proxied(server.url) as running:
        use_server(server.at(running.url), monkeypatch)
        yield running


@pytest.fixture
def closed_home(empty_home: Path, tmp_path: Path, bucket: str) -> Path:
    copy_home(empty_home, tmp_path / "home")
    move_into_bucket(tmp_path / "home", bucket)
    return tmp_path / "home"


@pytest.fixture
def home(closed_home: Path, proxy: S3Proxy) -> Iterator[Home]:
    """An open home whose vault is in a bucket behind the proxy."""
    with opened_at(closed_home) as opened:
        proxy.reset()
        yield opened


def objects(home: Home) -> list[str]:
    return [found.key for place in home.opened.vault_places.values() for found in place.listing()]


def copies(home: Home) -> list[Path]:
    return [path for path in (home.path / "cache").rglob("*") if path.is_file()]


def test_an_erasure_leaves_nothing_of_the_old_file_in_bucket_or_cache(home: Home) -> None:
    # given files of two users, of which a reader has fetched copies
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    home.keep(Ad(task="c", user="cid"))
    home.rows(ADS)
    old = {file.path for file in home.files(ADS)}
    assert set(objects(home)) == old
    assert len(copies(home)) == 2

    # when one user is erased
    home.ask(ByUser(user_id="ann"))
    summary = erase(home.services)

    # then the file is another one, the others are the same, and the old copy is gone from this machine
    assert not summary.failed
    assert home.tasks(ADS) == ["b", "c"]
    assert len(objects(home)) == 2
    assert {path.name for path in copies(home)} == {file.digest for file in home.files(ADS)}
    assert len(home.receipts()) == 1
    assert disagreements(home.services) == []
    assert not audit(home.services, is_full=True).findings
    assert not (home.path / "vault").exists()


def test_a_rewrite_takes_at_most_four_requests_and_proves_what_the_bucket_holds(home: Home, proxy: S3Proxy) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    home.ask(ByUser(user_id="ann"))
    proxy.reset()

    erase(home.services)

    (new,) = home.files(ADS)
    of_new = [seen.method for seen in proxy.seen if str(new.file_id) in seen.path]
    assert of_new == ["PUT", "GET"]  # written, and read again from the bucket before the commit
    assert len(proxy.seen) <= 4


def test_files_that_were_replaced_are_deleted_in_one_request(home: Home, proxy: S3Proxy) -> None:
    for number in range(5):
        home.keep(Ad(task=f"t{number}"), Ad(task=f"u{number}", user="bob"))
    home.ask(ByUser(user_id="ann"))
    proxy.reset()

    erase(home.services)

    assert len(objects(home)) == 5
    assert len([seen for seen in proxy.seen if seen.method in {"POST", "DELETE"}]) == 1


def test_a_query_fetches_each_file_once_and_a_second_one_nothing(home: Home, proxy: S3Proxy) -> None:
    for number in range(5):
        home.keep(Ad(task=f"t{number}", user=f"u{number}"))
    proxy.reset()

    with open_lake(home.path, team=ADS) as lake:
        assert lake.sql("select count(*) from items").fetchall() == [(5,)]
        first = proxy.count("GET")
        assert lake.sql("select count(task_id) from items").fetchall() == [(5,)]
    gets = [seen.path for seen in proxy.seen if ".parquet" in seen.path]
    assert len(gets) == len(set(gets)) == 5
    assert proxy.count("GET") == first

    with open_lake(home.path, team=ADS) as lake:
        assert lake.sql("select max(task_id) from items").fetchall() == [("t4",)]
    assert len([seen for seen in proxy.seen if ".parquet" in seen.path]) == 5


def test_an_altered_copy_is_thrown_away_and_the_answer_is_right(home: Home) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    home.rows(ADS)
    (copy,) = copies(home)
    for damage in (lambda held: b"", lambda held: held[:100] + bytes([held[100] ^ 1]) + held[101:]):
        copy.write_bytes(damage(copy.read_bytes()))
        assert home.tasks(ADS) == ["a", "b"]

    held = bytearray(copy.read_bytes())
    held[20:60] = bytes(40)
    copy.write_bytes(held)
    with open_lake(home.path, team=ADS) as lake:
        with suppress(FileTampered):
            lake.sql("select task_id, title from items")
        assert lake.sql("select count(distinct title) from items").fetchall() == [(1,)]


def test_an_audit_reads_the_bucket_and_not_the_copies(home: Home, server: S3Server, bucket: str) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    home.rows(ADS)
    (file,) = home.files(ADS)
    place = home.opened.vault_places[Region("eu")]
    assert isinstance(place, ObjectBucket)
    server.client().put_object(Bucket=bucket, Key=place.address.prefix + file.path, Body=b"something else")

    findings = audit(home.services, is_full=True).findings

    assert [finding.about for finding in findings] == [file.file_id]


def test_compaction_merges_files_of_a_bucket_and_deletes_the_old_ones(home: Home) -> None:
    for number in range(4):
        home.keep(Ad(task=f"t{number}", user=f"u{number}"))

    compact(home.services, rows_per_file=4)
    housekeep(home.services)

    assert home.tasks(ADS) == ["t0", "t1", "t2", "t3"]
    assert set(objects(home)) == {file.path for file in home.files(ADS)}
    assert len(objects(home)) == 1


def test_housekeeping_deletes_strays_and_incomplete_uploads_of_buckets(
    home: Home, server: S3Server, bucket: str
) -> None:
    place = home.opened.vault_places[Region("eu")]
    assert isinstance(place, ObjectBucket)
    home.keep(Ad(task="a"))
    place.put_new("team=ads/day=2026-01-01/stray.parquet", b"1")
    server.client().create_multipart_upload(Bucket=bucket, Key=f"{place.address.prefix}half")
    far = home.services.clock.now()
    written = place.look("team=ads/day=2026-01-01/stray.parquet").written_at

    summary = housekeep(home.services, stray_age=far - written - timedelta(hours=1))

    assert summary.strays == 1
    assert len(objects(home)) == 1
    uploads = server.client().list_multipart_uploads(Bucket=bucket, Prefix=place.address.prefix)
    assert not uploads.get("Uploads")


QUICK = [Phase.explicit, Phase.generate, Phase.shrink]


@settings(max_examples=examples(6), phases=QUICK, suppress_health_check=list(HealthCheck), deadline=None)
@given(faults=st.lists(st.sampled_from([Fault.NONE, Fault.NONE, *PASSING]), max_size=25))
def test_whatever_the_storage_does_in_between_nothing_is_lost_and_the_erasure_ends(
    empty_home: Path, tmp_path_factory: Any, server: S3Server, bucket: str, faults: list[Fault]
) -> None:
    folder = tmp_path_factory.mktemp("faulty") / "home"
    copy_home(empty_home, folder)
    move_into_bucket(folder, bucket)
    impatient = Timeouts(connect_seconds=5, call_seconds=20, retries=1, retry_seconds=10)
    with pytest.MonkeyPatch.context() as patch, proxied(server.url) as proxy:
        use_server(server.at(proxy.url), patch)
        with opened_at(folder) as home:
            for place in home.opened.vault_places.values():
                place._timeouts = impatient  # type: ignore[attr-defined]
            home.keep(Ad(task="a"), Ad(task="b", user="bob"), Ad(task="c", user="cid"))
            left = list(faults)
            proxy.fault = lambda _: left.pop() if left else Fault.NONE
            # when items come in and a user is erased while the storage fails
            kept = {"b", "c"}
            for number in range(2):
                with suppress(ImplioError):
                    home.keep(Ad(task=f"d{number}", user="dee"))
                    kept.add(f"d{number}")
            home.ask(ByUser(user_id="ann"))
            with suppress(ImplioError):
                erase(home.services)
            # then no row is lost and none comes twice
            proxy.reset()
            assert set(home.tasks(ADS)) - {"a"} == kept
            # and when the storage answers again, the erasure ends, and nothing is left of what failed
            assert not erase(home.services).failed
            assert home.tasks(ADS) == sorted(kept)
            assert len(home.receipts()) == 1
            housekeep(home.services, stray_age=timedelta(days=-36_500))
            assert disagreements(home.services) == []
            assert not audit(home.services, is_full=True).findings


def test_a_scan_that_does_not_fit_into_the_cache_is_refused(home: Home) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    settings_file = home.path / "implio.toml"
    settings_file.write_text(f"{settings_file.read_text()}\n[cache]\ngigabytes = 0.000001\n")

    with open_lake(home.path, team=ADS) as lake, pytest.raises(CacheTooSmall):
        lake.sql("select count(task_id) from items")


def test_the_cache_keeps_what_was_used_last_and_stays_within_its_bound(home: Home, tmp_path: Path) -> None:
    for number in range(6):
        home.keep(Ad(task=f"t{number}", user=f"u{number}"))
    files = home.files(ADS)
    content = {file.path: home.opened.storage.read(file.region, file.path) for file in files}
    size = max(file.size_bytes for file in files)
    cache = CiphertextCache(tmp_path / "small", max_bytes=4 * size)
    for number, file in enumerate(files):
        cache.put(file, content[file.path])
        if number:
            assert cache.get(files[0]) is not None or number > 4
        held = [path for path in (tmp_path / "small").rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in held) <= 4 * size
    assert cache.get(files[-1]) == content[files[-1].path]
    # Bytes of another file are not kept under its name.
    cache.remove(files[-1])
    cache.put(files[-1], content[files[0].path])
    assert cache.get(files[-1]) is None


# ---- what is refused at the start


REPLICATION = (
    b"<ReplicationConfiguration><Role>r</Role><Rule><Status>Enabled</Status><Prefix></Prefix><Destination>"
    b"<Bucket>arn:aws:s3:::other</Bucket></Destination></Rule></ReplicationConfiguration>"
)
LOCK = (
    b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    b"<Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)
EXPIRY = (
    b"<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>"
    b"<Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"
)
PUBLIC = b"<PolicyStatus><IsPublic>true</IsPublic></PolicyStatus>"
SETTINGS = {"replication": (REPLICATION, "bucket-replicated"), "object-lock": (LOCK, "bucket-locked")}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_bucket_that_keeps_what_is_deleted_is_refused(closed_home: Path, proxy: S3Proxy, setting: str) -> None:
    body, code = SETTINGS[setting]
    proxy.instead = lambda seen: body if seen.method == "GET" and seen.path.endswith(f"?{setting}") else None

    with pytest.raises(BucketRefused) as refused, opened_at(closed_home):
        pass

    assert refused.value.code == code


@pytest.mark.parametrize("setting", ["versioning", "replication", "object-lock"])
def test_a_bucket_whose_settings_cannot_be_read_is_refused(closed_home: Path, proxy: S3Proxy, setting: str) -> None:
    proxy.fault = lambda seen: Fault.DENIED if f"?{setting}" in seen.path else Fault.NONE

    with pytest.raises(BucketRefused) as refused, opened_at(closed_home):
        pass

    assert refused.value.code == "bucket-settings-unreadable"


def test_a_bucket_that_keeps_versions_is_used_if_they_can_be_deleted(
    empty_home: Path, tmp_path: Path, server: S3Server, proxy: S3Proxy
) -> None:
    copy_home(empty_home, tmp_path / "home")
    name = server.new_bucket(versioned=True)
    move_into_bucket(tmp_path / "home", name)

    with opened_at(tmp_path / "home") as home:
        home.keep(Ad(task="a"), Ad(task="b", user="bob"))
        home.ask(ByUser(user_id="ann"))
        erase(home.services)
        found = server.client().list_object_versions(Bucket=name)
        assert len(found.get("Versions", ())) == 1
        assert not found.get("DeleteMarkers")

    proxy.fault = lambda seen: Fault.DENIED if "versionId" in seen.path or "?versions" in seen.path else Fault.NONE
    with pytest.raises(BucketRefused) as refused, opened_at(tmp_path / "home"):
        pass
    assert refused.value.code == "bucket-versions-remain"


def test_a_bucket_in_another_country_than_the_settings_say_is_refused(closed_home: Path, proxy: S3Proxy) -> None:
    said = b"<LocationConstraint>us-west-2</LocationConstraint>"
    proxy.instead = lambda seen: said if seen.path.endswith("?location") else None

    with pytest.raises(ResidencyRefused) as refused, opened_at(closed_home):
        pass

    assert refused.value.code == "bucket-elsewhere"


def test_two_regions_never_share_a_prefix_of_a_bucket(closed_home: Path, proxy: S3Proxy) -> None:
    path = closed_home / "implio.toml"
    path.write_text(path.read_text().replace('/us"', '/eu/us"'))

    with pytest.raises(ResidencyRefused) as refused, opened_at(closed_home):
        pass

    assert refused.value.code == "root-shared"


# ---- the checkup


def codes(home: Home, *, but: Level = Level.GOOD, has_clear_files: bool = True) -> set[str]:
    place = home.opened.vault_places[Region("eu")]
    assert isinstance(place, ObjectBucket)
    place._timeouts = Timeouts(connect_seconds=5, call_seconds=20, retries=0, retry_seconds=5)
    found = check_bucket(place, now=lambda: datetime.now(UTC), has_clear_files=has_clear_files)
    return {each.code for each in found if each.level is not but}


def test_the_checkup_of_a_good_bucket_only_advises(home: Home) -> None:
    assert codes(home) == {"bucket-not-encrypted", "bucket-keeps-uploads"}
    assert codes(home, has_clear_files=False) == {"bucket-keeps-uploads"}
    assert objects(home) == []  # what it tried with is gone


@pytest.mark.parametrize(
    ("method", "part", "code"),
    [
        ("PUT", "implio-checkup", "bucket-permission-missing"),
        ("GET", "implio-checkup", "bucket-permission-missing"),
        ("GET", "list-type=2", "bucket-permission-missing"),
        ("POST", "?delete", "bucket-permission-missing"),
        ("GET", "?uploads", "bucket-permission-missing"),
        ("GET", "?lifecycle", "bucket-settings-unreadable"),
        ("GET", "?encryption", "bucket-settings-unreadable"),
        ("GET", "?policyStatus", "bucket-settings-unreadable"),
        ("HEAD", "", "bucket-unreachable"),
    ],
)
def test_the_checkup_names_each_permission_that_is_missing(
    home: Home, proxy: S3Proxy, method: str, part: str, code: str
) -> None:
    proxy.fault = lambda seen: Fault.DENIED if seen.method == method and part in seen.path else Fault.NONE

    assert code in codes(home)


def test_the_checkup_sees_what_endangers_a_bucket(home: Home, proxy: S3Proxy) -> None:
    said = {
        "?policyStatus": PUBLIC,
        "?lifecycle": EXPIRY,
        "?replication": REPLICATION,
        "?object-lock": LOCK,
    }
    proxy.instead = lambda seen: next((body for part, body in said.items() if seen.path.endswith(part)), None)

    assert {"bucket-public", "bucket-expires-objects", "bucket-replicated", "bucket-locked"} <= codes(home)
