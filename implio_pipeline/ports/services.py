"""Everything a flow may touch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from implio_pipeline.domain.instants import ClockBounds
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.ports.access import People
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.clock import Clock, Identifiers
from implio_pipeline.ports.exports import Leftovers, SetAsideFiles
from implio_pipeline.ports.inbox import Inbox
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.landing import LandingZone
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.vault import Vault


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """Everything a flow may touch."""

    clock: Clock
    identifiers: Identifiers
    keychain: Keychain
    vault: Vault
    catalog: Catalog
    ledger: Ledger
    landing: LandingZone
    inbox: Inbox
    set_aside: SetAsideFiles
    leftovers: Leftovers
    people: People
    threads: int = 2
    versions: Mapping[str, str] = field(default_factory=dict)
    clock_bounds: ClockBounds = field(default_factory=ClockBounds)
    """How far the clock may disagree with what the home knows."""
    approvals: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    """When a second person is asked."""
