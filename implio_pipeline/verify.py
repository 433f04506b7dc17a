"""Check a ledger offline, with the standard library, `cryptography`, the public key and the batches.

This file imports nothing else of the package, so it can be copied anywhere:

    python verify.py LEDGER-FOLDER [CHECKPOINT-OR-RECEIPT ...]
    python verify.py RECEIPT.json PUBLIC-KEY.pem

1. `ChainCheck` reads the batches of one chain as a stream. Each batch must follow the one before it, be signed, and
   have exactly the entries that its Merkle root covers. Memory does not grow with the ledger.
2. A chain that was cut at its end, or forked, passes that check. So it is compared with what somebody kept elsewhere: a
   checkpoint (`implio receipts checkpoint`) or a receipt with its proof (`implio receipts show --json`).
3. `check_receipt` checks one receipt alone: its audit path leads to the root of a signed batch.

Source: Merkle trees and audit paths are those of RFC 9162, section 2.1 (and RFC 6962). A checkpoint is a signed note
with the number of batches and their Merkle root, in the formats of https://c2sp.org/tlog-checkpoint and
https://c2sp.org/signed-note. `docs/FORMAT.md` describes the bytes.
"""

import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

BATCH_FORMAT = "implio-batch/1"
NO_BATCH = "0" * 64
"""What the first batch names as the digest of the batch before it."""
SEAL_BEGINS = b'{"batch":'
"""How a line begins that ends a batch. Every other line is an entry, and begins with `{"body":`."""
_ORIGIN = "implio-ledger/"
_ED25519 = b"\x01"
"""The signature type that a signed note gives Ed25519."""
_DASH = "\u2014 "
_KEY_ID_BYTES = 4
_HEAD_LINES = 3
_MOST_FINDINGS = 1_000
_HEADER_FIELDS = {"chain", "count", "format", "key", "number", "previous", "root", "size", "time"}
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading damaged JSON may raise."""


class _Refused(ValueError):
    """Something can be read, and is not what it says; the message says what is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong with a chain, and the number of its batch; 0 for the whole chain."""

    chain: str
    batch: int
    problem: str


# ---- bytes, digests and trees

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of these values: sorted keys, no white space, UTF-8."""
    return _CANONICAL.encode(value).encode()


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf: an entry's line without its line break."""
    # RFC 9162, section 2.1.1: leaves and nodes begin differently, so that a node cannot pass for a leaf.
    return hashlib.sha256(b"\0" + leaf).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class MerkleTree:
    """The Merkle tree of a stream of leaves. It keeps one hash for each binary digit of their number."""

    def __init__(self) -> None:
        self.count = 0
        self._complete: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        # Keep the roots of complete subtrees with their heights, the highest first. Two of equal height become one.
        height, root = 0, leaf
        while self._complete and self._complete[-1][0] == height:
            height, root = height + 1, _node_hash(self._complete.pop()[1], root)
        self._complete.append((height, root))
        self.count += 1

    @property
    def width(self) -> int:
        """The number of hashes that are kept."""
        return len(self._complete)

    def root(self) -> bytes:
        """Return the root of the leaves so far."""
        if not self._complete:
            return hashlib.sha256(b"").digest()
        *others, (_, root) = self._complete
        for _, left in reversed(others):
            root = _node_hash(left, root)
        return root


def tree_levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return the hashes of a tree, level by level from the leaves to the root. A last node without a pair moves up."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = [_node_hash(*below[start : start + 2]) for start in range(0, len(below) - 1, 2)]
        levels.append(pairs + below[len(pairs) * 2 :])
    return levels


