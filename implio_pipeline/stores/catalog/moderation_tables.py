"""The tables of verdicts, notes, callbacks and deliveries.

The tables of `TRACES` have rows about items. A request that covers an item takes these rows away (`withdrawal.py`), so
they have the columns that rules compare. `withdrawn_by` is the request that took a row and would give it back if it
were cancelled.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, UniqueConstraint

from implio_pipeline.domain.callback import CallbackEvent
from implio_pipeline.domain.ids import Outcome
from implio_pipeline.stores.catalog.column_types import Instant, Sequence, Text, Word
from implio_pipeline.stores.catalog.tables import SECRETS, metadata

decisions = Table(
    "decisions",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("task_id", Text(), nullable=False),
    Column("task_key", LargeBinary, nullable=False),
    Column("user_key", LargeBinary),
    Column("submitted_at", Instant, nullable=False),
    Column("outcome", Text(64)),
    Column("decided", Word(Outcome), nullable=False),
    Column("decided_at", Instant, nullable=False),
    Column("actor", Text(64), nullable=False),
    Column("queue", Text(128), nullable=False),
    Column("feed_at", BigInteger, nullable=False),
    Column("settled_at", Instant),
    Column("put_off_until", Instant),
    Column("withdrawn_by", Text(64), index=True),
    UniqueConstraint("team", "task_id"),
    Index(None, "team", "feed_at"),
    Index(None, "team", "settled_at"),
    Index(None, "team", "user_key"),
    Index(None, "team", "task_key"),
    Index(None, "team", "submitted_at"),
    sqlite_autoincrement=True,
)

sealed_decisions = Table(
    "sealed_decisions",
    metadata,
    Column("sequence", ForeignKey("decisions.sequence"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

sealed_notes = Table(
    "sealed_notes",
    metadata,
    Column("note", Sequence, primary_key=True, autoincrement=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("task_id", Text(), nullable=False),
    Column("task_key", LargeBinary, nullable=False),
    Column("user_key", LargeBinary),
    Column("submitted_at", Instant, nullable=False),
    Column("outcome", Text(64)),
    Column("written_at", Instant, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("withdrawn_by", Text(64), index=True),
    Index(None, "team", "user_key"),
    Index(None, "team", "task_key"),
    Index(None, "team", "submitted_at"),
)

feed_marks = Table(
    "feed_marks",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("newest", BigInteger, nullable=False),
)
"""The newest place of a team's feed. It outlives the verdicts, so that no place is used twice."""

callback_hosts = Table(
    "callback_hosts",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("host", Text(253), primary_key=True),
)

sealed_callbacks = Table(
    "sealed_callbacks",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("host", Text(253), nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery", Sequence, primary_key=True, autoincrement=True),
    Column("delivery_id", Text(64), nullable=False, unique=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("event", Word(CallbackEvent), nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("task_id", Text()),
    Column("task_key", LargeBinary),
    Column("user_key", LargeBinary),
    Column("submitted_at", Instant),
    Column("outcome", Text(64)),
    Column("request_id", Text(64)),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Instant, nullable=False, index=True),
    Column("error_code", Text(64)),
    Column("given_up_at", Instant),
    Column("withdrawn_by", Text(64), index=True),
    Index(None, "team", "user_key"),
    Index(None, "team", "task_key"),
    Index(None, "team", "submitted_at"),
)

TRACES = (decisions, sealed_notes, deliveries)
"""Tables that keep something of an item."""

SECRETS += [sealed_decisions, sealed_notes, sealed_callbacks]
