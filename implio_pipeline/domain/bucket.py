"""The address of a bucket, as settings have it: `s3://bucket/prefix`."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketAddress:
    """A bucket, and the prefix of the keys that belong to us: empty, or with a final `/`."""

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the address of `s3://bucket/prefix`.

        Raises:
            ValueError: it is something else.
        """
        place = urlsplit(url)
        if place.scheme != "s3" or place.query or place.fragment or not _BUCKET.fullmatch(place.netloc):
            raise ValueError("an address of a bucket is s3://BUCKET or s3://BUCKET/PREFIX")
        prefix = place.path.strip("/")
        if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
            raise ValueError("a prefix has no part that is empty, `.` or `..`")
        return cls(bucket=place.netloc, prefix=f"{prefix}/" if prefix else "")

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")


def is_bucket(address: str) -> bool:
    """Return whether an address names a bucket, not a folder."""
    return address.startswith(SCHEME)
