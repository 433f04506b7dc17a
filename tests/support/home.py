"""A home: the real stores in a folder, with a clock that only the test moves."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from implio_pipeline import wiring
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import Channel, FileKind, Region, TeamId
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.receipt import WholeReceipt
from implio_pipeline.domain.request import Request, RequestDraft
from implio_pipeline.domain.scope import Rule, Scope
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.files.submit import add_rows
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.stores.keys.ring import LocalKeyRing
from implio_pipeline.stores.set_aside import SetAside
from implio_pipeline.stores.vault.cluster import Bounds
from implio_pipeline.stores.vault.storage import RegionStorage
from implio_pipeline.stores.vault.vault import EncryptedVault
from support.changed import changed
from support.clock import NOW, StillClock
from support.grants import let_read
from support.items import Ad, table_of
from support.landing import LandingTables

ADS, CARS = TeamId("ads"), TeamId("cars")
SMALL_FILES = Bounds(rows=4)
NOBODY_APPROVES = ApprovalPolicy(is_asked=False)


@dataclass(kw_only=True)
class Home:
    """An open home."""

    path: Path
    clock: StillClock
    opened: wiring.OpenHome
    services: wiring.OpenHome
    vault: EncryptedVault
    landing: LandingTables

    def user_key(self, user: str, team: TeamId = ADS) -> bytes:
        return self.services.keychain.user_key(team, user)

    def table(self, ads: Iterable[Ad], *, team: TeamId = ADS, kind: FileKind = FileKind.ITEMS) -> pa.Table:
        return table_of(ads, kind=kind, user_key=lambda user: self.user_key(user, team))

    def keep(self, *ads: Ad, team: TeamId = ADS) -> None:
        """Put items into the vault, under the rules in force."""
        add_rows(self.services, self.services.catalog.teams.get(team), [self.table(ads, team=team)])

    def ask(self, *scopes: Scope, team: TeamId = ADS, received_at: datetime | None = None) -> list[Request]:
        """Send requests as an edge does; all of them are accepted."""
        answers = self.answers(*scopes, team=team, received_at=received_at)
        refused = [answer.facts for answer in answers if isinstance(answer, ImplioError)]
        assert not refused
        return [answer for answer in answers if isinstance(answer, Request)]

    def answers(
        self, *scopes: Scope, team: TeamId = ADS, received_at: datetime | None = None, **known: Any
    ) -> list[Request | ImplioError]:
        drafts = [self.draft(scope, team=team, received_at=received_at, **known) for scope in scopes]
        return accept(self.services, drafts)

    def draft(
        self, scope: Scope, *, team: TeamId = ADS, received_at: datetime | None = None, **known: Any
    ) -> RequestDraft:
        at = received_at or self.clock.now()
        return RequestDraft(team=team, scope=scope, channel=Channel.CLI, received_at=at, **known)

    def files(self, team: TeamId | None = None) -> list[VaultFile]:
        return list(self.services.catalog.manifest.files(team))

    def rows(self, team: TeamId | None = None, *, kind: FileKind = FileKind.ITEMS) -> list[dict[str, Any]]:
        """Read every live row from the files, by task id."""
        files = [file for file in self.files(team) if file.kind is kind]
        found = [
            row
            for sealed in self.services.catalog.manifest.sealed(files)
            for row in self.vault.read(sealed).to_pylist()
        ]
        return sorted(found, key=lambda row: str(row["task_id"]))

    def tasks(self, team: TeamId | None = None, *, kind: FileKind = FileKind.ITEMS) -> list[str]:
        return [row["task_id"] for row in self.rows(team, kind=kind)]

    def rules(self, team: TeamId = ADS) -> list[Rule]:
        return [tombstone.rule for tombstone in self.services.catalog.requests.tombstones(team)]

    def receipts(self) -> list[LedgerEntry]:
        """Return the whole receipts, oldest first."""
        return list(self.services.ledger.newest_first(WholeReceipt))[::-1]

    def stored(self) -> list[Path]:
        """Return every file below the vault's roots."""
        return sorted(path for path in (self.path / "vault").rglob("*") if path.is_file())


SETTINGS_OF_TESTS = {
    "IMPLIO_REQUESTS__APPROVALS": "none",  # tests of approvals turn them on
    "IMPLIO_CLOCK__BEHIND_MINUTES": "400000",  # tests of clocks set them
    "IMPLIO_CLOCK__AHEAD_DAYS": "400000",
    "IMPLIO_ACCESS__GRANTS": "none",  # tests of grants turn them on; the identity class always needs one
}
"""The variables that are set for all homes of the tests."""


@contextmanager
def a_home(folder: Path, *, at: datetime = NOW) -> Iterator[Home]:
    """Make a home with the teams `ads` (region eu) and `cars` (region us), which the tester may read, and open it."""
    with pytest.MonkeyPatch.context() as patched:
        # `init` would write what the tests set for all homes into the settings of this one.
        for variable in SETTINGS_OF_TESTS:
            patched.delenv(variable, raising=False)
        wiring.init_home(folder)
    with opened_at(folder, at=at) as home:
        add_team(home.services, ADS, region=Region("eu"))
        add_team(home.services, CARS, region=Region("us"))
        let_read(home.services, ADS, CARS)
        yield home


@contextmanager
def opened_at(
    folder: Path,
    *,
    at: datetime = NOW,
    bounds: Bounds = SMALL_FILES,
    landing: LandingTables | None = None,
    threads: int = 2,
    is_restoring: bool = False,
    approvals: ApprovalPolicy = NOBODY_APPROVES,
) -> Iterator[Home]:
    """Open a home like a new process, which knows only what is stored."""
    clock = StillClock(at)
    with wiring.open_home(folder, is_restoring=is_restoring) as opened:
        vault = EncryptedVault(opened.storage, opened.keychain, bounds=bounds, threads=threads)
        tables = landing or LandingTables()
        set_aside = SetAside(opened._place(opened.settings.set_aside.url), opened.catalog.set_aside_keys, clock)
        services = changed(opened, clock=clock, vault=vault, landing=tables, set_aside=set_aside, threads=threads)
        services = changed(services, approvals=approvals)
        timed = changed(opened, set_aside=set_aside)
        yield Home(path=folder, clock=clock, opened=timed, services=services, vault=vault, landing=tables)


def storage_of(opened: wiring.OpenHome, kind: type[RegionStorage] = RegionStorage) -> RegionStorage:
    return kind(opened.vault_places, cache=opened.cache)


def ring_of(home: Home) -> LocalKeyRing:
    return LocalKeyRing(home.path / "keys")
