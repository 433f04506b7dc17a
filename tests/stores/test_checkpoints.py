"""A ledger that was cut or forked is found by what somebody kept of it elsewhere, and a receipt proves itself."""

import base64
import json
import runpy
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from support.ledger import EU, HOME, batches_of, lines_of, local_chain, local_ledger, raw, split

from implio_pipeline import verify
from implio_pipeline.domain.errors import KeyMissing, LedgerBroken
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.receipt import WholeReceipt
from implio_pipeline.domain.statements import SigningKeyRenewed
from implio_pipeline.stores.ledger.ledger import ChainedLedger
from implio_pipeline.stores.ledger.signing import SigningKeyFile
from implio_pipeline.verify import (
    SEAL_BEGINS,
    ChainCheck,
    MerkleTree,
    audit_path,
    check_folder,
    check_receipt,
    key_of,
    leaf_hash,
    opened_note,
    origin_of,
    read_seal,
    root_by_path,
    tree_levels,
)

# The leaves and roots that certificate-transparency-go and its kin test RFC 6962 with.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# The example of Go's golang.org/x/mod/sumdb/note: an implementation that is not ours.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def log(tmp_path: Path) -> ChainedLedger:
    made = local_ledger(tmp_path)
    for each in range(9):
        made.append([raw("tombstone", {"requestId": f"r-{each}"}), raw("receipt", {"requestId": f"r-{each}"})])
    return made


def public_key(folder: Path) -> bytes:
    return (folder / "ledger" / "home" / "public.pem").read_bytes()


def receipt_of(log: ChainedLedger, name: str = "r-8") -> str:
    entry = log.receipt(RequestId(name))
    assert entry is not None
    return json.dumps(entry.shape())


def against(folder: Path, *kept: str) -> list[str]:
    """Return what comparing the ledger in a folder with what was kept finds."""
    return [each.problem for check in check_folder(folder / "ledger", kept=kept) for each in check.findings]


def leave(folder: Path, number: int) -> None:
    """Cut a chain after so many batches."""
    batches_of(folder).write_bytes(b"".join(split(batches_of(folder).read_bytes())[:number]))


# ---- trees and notes of others


def test_the_merkle_root_is_the_one_of_rfc_6962() -> None:
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]
    tree, roots = MerkleTree(), []

    for leaf in leaves:
        tree.add(leaf)
        roots.append(tree.root().hex())

    assert roots == ROOTS
    assert [tree_levels(leaves[:size])[-1][0].hex() for size in range(1, len(leaves) + 1)] == ROOTS
    assert MerkleTree().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# Of https://github.com/google/certificate-transparency-go, merkletree tests: (leaf from 1, size of the tree, path).
