"""A reader of the ledger as a stranger writes it: from `docs/FORMAT.md` and what that names, without our code.

It keeps the document honest. Whatever it does not say has no place here: where the two disagree, the document is mended
first. Read "The ledger" there beside it. It imports the standard library and `cryptography` alone. In one thing it is
stricter than `receipts verify`: an entry `signing-key` has to name the key that its header has as `nextKey`.

`read_chain` checks a chain's folder and returns its entries. `check_receipt` and `read_checkpoint` need `public.pem`
alone; `check_receipt_in` and `check_checkpoint` compare what was kept elsewhere with a chain that was read.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

FORMAT = "implio-batch/1"
NOTHING = "0" * 64
_ENTRY: dict[str, type] = {"body": dict, "chain": str, "kind": str, "sequence": int}
_NUMBERS, _TEXTS = ("number", "count", "size"), ("format", "chain", "previous", "root", "time", "key")
_HEADER: dict[str, type] = dict.fromkeys(_NUMBERS, int) | dict.fromkeys(_TEXTS, str)
_ED25519_NOTE = b"\x01"

Json = dict[str, Any]


class LedgerRefused(Exception):
    """What was read is not what the format says, or not what was signed."""


@dataclass(frozen=True, kw_only=True)
class Seal:
    """The header of a batch and its signature."""

    header: Json
    signature: str

    @property
    def digest(self) -> str:
        return sha256(canonical(self.header)).hexdigest()

    @property
    def first_sequence(self) -> int:
        size, count = self.header["size"], self.header["count"]
        return int(size - count + 1)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A chain that was checked, oldest first."""

    public_pem: bytes
    seals: tuple[Seal, ...]
    entries: tuple[Json, ...]

    def renewals(self, batches: int) -> list[Seal]:
        """Return the seals with a new key among the first batches."""
        return [seal for seal in self.seals[:batches] if "nextKey" in seal.header]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint says, its signature checked."""

    chain: str
    batches: int
    root: bytes
    head: str
    entries: int
    renewals: tuple[Seal, ...]


@dataclass(frozen=True, kw_only=True)
class _Given:
    """A receipt that was given out, of which nothing was checked."""

    entry: Json
    digest: str
    seal: Seal
    path: tuple[bytes, ...]
    renewals: tuple[Seal, ...]


def canonical(value: Any) -> bytes:
    """Return canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def leaf_of(data: bytes) -> bytes:
    """Return the leaf of an entry's line, or of a header. Source: RFC 9162, section 2.1.1."""
    return sha256(b"\0" + data).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the Merkle tree over leaves. Source: RFC 9162, section 2.1.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"").digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_of(leaves[:left]) + root_of(leaves[left:])).digest()


def root_by_path(leaf: bytes, path: Iterable[bytes], *, index: int, count: int) -> bytes:
    """Return the root that an audit path leads to. Source: RFC 9162, section 2.1.3.2.

    Raises:
        LedgerRefused: no such leaf has a path of this length.
    """
    _require(0 <= index < count, "the leaf is not in the batch")
    node, last, at = index, count - 1, leaf
    for step in path:
        _require(last > 0, "the path is too long")
        if node % 2 or node == last:
            at = sha256(b"\x01" + step + at).digest()
            while node and not node % 2:
                node, last = node >> 1, last >> 1
        else:
            at = sha256(b"\x01" + at + step).digest()
        node, last = node >> 1, last >> 1
    _require(last == 0, "the path is too short")
    return at


def read_chain(folder: Path) -> Chain:
    """Check a chain's folder and return what was acknowledged.

    Raises:
        LedgerRefused: it does not check.
    """
    public_pem = (folder / "public.pem").read_bytes()
    key = _key_of_pem(public_pem)
    seals: list[Seal] = []
    entries: list[Json] = []
    for lines, seal_line in _batches(folder):
        if seal_line is None:  # what follows the last seal was never acknowledged
            for index, line in enumerate(lines, len(entries) + 1):
                _entry_of(line, chain=seals[0].header["chain"] if seals else None, sequence=index)
            break
        # 1. The seal follows the one before, and the key in force signed it.
        sealed = _canonical_object(seal_line)
        leaves = [leaf_of(line) for line in lines]
        told = sealed.pop("leaves", None)
        seal = _seal_of(sealed)
        _check_follows(seal, seals[-1] if seals else None)
        key = _check_signed(seal, key)
        # 2. The lines have the root that it signs.
        _require(seal.header["count"] == len(lines), "the batch has other entries than it says")
        _require(seal.header["root"] == root_of(leaves).hex(), "the root is of other entries")
        _require(told == ([leaf.hex() for leaf in leaves] if lines[1:] else None), "the leaves are of other entries")
        # 3. The entries are numbered, and an entry tells the new key.
        batch = [
            _entry_of(line, chain=seal.header["chain"], sequence=index)
            for index, line in enumerate(lines, seal.first_sequence)
        ]
        new_keys = [entry["body"]["publicKey"] for entry in batch if entry["kind"] == "signing-key"]
        _require(new_keys == [seal.header[name] for name in ("nextKey",) if name in seal.header], "another new key")
        seals.append(seal)
        entries.extend(batch)
    return Chain(public_pem=public_pem, seals=tuple(seals), entries=tuple(entries))


