"""Root keys in the Transit engine of OpenBao or Vault: one key for each class, one version of it for each epoch.

Rules:

* Each class has its own key (`NAME-identity`, `NAME-content`, `NAME-operational`; `NAME-seal` for the home). So the key
  service can refuse a reader one class, and the epochs of each class are destroyed independently.
* The keys are derived: the context of a wrapped key goes into the derivation. So a wrapped key opens only for the team,
  purpose and version that it was made for, also after the service has wrapped it again.
* A wrapped key is Transit's ciphertext, unchanged, in ASCII. Whoever may call Transit can open it without this program.
* Versions are trimmed from the oldest on. Before that, Transit needs `min_encryption_version`.
* No error contains a secret or an answer of the service.

`docs/KEYS.md` has the policy that this needs. Give `update` and not `create` on `encrypt`: with `create`, Transit makes
a missing key (tried on OpenBao 2.7).
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from json import dumps
from pathlib import Path
from typing import Any, ClassVar

import hvac
import requests
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized, VaultError
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3.util import Retry

from implio_pipeline.domain.checkup import Finding, Level
from implio_pipeline.domain.errors import KeyMissing, KeyServiceDenied, KeyServiceUnavailable
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.key_addresses import TransitAddress
from implio_pipeline.domain.keys import KeyContext, number_of, root_key_names
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.stores.keys.service_findings import finding_of, key_missing, tried

TOKEN_VARIABLES = ("BAO_TOKEN", "VAULT_TOKEN")
TOKEN_FILE_VARIABLES = ("BAO_TOKEN_FILE", "VAULT_TOKEN_FILE")
_CA_VARIABLES = ("BAO_CACERT", "VAULT_CACERT")
_NAMESPACE_VARIABLES = ("BAO_NAMESPACE", "VAULT_NAMESPACE")
_SECONDS = (3.05, 10)
"""How long to wait for a connection, and for an answer."""
_RETRIES = 4
_RETRIED = (429, 500, 502, 503, 504)
_NO_TOKEN = "missing client token"  # noqa: S105 (words of Transit's answer)


class TransitKeyRing(KeyRing):
    """The root keys of one region.

    Args:
        region: The region.
        address: Where its keys are.
        backoff_seconds: The first pause before a call is tried again. Pauses double, plus a random part of as much.
        timeout_seconds: How long to wait for a connection, and for an answer.
    """

    needs: ClassVar[Mapping[str, str]] = {
        "encrypt": "update",
        "decrypt": "update",
        "rewrap": "update",
        "keys": "read",
        "rotate": "update",
        "config": "update",
        "trim": "update",
    }
    """The capability that each operation needs."""

    def __init__(
        self,
        region: Region,
        address: TransitAddress,
        *,
        backoff_seconds: float = 0.2,
        timeout_seconds: tuple[float, float] = _SECONDS,
    ) -> None:
        self._region = region
        self._address = address
        self._backoff_seconds = backoff_seconds
        self._timeout = timeout_seconds
        self._clients: dict[int, hvac.Client] = {}
        self._seen: set[str] = set()
        """Names of keys that exist, as far as this process knows."""

    @override
    def is_in_service(self, region: Region) -> bool:
        return True

    @override
    def identities(self) -> dict[str, str]:
        found = {}
        for name in root_key_names(self._region):
            key = self._read(name)
            if key is None:
                continue
            # Transit lists only the versions that may decrypt. Older ones that a crash left untrimmed still exist.
            for epoch in range(max(1, key["min_available_version"]), key["latest_version"] + 1):
                made = key["keys"].get(str(epoch), "hidden")
                found[self._id(name, epoch)] = f"transit:{self._key(name)}:{epoch}:{made}"
        return found

    @override
    def make(self, region: Region) -> None:
        for name in root_key_names(region):
            if self._read(name) is None:
                options = {
                    "type": "aes256-gcm96",
                    "derived": True,
                    "exportable": False,
                    "allow_plaintext_backup": False,
                }
                self._post(f"keys/{self._key(name)}", options)
                self._seen.add(name)

    @override
    def renew(self, region: Region) -> None:
        for name in root_key_names(region):
            if self._read(name) is None:
                raise self._no_root_key(name)
        for name in root_key_names(region):
            self._post(f"keys/{self._key(name)}/rotate", {})

    @override
    def wrap(self, region: Region, name: str, key: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        # Look first: if the token may create keys, Transit makes a missing one, and a lost root key goes unnoticed.
        if name not in self._seen and self._read(name) is None:
            raise self._no_root_key(name)
        body = {"plaintext": _base64(key), "context": _packed(context)}
        return self._wrapped(name, self._post(f"encrypt/{self._key(name)}", body))

    @override
    def unwrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> bytes:
        name = self._name(root_key_id, wrapped)
        body = {"ciphertext": wrapped.decode(), "context": _packed(context)}
        return b64decode(self._post(f"decrypt/{self._key(name)}", body)["plaintext"])

    @override
    def rewrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        name = self._name(root_key_id, wrapped)
        body = {"ciphertext": wrapped.decode(), "context": _packed(context)}
        return self._wrapped(name, self._post(f"rewrap/{self._key(name)}", body))

    @override
    def retire(self, root_key_ids: Iterable[str]) -> dict[str, datetime | None]:
        listed = list(root_key_ids)
        for name in root_key_names(self._region):
            epochs = {number_of(each) for each in listed if each == self._id(name, number_of(each))}
            key = self._read(name) if epochs else None
            if key is None:
                continue
            alive = range(max(1, key["min_available_version"]), key["latest_version"] + 1)
            left = [epoch for epoch in alive if epoch not in epochs]
            if not left or any(epoch > left[0] for epoch in epochs):
                raise ValueError("Transit destroys the oldest versions of a key, never the newest or one in between")
            if left[0] > max(1, key["min_available_version"]):
                bounds = {"min_decryption_version": left[0], "min_encryption_version": left[0]}
                self._post(f"keys/{self._key(name)}/config", bounds)
                self._post(f"keys/{self._key(name)}/trim", {"min_available_version": left[0]})
        return dict.fromkeys(listed)

    def close(self) -> None:
        """Close the connections of this process."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.adapter.close()

    def findings(self) -> list[Finding]:
        """Return what is wrong with the address, its keys and the permissions; nothing is changed."""
        try:
            keys = {name: self._read(name) for name in root_key_names(self._region)}
        except (KeyServiceDenied, KeyServiceUnavailable) as error:
            return [finding_of(error)]
        found = [key_missing(self._key(name)) for name, key in keys.items() if key is None]
        for name, key in keys.items():
            if key is not None:
                found += _ill(self._key(name), key)
                found += self._permissions(name)
                found += tried(self, self._region, name)
        return found

    def _permissions(self, name: str) -> list[Finding]:
        key, mount = self._key(name), self._address.mount
        keyed = {"keys": f"keys/{key}"} | {each: f"keys/{key}/{each}" for each in ("rotate", "config", "trim")}
        paths = {each: f"{mount}/{keyed.get(each, f'{each}/{key}')}" for each in self.needs}
        try:
            answer = self._call("post", "sys/capabilities-self", {"paths": list(paths.values())})
        except (KeyMissing, KeyServiceDenied):
            return []  # the token may not ask; `tried` finds out
        if "root" in answer.get(paths["encrypt"], ()):
            facts = f"the token for {self._address.url} is a root token: it may do everything there"
            remedy = "Make a token with the policy that docs/KEYS.md shows."
            return [Finding(code="permission-wide", what=facts, remedy=remedy, level=Level.ADVICE)]
        found = []
        for operation, path in paths.items():
            may = set(answer.get(path, ()))
            if self.needs[operation] not in may:
                remedy = f"Give the token's policy `{self.needs[operation]}` on `{path}`."
                found.append(
                    Finding(code="permission-missing", what=f"{operation} of {key} is not allowed", remedy=remedy)
                )
        if "create" in answer.get(paths["encrypt"], ()):
            remedy = f"Take `create` on `{paths['encrypt']}` from the token's policy; `update` is enough."
            facts = f"encrypting makes {key} anew if somebody deletes it"
            found.append(Finding(code="permission-wide", what=facts, remedy=remedy, level=Level.ADVICE))
        return found

    def _id(self, name: str, epoch: int) -> str:
        return f"{self._region}/{name}/{epoch}"

    def _key(self, name: str) -> str:
        return f"{self._address.name}-{name}"

    def _name(self, root_key_id: str, wrapped: bytes) -> str:
        """Return the name in a root key's id, if the wrapped key is of its epoch.

        Raises:
            KeyMissing: it is not.
        """
        region, _, rest = root_key_id.partition("/")
        name, _, epoch = rest.partition("/")
        is_ours = region == self._region and name in root_key_names(self._region)
        if not is_ours or not wrapped.startswith(f"vault:v{epoch}:".encode()) or not wrapped.isascii():
            raise KeyMissing(f"root key {root_key_id} did not wrap this key")
        return name

    def _wrapped(self, name: str, answer: Mapping[str, Any]) -> tuple[str, bytes]:
        ciphertext: str = answer["ciphertext"]
        return self._id(name, int(ciphertext.split(":", 2)[1].removeprefix("v"))), ciphertext.encode()

    def _no_root_key(self, name: str) -> KeyMissing:
        return KeyMissing(
            f"region {self._region} has no root key for {name}: {self._key(name)} is not in the key service"
        )

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found = self._call("get", f"{self._address.mount}/keys/{self._key(name)}")
        except KeyMissing:
            self._seen.discard(name)
            return None
        self._seen.add(name)
        return found

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._call("post", f"{self._address.mount}/{path}", body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call the service, and return the data of its answer.

        Raises:
            KeyMissing: there is no such key, or it does not open this.
            KeyServiceDenied: the service refuses it.
            KeyServiceUnavailable: the service does not answer.
        """
        what = f"{path.rpartition('/')[0] or path} at {self._address.url}"
        try:
            try:
                return self._answer(method, path, body)
            except (Forbidden, Unauthorized):
                # An agent may have written a newer token since.
                if not self._has_new_token():
                    raise
                return self._answer(method, path, body)
        # `from None`: the library's errors quote the answer.
        except (Forbidden, Unauthorized):
            raise KeyServiceDenied(f"the key service refuses {what}") from None
        except InvalidPath:
            raise KeyMissing(f"the key service has no such key: {path}") from None
        except InvalidRequest as error:
            if any(_NO_TOKEN in str(each) for each in error.errors or ()):
                raise KeyServiceDenied(f"the key service has no token for {what}") from None
            raise KeyMissing(f"a root key of region {self._region} is gone, or does not open this: {path}") from None
        except requests.exceptions.SSLError:
            facts = f"the certificate of the key service at {self._address.url} is not trusted"
            raise KeyServiceUnavailable(facts, remedy="Name its authority in BAO_CACERT.") from None
        except (requests.exceptions.RequestException, VaultError) as error:
            raise KeyServiceUnavailable(f"the key service does not answer {what}: {type(error).__name__}") from None

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        answer = self._client().adapter.request(method, f"/v1/{path}", json=body)
        found: dict[str, Any] = (answer.get("data") or {}) if isinstance(answer, dict) else {}
        return found

    def _client(self) -> hvac.Client:
        # Two processes must not share a connection, so a forked child makes its own client.
        process = os.getpid()
        if process not in self._clients:
            retry = Retry(
                total=_RETRIES,
                backoff_factor=self._backoff_seconds,
                backoff_jitter=self._backoff_seconds,
                status_forcelist=_RETRIED,
                allowed_methods=None,  # every operation may be repeated; a second rotation only adds an epoch
                raise_on_status=False,
            )
            session = requests.Session()
            session.mount("http://", HTTPAdapter(max_retries=retry))
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.verify = _first_of(_CA_VARIABLES) or True
            self._clients[process] = hvac.Client(
                url=self._address.url,
                token=_token(),
                session=session,
                timeout=self._timeout,
                namespace=_first_of(_NAMESPACE_VARIABLES),
                allow_redirects=False,  # the token goes to the configured address only
            )
        return self._clients[process]

    def _has_new_token(self) -> bool:
        client, token = self._client(), _token()
        is_new: bool = client.token != token
        client.token = token
        return is_new


def _ill(name: str, key: Mapping[str, Any]) -> Iterable[Finding]:
    if not key.get("derived"):
        remedy = "If nothing is wrapped under it, delete it and make the root keys that are missing."
        yield Finding(code="key-not-derived", what=f"{name} is not derived", remedy=remedy)
    if key.get("exportable") or key.get("allow_plaintext_backup"):
        what = f"{name} can be exported, so a copy of it may exist"
        yield Finding(code="key-exportable", what=what, remedy="Make another key that cannot be exported.")
    if key.get("auto_rotate_period"):
        what = f"the key service rotates {name} on its own"
        yield Finding(code="key-auto-rotated", what=what, remedy="Set its `auto_rotate_period` to 0.")
    if key.get("soft_deleted"):
        yield Finding(code="key-deleted", what=f"{name} was deleted", remedy="Restore it in the key service.")


def _token() -> str | None:
    """Return the token of the environment, or of the file that the environment names."""
    token = _first_of(TOKEN_VARIABLES)
    file = _first_of(TOKEN_FILE_VARIABLES)
    if token is None and file is not None:
        with suppress(OSError):
            token = Path(file).read_text().strip()
    return token


def _first_of(variables: Sequence[str]) -> str | None:
    return next((os.environ[each] for each in variables if os.environ.get(each)), None)


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def _packed(context: KeyContext) -> str:
    """Return a context as Transit takes it: its JSON with sorted names and without white space, in base64."""
    return _base64(dumps(dict(context), sort_keys=True, separators=(",", ":")).encode())
