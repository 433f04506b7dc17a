"""The settings of a bucket: which of them would keep what is deleted, and what else an operator should know.

Rules:

* When a home opens, a bucket is refused if deleted objects would remain: in versions that we may not delete, in a
  replica, or under a lock. Versions that we may delete are allowed: `ObjectBucket.delete` deletes each of them.
* A setting that the storage does not have counts as off. If we may not read one of these three settings, the bucket is
  refused.
* A checkup tries every permission with an object of its own, and deletes it.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from implio_pipeline.domain.checkup import Finding, Level
from implio_pipeline.domain.errors import BucketRefused, ImplioError
from implio_pipeline.stores.objects.bucket import ObjectBucket

PROBES = "implio-checkup"
_SKEW_ALLOWED = timedelta(minutes=2)
_ABSENT = ("NoSuch", "NotFound", "NotImplemented", "MethodNotAllowed")
_EVERYBODY = ("AllUsers", "AuthenticatedUsers")
_UNKNOWN: Mapping[str, Any] = {"unknown": True}


def refuse_if_it_keeps(place: ObjectBucket) -> None:
    """Check that a bucket keeps nothing that we delete. Takes three requests, and five more if it keeps versions.

    Raises:
        BucketRefused: it does, or its settings cannot be read.
        StorageFailed: it does not answer.
    """
    for finding in (*_versions(place), *_replicas(place), *_locks(place)):
        if finding.level is Level.WRONG:
            raise BucketRefused(finding.what, code=finding.code)


def location_of(place: ObjectBucket) -> str | None:
    """Return the AWS region of a bucket, such as `eu-central-1`; `None` if the storage does not tell."""
    found = _setting(place, "get_bucket_location")
    if found is _UNKNOWN or found is None:
        return None
    constraint = found.get("LocationConstraint")
    # S3 returns nothing for its first region and may return `EU` for its second. Other storages return nothing.
    is_aws = place.client.meta.endpoint_url.endswith(".amazonaws.com")
    return {"EU": "eu-west-1", None: "us-east-1" if is_aws else None}.get(constraint, constraint)


def check_bucket(
    place: ObjectBucket, *, now: Callable[[], datetime], may_lock: bool = False, has_clear_files: bool = False
) -> Iterator[Finding]:
    """Examine a bucket: that it answers, its clock, every permission, and its settings.

    Args:
        place: The bucket.
        now: This machine's clock.
        may_lock: Whether locks and versions are meant to be there, as for the ledger. Then no permission to delete is
            tried.
        has_clear_files: Whether files with items are in it that we do not encrypt, such as landing files.
    """
    # 1. Without an answer there is nothing to examine.
    try:
        answer = place.client.head_bucket(Bucket=place.address.bucket)
    except Exception as error:  # noqa: BLE001 -- botocore's errors have no common base, and each is a finding
        yield Finding(
            code="bucket-unreachable",
            what=f"{place.address.url} does not answer: {_code_of(error)}",
            remedy="Check the address, the endpoint (AWS_ENDPOINT_URL), the credentials and the network.",
        )
        return
    yield Finding(code="bucket-reachable", what=f"{place.address.url} answers", level=Level.GOOD)
    yield from _clock(place, answer, now())
    # 2. Whether it keeps what we delete.
    if not may_lock:
        yield from _versions(place)
        yield from _replicas(place)
        yield from _locks(place)
    yield from _permissions(place, may_lock=may_lock)
    # 3. What else protects or endangers the objects.
    if has_clear_files:
        yield from _encryption(place)
    yield from _public_access(place)
    yield from _lifecycle(place, may_lock=may_lock)


def _clock(place: ObjectBucket, answer: Mapping[str, Any], now: datetime) -> Iterator[Finding]:
    text = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if text is None:
        return
    skew = parsedate_to_datetime(text).astimezone(UTC) - now
    if abs(skew) > _SKEW_ALLOWED:
        yield Finding(
            code="bucket-clock-differs",
            what=f"the clock of {place.address.url} is {skew.total_seconds():+.0f} s from this machine's",
            remedy="Synchronise the clocks: signatures are refused at 15 minutes, and the ages of objects are wrong.",
        )


def _versions(place: ObjectBucket) -> Iterator[Finding]:
    found = _setting(place, "get_bucket_versioning")
    url = place.address.url
    if found is _UNKNOWN:
        yield _unreadable(place, "versions", "s3:GetBucketVersioning", level=Level.WRONG)
        return
    if not (found or {}).get("Status"):
        return
    # It keeps versions, or kept them. That is allowed if we can delete them. Try it with an object of our own.
    key = f"{PROBES}/{secrets.token_hex(8)}"
    try:
        place.put_new(key, b"versions")
        place.delete([key])
        place.delete([key])  # the second time finds what the first one left, if that was a marker
        left = place.client.list_object_versions(Bucket=place.address.bucket, Prefix=place.address.prefix + key)
        is_gone = not left.get("Versions") and not left.get("DeleteMarkers")
    except Exception:  # noqa: BLE001 -- whatever fails, we cannot delete versions
        is_gone = False
    if is_gone:
        yield Finding(
            code="bucket-keeps-versions",
            what=f"{url} keeps versions; each delete removes all of them",
            remedy="Switch versioning off if nothing else needs it: it makes every delete slower.",
            level=Level.ADVICE,
        )
    else:
        yield Finding(
            code="bucket-versions-remain",
            what=f"{url} keeps versions, and they cannot be deleted",
            remedy=BucketRefused.remedies["bucket-versions-remain"],
        )


def _replicas(place: ObjectBucket) -> Iterator[Finding]:
    found = _setting(place, "get_bucket_replication")
    if found is _UNKNOWN:
        yield _unreadable(place, "replication", "s3:GetReplicationConfiguration", level=Level.WRONG)
        return
    rules = ((found or {}).get("ReplicationConfiguration") or {}).get("Rules", ())
    if any(rule.get("Status") == "Enabled" for rule in rules):
        yield Finding(
            code="bucket-replicated",
            what=f"{place.address.url} is replicated into another bucket, where no delete reaches the objects",
            remedy=BucketRefused.remedies["bucket-replicated"],
        )


def _locks(place: ObjectBucket) -> Iterator[Finding]:
    found = _setting(place, "get_object_lock_configuration")
    if found is _UNKNOWN:
        yield _unreadable(place, "object lock", "s3:GetBucketObjectLockConfiguration", level=Level.WRONG)
        return
    rule = ((found or {}).get("ObjectLockConfiguration") or {}).get("Rule")
    if rule:
        yield Finding(
            code="bucket-locked",
            what=f"{place.address.url} locks every new object, so that it cannot be deleted for a time",
            remedy=BucketRefused.remedies["bucket-locked"],
        )


def _permissions(place: ObjectBucket, *, may_lock: bool) -> Iterator[Finding]:
    key = f"{PROBES}/{secrets.token_hex(8)}"
    acts: list[tuple[str, Callable[[], object]]] = [
        ("write (s3:PutObject)", lambda: place.put_new(key, b"permissions")),
        ("read (s3:GetObject)", lambda: place.get(key)),
        ("list (s3:ListBucket)", lambda: next(place.listing(PROBES), None)),
        ("list incomplete uploads (s3:ListBucketMultipartUploads)", lambda: place.sweep(older_than=_NEVER)),
    ]
    if may_lock:
        acts = acts[2:3]  # a locked object could not be deleted again
    else:
        acts.append(("delete (s3:DeleteObject)", lambda: place.delete([key])))
    denied = []
    for name, act in acts:
        try:
            act()
        except (ImplioError, OSError) as error:
            denied.append(name)
            yield Finding(
                code="bucket-permission-missing",
                what=f"{place.address.url}: cannot {name}: {error}",
                remedy="Allow this for the credentials of this installation, on this bucket and prefix.",
            )
    if not denied:
        yield Finding(
            code="bucket-permissions", what=f"{place.address.url}: no permission is missing", level=Level.GOOD
        )


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def _encryption(place: ObjectBucket) -> Iterator[Finding]:
    found = _setting(place, "get_bucket_encryption")
    if found is _UNKNOWN:
        yield _unreadable(place, "encryption", "s3:GetEncryptionConfiguration")
    elif not found:
        yield Finding(
            code="bucket-not-encrypted",
            what=f"{place.address.url} does not encrypt objects at rest",
            remedy="Switch default encryption on: the files in it are in clear.",
            level=Level.ADVICE,
        )


def _public_access(place: ObjectBucket) -> Iterator[Finding]:
    reasons = []
    policy = _setting(place, "get_bucket_policy_status")
    if policy and policy is not _UNKNOWN and policy.get("PolicyStatus", {}).get("IsPublic"):
        reasons.append("its policy")
    acl = _setting(place, "get_bucket_acl")
    if acl and acl is not _UNKNOWN:
        grantees = [grant.get("Grantee", {}).get("URI", "") for grant in acl.get("Grants", ())]
        if any(uri.endswith(_EVERYBODY) for uri in grantees):
            reasons.append("its access list")
    if reasons:
        yield Finding(
            code="bucket-public",
            what=f"{place.address.url} is open to everybody by {' and '.join(reasons)}",
            remedy="Block public access of the bucket at once, and find out who read from it.",
        )
    elif policy is _UNKNOWN or acl is _UNKNOWN:
        yield _unreadable(place, "public access", "s3:GetBucketPolicyStatus and s3:GetBucketAcl")


def _lifecycle(place: ObjectBucket, *, may_lock: bool) -> Iterator[Finding]:
    found = _setting(place, "get_bucket_lifecycle_configuration")
    if found is _UNKNOWN:
        yield _unreadable(place, "lifecycle", "s3:GetLifecycleConfiguration")
        return
    rules = [rule for rule in (found or {}).get("Rules", ()) if rule.get("Status") == "Enabled"]
    for rule in rules:
        prefix = (rule.get("Filter") or {}).get("Prefix", rule.get("Prefix", "")) or ""
        is_ours = place.address.prefix.startswith(prefix) or prefix.startswith(place.address.prefix)
        if is_ours and rule.get("Expiration", {}).keys() & {"Days", "Date"}:
            yield Finding(
                code="bucket-expires-objects",
                what=f"a lifecycle rule of {place.address.url} deletes objects after a time",
                remedy="Remove the rule: it deletes items that a policy keeps.",
            )
    if not may_lock and not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
        yield Finding(
            code="bucket-keeps-uploads",
            what=f"{place.address.url} keeps incomplete uploads until housekeeping removes them",
            remedy="Add a lifecycle rule that aborts incomplete uploads after a day.",
            level=Level.ADVICE,
        )


def _unreadable(place: ObjectBucket, name: str, permission: str, *, level: Level = Level.ADVICE) -> Finding:
    return Finding(
        code="bucket-settings-unreadable",
        what=f"{place.address.url}: the setting for {name} cannot be read",
        remedy=f"Allow {permission} for the credentials of this installation, or look at the setting yourself.",
        level=level,
    )


def _setting(place: ObjectBucket, call: str) -> Mapping[str, Any] | None:
    """Return a setting: `None` if it is off or unknown to the storage, `_UNKNOWN` if we may not read it.

    Raises:
        BucketRefused: the bucket does not exist or does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        found: Mapping[str, Any] = getattr(place.client, call)(Bucket=place.address.bucket)
    except ClientError as error:
        code = _code_of(error)
        if code == "NoSuchBucket":
            raise BucketRefused(f"{place.address.url} does not exist", code="bucket-unreachable") from None
        if any(part in code for part in _ABSENT):
            return None
        if "Denied" in code or code == "Forbidden":
            return _UNKNOWN
        raise BucketRefused(f"{place.address.url} answered {code}", code="bucket-unreachable") from None
    except BotoCoreError as error:
        facts = f"{place.address.url} cannot be reached: {_code_of(error)}"
        raise BucketRefused(facts, code="bucket-unreachable") from None
    return found


def _code_of(error: Exception) -> str:
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