def audit_path(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """Return the hashes that lead from one leaf to the root, the lowest first."""
    path = []
    for level in levels[:-1]:
        if (pair := index ^ 1) < len(level):
            path.append(level[pair])
        index //= 2
    return path


def root_by_path(leaf: bytes, *, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root to which an audit path leads; `None` if the path does not fit the place of the leaf.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < count:
        return None
    last, root = count - 1, leaf
    for each in path:
        if last == 0:
            return None
        if index % 2 or index == last:
            root = _node_hash(each, root)
            while index % 2 == 0 and index:
                index, last = index // 2, last // 2
        else:
            root = _node_hash(root, each)
        index, last = index // 2, last // 2
    return root if last == 0 else None


# ---- batches and their keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """The line that ends a batch: what was signed, the signature, and the hashes of the batch's entries."""

    header: Mapping[str, Any]
    signature: str
    leaves: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """The digest that the next batch names."""
        return hashlib.sha256(canonical(self.header)).hexdigest()

    @property
    def number(self) -> int:
        """The number of the batch in its chain, from 1."""
        return int(self.header["number"])

    @property
    def first(self) -> int:
        """The number of the batch's first entry in the chain, from 1."""
        return int(self.header["size"]) - int(self.header["count"]) + 1

    def line(self) -> bytes:
        """Return the line, without a line break."""
        leaves = {"leaves": [each.hex() for each in self.leaves]} if len(self.leaves) > 1 else {}
        return canonical({"batch": self.header, "signature": self.signature} | leaves)

    def is_signed_by(self, key: Ed25519PublicKey) -> bool:
        """Return whether that key signed it."""
        try:
            signature = bytes.fromhex(self.signature)
            key.verify(signature, canonical(self.header))
        except (InvalidSignature, ValueError):
            return False
        # `fromhex` also accepts upper case and white space: a signature has one spelling only.
        return signature.hex() == self.signature and self.header["key"] == key_id(key)


def read_seal(line: bytes) -> Seal:
    """Read the line that ends a batch.

    Raises:
        ValueError: it is not such a line, or not written as it was signed.
    """
    try:
        values = json.loads(line)
        header = dict(values["batch"])
        is_known = set(header) - {"nextKey"} == _HEADER_FIELDS and header["format"] == BATCH_FORMAT
        numbers = [header["count"], header["number"], header["size"]]
        if not is_known or any(type(each) is not int or each < 1 for each in numbers):
            raise ValueError("is of another format")
        roots = values.get("leaves", [header["root"]])
        seal = Seal(
            header=header, signature=str(values["signature"]), leaves=tuple(bytes.fromhex(each) for each in roots)
        )
        whole = seal.line() == line.rstrip(b"\n")
    except _UNREADABLE:
        raise _Refused("its last line cannot be read") from None
    # The signature is over the values. Without this, white space or a repeated name could be added to the line.
    if not whole:
        raise _Refused("its last line is not written as it was signed")
    return seal


def key_of(pem: bytes) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        ValueError: it is not an Ed25519 key.
    """
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the public key is not an Ed25519 key")  # noqa: TRY004 -- the caller catches this one error
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a key in a batch: the first 16 digits of its SHA-256."""
    return hashlib.sha256(_raw(key)).hexdigest()[:16]


@dataclass(kw_only=True, slots=True)
class ChainKeys:
    """The keys of one chain: the first one, which is known from elsewhere, and those that batches introduced since.

    A batch with `nextKey` is signed by the key that was in force, and puts the new one in force from the next batch on.
    """

    first: Ed25519PublicKey
    introductions: list[Seal] = field(default_factory=list)

    @property
    def newest(self) -> Ed25519PublicKey:
        """The key that signs the next batch."""
        if not self.introductions:
            return self.first
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.introductions[-1].header["nextKey"]))

    def at(self, number: int) -> Ed25519PublicKey:
        """Return the key that signs the batch of a number."""
        earlier = [each for each in self.introductions if each.number < number]
        return ChainKeys(first=self.first, introductions=earlier).newest

    def introduce(self, seal: Seal, *, chain: str) -> None:
        """Take over the key that a batch introduces.

        Raises:
            ValueError: the batch is not signed by the key before, or not of this chain.
        """
        later = not self.introductions or seal.number > self.introductions[-1].number
        if seal.header["chain"] != chain or not later or not seal.is_signed_by(self.newest):
            raise _Refused("a signing key was not introduced by the key before it")
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(seal.header["nextKey"]))
        except (ValueError, TypeError):
            raise _Refused("a signing key that is introduced is not a key") from None
        self.introductions.append(seal)


