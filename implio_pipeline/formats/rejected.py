"""A bad item, as it is kept and reported."""

from dataclasses import dataclass

from implio_pipeline.domain.ids import sensitive
from implio_pipeline.formats.faults import Fault


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedItem:
    """A bad item, with all that is wrong with it."""

    position: int
    """Its index among the texts given, from 0."""
    task_id: str
    submitted_at_us: int
    reason: str
    """Stable code: `invalid-item`, `not-json`, `too-deep`, `too-large`, `wrong-cell-count`."""
    errors: list[Fault]
    original_ad: str = sensitive()
    user_id: str | None = sensitive()
    """At the first place that is meant for one."""
    other_ids: tuple[str, ...] = sensitive(default=())
    """Further ids that the text may be of."""
