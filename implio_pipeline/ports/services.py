"""Everything a flow may use.

A flow that needs one or two ports takes those; only a flow that needs many takes `Services`. An implementation opens
each store when it is first used.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

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


class Services(Protocol):
    """Everything a flow may use."""

    @property
    def clock(self) -> Clock:
        """The source of the current time."""

    @property
    def identifiers(self) -> Identifiers:
        """New ids and secrets."""

    @property
    def keychain(self) -> Keychain:
        """The team keys, and the values sealed under them."""

    @property
    def vault(self) -> Vault:
        """Encrypted files of items."""

    @property
    def catalog(self) -> Catalog:
        """Which files are live, requests, policies, queues."""

    @property
    def ledger(self) -> Ledger:
        """The signed log of what was requested and erased."""

    @property
    def landing(self) -> LandingZone:
        """Files of items that customers drop."""

    @property
    def inbox(self) -> Inbox:
        """Files of deletion requests that customers drop."""

    @property
    def set_aside(self) -> SetAsideFiles:
        """Landing and request files that could not be read, sealed."""

    @property
    def leftovers(self) -> Leftovers:
        """Temporary files that a killed process left."""

    @property
    def people(self) -> People:
        """Operators, by pseudonym."""

    @property
    def threads(self) -> int:
        """How many files a flow works on at the same time."""

    @property
    def workers(self) -> int:
        """How many workers share a job at most, in all processes together."""

    @property
    def lease(self) -> timedelta:
        """How long a worker's claim lasts if it is not renewed."""

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of this program and of the libraries that a receipt names."""

    @property
    def clock_bounds(self) -> ClockBounds:
        """How far the clock may disagree with what the home knows."""

    @property
    def epoch_length(self) -> timedelta:
        """How long deleted keys may be opened with old copies of a catalog that keeps deleted rows."""

    @property
    def approvals(self) -> ApprovalPolicy:
        """When a second person must approve a request."""
