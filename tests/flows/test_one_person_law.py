"""The law of the cap: no sequence of one person's acts, through any door, erases more than the cap allows.

A machine acts as Otto: under several spellings of his name, by keys that he made, by a request file, by accounts that
he lets in, by policies and by the cap itself. What each act is answered does not matter: what counts is what is gone.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.changed import changed
from support.depth import examples
from support.home import ADS, a_home
from support.items import Ad

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import Channel, RequestKind
from implio_pipeline.domain.plan import Appointment, ApprovalPolicy
from implio_pipeline.domain.request import Request, RequestDraft, RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.flows.accounts.api_keys import add_api_key, authenticate_api_key, rotate_api_key
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.approval import approve
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.deletion.policy_changes import approve_policy, change_policy
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.identity import identity_of

ITEMS, USERS = 60, 30
APPROVALS = ApprovalPolicy(cap_from_items=ITEMS)
WINDOW = timedelta(days=APPROVALS.window_days)
SPELLINGS = ("Otto", " otto ", "OTTO")
ACCOUNTS = ("Otto II", "Otto III")
OUTCOMES = ("approved", "refused")


@dataclass(frozen=True)
class Loss:
    """An item that is gone, and when Otto did what let it go."""

    task: str
    acted_at: datetime


class OnePerson(RuleBasedStateMachine):
    """Whatever Otto does, and however much time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()

    @initialize(grace_hours=st.sampled_from([0, 2]))
    def begin(self, grace_hours: int) -> None:
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(dir=_memory()))
        self.home = self.stack.enter_context(a_home(Path(folder) / "home"))
        self.services = self.home.services = changed(self.home.services, approvals=APPROVALS)
        self.services.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=grace_hours)
        self.there: dict[str, Ad] = {}
        self.losses: list[Loss] = []
        self.accepted: dict[str, datetime] = {}
        self.policies = [(self.now, RetentionPolicy())]
        self.caps = [(self.now, 20)]
        self.sizes: list[tuple[datetime, int]] = []
        self.let_in_at: dict[str, datetime] = {}
        self.key = add_api_key(self.services, ADS, label="shop", by="Otto")
        self.number = 0
        self.items_come_in(ITEMS)
        self.pass_by(timedelta(days=8))

    def teardown(self) -> None:
        self.stack.close()

    @property
    def now(self) -> datetime:
        return self.home.clock.now()

    # ---- what Otto does

    @rule(
        name=st.sampled_from(SPELLINGS),
        channel=st.sampled_from([Channel.PAGE, Channel.CLI, Channel.FILE]),
        data=st.data(),
    )
    def asks(self, name: str, channel: Channel, data: st.DataObject) -> None:
        self.ask(data.draw(self.scopes()), channel, asked_by=self.as_him(name))

    @rule(data=st.data())
    def asks_by_key(self, data: st.DataObject) -> None:
        found = authenticate_api_key(self.services, self.key[1])
        self.ask(data.draw(self.scopes()), Channel.API, asked_by=f"api key {found.key_id}", acts_for=found.made_by)

    @rule(first=st.integers(0, USERS), name=st.sampled_from(SPELLINGS + ACCOUNTS))
    def asks_many_small_ones(self, first: int, name: str) -> None:
        for user in range(first, first + 6):
            self.ask(ByUser(user_id=f"user {user % USERS}"), Channel.PAGE, asked_by=self.as_him(name))

    @rule(by=st.sampled_from(SPELLINGS))
    def replaces_the_key(self, by: str) -> None:
        self.key = rotate_api_key(self.services, self.key[0].key_id, grace=timedelta(), by=by)

    @rule(name=st.sampled_from(ACCOUNTS))
    def lets_an_account_in(self, name: str) -> None:
        by = "Otto" if name == "Otto II" or "Otto II" not in self.let_in_at else "Otto II"
        names = {
            "who": identity_of(self.services.keychain, ADS, name),
            "by": identity_of(self.services.keychain, ADS, by),
        }
        self.services.catalog.teams.add_appointment(Appointment(team=ADS, **names, at=self.now))
        self.let_in_at[name] = min(self.now, self.let_in_at[by]) if by in self.let_in_at else self.now

    @rule(name=st.sampled_from(SPELLINGS + ACCOUNTS))
    def approves(self, name: str) -> None:
        name = self.as_him(name)
        for request in self.services.catalog.requests.all(team=ADS):
            with suppress(ImplioError):
                approve(self.services, request.request_id, name=name)
        with suppress(ImplioError):
            self.in_force(approve_policy(self.services, ADS, name=name).policy)

    @rule(
        keep=st.sampled_from([None, 0, 3, 12, 400]),
        refused=st.sampled_from([None, 0, 2, 9]),
        name=st.sampled_from(SPELLINGS),
    )
    def changes_the_policy(self, keep: int | None, refused: int | None, name: str) -> None:
        by_outcome = {} if refused is None else {"refused": refused if keep is None else min(refused, keep)}
        policy = RetentionPolicy(keep_days=keep, by_outcome=by_outcome)
        if change_policy(self.services, ADS, policy=policy, by=name).is_alone:
            self.in_force(policy)

    @rule(percent=st.sampled_from([1, 5, 20, 60, 100]))
    def changes_the_cap(self, percent: int) -> None:
        if change_policy(self.services, ADS, cap_percent=percent, by="Otto").is_alone:
            self.caps.append((self.now, percent))

    @rule()
    def cancels(self) -> None:
        for request in self.services.catalog.requests.all(team=ADS)[-2:]:
            with suppress(ImplioError):
                cancel(self.services, request.request_id)

    @rule(data=st.data(), days=st.sampled_from([1, 30]))
    def places_a_hold(self, data: st.DataObject, days: int) -> None:
        until = self.now + timedelta(days=days)
        place_hold(
            self.services,
            HoldDraft(team=ADS, scope=data.draw(self.scopes()), until=until, words="a claim", holder="Otto"),
        )

    @rule()
    def releases_holds(self) -> None:
        for hold in self.services.catalog.holds.all(ADS):
            with suppress(ImplioError):
                release_hold(self.services, hold.hold_id)

    # ---- what happens

    @rule(number=st.integers(1, 20))
    def items_come_in(self, number: int) -> None:
        self.sizes.append((self.now, len(self.there)))
        new = []
        for _ in range(number):
            self.number += 1
            user, outcome = f"user {self.number % USERS}", OUTCOMES[self.number % 3 == 0]
            new.append(Ad(task=f"t{self.number}", user=user, outcome=outcome, at=self.now))
        self.home.keep(*new)
        kept = set(self.home.tasks(ADS))
        self.there |= {ad.task: ad for ad in new if ad.task in kept}

    @rule(
        span=st.sampled_from([timedelta(minutes=1), timedelta(hours=3), timedelta(days=2), timedelta(days=6, hours=23)])
    )
    def pass_by(self, span: timedelta) -> None:
        self.home.clock.pass_by(span)

    @invariant()
    def what_is_ready_is_carried_out(self) -> None:
        if not hasattr(self, "sizes"):
            return
        self.sizes.append((self.now, len(self.there)))
        for request in retain(self.services, today=self.now.date()):
            self.accepted[request.request_id] = request.accepted_at
        before, self.done = set(self.home.tasks(ADS)), self.completed()
        erase(self.services, again=True)
        for task in before - set(self.home.tasks(ADS)):
            self.losses += self.lost(self.there.pop(task))
        self.sizes.append((self.now, len(self.there)))

    # ---- the law

    @invariant()
    def no_window_saw_more_go_than_the_cap(self) -> None:
        for end in {loss.acted_at for loss in getattr(self, "losses", ())}:
            since = end - WINDOW
            gone = [loss for loss in self.losses if since < loss.acted_at <= end]
            before = [cap for at, cap in self.caps if at <= since][-1:]
            cap = max(before + [cap for at, cap in self.caps if since < at <= end])
            assert len(gone) <= APPROVALS.most_alone(team_items=self.items_on(since), cap_percent=cap)

    # ---- the model

    def ask(self, scope: Scope, channel: Channel, *, asked_by: str, acts_for: str | None = None) -> None:
        draft = RequestDraft(
            team=ADS, scope=scope, channel=channel, received_at=self.now, asked_by=asked_by, acts_for=acts_for
        )
        (answer,) = accept(self.services, [draft])
        if isinstance(answer, Request):
            self.accepted[answer.request_id] = answer.accepted_at

    def scopes(self) -> st.SearchStrategy[Scope]:
        users = st.integers(0, USERS - 1).map(lambda number: ByUser(user_id=f"user {number}"))
        tasks = st.integers(1, self.number).map(lambda number: ByTask(task_id=f"t{number}"))
        dates = st.integers(0, 3).map(
            lambda days: ByDates(start=self.now - timedelta(days=20), end=self.now - timedelta(days=days))
        )
        return st.one_of(users, tasks, dates, st.just(ByTeam()))

    def in_force(self, policy: RetentionPolicy) -> None:
        self.policies.append((self.now, policy))

    def completed(self) -> set[str]:
        states = [RequestState.COMPLETED]
        return {each.request_id for each in self.services.catalog.requests.all(team=ADS, states=states)}

    def as_him(self, name: str) -> str:
        """Return a name under which Otto acts: an account that he let in is a person of its own after the window."""
        is_his = name not in ACCOUNTS or (name in self.let_in_at and self.now - self.let_in_at[name] < WINDOW)
        return name if is_his else "Otto"

    def lost(self, ad: Ad) -> Iterator[Loss]:
        """Yield the loss of an item by its first cause; what came in under a policy in force is nobody's act."""
        carried_out = [RequestState.COMPLETED, RequestState.PARTLY_WITHHELD]  # a hold keeps a part, and lets go of it
        covering = [
            self.accepted[each.request_id]
            for each in self.services.catalog.requests.all(team=ADS, states=carried_out)
            if each.kind is not RequestKind.RETENTION and each.request_id not in self.done and self.covers(each, ad)
        ]
        if covering:
            yield Loss(ad.task, min(covering))
            return
        cause = None
        for at, policy in reversed(self.policies):
            if (self.now.date() - ad.at.date()).days <= policy.days_kept(ad.outcome):
                break
            cause = at
        assert cause is not None, "an item went by no act"
        if ad.at < cause:
            yield Loss(ad.task, cause)

    def covers(self, request: Request, ad: Ad) -> bool:
        rules = {each.request_id: each.rule for each in self.services.catalog.requests.tombstones(ADS)}
        scope = rules[request.request_id]
        if ad.at >= scope.before:
            return False
        match request.kind:
            case RequestKind.USER:
                return bool(scope.user_key == self.home.user_key(ad.user or ""))  # type: ignore[union-attr]
            case RequestKind.TASK:
                return bool(scope.task_key == self.services.identifiers.task_key(ad.task))  # type: ignore[union-attr]
            case RequestKind.DATES:
                return bool(scope.start <= ad.at < scope.end)  # type: ignore[union-attr]
            case _:
                return True

    def items_on(self, since: datetime) -> int:
        """Return how many items there were when the day of an instant began."""
        day = datetime.combine(since.date(), time(), since.tzinfo)
        return next((size for at, size in self.sizes if at >= day), len(self.there))


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


OnePerson.TestCase.settings = settings(
    max_examples=examples(8),
    stateful_step_count=20,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink would take minutes, and the steps are printed
    suppress_health_check=list(HealthCheck),
)
TestNoSequenceOfOnePersonsActsErasesMoreThanTheCapAllows = OnePerson.TestCase
