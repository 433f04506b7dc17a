"""Whether the server answers, and what waits longest."""


def test_alive_is_all_that_health_says(door):
    answer = door.stranger()("GET", "/v1/health")

    assert answer.json() == {"status": "alive"}


def test_what_waits_longest_is_told_with_its_cause_and_remedy(ads):
    assert ads("GET", "/v1/health/waiting").json() == {"waiting": []}
    ads.delete("userId=zqzq-ann")

    (wait,) = ads("GET", "/v1/health/waiting").json()["waiting"]

    assert wait["what"] == "request"
    assert wait["cause"] == "not-known"  # this home has no storage of Dagster's
    assert wait["why"]
    assert wait["remedy"]
    assert "zqzq" not in str(wait)


def test_the_document_for_programs_knows_both_calls(door):
    paths = door.app.openapi()["paths"]

    assert {"/v1/health", "/v1/health/waiting"} <= paths.keys()
    assert {} in paths["/v1/health/waiting"]["get"]["security"]  # this machine's own callers need no key


def test_strangers_behind_a_proxy_are_told_nothing_of_what_waits(door):
    call = door.stranger()

    assert call("GET", "/v1/health/waiting", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 401
