"""Who has `docs/FORMAT.md` and nothing of ours can read the ledger, check it, and find what was forged.

The stranger is `support.stranger_ledger`. What it needs to know has to be in the document.
"""

import ast
import json
import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from support import stranger_ledger
from support.catalogs import copy_home
from support.home import Home, opened_at
from support.items import Ad
from support.stranger_ledger import (
    LedgerRefused,
    canonical,
    check_checkpoint,
    check_receipt,
    check_receipt_in,
    checkpoints_in,
    leaf_of,
    read_chain,
    read_checkpoint,
    root_of,
)
from typer.testing import CliRunner

from implio_pipeline.cli import app
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase

EU = Region("eu")
FIRST, AMID, LAST = ("ann", "bob", "cid"), ("dee",), ("eve", "fay")
USERS = (*FIRST, *AMID, *LAST)
Json = dict[str, Any]
Batches = list[list[bytes]]
"""The lines of each batch; the last one is its seal."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A chain whose key was renewed twice, and what was given out of it."""

    ledger: Path
    requests: dict[str, str]
    """The id of the request about each user."""
    receipts: dict[str, str]
    checkpoints: list[str]
    """One after each event."""
    of_all_chains: str
    keys: list[Ed25519PrivateKey]
    """The signing keys, oldest first. Nobody keeps the old ones; an attacker might have."""

    @property
    def chain(self) -> Path:
        return self.ledger / EU

    @property
    def pem(self) -> bytes:
        return (self.chain / "public.pem").read_bytes()

    @property
    def batches(self) -> Batches:
        batches: Batches = [[]]
        for line in (self.chain / "batches.jsonl").read_bytes().splitlines():
            batches[-1].append(line)
            if line.startswith(b'{"batch":'):
                batches.append([])
        return batches[:-1]

    def receipt(self, user: str) -> Json:
        return dict(json.loads(self.receipts[user]))


