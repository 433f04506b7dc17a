"""Callbacks: told once each, signed, tried again, and never about what was deleted."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

import pytest
from support.changed import changed
from support.clock import NOW
from support.crash import Crash, Tripwire, When, watched
from support.home import ADS, CARS, Home
from support.items import Ad
from support.moderation import MODERATOR, decided, keep_waiting

from implio_pipeline.domain.callback import (
    ABANDONED,
    MOST_ATTEMPTS,
    TEAM_SECONDS,
    TELL_WAITING_AFTER,
    CallbackSecrets,
    DeliveryResult,
)
from implio_pipeline.domain.errors import CallbackRefused, CallbackUnknown, KeyMissing
from implio_pipeline.domain.faults import FIRST_BACKOFF
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.moderation import Approve, Refuse
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByTask, ByUser
from implio_pipeline.flows.deletion.approval import approve
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.policy_changes import change_policy
from implio_pipeline.flows.moderation import send_webhooks as module
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.flows.moderation.decide import decide
from implio_pipeline.flows.moderation.send_webhooks import Deliverer, deliver_due
from implio_pipeline.flows.moderation.webhooks import (
    allow_hosts,
    remove_callback,
    secrets_of,
    set_callback,
    show_callback,
)
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.stores.webhook_client import HttpWebhookClient

HOST, URL = "hooks.example.com", "https://hooks.example.com/canary-path"


@dataclass
class Postbox(HttpWebhookClient):
    """A webhook client in memory; signing and checking are the real ones."""

    answers: list[DeliveryResult] = field(default_factory=list)
    sent: list[tuple[str, dict[str, object], Mapping[str, str]]] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        super().__init__(resolver=lambda host, port: ["93.184.216.34"])

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        self.sent.append((url, json.loads(body), headers))
        self.meanwhile()
        return self.answers.pop(0) if self.answers else DeliveryResult(status=200)


def told(home: Home, *ads: Ad) -> Postbox:
    """Return the postbox of a team that is told, with items that wait."""
    postbox = Postbox()
    allow_hosts(home.services, ADS, [HOST])
    set_callback(home.services, postbox, ADS, URL)
    keep_waiting(home, *(ads or (Ad(task="a", outcome=None), Ad(task="b", user="bob", outcome=None))))
    return postbox


@pytest.mark.parametrize("is_settled", [False, True])
def test_a_decision_is_told_once_with_ids_and_result_and_no_content(home: Home, is_settled: bool) -> None:
    postbox = told(home)
    decided(home, "a", Refuse(reasons=("spam",), note="a canary note"))
    if is_settled:
        apply_decisions(home.services)

    first, second = deliver_due(home.services, postbox), deliver_due(home.services, postbox)

    ((url, body, headers),) = postbox.sent
    secrets = secrets_of(home.services.catalog, home.services.keychain, ADS)
    assert (first.delivered, second.delivered, url) == (1, 0, URL)
    assert body == {
        "type": "decision",
        "deliveryId": headers["Implio-Delivery"],
        "decidedAt": "2026-03-01T12:00:00Z",
        "items": [{"id": "item of a", "batchId": "a batch", "taskId": "a"}],
        "result": {"outcome": "refused", "reasons": [{"name": "spam"}], "feedback": [], "actorId": MODERATOR},
    }
    assert headers["X-Api-Key"] == secrets.team_key
    signed = postbox.sign(secrets.signing_secret, json.dumps(body).encode(), at=NOW)
    assert headers["Implio-Signature"] == signed


def test_a_completed_deletion_is_told_with_its_receipt_and_nothing_personal(home: Home) -> None:
    postbox = told(home)
    (request,) = home.ask(ByUser(user_id="ann"))
    assert deliver_due(home.services, postbox).delivered == 0
    erase(home.services)

    deliver_due(home.services, postbox)

    (receipt,) = home.receipts()
    ((_, body, _),) = postbox.sent
    assert body == {
        "type": "deletion",
        "deliveryId": body["deliveryId"],
        "requestId": request.request_id,
        "kind": "user",
        "state": "completed",
        "completedAt": "2026-03-01T12:00:00Z",
        "outcome": {"matched": 1, "erased": 1, "withheld": 0, "newer": 0, "notReachable": 0},
        "why": "The item is erased. We checked: it is gone.",
        "receipt": f"sha256:{receipt.digest}",
    }


def test_what_is_deleted_before_it_was_told_is_told_never(home: Home) -> None:
    postbox = told(home)
    decided(home, "a", Approve())
    decided(home, "b", Approve())

    home.ask(ByUser(user_id="ann"))
    deliver_due(home.services, postbox)

    assert [body["items"][0]["taskId"] for _, body, _ in postbox.sent] == ["b"]
    assert home.services.catalog.callbacks.all(ADS) == []


def test_what_is_deleted_while_others_are_told_is_not_told_any_more(home: Home) -> None:
    postbox = told(home)
    decided(home, "a", Approve())
    decided(home, "b", Approve())
    postbox.meanwhile = lambda: home.ask(ByTask(task_id="b"))

    summary = deliver_due(home.services, postbox)

    assert (summary.delivered, summary.cancelled) == (1, 1)
    assert [body["items"][0]["taskId"] for _, body, _ in postbox.sent] == ["a"]


def test_a_delivery_of_a_cancelled_request_is_made_after_all(home: Home) -> None:
    home.services.catalog.teams.set_limits(ADS, cap_percent=100, grace_hours=1)
    postbox = told(home)
    decided(home, "a", Approve())
    (request,) = home.ask(ByUser(user_id="ann"))
    assert deliver_due(home.services, postbox).delivered == 0

    cancel(home.services, request.request_id)

    assert deliver_due(home.services, postbox).delivered == 1


def test_ten_attempts_are_made_ever_farther_apart_and_then_no_more(home: Home) -> None:
    postbox = told(home)
    decided(home, "a", Approve())
    postbox.answers = [DeliveryResult(status=500, code="http-500") for _ in range(MOST_ATTEMPTS)]

    waited, given_up = [], 0
    for _ in range(400):
        before = len(postbox.sent)
        given_up += deliver_due(home.services, postbox).given_up
        if len(postbox.sent) > before:
            waited.append(home.clock.now())
        home.clock.pass_by(timedelta(minutes=5))

    gaps = [later - earlier for earlier, later in pairwise(waited)]
    assert (len(postbox.sent), given_up) == (MOST_ATTEMPTS, 1)
    assert gaps == sorted(gaps)
    assert gaps[-1] > timedelta(hours=1)
    ids = {headers["Implio-Delivery"] for _, _, headers in postbox.sent}
    assert len(ids) == 1
    assert (show_callback(home.services, ADS).waiting, show_callback(home.services, ADS).given_up) == (0, 1)
    home.clock.pass_by(timedelta(days=31))
    assert housekeep(home.services).verdicts == 1
    assert home.services.catalog.callbacks.all(ADS) == []


def test_nobody_there_is_asked_once_a_run_and_holds_up_no_other_team(home: Home) -> None:
    postbox = told(home, *(Ad(task=f"t{number}", outcome=None) for number in range(5)))
    for number in range(5):
        decided(home, f"t{number}", Approve())
    postbox.answers = [DeliveryResult(status=None, code="callback-timeout")]

    first = deliver_due(home.services, postbox)
    second = deliver_due(home.services, postbox)

    assert (first.put_off, first.delivered, second.delivered) == (1, 0, 4)


def test_a_process_that_dies_after_sending_sends_again_under_the_same_id(home: Home) -> None:
    postbox = told(home)
    decided(home, "a", Approve())
    tripwire = Tripwire(at=2, when=When.BEFORE)  # the first call begins it, the second says that it was made

    with pytest.raises(Crash):
        deliver_due(watched(home.services, tripwire), postbox)
    assert deliver_due(home.services, postbox).delivered == 0
    home.clock.pass_by(timedelta(minutes=6))
    deliver_due(home.services, postbox)

    assert tripwire.calls[-1] == "catalog.callbacks.done"
    ids = [headers["Implio-Delivery"] for _, _, headers in postbox.sent]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_a_callback_goes_only_to_a_host_that_is_allowed_by_its_exact_name(home: Home) -> None:
    postbox = Postbox()
    allow_hosts(home.services, ADS, [HOST])

    for url in (
        "https://example.com/",
        "https://x.hooks.example.com/",
        "http://hooks.example.com/",
        "https://1.2.3.4/",
    ):
        with pytest.raises(CallbackRefused):
            set_callback(home.services, postbox, ADS, url)
    with pytest.raises(CallbackRefused):
        set_callback(home.services, postbox, CARS, URL)
    assert show_callback(home.services, ADS).host is None


def test_taking_a_host_off_the_list_takes_the_callback_and_its_deliveries(home: Home) -> None:
    postbox = told(home)
    decided(home, "a", Approve())

    allow_hosts(home.services, ADS, ["other.example.com"])

    assert show_callback(home.services, ADS).host is None
    assert deliver_due(home.services, postbox).delivered == 0
    with pytest.raises(CallbackUnknown):
        remove_callback(home.services, ADS)


def test_address_and_secrets_are_sealed_and_new_each_time(home: Home) -> None:
    postbox = told(home)
    first = secrets_of(home.services.catalog, home.services.keychain, ADS)

    second = set_callback(home.services, postbox, ADS, URL)

    assert {first.signing_secret, first.team_key}.isdisjoint({second.signing_secret, second.team_key})
    content = b"".join(path.read_bytes() for path in (home.path / "catalog").iterdir())
    for word in ("canary-path", second.signing_secret, second.team_key):
        assert word.encode() not in content
    remove_callback(home.services, ADS)
    assert home.services.catalog.teams.seals(ADS) == []


def test_a_team_without_a_callback_has_no_deliveries(home: Home) -> None:
    keep_waiting(home, Ad(task="a", outcome=None))
    decided(home, "a", Approve())
    home.ask(ByUser(user_id="ann"))
    erase(home.services)

    assert home.services.catalog.callbacks.all() == []


def test_a_receiver_that_takes_long_ends_its_teams_pass_and_the_rest_is_sent_in_the_next(home: Home) -> None:
    postbox = told(home, *(Ad(task=f"t{number}", outcome=None) for number in range(5)))
    for number in range(5):
        decided(home, f"t{number}", Approve())
    postbox.answers = [DeliveryResult(status=200, seconds=TEAM_SECONDS / 2)] * 5

    delivered = [deliver_due(home.services, postbox).delivered for _ in range(4)]

    assert delivered == [2, 2, 1, 0]


def test_a_delivery_that_was_broken_off_is_sent_again_at_once_and_is_no_attempt(home: Home) -> None:
    postbox = told(home)
    decided(home, "a", Approve())
    postbox.answers = [DeliveryResult(status=None, code=ABANDONED)] * MOST_ATTEMPTS

    put_off = sum(deliver_due(home.services, postbox).put_off for _ in range(MOST_ATTEMPTS))
    (left,) = home.services.catalog.callbacks.all(ADS)

    assert (put_off, left.attempts, left.given_up_at) == (MOST_ATTEMPTS, 0, None)
    assert deliver_due(home.services, postbox).delivered == 1
    assert len({headers["Implio-Delivery"] for _, _, headers in postbox.sent}) == 1


@pytest.mark.parametrize(
    "error", [OSError("disk"), ValueError("logic"), KeyMissing("gone")], ids=lambda it: type(it).__name__
)
def test_whatever_is_raised_for_one_team_is_told_and_the_other_teams_are_delivered(
    home: Home, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    postbox = told(home)
    allow_hosts(home.services, CARS, [HOST])
    set_callback(home.services, postbox, CARS, URL)
    home.keep(Ad(task="c", outcome=None), team=CARS)
    decided(home, "a", Approve())
    decide(home.services, CARS, "c", Approve(), by=MODERATOR)
    real = module.secrets_of

    def raising(catalog: Catalog, keychain: Keychain, team: TeamId) -> CallbackSecrets:
        if team == ADS:
            raise error
        return real(catalog, keychain, team)

    monkeypatch.setattr(module, "secrets_of", raising)
    first = deliver_due(home.services, postbox)
    again_at_once = deliver_due(home.services, postbox)
    monkeypatch.undo()
    home.clock.pass_by(FIRST_BACKOFF)
    later = deliver_due(home.services, postbox)

    assert list(first.failed) == [ADS]
    assert (first.delivered, again_at_once.failed, later.delivered) == (1, {}, 1)


def test_a_receiver_that_never_answers_holds_up_no_other_team_even_in_later_passes(home: Home) -> None:
    hangs, released = threading.Event(), threading.Event()

    class Hanging(Postbox):
        def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
            if "ads" in url:
                hangs.set()
                released.wait()
            return super().send(url, body, headers)

    postbox = Hanging()
    for team, task in ((ADS, "a"), (CARS, "c")):
        allow_hosts(home.services, team, [HOST])
        set_callback(home.services, postbox, team, f"https://{HOST}/{team}")
        home.keep(Ad(task=task, outcome=None), team=team)
    decided(home, "a", Approve())
    deliverer = Deliverer(home.services, postbox)
    deliverer.begin()
    hangs.wait()

    decide(home.services, CARS, "c", Approve(), by=MODERATOR)  # only now, while the other receiver hangs
    deliverer.begin()
    while not postbox.sent:
        deliverer.begin()

    assert [url for url, _, _ in postbox.sent] == [f"https://{HOST}/cars"]
    assert not released.is_set()
    released.set()
    deliverer.finish()
    assert len(postbox.sent) == 2


def test_what_waits_for_a_second_person_is_told_once_without_anything_personal_and_not_if_it_goes_on(
    home: Home,
) -> None:
    postbox = told(home, *(Ad(task=f"t{number}", user=f"canary {number % 2}", outcome=None) for number in range(10)))
    home.services = changed(home.services, approvals=ApprovalPolicy(cap_from_items=10))
    waiting, approved = home.ask(ByUser(user_id="canary 0"), ByUser(user_id="canary 1"))
    change = change_policy(home.services, ADS, policy=RetentionPolicy(keep_days=1), by="canary")
    approve(home.services, approved.request_id, name="Jane")

    deliver_due(home.services, postbox)
    home.clock.pass_by(TELL_WAITING_AFTER)
    deliver_due(home.services, postbox)
    deliver_due(home.services, postbox)

    policy, request = (body for _, body, _ in postbox.sent)
    assert (policy["type"], policy["changeId"], policy["items"]) == ("policy-approval-needed", change.change_id, 10)
    assert (request["type"], request["requestId"]) == ("approval-needed", waiting.request_id)
    assert (request["state"], request["items"]) == ("unapproved", 5)
    assert "canary" not in json.dumps([policy, request])
    assert home.services.catalog.callbacks.all() == []
