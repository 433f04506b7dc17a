"""`implio audit`, `implio export` and `implio receipts page`."""

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import pkcs7_decrypt_der


@pytest.mark.parametrize("command", ["audit", "export", "receipts page"])
def test_each_explains_itself(look, command):
    result = look(*command.split(), "--help")

    assert result.exit_code == 0
    assert f"Usage: implio {command}" in result.stdout


def test_a_home_that_is_well_passes_a_full_audit(look):
    shape = look.json("audit", "--full")

    assert shape["isHolding"] is True
    assert shape["part"] is None
    assert shape["files"] == shape["filesRead"] > 0
    assert shape["findings"] == []
    assert "Nothing was found" in look("audit", "--full").stdout


def test_an_audit_that_is_not_full_says_which_part_it_read(look):
    shape = look.json("audit")

    assert shape["part"]["of"] == 7
    assert shape["filesRead"] < shape["files"]
    assert "--full reads all" in look("audit").stdout


def test_a_fault_ends_with_four_and_is_named(cli):
    path = next((cli.home / "vault").rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)

    shape = cli.json("audit", "--full", exit_code=4)

    assert [(each["kind"], each["about"]) for each in shape["findings"]] == [("file-tampered", path.stem)]
    assert path.stem in cli("audit", "--full").stdout


def test_an_export_is_handed_out_and_told_in_counts(cli, plan, tmp_path):
    light = plan.team("acme").light

    shape = cli.json("export", "--team", "acme", "--user", "-", "--out", str(tmp_path / "out"), stdin=light.user_id)

    assert shape["items"] == light.items
    assert shape["isEncrypted"] is False
    assert shape["files"][-1] == "manifest.json"
    assert shape["notSearched"]["filesSetAside"] == 1
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert len((tmp_path / "out" / "items.jsonl").read_text().splitlines()) == light.items
    assert light.user_id not in json.dumps(shape)
    assert cli.json("receipts", "verify")["isHolding"] is True
    assert cli.json("audit", "--full")["isHolding"] is True


def test_an_export_in_the_home_is_shown_and_encrypted(cli, plan, tmp_path):
    light = plan.team("acme").light
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "recipient")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    certificate = builder.sign(key, SHA256())
    (tmp_path / "to.pem").write_bytes(certificate.public_bytes(Encoding.PEM))

    result = cli("export", "--team", "acme", "--user", light.user_id, "--recipient", str(tmp_path / "to.pem"))

    assert result.exit_code == 0
    assert "openssl cms -decrypt" in result.stdout
    assert light.user_id not in result.output
    (envelope,) = (cli.home / "exports").glob("*/items.jsonl.p7m")
    clear = pkcs7_decrypt_der(envelope.read_bytes(), certificate, key, [])
    assert len(clear.splitlines()) == light.items


def test_an_export_that_cannot_be_made_says_why_without_a_value(cli, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "bad.pem").write_text("jane")
    begin = ("export", "--team", "acme", "--user", "jane")

    assert cli.error(*begin, "--out", str(tmp_path / "there"), exit_code=1)["code"] == "folder-taken"
    assert cli.error(*begin, "--recipient", str(tmp_path / "bad.pem"), exit_code=1)["code"] == "recipient-invalid"
    assert cli.error(*begin, "--recipient", str(tmp_path / "none"), exit_code=2)["code"] == "wrong-usage"
    assert cli.error("export", "--team", "jane", "--user", "x", exit_code=1)["code"] == "team-unknown"
    assert cli.error("export", "--team", "acme", "--user", "-", stdin="\n", exit_code=3)["code"] == "request-refused"
    assert "jane" not in cli(*begin, "--out", str(tmp_path / "there")).output


def test_a_receipts_page_is_written_once(cli, plan, tmp_path):
    light = plan.team("acme").light
    inbox = cli.home / "requests" / "inbox" / "ask.json"
    inbox.write_text(json.dumps([{"team": "acme", "type": "user", "userId": light.user_id}]))
    os.utime(inbox, (1_700_000_000, 1_700_000_000))
    (request,) = cli.json("requests", "take")["accepted"]
    cli.json("erase", "--resume")
    page: Path = tmp_path / "receipt.html"
    ask = ("receipts", "page", request["requestId"], "--out", str(page))

    assert cli.json(*ask) == {"requestId": request["requestId"], "savedTo": str(page)}

    assert "Your data is erased" in page.read_text()
    assert light.user_id not in page.read_text()
    assert cli.error(*ask, exit_code=2)["code"] == "wrong-usage"
    assert cli.error("receipts", "page", "none", "--out", str(tmp_path / "x"), exit_code=1)["code"] == "request-unknown"
