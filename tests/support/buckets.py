"""Homes whose vault is in buckets of the S3 server that tests share."""

import re
import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from support.servers import S3Server


def use_server(server: S3Server, patch: pytest.MonkeyPatch) -> None:
    """Set the usual AWS settings, as an operator does."""
    for name, value in server.environment.items():
        patch.setenv(name, value)


def move_into_bucket(home: Path, bucket: str) -> str:
    """Give the regions of an empty home prefixes of a bucket as their storage. Returns the prefix of both."""
    prefix = str(uuid4())
    settings = home / "implio.toml"
    text = re.sub(r'vault = "vault/(\w+)"', rf'vault = "s3://{bucket}/{prefix}/\1"', settings.read_text())
    settings.write_text(text)
    shutil.rmtree(home / "vault")
    return prefix