def check_receipt(text: str, public_pem: bytes, *, request_id: str) -> Json:
    """Check a receipt that was given out for a request, and return its entry.

    The key alone cannot tell whether an old key signed it after it was renewed: the chain's folder can.

    Raises:
        LedgerRefused: it does not check.
    """
    given = _given(text)
    # 1. The keys that were renewed before it, each signed by the one before.
    key, seal = _key_of_pem(public_pem), given.seal
    for renewal, before in zip(given.renewals, (None, *given.renewals), strict=False):
        _require(renewal.header["chain"] == seal.header["chain"], "the key is of another chain")
        _require(_number_of(before) < renewal.header["number"] < seal.header["number"], "the keys are out of order")
        key = _renewed(renewal, key)
    _check_signed(seal, key)
    # 2. The entry is in that batch.
    leaf = leaf_of(canonical(given.entry))
    _require(given.digest == leaf.hex(), "the digest is of another entry")
    _require(given.entry["chain"] == seal.header["chain"], "the entry is of another chain")
    index = given.entry["sequence"] - seal.first_sequence
    root = root_by_path(leaf, given.path, index=index, count=seal.header["count"])
    _require(root.hex() == seal.header["root"], "the path leads to another root")
    # 3. It is about the request, and says what its chain was before its batch.
    body = given.entry["body"]
    _require(body["requestId"] == request_id, "the receipt is of another request")
    log = {"size": seal.first_sequence - 1, "head": seal.header["previous"]}
    _require(body["log"] == log, "the receipt is of another place in the chain")
    return given.entry


def check_receipt_in(text: str, chain: Chain) -> None:
    """Check that a chain has the batch and the entry of a receipt that was given out.

    Raises:
        LedgerRefused: it was cut or forked.
    """
    given = _given(text)
    _require(given.seal in chain.seals, "the chain has no such batch")
    _require(given.entry in chain.entries, "the chain has no such entry")


def checkpoints_in(text: str) -> list[str]:
    """Return the notes of a file: each ends with its signatures, and an empty line is between them."""
    notes, is_signed = [""], False
    for line in text.splitlines(keepends=True):
        if is_signed and not line.startswith("— "):
            notes.append("")
        is_signed = line.startswith("— ")
        if notes[-1] or line.strip():
            notes[-1] += line
    return [note for note in notes if note]


def read_checkpoint(note: str, public_pem: bytes) -> Checkpoint:
    """Check the signature of a checkpoint, and return what it says. Source: c2sp.org/tlog-checkpoint, signed-note.

    Raises:
        LedgerRefused: it does not check.
    """
    first_key = _key_of_pem(public_pem)
    body, gap, signatures = note.rpartition("\n\n")
    _require(bool(gap) and note.endswith("\n"), "it is not a signed note")
    text = f"{body}\n"
    # 1. The lines.
    _require(body.count("\n") >= 4, "a line is missing")
    origin, batches, root, head, entries, *keys = body.split("\n")
    _require(all(line.startswith("key ") for line in keys), "an unknown line")
    prefix = f"implio-ledger/{_name_of(first_key)}/"
    _require(origin.startswith(prefix), "the checkpoint is of another ledger")
    found = Checkpoint(
        chain=origin.removeprefix(prefix),
        batches=_number(batches),
        root=_of_base64(root),
        head=_after("head ", head),
        entries=_number(_after("entries ", entries)),
        renewals=tuple(_seal_of(_canonical_object(line.removeprefix("key ").encode())) for line in keys),
    )
    # 2. The key that is in force after those batches.
    key = first_key
    for seal, before in zip(found.renewals, (None, *found.renewals), strict=False):
        _require(seal.header["chain"] == found.chain, "the key is of another chain")
        _require(_number_of(before) < seal.header["number"] <= found.batches, "the keys are out of order")
        key = _renewed(seal, key)
    # 3. Its signature over the text. Others, such as those of witnesses, are passed over.
    key_id = sha256(origin.encode() + b"\n" + _ED25519_NOTE + key.public_bytes_raw()).digest()[:4]
    own = [
        signed[4:]
        for mark, name, encoded in (line.split(" ") for line in signatures.splitlines() if line.count(" ") == 2)
        if (signed := _of_base64(encoded))[:4] == key_id and name == origin and mark == "—"
    ]
    _require(bool(own), "the key in force did not sign the checkpoint")
    for signature in own:
        _check_signature(key, signature, text.encode())
    return found


def check_checkpoint(note: str, chain: Chain) -> Checkpoint:
    """Check that a chain continues a checkpoint, and return what that says.

    Raises:
        LedgerRefused: the checkpoint does not check, or the chain was cut or forked.
    """
    kept = read_checkpoint(note, chain.public_pem)
    _require(len(chain.seals) >= kept.batches, "the chain was cut")
    seals = chain.seals[: kept.batches]
    _require(all(seal.header["chain"] == kept.chain for seal in seals), "the checkpoint is of another chain")
    _require(root_of([leaf_of(canonical(seal.header)) for seal in seals]) == kept.root, "the chain was forked")
    _require((seals[-1].digest if seals else NOTHING) == kept.head, "the chain was forked")
    _require((seals[-1].header["size"] if seals else 0) == kept.entries, "the chain was forked")
    _require(chain.renewals(kept.batches) == list(kept.renewals), "the keys are others")
    return kept