# ---- what somebody kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A checkpoint or a receipt that was kept elsewhere, opened and found signed by the chain's keys."""

    chain: str
    number: int
    """Batches that the chain had."""
    root: bytes | None = None
    """Their Merkle root, in a checkpoint."""
    digest: str = ""
    """The digest of the last one."""
    entries: int = 0
    keys: ChainKeys | None = None


def kept_chains(kept: str) -> list[tuple[str, str]]:
    """Return what a kept text holds, each part with the name of its chain; a file may have a checkpoint of each chain.

    Raises:
        ValueError: the text cannot be read.
    """
    try:
        if kept.lstrip().startswith("{"):
            values = json.loads(kept)
            if "proof" in values:
                return [(str(values["chain"]), kept)]
            kept = values["checkpoint"]
        notes = [_ORIGIN + each for each in kept.split("\n" + _ORIGIN)]
        notes[0] = notes[0].removeprefix(_ORIGIN)
        found = [(note.splitlines()[0].rpartition("/")[2], note.rstrip("\n") + "\n") for note in notes]
    except (*_UNREADABLE, IndexError):
        raise ValueError("what was kept cannot be read") from None
    return found


def open_kept(kept: str, first_key: Ed25519PublicKey) -> Kept:
    """Open one checkpoint or receipt of a chain.

    Args:
        kept: The text.
        first_key: The chain's first public key.

    Raises:
        ValueError: it cannot be read, or is not signed by the chain's key.
    """
    try:
        if kept.lstrip().startswith("{"):
            return _open_receipt(json.loads(kept), first_key)
        return _open_checkpoint(kept, first_key)
    except _Refused:
        raise
    except (*_UNREADABLE, IndexError):
        raise _Refused("what was kept cannot be read") from None


def _open_receipt(values: Mapping[str, Any], first_key: Ed25519PublicKey) -> Kept:
    # 1. The keys, from the first one to the one that signed the batch.
    proof, chain = values["proof"], values["chain"]
    keys = ChainKeys(first=first_key)
    for each in proof.get("keys", []):
        keys.introduce(_seal_of(each), chain=chain)
    # 2. The batch is signed, and of this chain.
    seal = _seal_of(proof)
    is_early = all(each.number < seal.number for each in keys.introductions)
    if seal.header["chain"] != chain or not is_early or not seal.is_signed_by(keys.newest):
        raise _Refused("the receipt is not signed by this ledger's key")
    # 3. The audit path leads from the entry to the batch's root.
    entry = {name: values[name] for name in ("body", "chain", "kind", "sequence")}
    leaf = leaf_hash(canonical(entry))
    path = [bytes.fromhex(each) for each in proof["path"]]
    index, count = int(values["sequence"]) - seal.first, int(seal.header["count"])
    root = root_by_path(leaf, index=index, count=count, path=path)
    if root is None or root.hex() != seal.header["root"]:
        raise _Refused("the receipt is not in the batch that its proof names")
    if values.get("digest", leaf.hex()) != leaf.hex():
        raise _Refused("the receipt has another digest than it says")
    return Kept(chain=chain, number=seal.number, digest=seal.digest, entries=int(seal.header["size"]), keys=keys)


def _seal_of(parts: Mapping[str, Any]) -> Seal:
    header = parts["batch"]
    return read_seal(Seal(header=header, signature=parts["signature"], leaves=(bytes.fromhex(header["root"]),)).line())


def _open_checkpoint(note: str, first_key: Ed25519PublicKey) -> Kept:
    # 1. Lines: origin, number of batches, root; then ours: the last digest, the number of entries, keys introduced.
    origin, number, root, *more = note.partition("\n\n")[0].splitlines()
    chain = origin.rpartition("/")[2]
    keys = ChainKeys(first=first_key)
    for line in more:
        if line.startswith("key "):
            keys.introduce(_seal_of(json.loads(line.removeprefix("key "))), chain=chain)
    # 2. The key that was in force signed it, under the name that only this chain has.
    text = note.partition("\n\n")[0] + "\n"
    if origin != origin_of(first_key, chain) or opened_note(note, name=origin, key=keys.newest) != text:
        raise _Refused("the checkpoint is not signed by this ledger's key")
    said = dict(line.split(" ", 1) for line in more)
    return Kept(
        chain=chain,
        number=int(number),
        root=base64.b64decode(root, validate=True),
        digest=said["head"],
        entries=int(said["entries"]),
        keys=keys,
    )


