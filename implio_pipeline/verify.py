"""Check a ledger offline, with the standard library, `cryptography`, the public key and the log.

This file imports nothing else of the package, so it can be copied anywhere:

    python verify.py LEDGER-FOLDER [CHECKPOINT-OR-RECEIPT]

1. `check_ledger` checks that each line follows the one before it, and is signed.
2. A ledger that was cut at its end, or forked, passes that check. `check_against` compares it with what somebody kept
   elsewhere: a checkpoint (`implio receipts checkpoint`) or any signed line, such as a receipt.

Source: a checkpoint is a signed note with the size of the log and its Merkle root (RFC 6962), in the formats of
https://c2sp.org/tlog-checkpoint and https://c2sp.org/signed-note. The leaves are the lines of the log without line
breaks.
"""

import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

GENESIS = "0" * 64
_ED25519 = b"\x01"
"""The signature type that a signed note gives Ed25519."""
_DASH = "\u2014 "
_KEY_ID_BYTES = 4
_HEAD_LINES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong with a ledger, and the number of its line; 0 for the whole ledger."""

    line: int
    problem: str


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of these values: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(entry: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an entry without its signature, hexadecimal."""
    unsigned = {name: value for name, value in entry.items() if name != "signature"}
    return hashlib.sha256(canonical(unsigned)).hexdigest()


def check_ledger(lines: Iterable[bytes], public_key_pem: bytes) -> list[Finding]:
    """Return what is wrong with a ledger; an empty list means that it is valid.

    A removed, moved, edited or re-signed line breaks the chain of digests or its own signature. A ledger whose last
    lines were cut off is valid: compare it with a kept checkpoint or receipt, by `check_against`.
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
            # The signature is over the values. Without this, white space or a repeated key could be added to a line.
            if canonical(entry) != text.rstrip(b"\n"):
                findings.append(Finding(line=line, problem="is not written as it was signed"))
            if not is_signed(entry, key):
                findings.append(Finding(line=line, problem="its signature is not valid"))
            previous, expected = digest, entry["sequence"] + 1
        except (ValueError, KeyError, TypeError, AttributeError):
            findings.append(Finding(line=line, problem="cannot be read"))
    return findings


def is_signed(entry: Mapping[str, Any], key: Ed25519PublicKey) -> bool:
    """Return whether an entry is signed by that key."""
    try:
        signature = bytes.fromhex(entry["signature"])
        key.verify(signature, bytes.fromhex(digest_of(entry)))
    except (InvalidSignature, ValueError):
        return False
    # `fromhex` also accepts upper case and white space: a signature has one spelling only.
    return bool(signature.hex() == entry["signature"])


def _merkle_root(leaves: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash of leaves, in one pass. Its memory is one hash for each binary digit of their number.

    Source: RFC 6962, section 2.1.
    """
    # 1. Keep the roots of complete subtrees with their heights, the highest first. Two of equal height become one.
    #    Leaves and nodes are hashed with different first octets, so that a node cannot pass for a leaf.
    complete: list[tuple[int, bytes]] = []
    for leaf in leaves:
        height, root = 0, hashlib.sha256(b"\0" + leaf).digest()
        while complete and complete[-1][0] == height:
            height, root = height + 1, hashlib.sha256(b"\1" + complete.pop()[1] + root).digest()
        complete.append((height, root))
    if not complete:
        return hashlib.sha256(b"").digest()
    # 2. Join the subtrees from the right.
    root = complete.pop()[1]
    while complete:
        root = hashlib.sha256(b"\1" + complete.pop()[1] + root).digest()
    return root


def _origin_of(key: Ed25519PublicKey) -> str:
    """Return the name of the log that a key signs; it is made from the key, so no other log has it."""
    return f"implio-ledger/{hashlib.sha256(_raw(key)).hexdigest()[:16]}"


def signed_checkpoint(lines: Iterable[bytes], key: Ed25519PrivateKey) -> str:
    """Return a checkpoint of a log: origin, number of lines, Merkle root, and the signature over them."""
    leaves = [line.rstrip(b"\n") for line in lines]
    origin = _origin_of(key.public_key())
    text = f"{origin}\n{len(leaves)}\n{base64.b64encode(_merkle_root(leaves)).decode()}\n"
    signature = _note_key_id(origin, key.public_key()) + key.sign(text.encode())
    return f"{text}\n{_DASH}{origin} {base64.b64encode(signature).decode()}\n"