PATHS = {
    (1, 8): """96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7
        5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e
        6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4""",
    (6, 8): """bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b
        ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0
        d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7""",
    (3, 3): "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    (2, 5): """6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
        5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e
        bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b""",
}


@pytest.mark.parametrize(("place", "size"), PATHS)
def test_an_audit_path_is_the_one_that_others_compute(place: int, size: int) -> None:
    path = PATHS[place, size]
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES[:size]]

    assert [each.hex() for each in audit_path(tree_levels(leaves), place - 1)] == path.split()


@given(size=st.integers(1, 70), data=st.data())
def test_an_audit_path_leads_to_the_root_from_its_own_place_and_leaf_alone(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([each])) for each in range(size)]
    levels = tree_levels(leaves)
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size + 1))
    path = audit_path(levels, index)

    assert root_by_path(leaves[index], index=index, count=size, path=path) == levels[-1][0]
    if other != index:
        assert root_by_path(leaves[index], index=other, count=size, path=path) != levels[-1][0]
    assert root_by_path(leaf_hash(b"no leaf"), index=index, count=size, path=path) != levels[-1][0]
    assert root_by_path(leaves[index], index=index, count=size, path=[*path, bytes(32)]) != levels[-1][0]
    assert size == 1 or root_by_path(leaves[index], index=index, count=size, path=path[:-1]) != levels[-1][0]


def test_a_note_signed_by_another_implementation_opens() -> None:
    name, key_id, encoded = GO_KEY.split("+", 2)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded)[1:])

    assert verify._note_key_id(name, key).hex() == key_id
    assert opened_note(GO_NOTE, name=name, key=key) == GO_NOTE.partition("\n\n")[0] + "\n"
    assert opened_note(GO_NOTE.replace("problem is", "answer is"), name=name, key=key) is None
    assert opened_note(GO_NOTE, name="somebody.else", key=key) is None


# ---- checkpoints


def test_a_checkpoint_has_the_lines_that_c2sp_defines(log: ChainedLedger, tmp_path: Path) -> None:
    note = log.checkpoint(HOME)

    origin, size, root, head, entries, blank, signature = note.removesuffix("\n").split("\n")
    key = key_of(public_key(tmp_path))
    seals = [read_seal(line) for line in lines_of(tmp_path) if line.startswith(SEAL_BEGINS)]
    tree = MerkleTree()
    for seal in seals:
        tree.add(leaf_hash(verify.canonical(seal.header)))
    assert origin == origin_of(key, "home")
    assert size == "9"
    assert base64.b64decode(root) == tree.root()
    assert head == f"head {seals[-1].digest}"
    assert entries == "entries 18"
    assert blank == ""
    assert signature.startswith(f"— {origin} ")
    assert opened_note(note, name=origin, key=key) == note.partition("\n\n")[0] + "\n"


def test_a_signature_of_a_witness_beside_ours_is_passed_over(log: ChainedLedger, tmp_path: Path) -> None:
    note = log.checkpoint(HOME) + f"— witness.example/w1 {base64.b64encode(bytes(68)).decode()}\n"

    assert against(tmp_path, note) == []


@pytest.mark.parametrize("more", [0, 1, 7, 14])
def test_a_ledger_that_only_grew_goes_on_from_what_was_kept(log: ChainedLedger, tmp_path: Path, more: int) -> None:
    kept = [log.checkpoint(HOME), receipt_of(log), json.dumps({"checkpoint": log.checkpoint(HOME)})]

    for each in range(more):
        log.append([raw("audited", {"number": each})])

    assert [against(tmp_path, each) for each in kept] == [[], [], []]
    assert against(tmp_path, *kept) == []


@pytest.mark.parametrize("left", range(9))
def test_a_ledger_cut_at_its_end_is_found_by_a_checkpoint_and_by_a_receipt(
    log: ChainedLedger, tmp_path: Path, left: int
) -> None:
    kept = [log.checkpoint(HOME), receipt_of(log)]
    leave(tmp_path, left)

    findings = [against(tmp_path, each) for each in kept]

    assert all(len(found) == 1 and "it was cut" in found[0] for found in findings)


@pytest.mark.parametrize("left", range(9))
def test_a_ledger_cut_and_written_on_is_found_though_it_holds_by_itself(
    log: ChainedLedger, tmp_path: Path, left: int
) -> None:
    kept = [log.checkpoint(HOME), receipt_of(log)]
    leave(tmp_path, left)
    for each in range(30):
        log.append([raw("audited", {"number": each})])  # with the very same key

    findings = [against(tmp_path, each) for each in kept]

    assert log.check() == []
    assert all("differs" in found[0] for found in findings)


def test_a_checkpoint_of_an_empty_chain_says_so_and_is_kept_to(tmp_path: Path) -> None:
    log = local_ledger(tmp_path)
    note = log.checkpoint(HOME)

    log.append([raw("audited", {})])

    assert note.splitlines()[1] == "0"
    assert against(tmp_path, note) == []


def test_what_was_kept_counts_only_with_the_chains_own_signature(log: ChainedLedger, tmp_path: Path) -> None:
    other = local_ledger(tmp_path / "other")
    other.append([raw("receipt", {"requestId": "r-1"})])
    note, receipt = log.checkpoint(HOME), json.loads(receipt_of(log))
    origin, size, rest = note.split("\n", 2)
    false = {
        "another ledger's checkpoint": other.checkpoint(HOME),
        "another ledger's receipt": receipt_of(other, "r-1"),
        "a checkpoint of another size": f"{origin}\n{int(size) - 1}\n{rest}",
        "a checkpoint of another head": note.replace("head ", "head 00"),
        "a checkpoint without signature": note.partition("\n\n")[0] + "\n",
        "a checkpoint with a text before ours": f"{origin}\n0\nAA==\nhead x\nentries 0\n\n{note}",
        "an edited receipt": json.dumps(receipt | {"body": {"requestId": "r-8", "erased": 7}}),
        "a receipt of another place": json.dumps(receipt | {"sequence": 17}),
        "a receipt of another kind": json.dumps(receipt | {"kind": "re-erasure"}),
        "a receipt of another chain": json.dumps(receipt | {"chain": "eu"}),
        "a receipt with another digest": json.dumps(receipt | {"digest": "00" * 32}),
        "a receipt without a path": json.dumps(receipt | {"proof": receipt["proof"] | {"path": []}}),
        "a receipt without proof": json.dumps(receipt | {"proof": None}),
        "an empty file": "",
        "other JSON": "{}",
        "broken JSON": "{",
        "JSON with another checkpoint": json.dumps({"checkpoint": 5}),
    }

    def is_accepted(kept: str) -> bool:
        try:
            return against(tmp_path, kept) == []
        except ValueError:
            return False

    assert {name for name, kept in false.items() if is_accepted(kept)} == set()


def test_checkpoints_of_all_chains_in_one_file_are_each_compared_with_their_own(tmp_path: Path) -> None:
    log = local_ledger(tmp_path, HOME, EU)
    for chain in (HOME, EU):
        log._chains[chain].append([("audited", {"chain": chain})])
    kept = "\n".join(log.checkpoint(each) for each in log.chains())
    assert against(tmp_path, kept) == []

    batches_of(tmp_path, "eu").write_bytes(b"")

    assert ["it was cut" in each for each in against(tmp_path, kept)] == [True]
    (tmp_path / "ledger" / "eu" / "public.pem").unlink()
    assert against(tmp_path, kept) == ["what was kept is of another chain, which is not in the folder"]


@pytest.mark.parametrize("name", ["batches.jsonl", "in files"])
def test_a_check_may_begin_after_a_checkpoint(log: ChainedLedger, tmp_path: Path, name: str) -> None:
    note, folder = log.checkpoint(HOME), tmp_path / "ledger" / "home"
    log.append([raw("audited", {"number": 1}), raw("audited", {"number": 2})])
    log.append([raw("audited", {"number": 3})])
    batches = split(batches_of(tmp_path).read_bytes())
    batches[2] = batches[2].replace(b"r-2", b"r-3")  # before the checkpoint: it is not read again
    if name == "in files":
        batches_of(tmp_path).unlink()
        for number, each in enumerate(batches, start=1):
            (folder / f"{number:012}.jsonl").write_bytes(each)
    else:
        batches_of(tmp_path).write_bytes(b"".join(batches))

    (since,) = check_folder(folder, since=note)
    (whole,) = check_folder(folder)

    assert (since.batches, since.entries, since.findings) == (11, 21, [])
    assert {each.batch for each in whole.findings} == {3}


def test_a_check_that_begins_after_a_checkpoint_finds_a_chain_that_does_not_go_on_from_it(
    log: ChainedLedger, tmp_path: Path
) -> None:
    note = log.checkpoint(HOME)
    leave(tmp_path, 8)
    log.append([raw("audited", {"number": 1})])
    log.append([raw("audited", {"number": 2})])

    (since,) = check_folder(tmp_path / "ledger", since=note)

    assert "does not follow the batch before it" in [each.problem for each in since.findings]


def test_a_checkpoint_of_a_damaged_chain_is_not_signed(log: ChainedLedger, tmp_path: Path) -> None:
    batches_of(tmp_path).write_bytes(batches_of(tmp_path).read_bytes().replace(b"r-4", b"r-5"))

    with pytest.raises(LedgerBroken, match="batch 5"):
        log.checkpoint(HOME)


# ---- receipts that prove themselves


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33])
def test_every_receipt_of_a_batch_proves_itself_with_the_public_key_alone(tmp_path: Path, size: int) -> None:
    log = local_ledger(tmp_path)
    log.append([raw("receipt", {"requestId": f"r-{each}", "é": each}) for each in range(size)])

    for each in range(size):
        kept = json.loads(receipt_of(log, f"r-{each}"))
        assert check_receipt(json.dumps(kept), public_key(tmp_path)) == []
        kept["body"]["é"] = -1
        assert check_receipt(json.dumps(kept), public_key(tmp_path)) != []


def test_a_receipt_says_how_long_the_chain_was_before_its_batch_and_its_head(log: ChainedLedger) -> None:
    log.append([raw("receipt", {"requestId": "a"}), raw("receipt", {"requestId": "b"})])
    heads = {1: "0" * 64} | {
        entry.batch + 1: sha256(verify.canonical(entry.proof["batch"])).hexdigest()
        for entry in log.newest_first(WholeReceipt)
        if entry.proof is not None
    }

    for entry in log.entries():
        size = 2 * (entry.batch - 1)
        expected = {"size": size, "head": heads[entry.batch]} if entry.kind == "receipt" else None
        assert entry.body.get("log") == expected


# ---- a new signing key


def test_a_new_key_is_introduced_by_the_old_one_and_signs_what_follows(log: ChainedLedger, tmp_path: Path) -> None:
    before, kept = receipt_of(log), log.checkpoint(HOME)
    pem, old = public_key(tmp_path), (tmp_path / "keys" / "home.pem").read_bytes()

    log.renew_key(HOME)
    log.append([raw("receipt", {"requestId": "new"})])
    log.renew_key(HOME)
    log.append([raw("receipt", {"requestId": "newer"})])

    assert (tmp_path / "keys" / "home.pem").read_bytes() != old
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["home.pem"]
    assert public_key(tmp_path) == pem
    assert log.check() == local_ledger(tmp_path).check() == []
    receipts = [before, receipt_of(log, "r-1"), receipt_of(log, "new"), receipt_of(log, "newer")]
    assert [check_receipt(each, pem) for each in receipts] == [[], [], [], []]
    assert [len(json.loads(each)["proof"].get("keys", [])) for each in receipts] == [0, 0, 1, 2]
    assert against(tmp_path, *receipts, kept, log.checkpoint(HOME)) == []
    told = [entry.statement for entry in log.newest_first(SigningKeyRenewed)]
    assert [each.key for each in told] == [json.loads(each)["proof"]["batch"]["key"] for each in receipts[:1:-1]]


def test_an_old_key_signs_nothing_after_a_new_one_is_introduced(log: ChainedLedger, tmp_path: Path) -> None:
    old = (tmp_path / "keys" / "home.pem").read_bytes()
    log.renew_key(HOME)
    (tmp_path / "keys" / "home.pem").write_bytes(old)

    with pytest.raises(KeyMissing) as refused:
        local_ledger(tmp_path).append([raw("audited", {})])
    assert "Copy the signing key's file" in refused.value.remedy


def test_a_key_that_nobody_introduced_is_not_believed(log: ChainedLedger, tmp_path: Path) -> None:
    pem = public_key(tmp_path)
    log.renew_key(HOME)
    log.append([raw("receipt", {"requestId": "new"})])
    receipt = json.loads(receipt_of(log, "new"))
    stranger = Ed25519PrivateKey.generate()
    introduction = receipt["proof"]["keys"][0]
    header = introduction["batch"] | {"nextKey": stranger.public_key().public_bytes_raw().hex()}
    forged = {"batch": header, "signature": stranger.sign(verify.canonical(header)).hex()}

    assert check_receipt(json.dumps(receipt), pem) == []
    for keys in ([], [forged], [introduction, introduction], [introduction, forged]):
        kept = receipt | {"proof": receipt["proof"] | {"keys": keys}}
        assert check_receipt(json.dumps(kept), pem) != []


@pytest.mark.parametrize("step", ["staged", "introduced"])
def test_a_crash_while_a_key_is_renewed_leaves_a_chain_that_goes_on(
    log: ChainedLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(SigningKeyFile, "adopt", killed) if step == "introduced" else None
    monkeypatch.setattr("implio_pipeline.stores.ledger.chain.Chain.append", killed) if step == "staged" else None
    with pytest.raises(Killed):
        log.renew_key(HOME)
    monkeypatch.undo()

    again = local_ledger(tmp_path)
    again.append([raw("receipt", {"requestId": "next"})])

    assert again.check() == []
    keys = json.loads(receipt_of(again, "next"))["proof"].get("keys", [])
    assert len(keys) == (step == "introduced")


def test_a_key_that_a_killed_renewal_left_is_destroyed_once_it_is_old_and_the_one_in_force_never(
    log: ChainedLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    def staged() -> list[str]:
        return [path.name for path in (tmp_path / "keys").iterdir() if path.name.endswith(".next")]

    # Two renewals are killed: one before a batch names its key, one after that.
    for method in ("stores.ledger.chain.Chain.append", "stores.ledger.signing.SigningKeyFile.adopt"):
        monkeypatch.setattr(f"implio_pipeline.{method}", killed)
        with pytest.raises(Killed):
            log.renew_key(HOME)
        monkeypatch.undo()
    assert len(staged()) == 2
    again, made_at = local_ledger(tmp_path), datetime.fromtimestamp((tmp_path / "keys").stat().st_mtime, tz=UTC)

    assert again.discard_staged_keys(older_than=made_at - timedelta(days=1)) == 0
    assert len(staged()) == 2
    assert again.discard_staged_keys(older_than=made_at + timedelta(days=1)) == 1

    assert staged() == []
    again.append([raw("receipt", {"requestId": "next"})])
    assert again.check() == []
    assert len(json.loads(receipt_of(again, "next"))["proof"]["keys"]) == 1


def test_no_batch_names_a_key_that_was_discarded_while_its_renewal_was_paused(
    log: ChainedLedger, tmp_path: Path
) -> None:
    real = SigningKeyFile.stage

    def staged(key: SigningKeyFile) -> bytes:
        public = real(key)
        key.discard_staged(older_than=datetime.max.replace(tzinfo=UTC))
        return public

    SigningKeyFile.stage = staged  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyMissing):
            log.renew_key(HOME)
    finally:
        SigningKeyFile.stage = real  # type: ignore[method-assign]

    log.append([raw("audited", {})])
    assert local_ledger(tmp_path).check() == []


def test_two_that_renew_the_key_at_once_both_do(log: ChainedLedger, tmp_path: Path) -> None:
    other = local_ledger(tmp_path)
    real = SigningKeyFile.stage

    def staged(key: SigningKeyFile) -> bytes:
        public = real(key)
        SigningKeyFile.stage = real  # type: ignore[method-assign]
        other.renew_key(HOME)
        return public

    SigningKeyFile.stage = staged  # type: ignore[method-assign]
    log.renew_key(HOME)

    log.append([raw("audited", {})])
    assert log.check() == []
    assert len(list(log.newest_first(SigningKeyRenewed))) == 2


def test_a_process_that_still_has_the_old_key_takes_over_the_new_one(log: ChainedLedger, tmp_path: Path) -> None:
    other = ChainedLedger([local_chain(tmp_path)], lambda _: EU)
    other.append([raw("audited", {})])
    log.renew_key(HOME)

    other.append([raw("receipt", {"requestId": "next"})])

    assert log.check() == []
    assert check_receipt(receipt_of(other, "next"), public_key(tmp_path)) == []


# ---- the verifier by itself


@pytest.mark.parametrize(("left", "code"), [(9, 0), (8, 1)])
def test_the_verifier_runs_by_itself(
    log: ChainedLedger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    left: int,
    code: int,
) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text(log.checkpoint(HOME))
    leave(tmp_path, left)
    monkeypatch.setattr(sys, "argv", ["verify.py", str(tmp_path / "ledger"), str(kept)])

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(verify.__file__, run_name="__main__")

    assert ended.value.code == code
    assert ("it was cut" in capsys.readouterr().out) is bool(code)


@pytest.mark.parametrize("is_edited", [False, True])
def test_the_verifier_checks_one_receipt_by_itself(
    log: ChainedLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_edited: bool
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(receipt_of(log).replace("r-8", "r-7") if is_edited else receipt_of(log))
    monkeypatch.setattr(sys, "argv", ["verify.py", str(kept), str(tmp_path / "ledger" / "home" / "public.pem")])

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(verify.__file__, run_name="__main__")

    assert ended.value.code == int(is_edited)


def test_checking_keeps_no_more_of_a_longer_chain(tmp_path: Path) -> None:
    log = local_ledger(tmp_path)
    check = ChainCheck("home", public_key(tmp_path))
    held = []
    for _ in range(3):
        for _ in range(40):
            log.append([raw("receipt", {"requestId": "r"})])
    for line in lines_of(tmp_path):
        check.read([line])
        held.append(len(check._leaves) + len(check.findings) + (check.tree.width if check.tree else 0))

    assert check.finish() == []
    assert max(held) <= 1 + 7


def test_another_key_has_another_origin() -> None:
    one, two = (Ed25519PrivateKey.generate().public_key() for _ in range(2))

    assert origin_of(one, "eu") != origin_of(two, "eu")
    assert origin_of(one, "eu") != origin_of(one, "us")


@pytest.mark.parametrize(
    "kept",
    ["", "5", "[]", "null", "{}", '"x"', "implio-ledger/a/home\n1\nAA==\nword\n\n\u2014 a b\n", "\n\n", "{" * 5000],
)
def test_what_is_no_receipt_and_no_checkpoint_is_said_to_be_unreadable_in_our_words(
    log: ChainedLedger, tmp_path: Path, kept: str
) -> None:
    assert log
    (finding,) = check_receipt(kept, public_key(tmp_path))

    assert finding.problem in (
        "what was kept cannot be read",
        "the checkpoint is not signed by this ledger's key",
    )


def test_a_header_with_a_key_that_is_none_is_a_finding(log: ChainedLedger, tmp_path: Path) -> None:
    assert log
    lines = lines_of(tmp_path)
    seal, key = read_seal(lines[-1]), SigningKeyFile(tmp_path / "keys" / "home.pem")
    header = dict(seal.header) | {"nextKey": None}
    forged = verify.Seal(header=header, signature=key.sign(verify.canonical(header)).hex(), leaves=seal.leaves)
    check = ChainCheck("home", public_key(tmp_path))

    check.read([*lines[:-1], forged.line() + b"\n"])

    assert "a signing key that is introduced is not a key" in {each.problem for each in check.finish()}
