"""Create the tables by ourselves where that is wanted: in a SQLite file, and in tests.

A database that people manage (PostgreSQL) is created and changed by migrations, by command.
"""

import sqlite3
from functools import cache
from typing import Any, Final

from sqlalchemy import Index, Table, create_mock_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from tillport.adapters.sql import effects_tables
from tillport.adapters.sql.schema import metadata, tables_for

REVISION: Final = "0002"
"""The migration that the tables of this version of Tillport amount to."""

_SAME_ON_SQLITE: Final = ("0001", REVISION)
"""What came after the first of these changed nothing on SQLite: such a file need not be upgraded."""

VERSION_TABLE: Final = "tillport_version"
"""Where a database notes its migration: Alembic's table under a name of its own, apart from the host's."""

_SWITCHES_MAX: Final = 20
"""How often the switch to WAL is tried again after somebody else was in the way; once is enough, as a rule."""

_IS_CREATED: Final = f"SELECT 1 FROM sqlite_master WHERE name = '{VERSION_TABLE}'"  # noqa: S608 - a constant


@cache
def ddl(dialect: str) -> tuple[str, ...]:
    """Return the statements that make a complete Tillport database of an empty one, its version noted.

    >>> sum(statement.startswith('CREATE TABLE "StripeEvents"') for statement in ddl("sqlite"))
    1
    """
    key = f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)"  # as Alembic makes it
    return (
        *tables_ddl(dialect),
        f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, {key})",
        f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{REVISION}')",  # noqa: S608 - two constants
    )


def tables_ddl(dialect: str) -> tuple[str, ...]:
    """Return the statements that create every table and index of a dialect where there are none.

    Those of the effects may be there: an embedder's queue made them first.
    """
    statements: list[str] = []

    def note(statement: Any, *_args: Any, **_kwargs: Any) -> None:
        if isinstance(statement, CreateTable | CreateIndex):
            statement.if_not_exists = _is_of_effects(statement.element)
        statements.append(str(statement.compile(dialect=engine.dialect)).strip())

    engine = create_mock_engine(f"{dialect}://", note)
    assert all(table.metadata is metadata for table in effects_tables.TABLES)
    metadata.create_all(engine, tables=tables_for(dialect), checkfirst=False)
    return tuple(statements)


def _is_of_effects(made: Table | Index) -> bool:
    return (made.table if isinstance(made, Index) else made) in effects_tables.TABLES


def create_sqlite(connection: sqlite3.Connection) -> None:
    """Put the tables into a SQLite file that has none, and switch it to WAL. Many may do this at the same time.

    Raises `sqlite3.Error`, among them an `OperationalError` for a file that needs another version of Tillport.
    """
    if connection.execute(_IS_CREATED).fetchone() is None:
        _switch_to_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute(_IS_CREATED).fetchone() is None:
                for statement in ddl("sqlite"):
                    connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    (revision,) = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
    if revision not in _SAME_ON_SQLITE:
        raise sqlite3.OperationalError(
            f"the file's tables are of version {revision}, this Tillport needs {REVISION}: run `tillport db upgrade`"
        )


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL, although others may be at the same.

    SQLite says "locked" at once, without its busy timeout, where two that wait for this switch would wait for each
    other. To begin a transaction is what does wait, so that is how the other's end is awaited.
    """
    for _ in range(_SWITCHES_MAX):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        else:
            return
    connection.execute("PRAGMA journal_mode=WAL")