def check_receipt(kept: str, public_key_pem: bytes) -> list[Finding]:
    """Check one receipt by its own proof; an empty list means that it is signed and unchanged."""
    try:
        open_kept(kept, key_of(public_key_pem))
    except ValueError as error:
        return [Finding(chain="", batch=0, problem=str(error))]
    return []


# ---- a whole chain


class ChainCheck:
    """Checks one chain as a stream of lines.

    Args:
        chain: The name of the chain.
        public_key_pem: Its first public key.
        kept: Checkpoints and receipts of this chain that were kept elsewhere.
        since: A checkpoint of this chain: the lines given begin after it.

    Raises:
        ValueError: the public key or the checkpoint `since` cannot be used.
    """

    def __init__(
        self, chain: str, public_key_pem: bytes, *, kept: Iterable[str] = (), since: str | None = None
    ) -> None:
        self.chain = chain
        self.findings: list[Finding] = []
        self.batches, self.entries, self.head = 0, 0, NO_BATCH
        self.keys = ChainKeys(first=key_of(public_key_pem))
        self.tree: MerkleTree | None = MerkleTree()
        """Of the batches; `None` when their first ones are not read."""
        self._leaves: list[bytes] = []
        if since is not None:
            begun = open_kept(since, self.keys.first)
            if begun.chain != chain or begun.keys is None:
                raise ValueError("the checkpoint is of another chain")
            self.batches, self.entries, self.head = begun.number, begun.entries, begun.digest
            self.keys, self.tree = begun.keys, None
        self._begun = self.batches
        self._kept: dict[int, list[Kept]] = {}
        for each in kept:
            try:
                opened = open_kept(each, self.keys.first)
                self._kept.setdefault(opened.number, []).append(opened)
            except ValueError as error:
                self._find(0, str(error))
        self._compare()

    def read(self, lines: Iterable[bytes]) -> None:
        """Check the next lines, each with its line break. A line without one was never acknowledged."""
        for line in lines:
            if not line.endswith(b"\n"):
                break
            if line.startswith(SEAL_BEGINS):
                self._read_seal(line)
            else:
                self._read_entry(line[:-1])

    def finish(self) -> list[Finding]:
        """Return what is wrong with the chain; an empty list means that it is valid."""
        # Entries after the last seal were never acknowledged. Nothing but a crash in an append leaves them.
        if any(not each for each in self._leaves):
            self._find(self.batches + 1, "a line cannot be read")
        for number in sorted(self._kept):
            words = f"the ledger ends here, and had {number} batches or more: it was cut"
            if number < self._begun:
                words = "what was kept is older than the checkpoint that the check begins after: it was not compared"
            self._find(self.batches, words)
        self._kept = {}
        return self.findings

    def _find(self, batch: int, problem: str) -> None:
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(Finding(chain=self.chain, batch=batch, problem=problem))

    def _read_entry(self, text: bytes) -> None:
        batch = self.batches + 1
        try:
            entry = json.loads(text)
            place = self.entries + len(self._leaves) + 1
            if set(entry) != {"body", "chain", "kind", "sequence"} or entry["chain"] != self.chain:
                self._find(batch, f"entry {place} is of another format or chain")
            elif entry["sequence"] != place:
                self._find(batch, f"entry {place} is numbered {entry['sequence']}")
            elif canonical(entry) != text:
                self._find(batch, f"entry {place} is not written as it was signed")
            self._leaves.append(leaf_hash(text))
        except _UNREADABLE:
            self._leaves.append(b"")

    def _read_seal(self, line: bytes) -> None:
        leaves, self._leaves = self._leaves, []
        number = self.batches + 1
        try:
            seal = read_seal(line)
        except ValueError as error:
            self._find(number, str(error))
            self.batches, self.entries, self.head = number, self.entries + len(leaves), ""
            return
        # 1. Everything about it is as it was signed.
        for problem in (*self._place_faults(seal), *self._key_faults(seal), *self._entry_faults(seal, leaves)):
            self._find(number, problem)
        # 2. Go on from what this batch says of itself, so that one fault is one finding.
        self.batches, self.entries, self.head = seal.number, int(seal.header["size"]), seal.digest
        if self.tree is not None:
            self.tree.add(leaf_hash(canonical(seal.header)))
        self._compare()

    def _place_faults(self, seal: Seal) -> Iterator[str]:
        if seal.header["chain"] != self.chain:
            yield f"is of chain {seal.header['chain']}"
        if seal.number != self.batches + 1:
            yield f"is numbered {seal.number}"
        if seal.header["previous"] != self.head:
            yield "does not follow the batch before it"

    def _key_faults(self, seal: Seal) -> Iterator[str]:
        if not seal.is_signed_by(self.keys.newest):
            yield "its signature is not valid"
        elif "nextKey" in seal.header:
            try:
                self.keys.introduce(seal, chain=self.chain)
            except ValueError as error:
                yield str(error)

    def _entry_faults(self, seal: Seal, leaves: Sequence[bytes]) -> Iterator[str]:
        signed, newest = seal.header, self.entries + len(leaves)
        if (signed["count"], signed["size"]) != (len(leaves), newest):
            yield f"has {len(leaves)} entries up to number {newest}, and others were signed"
        root = tree_levels(seal.leaves)[-1][0].hex()
        if (signed["count"], signed["root"]) != (len(seal.leaves), root):
            yield "the hashes of its entries are not those that were signed"
        for place, (leaf, its) in enumerate(zip(leaves, seal.leaves, strict=False), start=self.entries + 1):
            if leaf != its:
                yield f"entry {place} is not the one that was signed"

    def _compare(self) -> None:
        """Compare the batches so far with what was kept at this number."""
        for kept in self._kept.pop(self.batches, []):
            is_same = (kept.digest, kept.entries) == (self.head, self.entries)
            if kept.root is not None and self.tree is not None:
                is_same &= kept.root == self.tree.root()
            if not is_same:
                self._find(self.batches, "up to this batch, the ledger differs from what was kept")


