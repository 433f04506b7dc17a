"""A ledger that was cut at its end, or forked, is found by what somebody kept of it elsewhere."""

import base64
import json
import runpy
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from support.ledger import raw

from implio_pipeline import verify
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.stores.ledger.log import SignedLog
from implio_pipeline.verify import _merkle_root, _opened_note, _origin_of, check_against

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
def log(tmp_path: Path) -> SignedLog:
    made = SignedLog(tmp_path / "ledger", tmp_path / "keys" / "ledger.pem")
    made.make()
    for each in range(9):
        made.append([raw("tombstone", {"requestId": f"r-{each}"}), raw("receipt", {"requestId": f"r-{each}"})])
    return made


def lines_of(log: SignedLog) -> list[bytes]:
    return log._path.read_bytes().splitlines(keepends=True)


def public_key(log: SignedLog) -> bytes:
    return log._public.read_bytes()


def test_the_merkle_root_is_the_one_of_rfc_6962():
    leaves = [bytes.fromhex(leaf) for leaf in LEAVES]

    roots = [_merkle_root(leaves[:size]).hex() for size in range(1, len(leaves) + 1)]

    assert roots == ROOTS
    assert _merkle_root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_note_signed_by_another_implementation_opens():
    name, key_id, encoded = GO_KEY.split("+", 2)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded)[1:])

    assert verify._note_key_id(name, key).hex() == key_id
    assert _opened_note(GO_NOTE, name=name, key=key) == GO_NOTE.partition("\n\n")[0] + "\n"
    assert _opened_note(GO_NOTE.replace("problem is", "answer is"), name=name, key=key) is None
    assert _opened_note(GO_NOTE, name="somebody.else", key=key) is None


def test_a_checkpoint_has_the_lines_that_c2sp_defines(log):
    note = log.checkpoint()

    origin, size, root, blank, signature = note.removesuffix("\n").split("\n")
    key = log._public_key()
    assert origin == _origin_of(key)
    assert size == "18"
    assert base64.b64decode(root) == _merkle_root(line.rstrip(b"\n") for line in lines_of(log))
    assert blank == ""
    assert signature.startswith(f"— {origin} ")
    assert _opened_note(note, name=origin, key=key) == f"{origin}\n{size}\n{root}\n"


def test_a_signature_of_a_witness_beside_ours_is_passed_over(log):
    note = log.checkpoint() + f"— witness.example/w1 {base64.b64encode(bytes(68)).decode()}\n"

    assert check_against(lines_of(log), note, public_key(log)) == []


@pytest.mark.parametrize("more", [0, 1, 7, 14])
def test_a_ledger_that_only_grew_goes_on_from_what_was_kept(log, more):
    kept = [log.checkpoint(), receipt_of(log), json.dumps({"checkpoint": log.checkpoint()})]

    log.append([raw("audited", {"number": each}) for each in range(more)])

    assert [check_against(lines_of(log), each, public_key(log)) for each in kept] == [[], [], []]


@pytest.mark.parametrize("left", range(18))
def test_a_ledger_cut_at_its_end_is_found_by_a_checkpoint_and_by_a_receipt(log, left):
    kept, lines = [log.checkpoint(), receipt_of(log)], lines_of(log)

    findings = [check_against(lines[:left], each, public_key(log)) for each in kept]

    assert all(len(found) == 1 and "it was cut" in found[0].problem for found in findings)


@pytest.mark.parametrize("left", range(18))
def test_a_ledger_cut_and_written_on_is_found_though_it_holds_by_itself(log, left):
    kept = [log.checkpoint(), receipt_of(log)]
    log._path.write_bytes(b"".join(lines_of(log)[:left]))
    log.append([raw("audited", {"number": each}) for each in range(30)])  # with the very same key

    findings = [check_against(lines_of(log), each, public_key(log)) for each in kept]

    assert log.check() == []
    assert all("differs" in found[0].problem for found in findings)


def test_what_was_kept_counts_only_with_the_ledgers_own_signature(log, tmp_path):
    other = SignedLog(tmp_path / "other", tmp_path / "keys" / "other.pem")
    other.make()
    other.append([raw("receipt", {"requestId": "r-1"})])
    origin, size, rest = log.checkpoint().split("\n", 2)
    false = {
        "another ledger's checkpoint": other.checkpoint(),
        "another ledger's receipt": json.dumps(asdict(next(iter(other.entries())))),
        "a checkpoint of another size": f"{origin}\n{int(size) - 1}\n{rest}",
        "a checkpoint without signature": log.checkpoint().partition("\n\n")[0] + "\n",
        "an empty file": "",
        "other JSON": "{}",
        "broken JSON": "{",
        "JSON with another checkpoint": json.dumps({"checkpoint": 5}),
    }

    assert {name for name, kept in false.items() if not check_against(lines_of(log), kept, public_key(log))} == set()


def test_a_receipt_says_how_long_the_log_was_before_it_and_its_head(log):
    entries = list(log.entries())

    for entry in entries:
        expected = {"size": entry.sequence - 1, "head": entry.previous} if entry.kind == "receipt" else None
        assert entry.body.get("log") == expected


def test_the_tombstone_of_a_request_is_found_from_the_end_and_only_signed(log):
    found = log.tombstones([RequestId("r-3"), RequestId("r-33")])

    assert list(found) == ["r-3"]
    entry = found[RequestId("r-3")]
    assert isinstance(entry, LedgerEntry)
    assert (entry.kind, entry.body["requestId"]) == ("tombstone", "r-3")


@pytest.mark.parametrize(("left", "code"), [(18, 0), (17, 1)])
def test_the_verifier_runs_by_itself(log, tmp_path, monkeypatch, capsys, left, code):
    kept = tmp_path / "kept.txt"
    kept.write_text(log.checkpoint())
    log._path.write_bytes(b"".join(lines_of(log)[:left]))
    monkeypatch.setattr(sys, "argv", ["verify.py", str(log._path.parent), str(kept)])

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(verify.__file__, run_name="__main__")

    assert ended.value.code == code
    assert ("it was cut" in capsys.readouterr().out) is bool(code)


def test_another_key_has_another_origin():
    one, two = (Ed25519PrivateKey.generate().public_key() for _ in range(2))

    assert _origin_of(one) != _origin_of(two)


def receipt_of(log: SignedLog) -> str:
    return json.dumps(asdict(list(log.entries())[-1]))
