"""Commands about API keys: shown once, listed without themselves, rotated, revoked."""

from implio_pipeline.domain.accounts import api_key_digest


def test_a_key_is_shown_when_it_is_made_and_never_again(cli):
    made = cli.json("api-keys", "add", "--team", "acme", "--label", "main server", "--until", "2999-12-31")

    listed = cli.json("api-keys", "list")

    assert made["key"].startswith("implio_")
    assert made["keyId"] == api_key_digest(made["key"])[:12]
    assert made["expiresAt"] == "3000-01-01T00:00:00Z"
    assert [each["keyId"] for each in listed] == [made["keyId"]]
    for output in (cli("api-keys", "list").stdout, str(listed)):
        assert made["key"] not in output
    assert made["keyId"] in cli("api-keys", "list", "--team", "acme").stdout
    assert cli.json("api-keys", "list", "--team", "globex") == []


def test_a_key_is_rotated_with_a_grace_and_revoked_at_once(cli):
    old = cli.json("api-keys", "add", "--team", "acme", "--label", "main")

    new = cli.json("api-keys", "rotate", old["keyId"], "--grace-hours", "1")
    revoked = cli.json("api-keys", "revoke", new["keyId"])

    states = {each["keyId"]: each["state"] for each in cli.json("api-keys", "list")}
    assert new["replaces"] == old["keyId"]
    assert new["key"] != old["key"]
    assert revoked["state"] == "revoked"
    assert states == {old["keyId"]: "live", new["keyId"]: "revoked"}
    again = cli.json("api-keys", "rotate", old["keyId"], "--grace-hours", "0")
    assert cli.error("api-keys", "rotate", old["keyId"], exit_code=1)["code"] == "api-key-invalid"
    assert again["team"] == "acme"


def test_a_key_that_is_rotated_twice_tells_when_it_truly_ends(cli):
    old = cli.json("api-keys", "add", "--team", "acme", "--label", "main")

    first = cli.json("api-keys", "rotate", old["keyId"], "--grace-hours", "1")
    second = cli.json("api-keys", "rotate", old["keyId"], "--grace-hours", "48")

    (listed,) = (each for each in cli.json("api-keys", "list") if each["keyId"] == old["keyId"])
    assert first["oldKeyEndsAt"] == second["oldKeyEndsAt"] == listed["expiresAt"]


def test_what_cannot_be_made_is_refused(cli):
    def refused(*arguments: str) -> str:
        return cli.error("api-keys", *arguments, exit_code=1)["code"]

    assert refused("add", "--team", "nobody", "--label", "x") == "team-unknown"
    assert refused("add", "--team", "acme", "--label", "ann@example.org") == "api-key-invalid"
    assert refused("add", "--team", "acme", "--label", "late", "--until", "2020-01-01") == "api-key-invalid"
    assert refused("revoke", "zqzq") == "api-key-unknown"
    assert cli.error("serve", "--http", "--host", "0.0.0.0", exit_code=1)["code"] == "plain-http-refused"  # noqa: S104
