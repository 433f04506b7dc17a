"""Objects in a bucket of S3, or of a storage that speaks S3.

Rules:

* Endpoint, region and credentials come from the usual AWS settings (environment, profile, role of the machine). Plain
  HTTP is allowed only to loopback addresses, unless `AWS_ALLOW_HTTP` is `true`.
* One PUT with `If-None-Match: *` writes an object; the storage checks its SHA-256. Nothing is written in parts, and
  nothing is presigned.
* obstore reads and writes objects: it retries, and it releases the GIL. boto3 does what obstore cannot: it deletes
  versions, lists keys of any form, and reads the bucket's settings (decision 0094).
* The storage may carry out a write and lose the answer. Then the retry finds an object, and the write succeeded only if
  that object has the token and the bytes of this write.
* A storage that keeps versions says so in its answer to a delete. Then all versions are deleted, whatever the bucket's
  settings were when the process began.
"""

import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from hashlib import blake2b
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from typing_extensions import override

from implio_pipeline.domain.bucket import BucketAddress
from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import FileMissing, StorageFailed, StorageFull
from implio_pipeline.domain.replan import replan
from implio_pipeline.stores.objects.objects import AT_ONCE, Objects, StoredObject, checked_key

_PIECE_BYTES = 8 << 20
_BULK = 1_000
"""The most keys that one call deletes."""
_TRIES = 4
"""How often a call is tried if its answer was lost, and a delete if the storage kept some of the keys."""
_NOT_FOUND, _REPLACED = 404, (409, 412)
"""Answers that no object has this key, and that another one has it."""
_STATUS = re.compile(r"status code: (\d{3})")
_TOKEN = "implio-write"  # noqa: S105
"""Metadata of an object, random for each write. It tells our own write from another one with the same bytes."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """How long calls may take, retries included."""

    connect_seconds: float = 5
    call_seconds: float = 60
    retries: int = 6
    """How often a call is repeated after 5xx, a broken connection or a timeout, with growing pauses."""
    retry_seconds: float = 120
    """No retry begins after this time."""


class ObjectBucket(Objects):
    """The objects below a prefix of a bucket.

    Args:
        address: The bucket and the prefix.
        timeouts: How long calls may take.
    """

    def __init__(self, address: BucketAddress, *, timeouts: Timeouts | None = None) -> None:
        self.address = address
        self._timeouts = timeouts or Timeouts()
        self._has_versions = False

    @override
    def put_new(self, key: str, content: bytes | memoryview) -> None:
        import obstore  # noqa: PLC0415
        from obstore.exceptions import AlreadyExistsError, BaseError  # noqa: PLC0415

        checked_key(key)
        content = memoryview(content).cast("B")  # obstore takes octets only, and Arrow's buffers are of signed bytes
        token = secrets.token_hex(16)

        def write() -> None:
            try:
                obstore.put(self._store, key, content, mode="create", use_multipart=False, attributes={_TOKEN: token})
            except (BaseError, OSError) as error:
                # 1. An answer was lost, or an earlier try of the library had succeeded. Only the object itself tells.
                if not isinstance(error, AlreadyExistsError) and not _may_have_arrived(error):
                    raise _failure(error, size_bytes=len(content)) from None
                found = self._read_token(key)
                # 2. Another writer's object: it was faster.
                if found is not None and (found[0] != token or found[1] != content):
                    raise FileExistsError(f"an object with this key is in {self.address.url}") from None
                # 3. No object: the write did not arrive.
                if found is None:
                    raise _AnswerLost(f"{self.address.url} did not say whether it stored an object") from None

        _retried(write, about=self.address.url)

    @override
    def get(self, key: str) -> bytes:
        import obstore  # noqa: PLC0415

        return _retried(lambda: bytes(self._asked(lambda: obstore.get(self._store, key).bytes())), about="an object")

    @override
    def get_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        def fetch(key: str) -> bytes | None:
            try:
                return self.get(key)
            except FileMissing:
                return None

        yield from each_at_once(fetch, keys)

    @override
    def stream(self, found: StoredObject) -> Iterator[bytes]:
        import obstore  # noqa: PLC0415

        # A piece is a request, so a connection that breaks within a large object costs one piece.
        for start in range(0, found.size_bytes, _PIECE_BYTES):

            def read(start: int = start) -> bytes:
                ends = min(start + _PIECE_BYTES, found.size_bytes)
                result = obstore.get(self._store, found.key, options={"range": (start, ends)})
                if _mark_of(found.key, result.meta["e_tag"]) != found.mark:
                    raise FileMissing("another object has taken its place")
                return bytes(result.bytes())

            yield _retried(lambda read=read: self._asked(read), about="an object")  # type: ignore[misc]

    @override
    def tail(self, key: str, *, size: int) -> tuple[int, bytes] | None:
        import obstore  # noqa: PLC0415

        def read() -> tuple[int, bytes]:
            result = obstore.get(self._store, key, options={"range": {"suffix": size}})
            return int(result.meta["size"]), bytes(result.bytes())

        try:
            return _retried(lambda: self._asked(read), about="an object")
        except FileMissing:
            found = self.look(key)  # an empty object has no range of bytes
            return None if found is None or found.size_bytes else (0, b"")

    @override
    def look(self, key: str) -> StoredObject | None:
        import obstore  # noqa: PLC0415

        try:
            meta = _retried(lambda: self._asked(lambda: obstore.head(self._store, key)), about="an object")
        except FileMissing:
            return None
        return StoredObject(
            key=key,
            size_bytes=int(meta["size"]),
            written_at=meta["last_modified"].astimezone(UTC),
            mark=_mark_of(key, meta["e_tag"]),
        )

    @override
    def listing(self, prefix: str = "", *, after: str = "") -> Iterator[StoredObject]:
        known = {"StartAfter": self.address.prefix + after} if after else {}
        with _called(self.address):
            pages = iter(
                self._client.get_paginator("list_objects_v2").paginate(
                    Bucket=self.address.bucket, Prefix=self.address.prefix + prefix, **known
                )
            )
        while True:
            with _called(self.address):
                page = next(pages, None)
            if page is None:
                return
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self.address.prefix)
                if key and not key.endswith("/"):  # consoles make such an empty object for a folder
                    yield StoredObject(
                        key=key,
                        size_bytes=found["Size"],
                        written_at=found["LastModified"].astimezone(UTC),
                        mark=_mark_of(key, found.get("ETag")),
                    )

    @override
    def delete(self, keys: Collection[str]) -> None:
        wanted = iter(self.address.prefix + key for key in keys)
        while some := [{"Key": key} for key in islice(wanted, _BULK)]:
            # 1. Delete the objects. A storage that keeps versions answers with a marker instead.
            if not self._has_versions:
                self._has_versions = self._delete(some)
            # 2. Delete each version and each marker.
            if self._has_versions:
                for one in some:
                    self._delete_versions(self._versions(one["Key"]))

    @override
    def delete_same(self, found: StoredObject) -> bool:
        whole = {"Bucket": self.address.bucket, "Key": self.address.prefix + found.key}
        # 1. Is it still the one that we know?
        status, now = self._answered("head_object", **whole)
        is_same = status != _NOT_FOUND and _mark_of(found.key, now["ETag"]) == found.mark
        # 2. Where versions are kept, name those to delete: this one and what was before it. One that comes now stays.
        if "VersionId" in now or status == _NOT_FOUND:
            listed = list(self._versions(whole["Key"]))
            ours = next((each for each in listed if _mark_of(found.key, each.get("ETag")) == found.mark), None)
            if ours is not None:
                older = [each for each in listed if each["LastModified"] <= ours["LastModified"]]
                newer = listed[: listed.index(ours)]  # versions come newest first, also within one second
                self._delete_versions([each for each in older if each not in newer])
        if status == _NOT_FOUND or not is_same or "VersionId" in now:
            return status == _NOT_FOUND or is_same
        # 3. Where none are kept, the storage compares once more. One that ignores the condition leaves the few
        #    milliseconds between the two calls open (`docs/SCALE.md`).
        status, gone = self._answered("delete_object", **whole, IfMatch=now["ETag"])
        if gone.get("DeleteMarker"):  # somebody has switched versions on
            self.delete([found.key])
        return status not in _REPLACED

    @override
    def sweep(self, *, older_than: datetime) -> int:
        swept = 0
        with _called(self.address):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.address.bucket, Prefix=self.address.prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < older_than:
                        self._client.abort_multipart_upload(
                            Bucket=self.address.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        swept += 1
        return swept

    @property
    def client(self) -> Any:
        """A client of boto3 for the bucket's settings (`bucket_settings.py`)."""
        return self._client

    def _delete(self, objects: list[dict[str, str]]) -> bool:
        """Delete objects or versions. Returns whether the storage kept a version of one."""
        has_marker = False

        def delete() -> None:
            nonlocal objects, has_marker
            with _called(self.address):
                answer = self._client.delete_objects(
                    Bucket=self.address.bucket, Delete={"Objects": objects, "Quiet": False}
                )
            has_marker |= any(
                done.get("DeleteMarker") and "VersionId" not in done for done in answer.get("Deleted", ())
            )
            # A version that is gone already counts as deleted.
            left = [each for each in answer.get("Errors", ()) if not each["Code"].startswith("NoSuch")]
            if left:
                kept = {(each["Key"], each.get("VersionId")) for each in left}
                objects = [each for each in objects if (each["Key"], each.get("VersionId")) in kept] or objects
                codes = ", ".join(sorted({each["Code"] for each in left}))
                raise _NotDeleted(f"{self.address.url} did not delete {len(left)} objects: {codes}")

        # One call deletes many objects and reports each that failed. The library repeats only whole calls.
        replan(
            delete,
            about="a bucket's objects",
            is_race=lambda error: isinstance(error, _NotDeleted),
            tries=_TRIES,
        )
        return has_marker

    def _delete_versions(self, versions: Iterable[Mapping[str, Any]]) -> None:
        for some in chunks(versions, _BULK):
            self._delete([{"Key": each["Key"], "VersionId": each["VersionId"]} for each in some])

    def _answered(self, call: str, **known: str) -> tuple[int, Mapping[str, Any]]:
        """Call boto3, and return the status and the answer. That an object is missing or another one is an answer."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        with _called(self.address):
            try:
                return 200, getattr(self._client, call)(**known)
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                if status not in (_NOT_FOUND, *_REPLACED):
                    raise
                return status, {}

    def _versions(self, key: str) -> Iterator[Mapping[str, Any]]:
        """Yield the versions of an object, newest first, and the markers of deletions."""
        with _called(self.address):
            pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self.address.bucket, Prefix=key)
            for page in pages:
                found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                yield from (each for each in found if each["Key"] == key)
                # Keys come in order, so those that only begin with this key come after it.
                if found and min(each["Key"] for each in found) > key:
                    return

    def _read_token(self, key: str) -> tuple[str, bytes] | None:
        import obstore  # noqa: PLC0415

        def read() -> tuple[str, bytes]:
            result = obstore.get(self._store, key)
            return str(result.attributes.get(_TOKEN, "")), bytes(result.bytes())

        try:
            return _retried(lambda: self._asked(read), about="an object")
        except FileMissing:
            return None

    def _asked(self, act: Callable[[], _Result]) -> _Result:
        """Make a reading call of obstore. Its errors become ours."""
        from obstore.exceptions import BaseError  # noqa: PLC0415

        try:
            return act()
        except (BaseError, OSError) as error:
            if _is_missing(error):
                raise FileMissing("the object does not exist") from None
            if _may_have_arrived(error):  # the connection broke within the answer
                raise _AnswerLost(f"{self.address.url} broke off an answer") from None
            raise _failure(error) from None

    @property
    def _client(self) -> Any:
        return _client_of(os.getpid(), _Surroundings.now(), self._timeouts)

    @cached_property
    def _store(self) -> Any:
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
        from obstore.store import S3Store  # noqa: PLC0415

        timeouts, around = self._timeouts, _Surroundings.now()
        session = _session_of(os.getpid(), around)
        client: dict[str, Any] = {
            "allow_http": around.is_plain,
            "connect_timeout": timedelta(seconds=timeouts.connect_seconds),
            "timeout": timedelta(seconds=timeouts.call_seconds),
            "pool_max_idle_per_host": str(AT_ONCE),
        }
        if bundle := os.environ.get("AWS_CA_BUNDLE"):
            client["root_certificate"] = Path(bundle).read_bytes()
        known: dict[str, Any] = {}
        if around.endpoint is not None:
            place = urlsplit(around.endpoint)
            host = f"{self.address.bucket}.{place.netloc}" if around.is_virtual else place.netloc
            known["endpoint"] = place._replace(netloc=host).geturl()
        return S3Store(
            self.address.bucket,
            prefix=self.address.prefix.rstrip("/") or None,
            region=session.region_name or "us-east-1",
            virtual_hosted_style_request=around.is_virtual,
            checksum_algorithm="SHA256",
            credential_provider=Boto3CredentialProvider(session),
            client_options=client,  # type: ignore[arg-type]
            retry_config={
                "max_retries": timeouts.retries,
                "retry_timeout": timedelta(seconds=timeouts.retry_seconds),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=5),
                    "base": 2,
                },
            },
            **known,
        )


class _NotDeleted(StorageFailed):
    """A call deleted some of its objects and not the others."""


class _AnswerLost(StorageFailed):
    """The connection broke before the whole answer came. The call may be repeated."""


def each_at_once(act: Callable[[str], _Result], keys: Iterable[str]) -> Iterator[tuple[str, _Result]]:
    """Yield each key with its result, in the order of the keys. `AT_ONCE` acts run at once, and none is queued."""
    waiting: deque[tuple[str, Future[_Result]]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for key in keys:
                waiting.append((key, pool.submit(act, key)))
                if len(waiting) == AT_ONCE:
                    first, result = waiting.popleft()
                    yield first, result.result()
            while waiting:
                first, result = waiting.popleft()
                yield first, result.result()
        finally:
            for _, result in waiting:
                result.cancel()


def _retried(act: Callable[[], _Result], *, about: str) -> _Result:
    """Repeat a call if its answer was lost. The library itself repeats what was refused or never arrived."""
    return replan(act, about=about, is_race=lambda error: isinstance(error, _AnswerLost), tries=_TRIES)


@contextmanager
def _called(address: BucketAddress) -> Iterator[None]:
    """Turn errors of boto3 into ours."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code", "")
        raise StorageFailed(f"{address.url} answered {code or status}", remedy=_REMEDIES.get(status)) from None
    except BotoCoreError as error:
        raise StorageFailed(f"{address.url} cannot be reached: {type(error).__name__}") from None