def chain_folders(ledger: Path) -> list[Path]:
    """Return the folders of the chains in a ledger's folder: itself, if it has a public key.

    Raises:
        FileNotFoundError: there is no chain.
    """
    if (ledger / "public.pem").is_file():
        return [ledger]
    found = sorted(each.parent for each in ledger.glob("*/public.pem"))
    if not found:
        raise FileNotFoundError("there is no chain with a public.pem in the folder")
    return found


def lines_in(folder: Path, *, after: int = 0) -> Iterator[bytes]:
    """Yield the lines of a chain's batches, from all files in the order of their names.

    Args:
        folder: A folder with files of whole batches. A file named by a number has the batch of that number.
        after: The number of the last batch that is left out.
    """
    left = after
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem.isdigit() and left:
            left = 0
        if path.stem.isdigit() and int(path.stem) <= after:
            continue
        with path.open("rb") as file:
            for line in file:
                if left:
                    left -= line.startswith(SEAL_BEGINS)
                else:
                    yield line


def _chain_in(folder: Path) -> str:
    """Return the name of a chain, as its first batch says; the name of its folder if nothing says it."""
    for line in lines_in(folder):
        if line.startswith(SEAL_BEGINS):
            try:
                return str(read_seal(line).header["chain"])
            except ValueError:
                break
    return folder.name


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainSource:
    """Where a chain is read from."""

    chain: str
    public_key_pem: bytes
    lines: Callable[[int], Iterable[bytes]]
    """Returns the lines of the batches after a number."""