def _note_key_id(name: str, key: Ed25519PublicKey) -> bytes:
    # https://c2sp.org/signed-note, "Ed25519 signatures": the first four octets of this hash.
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + _raw(key)).digest()[:_KEY_ID_BYTES]


def _opened_note(note: str, *, name: str, key: Ed25519PublicKey) -> str | None:
    """Return the text of a signed note; `None` if that key did not sign it under that name."""
    text, blank, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines() if blank else ():
        who, _, encoded = line.removeprefix(_DASH).partition(" ")
        try:
            signature = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return None
        if not line.startswith(_DASH) or who != name or signature[:_KEY_ID_BYTES] != _note_key_id(name, key):
            continue  # the note may carry signatures of others, such as witnesses
        try:
            key.verify(signature[_KEY_ID_BYTES:], text.encode())
        except InvalidSignature:
            return None
        return text
    return None


def check_against(lines: Sequence[bytes], kept: str, public_key_pem: bytes) -> list[Finding]:
    """Compare a ledger with what was kept of it elsewhere; return what shows that it was cut or forked since.

    Args:
        lines: The lines of the ledger.
        kept: A checkpoint, or a signed line of the ledger, such as a receipt.
        public_key_pem: The public key of the ledger, kept elsewhere too: whoever forges a ledger can replace the key
            beside it.
    """
    # 1. A receipt is compared with the line of its number; a JSON object may also carry a checkpoint.
    key = load_pem_public_key(public_key_pem)
    if not isinstance(key, Ed25519PublicKey):
        return [Finding(line=0, problem="the public key is not an Ed25519 key")]
    try:
        values = json.loads(kept) if kept.lstrip().startswith("{") else {"checkpoint": kept}
        if "checkpoint" not in values:
            return _check_against_entry(lines, values, key)
        text = _opened_note(values["checkpoint"], name=_origin_of(key), key=key)
    except (ValueError, TypeError, AttributeError):
        return [Finding(line=0, problem="what was kept cannot be read")]
    if text is None:
        return [Finding(line=0, problem="the checkpoint is not signed by this ledger's key")]
    # 2. The ledger must be at least as long as the checkpoint says, and its first lines must have the same Merkle root.
    try:
        _, size_text, root_text = text.splitlines()[:_HEAD_LINES]
        size, root = int(size_text), base64.b64decode(root_text, validate=True)
    except (ValueError, binascii.Error):
        return [Finding(line=0, problem="the checkpoint cannot be read")]
    if len(lines) < size:
        return [_cut(len(lines), size)]
    if _merkle_root(line.rstrip(b"\n") for line in lines[:size]) != root:
        return [
            Finding(line=size, problem="up to this line, the ledger differs from the one that the checkpoint describes")
        ]
    return []


def _check_against_entry(lines: Sequence[bytes], kept: Mapping[str, Any], key: Ed25519PublicKey) -> list[Finding]:
    try:
        entry = {name: value for name, value in kept.items() if name != "digest"}
        if not is_signed(entry, key):
            return [Finding(line=0, problem="the receipt is not signed by this ledger's key")]
        place = int(entry["sequence"])
        if len(lines) < place:
            return [_cut(len(lines), place)]
        if lines[place - 1].rstrip(b"\n") != canonical(entry):
            return [Finding(line=place, problem="differs from the receipt that was kept")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [Finding(line=0, problem="the receipt cannot be read")]
    return []


def _cut(length: int, size: int) -> Finding:
    return Finding(line=length, problem=f"the ledger ends here, and had {size} lines or more: it was cut")


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _main(arguments: Sequence[str]) -> int:
    """Check the ledger in a folder, and compare it with each kept checkpoint or receipt; return 0 when it is valid."""
    folder = Path(arguments[0])
    lines = [line for line in (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    public_key = (folder / "public.pem").read_bytes()
    findings = check_ledger(lines, public_key)
    for kept in arguments[1:]:
        findings += check_against(lines, Path(kept).read_text(encoding="utf-8"), public_key)
    for finding in findings:
        sys.stdout.write(f"line {finding.line}: {finding.problem}\n")
    sys.stdout.write(f"{len(lines)} lines: {'does not verify' if findings else 'verifies'}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