@pytest.fixture(scope="module")
def told(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("told") / "home"
    copy_home(empty_home, folder)
    requests: dict[str, str] = {}
    keys: list[Ed25519PrivateKey] = []
    checkpoints: list[str] = []
    with opened_at(folder) as home:
        ledger = home.services.ledger
        home.keep(*(Ad(task=f"task of {user}", user=user) for user in USERS))
        for users in (FIRST, AMID, LAST):
            if requests:
                ledger.renew_key(EU)
                checkpoints.append(ledger.checkpoint(EU))
            keys.append(_signing_key(folder))
            requests |= _erased(home, *users)
            checkpoints.append(ledger.checkpoint(EU))
    return Told(
        ledger=folder / "ledger",
        requests=requests,
        receipts={user: _printed(folder, "receipts", "show", requests[user], "--json") for user in USERS},
        checkpoints=checkpoints,
        of_all_chains=_printed(folder, "receipts", "checkpoint"),
        keys=keys,
    )


def _erased(home: Home, *users: str) -> dict[str, str]:
    asked = home.ask(*(ByUser(user_id=user) for user in users))
    assert erase(home.services).items_erased == len(users)
    return {user: request.request_id for user, request in zip(users, asked, strict=True)}


def _signing_key(home: Path) -> Ed25519PrivateKey:
    key = load_pem_private_key((home / "keys" / EU / "ledger.pem").read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def _printed(home: Path, *arguments: str) -> str:
    return CliRunner().invoke(app, ["--home", str(home), *arguments], catch_exceptions=False).stdout


def test_the_stranger_uses_nothing_of_ours() -> None:
    tree = ast.parse(Path(stranger_ledger.__file__).read_text(encoding="utf-8"))

    named = {each.module or "" for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    named |= {name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names}

    assert {name.partition(".")[0] for name in named} <= sys.stdlib_module_names | {"cryptography"}


# What is whole verifies.


def test_a_chain_with_renewed_keys_verifies_and_tells_every_request(told: Told) -> None:
    chain = read_chain(told.chain)

    assert len(chain.seals) == len(told.batches)
    assert len(chain.renewals(len(chain.seals))) == 2
    assert len({seal.header["key"] for seal in chain.seals}) == 3
    for kind in ("tombstone", "receipt"):
        ids = [entry["body"]["requestId"] for entry in chain.entries if entry["kind"] == kind]
        assert sorted(ids) == sorted(told.requests.values())


def test_every_chain_of_the_ledger_verifies_alone(told: Told) -> None:
    chains = {folder.name: read_chain(folder) for folder in told.ledger.iterdir() if folder.is_dir()}

    assert {"home", "eu", "us"} <= chains.keys()
    assert all(entry["chain"] == name for name, chain in chains.items() for entry in chain.entries)


def test_batches_that_are_objects_of_a_bucket_verify(told: Told, tmp_path: Path) -> None:
    for number, batch in enumerate(told.batches, 1):
        (tmp_path / f"{number:012}.jsonl").write_bytes(_joined([batch]))
    shutil.copy(told.chain / "public.pem", tmp_path)

    assert read_chain(tmp_path) == read_chain(told.chain)


LEFT = (b'{"body":{},"chain":"eu","kind":"lifted","sequence":15}\n', b'{"body":{"a', b'{"batch":{"chain":"eu"}}')


@pytest.mark.parametrize("left", LEFT)
def test_what_a_crash_left_after_the_last_seal_is_passed_over(told: Told, tmp_path: Path, left: bytes) -> None:
    folder = _chain_of(tmp_path, told, told.batches)
    with (folder / "batches.jsonl").open("ab") as file:
        file.write(left)

    assert read_chain(folder) == read_chain(told.chain)


@pytest.mark.parametrize("user", USERS)
def test_a_receipt_from_before_and_after_a_renewal_verifies_with_the_public_key_alone(told: Told, user: str) -> None:
    entry = check_receipt(told.receipts[user], told.pem, request_id=told.requests[user])

    renewals = (USERS.index(user) >= len(FIRST)) + (user in LAST)
    assert entry["body"]["outcome"]["erased"] == 1
    assert len(told.receipt(user)["proof"].get("keys", [])) == renewals
    check_receipt_in(told.receipts[user], read_chain(told.chain))


def test_checkpoints_from_before_between_and_after_renewals_verify(told: Told) -> None:
    chain = read_chain(told.chain)

    kept = [check_checkpoint(note, chain) for note in told.checkpoints]

    assert [len(each.renewals) for each in kept] == [0, 1, 1, 2, 2]
    assert kept[-1].batches == len(chain.seals)


def test_a_file_has_a_checkpoint_of_each_chain(told: Told) -> None:
    kept = [
        check_checkpoint(note, read_chain(told.ledger / note.splitlines()[0].rsplit("/")[-1]))
        for note in checkpoints_in(told.of_all_chains)
    ]

    assert {each.chain for each in kept} == {folder.name for folder in told.ledger.iterdir() if folder.is_dir()}


# Faults that a chain shows by itself.


def _edited(batches: Batches, told: Told) -> None:
    batch = batches[_last_with("receipt", batches)]
    batch[0] = batch[0].replace(b'"team":"ads"', b'"team":"adz"')


def _edited_with_its_root(batches: Batches, told: Told) -> None:
    number = _last_with("receipt", batches)
    signature = json.loads(batches[number][-1])["signature"]
    _edited(batches, told)
    _sign(batches, told.keys[-1], after=number)
    batches[number][-1] = canonical(json.loads(batches[number][-1]) | {"signature": signature})


def _swapped(batches: Batches, told: Told) -> None:
    batch = next(batch for batch in batches if len(batch) > 2)
    batch[0], batch[1] = batch[1], batch[0]


def _one_entry_less(batches: Batches, told: Told) -> None:
    del next(batch for batch in batches if len(batch) > 2)[0]


def _cut_amid(batches: Batches, told: Told) -> None:
    del batches[2]


def _cut_at_the_start(batches: Batches, told: Told) -> None:
    del batches[0]


def _twice(batches: Batches, told: Told) -> None:
    batches.append(batches[-1])


def _by_the_old_key(batches: Batches, told: Told) -> None:
    _sign(batches, told.keys[-2], after=len(batches) - 1)


def _by_the_old_key_in_the_name_of_the_new(batches: Batches, told: Told) -> None:
    sealed = json.loads(batches[-1][-1])
    sealed["signature"] = told.keys[-2].sign(canonical(sealed["batch"])).hex()
    batches[-1][-1] = canonical(sealed)


def _another_new_key(batches: Batches, told: Told) -> None:
    number = _last_with("signing-key", batches)
    sealed, own = json.loads(batches[number][-1]), Ed25519PrivateKey.generate()
    sealed["batch"]["nextKey"] = own.public_key().public_bytes_raw().hex()
    batches[number][-1] = canonical(sealed)
    _sign(batches, own, after=number + 1)


def _a_new_key_that_no_entry_tells(batches: Batches, told: Told) -> None:
    number = len(batches) - 1
    sealed, own = json.loads(batches[number][-1]), Ed25519PrivateKey.generate()
    sealed["batch"]["nextKey"] = own.public_key().public_bytes_raw().hex()
    batches[number][-1] = canonical(sealed)
    _sign(batches, told.keys[-1], after=number)


def _all_by_another_key(batches: Batches, told: Told) -> None:
    _sign(batches, Ed25519PrivateKey.generate(), after=0)


def _with_another_chain(batches: Batches, told: Told) -> None:
    batches[-1][0] = batches[-1][0].replace(b'"chain":"eu"', b'"chain":"us"')
    _sign(batches, told.keys[-1], after=len(batches) - 1)


Fault = Callable[[Batches, Told], None]
SEEN: dict[str, tuple[Fault, str]] = {
    "an entry was edited": (_edited, "the root is of other entries"),
    "an entry was edited, and its root with it": (_edited_with_its_root, "the signature is of something else"),
    "entries changed places": (_swapped, "the root is of other entries"),
    "an entry was taken out": (_one_entry_less, "other entries than it says"),
    "a batch was taken out": (_cut_amid, "the batch follows another one"),
    "the first batch was taken out": (_cut_at_the_start, "the batch follows another one"),
    "a batch is there twice": (_twice, "the batch follows another one"),
    "an old key signed a batch after its renewal": (_by_the_old_key, "another key"),
    "an old key signed in the name of the new one": (_by_the_old_key_in_the_name_of_the_new, "the signature is of"),
    "the new key was replaced": (_another_new_key, "the signature is of something else"),
    "a new key is in the header alone": (_a_new_key_that_no_entry_tells, "another new key"),
    "another key signed it all": (_all_by_another_key, "another key"),
    "an entry is of another chain": (_with_another_chain, "an entry is of another chain"),
}


@pytest.mark.parametrize(("fault", "words"), SEEN.values(), ids=SEEN.keys())
def test_a_fault_in_a_chain_is_found(told: Told, tmp_path: Path, fault: Fault, words: str) -> None:
    batches = told.batches
    fault(batches, told)
    folder = _chain_of(tmp_path, told, batches)

    with pytest.raises(LedgerRefused, match=words):
        read_chain(folder)


# Faults that only what was kept elsewhere shows: their author had the signing key, or only cut the end.


def _cut_at_the_end(batches: Batches, told: Told) -> None:
    del batches[_last_with("receipt", batches) :]


def _forked_at_the_end(batches: Batches, told: Told) -> None:
    _edited(batches, told)
    _sign(batches, told.keys[-1], after=_last_with("receipt", batches))


def _forked_before_the_renewal(batches: Batches, told: Told) -> None:
    number = _last_with("signing-key", batches)
    _edited(batches, told)
    del batches[number]
    _sign(batches, told.keys[-2], after=number)


HIDDEN: dict[str, Fault] = {
    "the end was cut": _cut_at_the_end,
    "the end was written again by the key in force": _forked_at_the_end,
    "it was written again by an old key, without its renewal": _forked_before_the_renewal,
}


@pytest.mark.parametrize("fault", HIDDEN.values(), ids=HIDDEN.keys())
def test_a_chain_that_was_cut_or_forked_disagrees_with_what_was_kept(told: Told, tmp_path: Path, fault: Fault) -> None:
    batches = told.batches
    fault(batches, told)

    chain = read_chain(_chain_of(tmp_path, told, batches))

    with pytest.raises(LedgerRefused, match=r"cut|forked"):
        check_checkpoint(told.checkpoints[-1], chain)
    with pytest.raises(LedgerRefused, match="no such batch"):
        check_receipt_in(told.receipts[LAST[0]], chain)
    check_checkpoint(told.checkpoints[0], chain)


# Receipts.


def _of_another_request(receipt: Json, told: Told) -> None:
    receipt["body"]["requestId"] = told.requests["bob"]


def _of_another_request_with_its_digest(receipt: Json, told: Told) -> None:
    _of_another_request(receipt, told)
    entry = {name: receipt[name] for name in ("body", "chain", "kind", "sequence")}
    receipt["digest"] = leaf_of(canonical(entry)).hex()


def _with_a_wrong_step(receipt: Json, told: Told) -> None:
    receipt["proof"]["path"][0] = "00" * 32


def _with_a_short_path(receipt: Json, told: Told) -> None:
    receipt["proof"]["path"].pop()


def _with_a_long_path(receipt: Json, told: Told) -> None:
    receipt["proof"]["path"].append("00" * 32)


def _with_another_place(receipt: Json, told: Told) -> None:
    receipt["sequence"] += 1


def _in_another_batch(receipt: Json, told: Told) -> None:
    receipt["proof"] |= {name: told.receipt("ann")["proof"][name] for name in ("batch", "signature")}
    receipt["proof"]["keys"] = []


def _without_a_renewal(receipt: Json, told: Told) -> None:
    del receipt["proof"]["keys"][0]


def _with_renewals_in_another_order(receipt: Json, told: Told) -> None:
    receipt["proof"]["keys"].reverse()


def _by_the_old_key_after_its_renewal(receipt: Json, told: Told) -> None:
    proof = receipt["proof"]
    proof["batch"]["key"] = told.receipt("dee")["proof"]["batch"]["key"]
    proof["signature"] = told.keys[-2].sign(canonical(proof["batch"])).hex()


Forgery = Callable[[Json, Told], None]
FORGERIES: dict[str, tuple[Forgery, str]] = {
    "it got the id of another request": (_of_another_request, "the digest is of another entry"),
    "it got the id of another request and its digest": (
        _of_another_request_with_its_digest,
        "the path leads to another root",
    ),
    "a step of its path is wrong": (_with_a_wrong_step, "the path leads to another root"),
    "its path is too short": (_with_a_short_path, "the path is too short"),
    "its path is too long": (_with_a_long_path, "the path is too long"),
    "it got the number of another entry": (_with_another_place, "the digest is of another entry"),
    "it got the batch of another receipt": (_in_another_batch, "the leaf is not in the batch"),
    "a renewal was left out": (_without_a_renewal, "another key"),
    "the renewals are in another order": (_with_renewals_in_another_order, "another key"),
    "an old key signed it after its renewal": (_by_the_old_key_after_its_renewal, "another key"),
}


@pytest.mark.parametrize(("forgery", "words"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_receipt_that_was_forged_is_found(told: Told, forgery: Forgery, words: str) -> None:
    user = LAST[0]
    receipt = told.receipt(user)
    request_id = told.requests["bob" if "another_request" in forgery.__name__ else user]
    check_receipt(json.dumps(receipt), told.pem, request_id=told.requests[user])
    forgery(receipt, told)

    with pytest.raises(LedgerRefused, match=words):
        check_receipt(json.dumps(receipt), told.pem, request_id=request_id)


def test_a_true_receipt_of_another_request_or_chain_is_refused(told: Told) -> None:
    other_pem = (told.ledger / "us" / "public.pem").read_bytes()

    with pytest.raises(LedgerRefused, match="another request"):
        check_receipt(told.receipts["ann"], told.pem, request_id=told.requests["bob"])
    with pytest.raises(LedgerRefused, match="another key"):
        check_receipt(told.receipts["ann"], other_pem, request_id=told.requests["ann"])


def test_a_receipt_that_an_old_key_signed_as_if_it_was_never_renewed_is_not_in_the_chain(told: Told) -> None:
    receipt = told.receipt("dee")
    proof = receipt["proof"]
    proof["batch"]["key"] = told.receipt("ann")["proof"]["batch"]["key"]
    proof["signature"] = told.keys[0].sign(canonical(proof["batch"])).hex()
    del proof["keys"]

    check_receipt(json.dumps(receipt), told.pem, request_id=told.requests["dee"])
    with pytest.raises(LedgerRefused, match="no such batch"):
        check_receipt_in(json.dumps(receipt), read_chain(told.chain))


# Checkpoints.


def _with_other_entries(note: str) -> str:
    return note.replace("\nentries ", "\nentries 1")


def _without_the_renewals(note: str) -> str:
    return "".join(line for line in note.splitlines(keepends=True) if not line.startswith("key "))


def _unsigned(note: str) -> str:
    return note[: note.rindex("— ")]


SPOILT: dict[str, tuple[Callable[[str], str], str]] = {
    "a number was edited": (_with_other_entries, "the signature is of something else"),
    "the renewals were left out": (_without_the_renewals, "the key in force did not sign"),
    "it is not signed": (_unsigned, "the key in force did not sign"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT.keys())
def test_a_checkpoint_that_was_forged_is_found(told: Told, spoil: Callable[[str], str], words: str) -> None:
    note = told.checkpoints[-1]
    read_checkpoint(note, told.pem)

    with pytest.raises(LedgerRefused, match=words):
        read_checkpoint(spoil(note), told.pem)


def test_a_checkpoint_of_another_ledger_is_refused(told: Told) -> None:
    with pytest.raises(LedgerRefused, match="another ledger"):
        read_checkpoint(told.checkpoints[-1], (told.ledger / "us" / "public.pem").read_bytes())


# How faults are planted.


def _last_with(kind: str, batches: Batches) -> int:
    """Return the index of the last batch with an entry of a kind."""
    kinds = [[json.loads(line)["kind"] for line in batch[:-1]] for batch in batches]
    return max(index for index, each in enumerate(kinds) if kind in each)


def _sign(batches: Batches, key: Ed25519PrivateKey, *, after: int) -> None:
    """Seal again every batch after so many: each follows the one before, has its root and is signed by a key."""
    own = sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]
    for number, (*told, seal) in list(enumerate(batches))[after:]:
        header = deepcopy(json.loads(seal)["batch"])
        before = json.loads(batches[number - 1][-1])["batch"] if number else None
        size = before["size"] if before else 0
        lines = [canonical(json.loads(line) | {"sequence": at}) for at, line in enumerate(told, size + 1)]
        leaves = [leaf_of(line) for line in lines]
        header |= {
            "number": number + 1,
            "previous": sha256(canonical(before)).hexdigest() if before else "0" * 64,
            "count": len(lines),
            "size": size + len(lines),
            "root": root_of(leaves).hex(),
            "key": own,
        }
        sealed = {"batch": header, "signature": key.sign(canonical(header)).hex()}
        if len(leaves) > 1:
            sealed["leaves"] = [leaf.hex() for leaf in leaves]
        batches[number] = [*lines, canonical(sealed)]


def _chain_of(folder: Path, told: Told, batches: Batches) -> Path:
    shutil.copy(told.chain / "public.pem", folder)
    (folder / "batches.jsonl").write_bytes(_joined(batches))
    return folder


def _joined(batches: Batches) -> bytes:
    return b"".join(line + b"\n" for batch in batches for line in batch)
