"""Alembic's way in: runs on the connection that it is handed, in whatever transaction that has, and nowhere else.

    config.attributes["connection"] = connection

There is no URL here on purpose: whose database, and when to commit, is the caller's business.
"""

from alembic import context

from tillport.adapters.sql.creation import VERSION_TABLE
from tillport.adapters.sql.schema import metadata_for

_connection = context.config.attributes.get("connection")
_dialect: str = _connection.dialect.name if _connection is not None else context.config.attributes["dialect"]

context.configure(
    connection=_connection,
    dialect_name=_dialect,
    target_metadata=metadata_for(_dialect),
    version_table=VERSION_TABLE,
)

with context.begin_transaction():
    context.run_migrations()