def _batches(folder: Path) -> Iterator[tuple[list[bytes], bytes | None]]:
    """Yield the lines of each batch and its seal, then the lines without one."""
    waiting: list[bytes] = []
    torn = b""
    for path in sorted(folder.glob("*.jsonl")):
        _require(not waiting and not torn, "a file ends amid a batch")
        *lines, torn = path.read_bytes().split(b"\n")
        for line in lines:
            if line.startswith(b'{"batch":'):
                yield waiting, line
                waiting = []
            else:
                waiting.append(line)
    yield waiting, None


def _check_follows(seal: Seal, before: Seal | None) -> None:
    header = seal.header
    _require(header["previous"] == (before.digest if before else NOTHING), "the batch follows another one")
    _require(header["number"] == _number_of(before) + 1, "a batch is missing")
    _require(seal.first_sequence == (before.header["size"] if before else 0) + 1, "entries are missing")
    _require(before is None or header["chain"] == before.header["chain"], "the batch is of another chain")


def _check_signed(seal: Seal, key: Ed25519PublicKey) -> Ed25519PublicKey:
    """Check that the key in force signed a seal, and return the key that is in force after it."""
    header = seal.header
    _require(header["key"] == _name_of(key), "another key signed the batch than the one in force")
    _check_signature(key, _octets(seal.signature, 64), canonical(header))
    return key if "nextKey" not in header else Ed25519PublicKey.from_public_bytes(_octets(header["nextKey"], 32))


def _renewed(seal: Seal, key: Ed25519PublicKey) -> Ed25519PublicKey:
    """Return the key that follows by a seal, which the key before signed."""
    _require("nextKey" in seal.header, "the batch has no new key")
    return _check_signed(seal, key)


def _given(text: str) -> _Given:
    try:
        given = json.loads(text)
        proof = given["proof"]
        return _Given(
            entry={name: given[name] for name in _ENTRY},
            digest=given["digest"],
            seal=_seal_of({name: proof[name] for name in ("batch", "signature")}),
            path=tuple(_octets(step, 32) for step in proof["path"]),
            renewals=tuple(_seal_of(each) for each in proof.get("keys", [])),
        )
    except (KeyError, TypeError, ValueError):
        raise LedgerRefused("the receipt cannot be read") from None


def _seal_of(value: Any) -> Seal:
    _require(isinstance(value, dict) and value.keys() == {"batch", "signature"}, "a seal has other fields")
    header = value["batch"]
    _require(isinstance(header, dict) and header.keys() - {"nextKey"} == _HEADER.keys(), "a header has other fields")
    kinds = _HEADER | {"nextKey": str}
    _require(all(type(told) is kinds[name] for name, told in header.items()), "a header has another format")
    _require(header["format"] == FORMAT and header["count"] >= 1, "a header has another format")
    return Seal(header=header, signature=value["signature"])


def _entry_of(line: bytes, *, chain: str | None, sequence: int) -> Json:
    entry = _canonical_object(line)
    _require(entry.keys() == _ENTRY.keys(), "an entry has other fields")
    _require(all(type(entry[name]) is kind for name, kind in _ENTRY.items()), "an entry has another format")
    _require(chain in (None, entry["chain"]), "an entry is of another chain")
    _require(entry["sequence"] == sequence, "an entry has another number")
    return entry


def _canonical_object(line: bytes) -> Json:
    try:
        value = json.loads(line)
        is_canonical = canonical(value) == line
    except ValueError:
        raise LedgerRefused("a line is not JSON") from None
    _require(isinstance(value, dict) and is_canonical, "a line is not canonical JSON")
    return dict(value)


def _number_of(seal: Seal | None) -> int:
    return 0 if seal is None else int(seal.header["number"])


def _name_of(key: Ed25519PublicKey) -> str:
    return sha256(key.public_bytes_raw()).hexdigest()[:16]


def _key_of_pem(pem: bytes) -> Ed25519PublicKey:
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise LedgerRefused("public.pem is not an Ed25519 key")
    return key


def _check_signature(key: Ed25519PublicKey, signature: bytes, message: bytes) -> None:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise LedgerRefused("the signature is of something else") from None


def _octets(text: str, length: int) -> bytes:
    _require(
        isinstance(text, str) and len(text) == 2 * length and not set(text) - set("0123456789abcdef"),
        "it is not hexadecimal",
    )
    return bytes.fromhex(text)


def _of_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise LedgerRefused("it is not base64") from None


def _after(word: str, line: str) -> str:
    _require(line.startswith(word), f"the line has no {word.strip()}")
    return line.removeprefix(word)


def _number(text: str) -> int:
    _require(text.isascii() and text.isdigit() and str(int(text)) == text, "it is not a number")
    return int(text)


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise LedgerRefused(otherwise)