def check_chains(
    sources: Iterable[ChainSource], *, kept: Sequence[str] = (), since: str | None = None
) -> list[ChainCheck]:
    """Check chains, and compare them with what was kept. Returns the finished checks.

    Args:
        sources: The chains.
        kept: Checkpoints and receipts; each is compared with its own chain.
        since: Checkpoints that the checks begin after. A chain without one in it is checked from its start.

    Raises:
        ValueError: a key or what was kept cannot be read.
    """
    parts = [part for each in kept for part in kept_chains(each)]
    begins = dict(kept_chains(since)) if since is not None else {}
    checks = []
    for source in sources:
        its = [text for name, text in parts if name == source.chain]
        check = ChainCheck(source.chain, source.public_key_pem, kept=its, since=begins.get(source.chain))
        check.read(source.lines(check.batches))
        check.finish()
        checks.append(check)
    for name in sorted({name for name, _ in parts} - {each.chain for each in checks}):
        words = "what was kept is of another chain, which is not in the folder"
        checks[0].findings.append(Finding(chain=name, batch=0, problem=words))
    return checks


def check_folder(
    ledger: Path, *, kept: Sequence[str] = (), since: str | None = None, public_key_pem: bytes | None = None
) -> list[ChainCheck]:
    """Check every chain in a ledger's folder; see `check_chains`.

    Args:
        ledger: The folder of one chain, or of several.
        kept: Checkpoints and receipts.
        since: Checkpoints that the checks begin after.
        public_key_pem: The key, kept elsewhere too, when the folder has one chain: whoever forges a ledger can replace
            the key beside it.

    Raises:
        FileNotFoundError: there is no chain.
        ValueError: a key or what was kept cannot be read.
    """
    sources = [
        ChainSource(
            chain=_chain_in(folder),
            public_key_pem=public_key_pem or (folder / "public.pem").read_bytes(),
            lines=partial(_lines_after, folder),
        )
        for folder in chain_folders(ledger)
    ]
    return check_chains(sources, kept=kept, since=since)


def _lines_after(folder: Path, number: int) -> Iterator[bytes]:
    return lines_in(folder, after=number)


# ---- signed notes


def origin_of(first_key: Ed25519PublicKey, chain: str) -> str:
    """Return the name of a chain in its checkpoints; it is made from its first key, so no other chain has it."""
    return f"{_ORIGIN}{key_id(first_key)}/{chain}"


def checkpoint_text(check: ChainCheck) -> str:
    """Return the text of a checkpoint of a chain that was read whole; its signature is still missing."""
    if check.tree is None:
        raise ValueError("only a chain that was read from its start has a root")
    lines = [
        origin_of(check.keys.first, check.chain),
        str(check.batches),
        base64.b64encode(check.tree.root()).decode(),
        f"head {check.head}",
        f"entries {check.entries}",
    ]
    introduced = ({"batch": each.header, "signature": each.signature} for each in check.keys.introductions)
    lines += ["key " + canonical(each).decode() for each in introduced]
    return "\n".join(lines) + "\n"


def signed_note(text: str, *, name: str, key: Ed25519PublicKey, signature: bytes) -> str:
    """Return a text with the signature that the key made over it."""
    return f"{text}\n{_DASH}{name} {base64.b64encode(_note_key_id(name, key) + signature).decode()}\n"


def opened_note(note: str, *, name: str, key: Ed25519PublicKey) -> str | None:
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


def _note_key_id(name: str, key: Ed25519PublicKey) -> bytes:
    # https://c2sp.org/signed-note, "Ed25519 signatures": the first four octets of this hash.
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + _raw(key)).digest()[:_KEY_ID_BYTES]


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _main(arguments: Sequence[str]) -> int:
    """Check a ledger's folder with what was kept, or one receipt with a public key; return 0 when it is valid."""
    first, *others = [Path(each) for each in arguments]
    if first.is_file():
        findings = check_receipt(first.read_text(encoding="utf-8"), others[0].read_bytes())
        said = "the receipt"
    else:
        checks = check_folder(first, kept=[each.read_text(encoding="utf-8") for each in others])
        findings = [finding for check in checks for finding in check.findings]
        said = ", ".join(f"{each.chain}: {each.batches} batches, {each.entries} entries" for each in checks)
    for finding in findings:
        sys.stdout.write(f"{finding.chain} batch {finding.batch}: {finding.problem}\n")
    sys.stdout.write(f"{said}: {'does not verify' if findings else 'verifies'}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
