"""Root keys in AWS KMS: one key for each class and epoch, named by an alias `alias/NAME-CLASS-EPOCH`.

Rules:

* KMS destroys only whole keys (rotation inside a key keeps its old material), so each epoch is a key of its own. Its
  alias is made last, and only once: if two processes rotate at the same time, one wins and the other deletes its key.
* The newest epoch is the alias with the highest number. Aliases are never moved: KMS may show the former target of a
  moved alias for a while.
* A key is destroyed seven days after it is retired, the shortest time that KMS allows. Until then it opens nothing,
  unless somebody with `kms:CancelKeyDeletion` cancels its deletion. This program does not need that permission.
* A wrapped key is KMS's ciphertext, bound to its context (`EncryptionContext`). KMS decides its length.
* The library repeats throttled calls, with jitter. No error contains a secret or an answer of the service.

`docs/KEYS.md` has the permissions that this needs.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, PartialCredentialsError
from typing_extensions import override

from implio_pipeline.domain.checkup import Finding
from implio_pipeline.domain.errors import ImplioError, KeyMissing, KeyServiceDenied, KeyServiceUnavailable
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.key_addresses import KmsAddress
from implio_pipeline.domain.keys import KeyContext, number_of, root_key_names
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.stores.keys.service_findings import finding_of, key_missing, tried

DELETION_DAYS = 7
"""The shortest time after which KMS destroys a key."""
_LISTING_SECONDS = 1.0
"""How long a list of aliases is reused, so that the five keys of a new team need one list."""
_SECONDS = (3.05, 10)
_TRIES = 5
_GONE = {
    "DisabledException",
    "IncorrectKeyException",
    "InvalidCiphertextException",
    "KMSInvalidStateException",
    "NotFoundException",
}
_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "OptInRequired",
    "UnrecognizedClientException",
}
_Answer = TypeVar("_Answer")


class KmsKeyRing(KeyRing):
    """The root keys of one region.

    Args:
        region: The region.
        address: Where its keys are. The endpoint and the credentials come from the usual settings of AWS.
        timeout_seconds: How long to wait for a connection, and for an answer.
        tries: How often a call is tried.
    """

    def __init__(
        self,
        region: Region,
        address: KmsAddress,
        *,
        timeout_seconds: tuple[float, float] = _SECONDS,
        tries: int = _TRIES,
    ) -> None:
        self._region = region
        self._address = address
        connect, read = timeout_seconds
        retries = {"mode": "standard", "total_max_attempts": tries}
        self._config = Config(retries=retries, connect_timeout=connect, read_timeout=read)
        self._clients: dict[int, Any] = {}
        self._lock = Lock()
        self._listed: dict[str, str] = {}
        self._listed_at = -_LISTING_SECONDS

    @override
    def is_in_service(self, region: Region) -> bool:
        return True

    @override
    def identities(self) -> dict[str, str]:
        return dict(self._keys())

    @override
    def make(self, region: Region) -> None:
        for name in root_key_names(region):
            if self._newest(name) is None:
                self._make(name, 1)

    @override
    def renew(self, region: Region) -> None:
        newest = {name: self._newest(name) for name in root_key_names(region)}
        for name, root_key_id in newest.items():
            if root_key_id is None:
                raise self._no_root_key(name)
        for name, root_key_id in newest.items():
            self._make(name, number_of(root_key_id or "") + 1)

    @override
    def wrap(self, region: Region, name: str, key: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        root_key_id = self._newest(name)
        if root_key_id is None:
            raise self._no_root_key(name)
        arn = self._arn(root_key_id)
        answer = self._call(
            "encrypt", lambda kms: kms.encrypt(KeyId=arn, Plaintext=key, EncryptionContext=dict(context))
        )
        return root_key_id, answer["CiphertextBlob"]

    @override
    def unwrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> bytes:
        alias = self._alias_of(root_key_id)
        answer = self._call(
            "decrypt",
            lambda kms: kms.decrypt(KeyId=alias, CiphertextBlob=wrapped, EncryptionContext=dict(context)),
        )
        key: bytes = answer["Plaintext"]
        return key

    @override
    def rewrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        alias = self._alias_of(root_key_id)
        newest = self._newest(root_key_id.split("/")[1])
        if newest is None or root_key_id not in self._keys():
            raise KeyMissing(f"root key {root_key_id} is destroyed or was never here")
        arn = self._arn(newest)
        answer = self._call(
            "re-encrypt",
            lambda kms: kms.re_encrypt(
                CiphertextBlob=wrapped,
                SourceKeyId=alias,
                SourceEncryptionContext=dict(context),
                DestinationKeyId=arn,
                DestinationEncryptionContext=dict(context),
            ),
        )
        return newest, answer["CiphertextBlob"]

    @override
    def retire(self, root_key_ids: Iterable[str]) -> dict[str, datetime | None]:
        done: dict[str, datetime | None] = {}
        listed = list(root_key_ids)
        keys = self._keys(is_fresh=True) if listed else {}
        for root_key_id in listed:
            arn = keys.get(root_key_id)
            done[root_key_id] = None
            if arn is None:
                continue
            # 1. Schedule the deletion. From now on the key opens nothing.
            done[root_key_id] = self._delete(arn)
            # 2. Remove its name last: after a crash before this the key is still listed, and is retired again.
            with suppress(KeyMissing):
                alias = self._alias_of(root_key_id)
                self._call("delete-alias", partial(_delete_alias, alias=alias))
        self._forget_list()
        return done

    def close(self) -> None:
        """Close the connections of this process."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    def findings(self) -> list[Finding]:
        """Return what is wrong with the address, its keys and the permissions; nothing is changed."""
        try:
            keys = self._keys(is_fresh=True)
        except (KeyServiceDenied, KeyServiceUnavailable) as error:
            return [finding_of(error)]
        names = {name: self._newest(name) for name in root_key_names(self._region)}
        found = [key_missing(f"alias/{self._address.name}-{each}") for each, id_ in names.items() if not id_]
        for name, root_key_id in names.items():
            if root_key_id is not None:
                found += self._ill(root_key_id, keys[root_key_id])
                found += tried(self, self._region, name)
        return found

    def _ill(self, root_key_id: str, arn: str) -> list[Finding]:
        try:
            meta = self._call("describe-key", lambda kms: kms.describe_key(KeyId=arn))["KeyMetadata"]
        except ImplioError as error:
            return [finding_of(error)]
        found = []
        if meta["KeyState"] != "Enabled":
            remedy = "Enable it in AWS KMS, or cancel its deletion."
            found.append(Finding(code="key-deleted", what=f"{root_key_id} is {meta['KeyState']}", remedy=remedy))
        if meta.get("MultiRegion"):
            facts = f"{root_key_id} has or may have replicas, which are destroyed one by one"
            found.append(Finding(code="key-replicated", what=facts, remedy="Use keys of one region of AWS."))
        if meta.get("Origin", "AWS_KMS") != "AWS_KMS":
            facts = f"the material of {root_key_id} was imported, so a copy of it may exist"
            found.append(Finding(code="key-exportable", what=facts, remedy="Use keys that AWS KMS made."))
        return found

    def _make(self, name: str, epoch: int) -> None:
        root_key_id = f"{self._region}/{name}/{epoch}"
        answer = self._call(
            "create-key",
            lambda kms: kms.create_key(
                KeySpec="SYMMETRIC_DEFAULT",
                KeyUsage="ENCRYPT_DECRYPT",
                Description=f"implio root key {root_key_id}",
                Tags=[{"TagKey": "implio-root-key", "TagValue": root_key_id}],
            ),
        )
        arn = answer["KeyMetadata"]["Arn"]
        try:
            self._call(
                "create-alias",
                lambda kms: kms.create_alias(AliasName=self._alias_of(root_key_id), TargetKeyId=arn),
            )
        except _AliasExists:
            self._delete(arn)  # another process made this epoch first; its key is used
        finally:
            self._forget_list()

    def _delete(self, arn: str) -> datetime:
        """Schedule the deletion of a key, or look up when it is scheduled."""
        try:
            answer = self._call(
                "schedule-key-deletion",
                lambda kms: kms.schedule_key_deletion(KeyId=arn.rpartition("/")[2], PendingWindowInDays=DELETION_DAYS),
            )
            at: datetime = answer["DeletionDate"]
        except KeyMissing:  # its deletion is scheduled already
            at = self._call("describe-key", lambda kms: kms.describe_key(KeyId=arn))["KeyMetadata"]["DeletionDate"]
        return at.astimezone(UTC)

    def _newest(self, name: str) -> str | None:
        series = f"{self._region}/{name}/"
        return max((each for each in self._keys() if each.startswith(series)), key=number_of, default=None)

    def _arn(self, root_key_id: str) -> str:
        return self._keys()[root_key_id]

    def _alias_of(self, root_key_id: str) -> str:
        region, _, rest = root_key_id.partition("/")
        name, _, epoch = rest.partition("/")
        if region != self._region or name not in root_key_names(self._region) or not number_of(root_key_id):
            raise KeyMissing(f"root key {root_key_id} was never here")
        return f"alias/{self._address.name}-{name}-{epoch}"

    def _keys(self, *, is_fresh: bool = False) -> dict[str, str]:
        """Return the ARN of every root key with an alias, by id. Unless `is_fresh`, the list may be a second old."""
        with self._lock:
            if not is_fresh and monotonic() - self._listed_at < _LISTING_SECONDS:
                return self._listed
            at = monotonic()
            aliases = self._call("list-aliases", _all_aliases)
            found = {}
            for name in root_key_names(self._region):
                head = f"alias/{self._address.name}-{name}-"
                for alias in aliases:
                    epoch = alias["AliasName"].removeprefix(head)
                    if alias["AliasName"].startswith(head) and epoch.isdecimal() and "TargetKeyId" in alias:
                        account = alias["AliasArn"].rpartition(":")[0]
                        found[f"{self._region}/{name}/{epoch}"] = f"{account}:key/{alias['TargetKeyId']}"
            self._listed, self._listed_at = found, at
            return found

    def _forget_list(self) -> None:
        with self._lock:
            self._listed_at = -_LISTING_SECONDS

    def _no_root_key(self, name: str) -> KeyMissing:
        facts = (
            f"region {self._region} has no root key for {name}: no alias/{self._address.name}-{name}-… is in AWS KMS"
        )
        return KeyMissing(facts)

    def _call(self, what: str, call: Callable[[Any], _Answer]) -> _Answer:
        """Call the service.

        Raises:
            KeyMissing: there is no such key, or it does not open this.
            KeyServiceDenied: the service refuses it.
            KeyServiceUnavailable: the service does not answer.
        """
        try:
            return call(self._client())
        # `from None`: the library's errors quote the answer.
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "AlreadyExistsException":
                raise _AliasExists from None
            if code in _GONE:
                facts = f"a root key of region {self._region} is gone, or does not open this ({what}: {code})"
                raise KeyMissing(facts) from None
            if code in _DENIED:
                raise KeyServiceDenied(f"AWS KMS refuses {what} for region {self._region} ({code})") from None
            facts = f"AWS KMS does not answer {what} for region {self._region} ({code})"
            raise KeyServiceUnavailable(facts) from None
        except (NoCredentialsError, PartialCredentialsError, NoRegionError) as error:
            facts = f"there are no credentials or no region for AWS KMS ({type(error).__name__})"
            raise KeyServiceDenied(facts) from None
        except BotoCoreError as error:
            facts = f"AWS KMS does not answer {what} for region {self._region} ({type(error).__name__})"
            raise KeyServiceUnavailable(facts) from None

    def _client(self) -> Any:
        # Two processes must not share a connection, so a forked child makes its own client.
        process = os.getpid()
        if process not in self._clients:
            session = boto3.session.Session()
            self._clients[process] = session.client("kms", region_name=self._address.aws_region, config=self._config)
        return self._clients[process]


class _AliasExists(Exception):
    """Another process gave this name to a key first."""


def _delete_alias(kms: Any, *, alias: str) -> Any:
    return kms.delete_alias(AliasName=alias)


def _all_aliases(kms: Any) -> list[dict[str, Any]]:
    return [alias for page in kms.get_paginator("list_aliases").paginate() for alias in page["Aliases"]]
