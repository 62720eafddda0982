"""The first tables: the event log, the charge ledger, the cursors and the effects.

Written out as they were, and never changed again: what comes later is a migration of its own. The tables of
effects may be there: an embedder's queue made them first.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQLITE = (
    """
    CREATE TABLE "StripeEvents" (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        payment_key TEXT NOT NULL,
        key_is_alias BOOLEAN NOT NULL,
        aliases TEXT NOT NULL,
        account TEXT,
        livemode BOOLEAN NOT NULL,
        api_version TEXT,
        request_key TEXT,
        created BIGINT NOT NULL,
        received_at DOUBLE NOT NULL,
        body TEXT NOT NULL,
        erased_at DOUBLE,
        UNIQUE (event_id)
    )
    """,
    'CREATE INDEX "ix_StripeEvents_created" ON "StripeEvents" (created)',
    'CREATE INDEX "ix_StripeEvents_id" ON "StripeEvents" (id)',
    'CREATE INDEX "ix_StripeEvents_payment_key" ON "StripeEvents" (payment_key)',
    'CREATE INDEX "ix_StripeEvents_received_at" ON "StripeEvents" (received_at)',
    'CREATE INDEX "ix_StripeEvents_type" ON "StripeEvents" (type, seq)',
    """
    CREATE TABLE tillport_aliases (
        alias TEXT NOT NULL,
        seq BIGINT NOT NULL,
        PRIMARY KEY (alias, seq)
    )
     WITHOUT ROWID
    """,
    """
    CREATE TABLE tillport_attempts (
        "key" TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        caller_id TEXT NOT NULL,
        token TEXT NOT NULL,
        amount_minor BIGINT NOT NULL,
        currency TEXT NOT NULL,
        details TEXT NOT NULL,
        started_at DOUBLE NOT NULL,
        tried_at DOUBLE NOT NULL,
        busy_until DOUBLE NOT NULL,
        tries INTEGER NOT NULL,
        state TEXT NOT NULL,
        outcome_body TEXT NOT NULL,
        payment_intent_id TEXT,
        charge_id TEXT,
        PRIMARY KEY ("key"),
        CONSTRAINT ck_tillport_attempts_tries CHECK (tries >= 1)
    )
    """,
    "CREATE INDEX ix_tillport_attempts_charge_id ON tillport_attempts (charge_id)",
    "CREATE INDEX ix_tillport_attempts_payment_intent_id ON tillport_attempts (payment_intent_id)",
    "CREATE INDEX ix_tillport_attempts_unsettled ON tillport_attempts (busy_until) WHERE state IN ('started', 'unknown')",
    """
    CREATE TABLE tillport_cursors (
        name TEXT NOT NULL,
        position BIGINT NOT NULL,
        owner TEXT,
        lease_until DOUBLE NOT NULL,
        PRIMARY KEY (name)
    )
     WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS tillport_effect_handlers (
        handler TEXT NOT NULL,
        position BIGINT NOT NULL,
        PRIMARY KEY (handler)
    )
     WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS tillport_effects (
        event_id TEXT NOT NULL,
        handler TEXT NOT NULL,
        position BIGINT NOT NULL,
        payment_key TEXT NOT NULL,
        in_order BOOLEAN NOT NULL,
        state TEXT NOT NULL,
        tries INTEGER NOT NULL,
        claims INTEGER NOT NULL,
        due_at DOUBLE NOT NULL,
        error TEXT,
        PRIMARY KEY (event_id, handler)
    )
     WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS ix_tillport_effects_due ON tillport_effects (handler, due_at, position) WHERE state = 'due'",
    "CREATE INDEX IF NOT EXISTS ix_tillport_effects_open ON tillport_effects (handler, payment_key, position) WHERE state IN ('due', 'dead')",
    """
    CREATE TABLE tillport_log_state (
        name TEXT NOT NULL,
        value BIGINT NOT NULL,
        PRIMARY KEY (name)
    )
     WITHOUT ROWID
    """,
    "INSERT INTO tillport_log_state (name, value) VALUES ('horizon', 0)",
    """
    CREATE TABLE tillport_tombstones (
        event_id TEXT NOT NULL,
        forgotten_at DOUBLE NOT NULL,
        xid BIGINT,
        PRIMARY KEY (event_id)
    )
     WITHOUT ROWID
    """,
)

