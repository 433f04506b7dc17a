"""Checkups of what lies on this machine: folders, their permissions, the disk, and the server's certificate."""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from implio_pipeline.domain.checkup import Finding, Level
from implio_pipeline.domain.sentences import size_text

_LEAST_FREE_BYTES = 1 << 30
_LEAST_FREE_SHARE = 0.05
_EXPIRES_SOON = timedelta(days=21)


def check_folders(folders: Iterable[Path]) -> Iterator[Finding]:
    """Examine folders of ours: each exists, can be written, and belongs to its owner alone."""
    for folder in folders:
        if not folder.is_dir():
            yield Finding(
                code="folder-missing",
                what=f"{folder} is not a folder",
                remedy="Restore it from its backup, or correct the setting that names it.",
            )
            continue
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield Finding(
                code="folder-not-writable",
                what=f"{folder} cannot be read and written by this user",
                remedy=f"Run as the owner of the home, or run `chown -R` for {folder}.",
            )
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o077:
            yield Finding(
                code="folder-open-to-others",
                what=f"{folder} has the mode {mode:03o}: other users of this machine can enter it",
                remedy=f"Run `chmod 700 {folder}`.",
            )


def check_disk(folder: Path) -> Iterator[Finding]:
    """Examine the room on the disk of a folder."""
    usage = shutil.disk_usage(folder)
    if usage.free < _LEAST_FREE_BYTES or usage.free < _LEAST_FREE_SHARE * usage.total:
        is_wrong = usage.free < _LEAST_FREE_BYTES // 10
        yield Finding(
            code="disk-almost-full",
            what=f"the disk of {folder} has {size_text(usage.free)} left of {size_text(usage.total)}",
            remedy="Free some space: a rewrite needs room for the new file before the old one is deleted.",
            level=Level.WRONG if is_wrong else Level.ADVICE,
        )


def check_certificate(certificate: Path, private_key: Path, *, now: datetime) -> Iterator[Finding]:
    """Examine the certificate of the API server and its key."""
    # 1. Both can be read, and belong together.
    try:
        known = x509.load_pem_x509_certificate(certificate.read_bytes())
        key = load_pem_private_key(private_key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        yield Finding(code="certificate-invalid", what="the server's certificate or its key cannot be read")
        return
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if known.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        yield Finding(code="certificate-invalid", what="the server's certificate belongs to another private key")
    # 2. It is valid, and for a while.
    if not known.not_valid_before_utc <= now < known.not_valid_after_utc:
        yield Finding(
            code="certificate-expired",
            what=f"the server's certificate is valid from {known.not_valid_before_utc} to {known.not_valid_after_utc}",
            remedy="Put a new certificate in its place and start the server again.",
        )
    elif known.not_valid_after_utc - now < _EXPIRES_SOON:
        yield Finding(
            code="certificate-expires",
            what=f"the server's certificate is valid until {known.not_valid_after_utc:%Y-%m-%d}",
            remedy="Put a new certificate in its place and start the server again.",
            level=Level.ADVICE,
        )
    # 3. The key is its owner's alone.
    if stat.S_IMODE(private_key.stat().st_mode) & 0o077:
        yield Finding(
            code="private-key-open-to-others",
            what=f"{private_key.name} can be read by other users of this machine",
            remedy=f"Run `chmod 600 {private_key}`.",
        )
