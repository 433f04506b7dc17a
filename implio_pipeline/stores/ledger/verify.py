"""Checks a ledger offline: the standard library, `cryptography`, the public key and the log are enough.

Copy this file anywhere: it imports nothing of ours.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

GENESIS = "0" * 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong with a ledger, and the line it was found on."""

    line: int
    problem: str


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return the one way these values are written: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(entry: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an entry without its signature, hexadecimal."""
    unsigned = {name: value for name, value in entry.items() if name != "signature"}
    return hashlib.sha256(canonical(unsigned)).hexdigest()


def check_ledger(lines: Iterable[bytes], public_key_pem: bytes) -> list[Finding]:
    """Return what is wrong with a ledger; an empty list means that it holds.

    A removed, reordered, edited or re-signed line breaks the chain of digests or its own signature.
    Lines cut off the end leave a shorter ledger that holds: compare its length with the newest receipt you have.
    """
    key = load_pem_public_key(public_key_pem)
    if not isinstance(key, Ed25519PublicKey):
        return [Finding(line=0, problem="the public key is not an Ed25519 key")]
    findings: list[Finding] = []
    previous, expected = GENESIS, 1
    for line, text in enumerate(lines, start=1):
        try:
            entry = json.loads(text)
            digest = digest_of(entry)
            if entry["previous"] != previous:
                findings.append(Finding(line=line, problem="does not follow the line before it"))
            if entry["sequence"] != expected:
                findings.append(Finding(line=line, problem=f"is numbered {entry['sequence']}, not {expected}"))
            if canonical(entry) != text.rstrip(b"\n"):
                findings.append(Finding(line=line, problem="is not written as it was signed"))
            if not is_signed(entry, key):
                findings.append(Finding(line=line, problem="its signature does not hold"))
            previous, expected = digest, entry["sequence"] + 1
        except (ValueError, KeyError, TypeError, AttributeError):
            findings.append(Finding(line=line, problem="cannot be read"))
    return findings


def is_signed(entry: Mapping[str, Any], key: Ed25519PublicKey) -> bool:
    """Tell whether an entry's signature is over its digest and by that key."""
    try:
        signature = bytes.fromhex(entry["signature"])
        key.verify(signature, bytes.fromhex(digest_of(entry)))
    except (InvalidSignature, ValueError):
        return False
    return bool(signature.hex() == entry["signature"])