_POSTGRESQL = (
    """
    CREATE TABLE "StripeEvents" (
        seq BIGINT GENERATED ALWAYS AS IDENTITY,
        event_id TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        payment_key TEXT NOT NULL,
        key_is_alias BOOLEAN NOT NULL,
        aliases TEXT NOT NULL,
        account TEXT,
        livemode BOOLEAN NOT NULL,
        api_version TEXT,
        request_key TEXT,
        created BIGINT NOT NULL,
        received_at DOUBLE PRECISION NOT NULL,
        body TEXT NOT NULL,
        erased_at DOUBLE PRECISION,
        PRIMARY KEY (seq),
        UNIQUE (event_id)
    )
    """,
    'ALTER TABLE "StripeEvents" ALTER COLUMN body SET STORAGE EXTERNAL',
    "COMMENT ON COLUMN \"StripeEvents\".aliases IS 'JSON array of every id that finds this event'",
    "COMMENT ON COLUMN \"StripeEvents\".body IS 'as it was signed; reduced by erasure'",
    "COMMENT ON COLUMN \"StripeEvents\".created IS 'Stripe''s time, Unix seconds'",
    "COMMENT ON COLUMN \"StripeEvents\".erased_at IS 'when personal data was erased from the body'",
    "COMMENT ON COLUMN \"StripeEvents\".id IS 'the transaction id of the seed''s table, not unique'",
    "COMMENT ON COLUMN \"StripeEvents\".received_at IS 'our time, Unix seconds'",
    'CREATE INDEX "ix_StripeEvents_created" ON "StripeEvents" USING brin (created)',
    'CREATE INDEX "ix_StripeEvents_id" ON "StripeEvents" (id)',
    'CREATE INDEX "ix_StripeEvents_payment_key" ON "StripeEvents" (payment_key)',
    'CREATE INDEX "ix_StripeEvents_received_at" ON "StripeEvents" USING brin (received_at)',
    'CREATE INDEX "ix_StripeEvents_type" ON "StripeEvents" (type, seq)',
    """
    CREATE TABLE tillport_aliases (
        alias TEXT NOT NULL,
        seq BIGINT NOT NULL,
        PRIMARY KEY (alias, seq)
    )
    """,
    "COMMENT ON TABLE tillport_aliases IS 'aliases that are neither the id nor the payment key of their event'",
    """
    CREATE TABLE tillport_attempts (
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        caller_id TEXT NOT NULL,
        token TEXT NOT NULL,
        amount_minor BIGINT NOT NULL,
        currency TEXT NOT NULL,
        details TEXT NOT NULL,
        started_at DOUBLE PRECISION NOT NULL,
        tried_at DOUBLE PRECISION NOT NULL,
        busy_until DOUBLE PRECISION NOT NULL,
        tries INTEGER NOT NULL,
        state TEXT NOT NULL,
        outcome_body TEXT NOT NULL,
        payment_intent_id TEXT,
        charge_id TEXT,
        PRIMARY KEY (key),
        CONSTRAINT ck_tillport_attempts_tries CHECK (tries >= 1)
    )
    """,
    "COMMENT ON COLUMN tillport_attempts.details IS 'JSON object: description, metadata'",
    "COMMENT ON COLUMN tillport_attempts.key IS 'the idempotency key that Stripe sees'",
    "COMMENT ON COLUMN tillport_attempts.outcome_body IS 'JSON object'",
    "COMMENT ON TABLE tillport_attempts IS 'every attempt to charge, written down before Stripe hears of it'",
    "CREATE INDEX ix_tillport_attempts_charge_id ON tillport_attempts (charge_id)",
    "CREATE INDEX ix_tillport_attempts_payment_intent_id ON tillport_attempts (payment_intent_id)",
    "CREATE INDEX ix_tillport_attempts_unsettled ON tillport_attempts (busy_until) WHERE state IN ('started', 'unknown')",
    """
    CREATE TABLE tillport_cursors (
        name TEXT NOT NULL,
        position BIGINT NOT NULL,
        owner TEXT,
        lease_until DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    "COMMENT ON TABLE tillport_cursors IS 'how far each consumer of the log has come, and who reads for it'",
    """
    CREATE TABLE IF NOT EXISTS tillport_effect_handlers (
        handler TEXT NOT NULL,
        position BIGINT NOT NULL,
        PRIMARY KEY (handler)
    )
    """,
    "COMMENT ON TABLE tillport_effect_handlers IS 'how far in the log each handler''s effects have been enlisted'",
    """
    CREATE TABLE IF NOT EXISTS tillport_effects (
        event_id TEXT NOT NULL,
        handler TEXT NOT NULL,
        position BIGINT NOT NULL,
        payment_key TEXT NOT NULL,
        in_order BOOLEAN NOT NULL,
        state TEXT NOT NULL,
        tries INTEGER NOT NULL,
        claims INTEGER NOT NULL,
        due_at DOUBLE PRECISION NOT NULL,
        error TEXT,
        PRIMARY KEY (event_id, handler)
    )
    """,
    "COMMENT ON COLUMN tillport_effects.position IS 'where the event stands in the log'",
    "COMMENT ON COLUMN tillport_effects.state IS 'due, done, dead or skipped'",
    "COMMENT ON TABLE tillport_effects IS 'what each handler is to do, once, about each event'",
    "CREATE INDEX IF NOT EXISTS ix_tillport_effects_due ON tillport_effects (handler, due_at, position) WHERE state = 'due'",
    "CREATE INDEX IF NOT EXISTS ix_tillport_effects_open ON tillport_effects (handler, payment_key, position) WHERE state IN ('due', 'dead')",
    """
    CREATE TABLE tillport_log_state (
        name TEXT NOT NULL,
        value BIGINT NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    "COMMENT ON TABLE tillport_log_state IS 'horizon: the newest position that retention took away'",
    "INSERT INTO tillport_log_state (name, value) VALUES ('horizon', 0)",
    """
    CREATE TABLE tillport_order (
        position BIGINT NOT NULL,
        seq BIGINT NOT NULL,
        PRIMARY KEY (position),
        UNIQUE (seq)
    )
    """,
    "COMMENT ON TABLE tillport_order IS 'which event stands at which position'",
    """
    CREATE TABLE tillport_pending (
        seq BIGINT NOT NULL,
        PRIMARY KEY (seq)
    )
    """,
    "COMMENT ON TABLE tillport_pending IS 'inserted, and not yet given a position'",
    """
    CREATE TABLE tillport_tombstones (
        event_id TEXT NOT NULL,
        forgotten_at DOUBLE PRECISION NOT NULL,
        xid BIGINT,
        PRIMARY KEY (event_id)
    )
    """,
    "COMMENT ON COLUMN tillport_tombstones.xid IS 'PostgreSQL: the row may go once no transaction older than this runs'",
    "COMMENT ON TABLE tillport_tombstones IS 'ids of events that retention took away: they are still never recorded again'",
)


def upgrade() -> None:
    """Create everything in an empty database."""
    dialect = op.get_context().dialect.name
    for statement in {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}[dialect]:
        op.execute(statement.strip())


def downgrade() -> None:
    """Refuse: a record of payments is not dropped by a command."""
    raise NotImplementedError(
        "Tillport's first tables hold the record of payments: drop them by hand, if ever."
    )
