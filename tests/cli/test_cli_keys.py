"""Commands about keys and backups: keys rotate, keys list, restore."""

import shutil

from support.catalogs import copy_home, copy_part


def test_a_rotation_tells_what_it_destroyed_and_the_list_shows_what_lives(cli):
    before = cli.json("keys", "list")
    assert before["lastRotation"] is None
    assert "Never rotated" in cli("keys", "list").stdout

    shape = cli.json("keys", "rotate")

    assert shape["teams"] == 2
    assert shape["filesRewrapped"] > 0
    assert (len(shape["teamKeysDestroyed"]), len(shape["rootKeysDestroyed"])) == (8, 7)
    after = cli.json("keys", "list")
    assert after["lastRotation"] is not None
    gone = {*shape["teamKeysDestroyed"], *shape["rootKeysDestroyed"]}
    assert gone.isdisjoint(each["key"] for each in after["keys"])
    assert gone <= {each["key"] for each in before["keys"]}
    assert "destroy older backups of the keys" in cli("keys", "rotate", "--team", "acme").stdout
    assert cli.error("keys", "rotate", "--team", "nobody", exit_code=1)["code"] == "team-unknown"
    assert cli.json("query", "--team", "acme", "select count(*) n from items")


def test_a_backup_put_back_is_refused_until_it_is_restored(cli, plan, tmp_path):
    copy_home(cli.home, tmp_path / "backup")
    busy = plan.team("acme").busy
    assert cli("erase", "--team", "acme", "--user", busy.user_id).exit_code == 0
    for part in ("catalog", "vault"):
        copy_part(tmp_path / "backup" / part, cli.home / part)

    refused = cli.error("status", exit_code=1)
    shape = cli.json("restore")

    assert refused["code"] == "catalog-outdated"
    assert "implio restore" in refused["remedy"]
    assert len(shape["reinstated"]) == len(shape["completed"]) == 1
    assert shape["itemsErased"] == busy.items
    assert shape["isProven"] is True
    assert "No survivor" in cli("restore").stdout
    assert cli("status").exit_code == 5


def test_an_old_key_ring_is_refused_by_every_command(cli, tmp_path):
    shutil.copytree(cli.home / "keys", tmp_path / "keys")
    cli.json("keys", "rotate")
    shutil.rmtree(cli.home / "keys")
    shutil.copytree(tmp_path / "keys", cli.home / "keys")

    for command in (["status"], ["restore"], ["ingest"], ["keys", "list"]):
        assert cli.error(*command, exit_code=1)["code"] == "key-ring-outdated"


def test_signing_keys_are_renewed_and_whoever_has_the_first_public_keys_checks_all(cli, plan, tmp_path):
    shutil.copytree(cli.home / "keys", tmp_path / "keys")
    first = {path: path.read_bytes() for path in (cli.home / "ledger").rglob("public.pem")}
    assert cli.error("keys", "renew-signing", "--chain", "mars", exit_code=2)["code"] == "wrong-usage"

    one = cli.json("keys", "renew-signing", "--chain", "home")
    each = cli.json("keys", "renew-signing")

    assert list(one["signingKeys"]) == ["home"]
    assert sorted(each["signingKeys"]) == ["eu", "home", "us"]
    assert each["signingKeys"]["home"] != one["signingKeys"]["home"]
    assert cli("erase", "--team", "acme", "--user", plan.team("acme").busy.user_id).exit_code == 0
    assert cli("receipts", "verify").exit_code == 0
    assert {path: path.read_bytes() for path in (cli.home / "ledger").rglob("public.pem")} == first
    # The keys of a backup from before sign nothing more.
    shutil.rmtree(cli.home / "keys")
    shutil.copytree(tmp_path / "keys", cli.home / "keys")
    assert cli.error("keys", "renew-signing", exit_code=1)["code"] == "key-missing"


def test_missing_files_are_named_and_given_up_only_after_a_yes(cli):
    gone = next((cli.home / "vault" / "eu").rglob("*.parquet"))
    gone.unlink()

    assert cli.json("restore", exit_code=5)["missingFiles"] == [gone.stem]
    assert "restore them and run it again" in cli("restore").stdout
    assert cli("restore", "--without-missing", stdin="n\n").exit_code == 3
    assert cli.json("restore", "--without-missing", "--yes")["givenUpFiles"] == [gone.stem]
    assert cli.json("restore")["missingFiles"] == []
