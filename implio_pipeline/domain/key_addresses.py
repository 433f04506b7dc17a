"""Addresses of root keys, as the settings write them.

| address | where the root keys are |
|---|---|
| `keys/eu` | files in a folder |
| `aws-kms:alias/NAME`, `aws-kms:AWS-REGION/alias/NAME` | AWS KMS |
| `transit:https://HOST:8200/NAME`, `transit:https://HOST:8200/MOUNT/NAME` | Transit of OpenBao or Vault |

An address holds no secret. Credentials come from the environment.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePath
from urllib.parse import urlsplit

_KMS = re.compile(r"aws-kms:(?:(?P<aws_region>[a-z0-9-]+)/)?alias/(?P<name>[A-Za-z0-9_-]{1,200})")
_SEGMENT = re.compile(r"[A-Za-z0-9_-]{1,200}")
_MOUNT = "transit"


@dataclass(frozen=True, slots=True)
class KmsAddress:
    """Keys of AWS KMS whose aliases begin with `alias/NAME-`."""

    name: str
    aws_region: str | None
    """The region of AWS; the one of the environment when `None`."""

    def __str__(self) -> str:
        return f"aws-kms:{f'{self.aws_region}/' if self.aws_region else ''}alias/{self.name}"


@dataclass(frozen=True, slots=True)
class TransitAddress:
    """Keys of a Transit engine whose names begin with `NAME-`."""

    url: str
    mount: str
    name: str

    def __str__(self) -> str:
        return f"transit:{self.url}/{'' if self.mount == _MOUNT else f'{self.mount}/'}{self.name}"


KeyAddress = PurePath | KmsAddress | TransitAddress


def service_address(text: str) -> KmsAddress | TransitAddress | None:
    """Return the address of a key service; `None` if the text is a folder.

    Raises:
        ValueError: it names a key service, and is not written correctly. The message does not repeat the text, which
            may contain a password.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "aws-kms":
        match = _KMS.fullmatch(text)
        if match is None:
            raise ValueError("keys in AWS KMS are written as aws-kms:alias/NAME or aws-kms:AWS-REGION/alias/NAME")
        return KmsAddress(name=match["name"], aws_region=match["aws_region"])
    return _transit(rest) if scheme == "transit" else None


def _transit(text: str) -> TransitAddress:
    url = urlsplit(text)
    *mount, name = url.path.strip("/").split("/")
    is_written_right = url.scheme in ("https", "http") and url.hostname and not url.query and not url.fragment
    if not is_written_right or not all(map(_SEGMENT.fullmatch, [*mount, name])):
        raise ValueError("keys in Transit are written as transit:https://HOST:8200/NAME")
    if url.username is not None:
        raise ValueError("the address of a key service has no password: give the token in BAO_TOKEN")
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        raise ValueError("a key service on another machine is called by https")
    return TransitAddress(url=f"{url.scheme}://{url.netloc}", mount="/".join(mount) or _MOUNT, name=name)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
