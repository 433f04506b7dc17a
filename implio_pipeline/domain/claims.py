"""Claims on work: which worker does which piece of work at the moment.

Rules:

* A claim is a lease. Its holder renews it during the work. When the lease has ended, or the holder has died, the piece
  of work is anybody's.
* Each claim has a *fence*, a number that no other claim ever has. What a worker commits names its fences, and the
  catalog refuses the commit if one of them is no longer there. So a worker that was paused cannot commit over the one
  that took its work over.
* The lease is measured by the database's clock alone. The clocks of the workers do not matter.
* A claim holds no personal data: its unit is the opaque id of a file, a request or a team.

Source: M. Kleppmann, "How to do distributed locking" (2016), on leases and fencing tokens; decision 0093.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

LEASE = timedelta(seconds=30)
"""How long a claim lasts without being renewed: the longest time that a killed worker delays its piece of work."""
LONGEST_LEASE = timedelta(minutes=10)
"""A lease that ends later than this was written under another clock, or by somebody else, and counts as ended."""


class ClaimKind(StrEnum):
    """What kind of thing is claimed."""

    FILE = "file"
    """A vault file that is about to be replaced, whatever for: erasing, merging, applying decisions, new keys."""
    REQUEST = "request"
    """A deletion request whose end is being verified."""
    TEAM = "team"
    """What is done for a team as a whole, once at a time: its keys, its retention."""
    LANDING = "landing"
    """A landing file in a bucket."""
    INBOX = "inbox"
    """A request file in a bucket."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One piece of work in the hands of one holder."""

    kind: ClaimKind
    unit: str
    """Opaque id of the thing that is claimed, such as the id of a file."""
    fence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkInHand:
    """What workers are doing, in counts."""

    work: str
    """The name of the job."""
    workers: int
    claims: int
    oldest_seconds: float
    """The age of the oldest claim."""
    taken_over: int
    """How many of the claims were taken over from a worker that died or was paused."""