def _is_missing(error: Exception) -> bool:
    is_shorter = _status_of(error) == 416  # noqa: PLR2004 -- Range Not Satisfiable: another object has its key by now
    return is_shorter or (isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error))


def _may_have_arrived(error: Exception) -> bool:
    """Return whether a call may have been carried out although no answer came, or only a part of it."""
    from obstore.exceptions import GenericError  # noqa: PLC0415

    status = _status_of(error)
    return isinstance(error, GenericError) and (status is None or status >= 500)  # noqa: PLR2004


def _status_of(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def _failure(error: Exception, *, size_bytes: int = 0) -> Exception:
    """Return our error for one of obstore. Its message contains the key, so only the status is kept."""
    status = _status_of(error)
    if status == 507:  # noqa: PLR2004 -- Insufficient Storage
        return StorageFull(f"no room for {size_bytes} bytes in the object storage")
    if "NoSuchBucket" in str(error):
        return StorageFailed("the bucket does not exist", remedy=_REMEDIES[404])
    said = f"answered {status}" if status else "gave no answer"
    return StorageFailed(f"the object storage {said}", remedy=_REMEDIES.get(status))


_REMEDIES: Mapping[int | None, str] = {
    None: "Check AWS_ENDPOINT_URL, the network, and that the object storage runs.",
    403: "Check the AWS credentials, and what they may do in the bucket.",
    404: "Make the bucket, or correct its name in the settings.",
}
"""What to do about an answer of the object storage, by its status."""


def _mark_of(key: str, e_tag: str | None) -> str:
    return blake2b(f"{e_tag}\0{key}".encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Surroundings:
    """What the environment says about the object storage."""

    endpoint: str | None
    is_virtual: bool
    """Whether a bucket's name is in the host's name, not in the path."""
    identity: tuple[str | None, ...]

    @classmethod
    def now(cls) -> Self:
        """Read the environment.

        Raises:
            StorageFailed: traffic would leave this machine in clear.
        """
        known = os.environ.get
        found = cls(
            endpoint=known("AWS_ENDPOINT_URL_S3") or known("AWS_ENDPOINT_URL") or None,
            is_virtual=known("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() == "true",
            identity=(known("AWS_ACCESS_KEY_ID"), known("AWS_PROFILE"), known("AWS_REGION"), known("AWS_ROLE_ARN")),
        )
        host = urlsplit(found.endpoint or "").hostname or ""
        if found.is_plain and not _is_loopback(host) and known("AWS_ALLOW_HTTP", "").lower() != "true":
            raise StorageFailed("the endpoint of the object storage is plain HTTP, and AWS_ALLOW_HTTP is not true")
        return found

    @property
    def is_plain(self) -> bool:
        """Whether the endpoint is plain HTTP."""
        return (self.endpoint or "").lower().startswith("http://")


# A client takes a third of a second to make (measured), so all buckets of a process share one.
@cache
def _session_of(_process: int, _around: _Surroundings) -> Any:
    import boto3  # noqa: PLC0415

    session = boto3.Session()
    if session.get_credentials() is None:
        raise StorageFailed(
            "there are no AWS credentials for the object storage",
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role.",
        )
    return session


@cache
def _client_of(process: int, around: _Surroundings, timeouts: Timeouts) -> Any:
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=timeouts.connect_seconds,
        read_timeout=timeouts.call_seconds,
        retries={"mode": "standard", "total_max_attempts": timeouts.retries + 1},
        max_pool_connections=AT_ONCE,
        s3={"addressing_style": "virtual" if around.is_virtual else "path" if around.endpoint else "auto"},
    )
    return _session_of(process, around).client("s3", endpoint_url=around.endpoint, config=config)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
