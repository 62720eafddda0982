"""The tables, for SQLite and PostgreSQL, as SQLAlchemy metadata that a host may take into its own migrations.

Rules that everything else here follows:

* `StripeEvents` is only ever appended to. No row of it is updated on the hot path, because an update would write
  every index a second time and leave a dead row behind. (Erasure, which is rare, is the one exception.)
* `seq` says in which order rows were *inserted*; a **position** says where readers find an event. On SQLite there
  is one writer at a time and both are the same number. On PostgreSQL a transaction may commit long after it drew
  its `seq`, so a reader that follows `seq` would be overtaken. There `tillport_order` says which event stands where.
  We write it with the events, one commit at a time. What is recorded in a host's transaction waits in
  `tillport_pending` until that is committed. Nobody waits for anybody's open transaction.
* `id = 'x'` finds an event by any alias through three indexes: `id`, `payment_key` (where `key_is_alias`), and
  `tillport_aliases` for the aliases that are neither. Most events have none of those and cost nothing extra.
* An event id is never forgotten. Retention first writes a tombstone and later takes the row, so that at every
  moment one of the two is there to refuse a repetition.
"""

from typing import Any, Final

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    event,
    text,
)

metadata: Final = MetaData()
"""Every table of every dialect. Hosts that autogenerate migrations want `metadata_for` instead."""

_BIG: Final = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER can be SQLite's row id
_POSTGRESQL: Final[dict[Any, Any]] = {"only": "postgresql"}

events: Final = Table(
    "StripeEvents",
    metadata,
    Column("seq", _BIG, Identity(always=True), primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("id", Text, nullable=False, comment="the transaction id of the seed's table, not unique"),
    Column("type", Text, nullable=False),
    Column("payment_key", Text, nullable=False),
    Column("key_is_alias", Boolean, nullable=False),
    Column("aliases", Text, nullable=False, comment="JSON array of every id that finds this event"),
    Column("account", Text),
    Column("livemode", Boolean, nullable=False),
    Column("api_version", Text),
    Column("request_key", Text),
    Column("created", BigInteger, nullable=False, comment="Stripe's time, Unix seconds"),
    Column("received_at", Double, nullable=False, comment="our time, Unix seconds"),
    Column("body", Text, nullable=False, comment="as it was signed; reduced by erasure"),
    Column("erased_at", Double, comment="when personal data was erased from the body"),
    # Positions must never be given twice, not even after the newest rows were deleted.
    sqlite_autoincrement=True,
)
Index("ix_StripeEvents_id", events.c.id)
Index("ix_StripeEvents_payment_key", events.c.payment_key)
Index("ix_StripeEvents_type", events.c.type, events.c.seq)
# Times grow with the table, which is where a block range index costs next to nothing.
Index("ix_StripeEvents_created", events.c.created, postgresql_using="brin")
Index("ix_StripeEvents_received_at", events.c.received_at, postgresql_using="brin")

# Bodies of 3-4 KB: compressing each costs 40 % of the ingest rate and saves little.
_STORE_BODIES_PLAIN: Final = DDL(  # type: ignore[no-untyped-call] # SQLAlchemy's own gap
    'ALTER TABLE "StripeEvents" ALTER COLUMN body SET STORAGE EXTERNAL'
)
event.listen(events, "after_create", _STORE_BODIES_PLAIN.execute_if(dialect="postgresql"))

aliases: Final = Table(
    "tillport_aliases",
    metadata,
    Column("alias", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    comment="aliases that are neither the id nor the payment key of their event",
    sqlite_with_rowid=False,
)

tombstones: Final = Table(
    "tillport_tombstones",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("forgotten_at", Double, nullable=False),
    Column("xid", BigInteger, comment="PostgreSQL: the row may go once no transaction older than this runs"),
    comment="ids of events that retention took away: they are still never recorded again",
    sqlite_with_rowid=False,
)

pending: Final = Table(
    "tillport_pending",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    comment="inserted, and not yet given a position",
    info=_POSTGRESQL,
)

order: Final = Table(
    "tillport_order",
    metadata,
    Column("position", BigInteger, Identity(always=False), primary_key=True),
    Column("seq", BigInteger, nullable=False, unique=True),
    comment="which event stands at which position",
    info=_POSTGRESQL,
)

log_state: Final = Table(
    "tillport_log_state",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    comment="horizon: the newest position that retention took away",
    sqlite_with_rowid=False,
)

cursors: Final = Table(
    "tillport_cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("owner", Text),
    Column("lease_until", Double, nullable=False),
    comment="how far each consumer of the log has come, and who reads for it",
    sqlite_with_rowid=False,
)

attempts: Final = Table(
    "tillport_attempts",
    metadata,
    Column("key", Text, primary_key=True, comment="the idempotency key that Stripe sees"),
    Column("fingerprint", Text, nullable=False),
    Column("caller_id", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    # JSON, because people's words may hold characters that a text column does not take.
    Column("details", Text, nullable=False, comment="JSON object: description, metadata"),
    Column("started_at", Double, nullable=False),
    Column("tried_at", Double, nullable=False),
    Column("busy_until", Double, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("outcome_body", Text, nullable=False, comment="JSON object"),
    Column("payment_intent_id", Text),
    Column("charge_id", Text),
    CheckConstraint("tries >= 1", name="ck_tillport_attempts_tries"),
    comment="every attempt to charge, written down before Stripe hears of it",
)
# What a worker must settle: few rows of many, so the index holds only those.
_UNSETTLED: Final = text("state IN ('started', 'unknown')")
Index(
    "ix_tillport_attempts_unsettled",
    attempts.c.busy_until,
    sqlite_where=_UNSETTLED,
    postgresql_where=_UNSETTLED,
)
# `explain` and erasure come from the payment to the attempt.
Index("ix_tillport_attempts_charge_id", attempts.c.charge_id)
Index("ix_tillport_attempts_payment_intent_id", attempts.c.payment_intent_id)

# There from the start, so that whoever moves it need not ask whether it exists.
_HORIZON: Final = DDL(  # type: ignore[no-untyped-call] # SQLAlchemy's own gap
    "INSERT INTO tillport_log_state (name, value) VALUES ('horizon', 0)"
)
event.listen(log_state, "after_create", _HORIZON)


def tables_for(dialect: str) -> list[Table]:
    """Return the tables that a dialect (`sqlite`, `postgresql`) needs, in the order to create them."""
    # It takes `metadata` from here, so it can only be imported once this module is whole.
    from tillport.adapters.sql import effects_tables  # noqa: F401 - imported for what it puts into `metadata`

    return [table for table in metadata.sorted_tables if table.info.get("only", dialect) == dialect]


def metadata_for(dialect: str) -> MetaData:
    """Return metadata with the tables of one dialect alone, to be compared with a live database.

    >>> sorted(set(metadata.tables) - set(metadata_for("sqlite").tables))
    ['tillport_order', 'tillport_pending']
    """
    result = MetaData()
    for table in tables_for(dialect):
        table.to_metadata(result)
    return result
