"""`implio members`: accounts made, changed and removed; a password is shown once or read, never an argument."""

from implio_pipeline.wiring import open_home


def test_a_member_is_added_listed_given_another_role_and_removed(cli) -> None:
    made = cli.json("members", "add", "Jane@Example.com", "--team", "acme", "--role", "admin", "--name", "Jane Doe")
    again = cli.json("members", "add", "-", "--team", "globex", "--role", "moderator", stdin="jane@example.com\n")
    cli.json("members", "add", "sam@example.com", "--team", "acme", "--role", "admin")
    assert len(made["temporaryPassword"]) == 23
    assert "temporaryPassword" not in again
    assert again["roles"] == {"acme": "admin", "globex": "moderator"}

    cli.json("members", "set-role", "jane@example.com", "--team", "acme", "--role", "spectator")
    listed = cli.json("members", "list", "--team", "acme")
    assert [(each["name"], each["roles"]["acme"]) for each in listed] == [("Jane Doe", "spectator"), ("sam", "admin")]
    cli.json("members", "remove", "jane@example.com", "--team", "globex")
    cli.json("members", "remove", "jane@example.com")

    assert [each["name"] for each in cli.json("members", "list")] == ["sam"]


def test_a_password_is_read_from_stdin_and_checked(cli) -> None:
    arguments = ("members", "add", "jane@example.com", "--team", "acme", "--password-stdin")

    assert cli.error(*arguments, stdin="short\n", exit_code=1)["code"] == "password-refused"
    assert "temporaryPassword" not in cli.json(*arguments, stdin="a quiet bicycle in march\n")

    with open_home(cli.home) as opened:
        member = opened.accounts.members.find("jane@example.com")
        assert member is not None
        stored = opened.accounts.members.credential(member.member_id).password_hash
        assert stored.startswith("$argon2id$")
        assert opened.accounts.secrets.is_right("a quiet bicycle in march", stored)
        assert not opened.accounts.secrets.is_right("a quiet bicycle in april", stored)


def test_a_forgotten_password_is_replaced_and_shown_once(cli) -> None:
    made = cli.json("members", "add", "jane@example.com", "--team", "acme", "--role", "admin")
    reset = cli.json("members", "reset-password", "jane@example.com")

    assert reset["temporaryPassword"] != made["temporaryPassword"]
    assert reset["isTemporary"] is True


def test_who_is_not_there_and_what_may_not_be_is_refused(cli) -> None:
    cli.json("members", "add", "jane@example.com", "--team", "acme", "--role", "admin")

    assert cli.error("members", "remove", "no@example.com", exit_code=1)["code"] == "member-refused"
    assert cli.error("members", "remove", "jane@example.com", exit_code=1)["code"] == "member-refused"
    wrong = cli.error("members", "add", "a@example.com", "--team", "acme", "--role", "operator", exit_code=1)
    assert wrong["code"] == "member-refused"
    assert cli.error("members", "add", "a@example.com", "--team", "nowhere", exit_code=1)["code"] == "team-unknown"
