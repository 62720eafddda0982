"""Bring a database's tables to this version of Tillport, by command, on the caller's own connection.

    with engine.begin() as connection:
        upgrade(connection)

Needs Alembic (`pip install 'tillport[sql]'`). Tillport's migrations note their version in a table of their own,
so they live beside the host's. A host that would rather have Tillport's tables in its own migrations gives
`schema.metadata_for("postgresql")` to its autogenerate, and never calls this.
"""

import asyncio
from collections.abc import Callable
from io import StringIO
from typing import Any, Final, TypeVar

import attrs
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from tillport.adapters.sql.creation import VERSION_TABLE
from tillport.adapters.sql.effects_tables import CREATION_LOCK as EFFECTS_LOCK
from tillport.adapters.sql.schema import metadata_for

T = TypeVar("T")

_UPGRADE_LOCK: Final = 0x7111_9047_0000_0003
"""Whoever upgrades a PostgreSQL database holds this advisory lock; others wait and then find nothing to do."""


@attrs.frozen(kw_only=True)
class Check:
    """How a database stands to this version of Tillport."""

    revision: str | None
    """The migration of ours that it is at, None if none was run: it has no tables yet, or a host made them."""
    wanted: str
    """The migration that this version needs."""
    differences: tuple[str, ...]
    """What differs from the tables that this version knows, in words; empty if nothing does."""

    @property
    def ok(self) -> bool:
        """Whether this version of Tillport may work on the database: whoever made the tables, they are as it knows them."""
        return self.revision in (self.wanted, None) and not self.differences


def upgrade(connection: Connection, *, revision: str = "head") -> None:
    """Run the migrations that are missing, inside the caller's transaction. The caller commits.

    Safe to run while writers are at work, and by several at once; does nothing on a database that is up to date.
    """
    if connection.dialect.name == "postgresql":
        for lock in (_UPGRADE_LOCK, EFFECTS_LOCK):
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
    elif not getattr(connection.connection.driver_connection, "in_transaction", True):
        # sqlite3 begins no transaction for CREATE TABLE by itself, so half an upgrade could stay.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def sql(dialect: str, *, start: str = "base", revision: str = "head") -> str:
    """Return the SQL of the migrations from `start` on, for people who run it themselves.

    >>> "CREATE TABLE" in sql("postgresql")
    True
    """
    output = StringIO()
    config = _config(output)
    config.attributes["dialect"] = dialect
    command.upgrade(config, f"{start}:{revision}" if start != "base" else revision, sql=True)
    return output.getvalue()


def check(connection: Connection) -> Check:
    """Compare a database with this version of Tillport. Changes nothing, and looks at our own tables only."""
    ours = metadata_for(connection.dialect.name)

    def is_ours(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema":
            return name is None  # the one that is looked at by default
        return (name if kind == "table" else parents.get("table_name")) in ours.tables

    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": VERSION_TABLE,
            "include_name": is_ours,
            "target_metadata": ours,
            "compare_type": True,
            # Alembic tells a sequence of a column's as its default; on SQLite it sees one missing that there never is.
            "compare_server_default": connection.dialect.name == "postgresql",
        },
    )
    differences = [_in_words(one) for one in compare_metadata(context, ours)]
    if connection.dialect.name == "postgresql":
        encoding = connection.execute(text("SHOW server_encoding")).scalar()
        if encoding not in ("UTF8", "SQL_ASCII", b"SQL_ASCII"):  # the latter takes whatever comes
            differences.append(f"encoding {encoding}, not UTF8: words in other scripts can't be recorded")
    return Check(
        revision=context.get_current_revision(), wanted=wanted_revision(), differences=tuple(differences)
    )


def wanted_revision() -> str:
    """Return the newest migration that this version of Tillport brings."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "the wheel holds the migrations"
    return revision


def revisions() -> list[str]:
    """Return every migration that this version of Tillport brings, in their order."""
    scripts = ScriptDirectory.from_config(_config())
    return [script.revision for script in scripts.walk_revisions()][::-1]


def _config(output: StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output is not None else Config()
    config.set_main_option("script_location", "tillport.adapters.sql:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _in_words(difference: Any) -> str:
    if isinstance(difference, list):  # several changes of one column
        return "; ".join(_in_words(one) for one in difference)
    kind, *details = difference
    return f"{kind} {', '.join(str(getattr(one, 'name', one)) for one in details if one is not None)}"


def on_database(url: str, work: Callable[[Connection], T]) -> T:
    """Run `work` in a transaction on the database of a URL (`sqlite:///…`, `postgresql://…`) and commit it.

    Call it where no event loop runs, from a command. Raises what `work` raises, and then nothing is committed.
    """
    if url.startswith("sqlite:"):
        engine = create_engine(url)
        try:
            with engine.begin() as connection:
                return work(connection)
        finally:
            engine.dispose()

    from tillport.adapters.sql.postgres_engine import engine_on  # needs greenlet, which SQLite does not

    async def through_asyncpg() -> T:
        engine = engine_on(url)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(through_asyncpg())
