"""SQL databases, through SQLAlchemy Core: the event log, the ledger and the cursors on SQLite and PostgreSQL."""
