"""Record in a host's own transaction, so that the event and the host's effect of it stand or fall together.

    with engine.begin() as connection:                       # SQLAlchemy, sync
        (new,) = record_on(connection, [event])
        if new:
            connection.execute(orders.update()…)

    async with engine.begin() as connection:                 # SQLAlchemy, async
        (new,) = await record_on_async(connection, [event])

    with transaction.atomic(), django.db.connection.cursor() as cursor:       # Django, or plain DB-API
        (new,) = record_with(cursor, [event], dialect="postgresql", paramstyle="format")

Nothing here begins, commits or rolls back, and nothing wraps a host's connection in an engine of ours: that engine's
first look at it would silently end the host's transaction. An event recorded this way is in the log when the host
commits, and readers see it a moment after. A connection in autocommit, on which nothing was begun, is refused
(`NoTransaction`): the event would be there without the host's effect of it.

A host that catches an error of the database and goes on does what its database demands: on PostgreSQL, a savepoint.

On PostgreSQL a transaction that recorded something new commits to the disk, also where the host's `synchronous_commit`
is off. Record in READ COMMITTED, which is the default. A transaction in REPEATABLE READ or SERIALIZABLE sees the world of
its first statement: an event that somebody recorded since then fails it (SQLSTATE 40001, begin it again), and an event
that retention took away since then is neither row nor tombstone to it, so that it could record it once more.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import attrs
from sqlalchemy import Connection

from tillport.adapters.sql.autocommit import refuse_autocommit
from tillport.adapters.sql.postgres_statements import ANNOUNCE, PLAIN_VALUES, record_statement, record_values
from tillport.adapters.sql.sqlite_events import first_of_each, record_through
from tillport.adapters.sql.sqlite_writes import Execute
from tillport.ports.event_log import Event, refuse_unrecordable

if TYPE_CHECKING:  # it needs greenlet, which only those have who use it
    from sqlalchemy.ext.asyncio import AsyncConnection

Dialect: TypeAlias = Literal["sqlite", "postgresql"]
Paramstyle: TypeAlias = Literal["qmark", "format", "pyformat", "numeric_dollar"]
"""How the cursor wants its values marked: `?`, `%s` or `$1` (https://peps.python.org/pep-0249/#paramstyle)."""


class Cursor(Protocol):
    """What is used of a DB-API cursor (PEP 249)."""

    def execute(self, operation: str, parameters: Any = ..., /) -> Any:
        """Run one statement with its values."""
        ...

    def fetchall(self) -> Any:
        """Return the rows of the last statement."""
        ...


def record_on(connection: Connection, events: Sequence[Event]) -> list[bool]:
    """Record the events in the transaction of a SQLAlchemy connection, and say of each whether it is new.

    Everything else is as `EventLog.record` has it, except that the caller commits. Raises `EventRefused` before
    anything is written, and `NoTransaction` where each statement commits itself; and the database's own errors.
    """
    refuse_autocommit(connection.connection.dbapi_connection)
    style: Any = connection.dialect.paramstyle
    name: Any = connection.dialect.name
    return _record(connection.exec_driver_sql, events, name, style)


async def record_on_async(connection: "AsyncConnection", events: Sequence[Event]) -> list[bool]:
    """Record the events in the transaction of an async SQLAlchemy connection. See `record_on`."""
    return await connection.run_sync(record_on, events)


def record_with(
    cursor: Cursor, events: Sequence[Event], *, dialect: Dialect, paramstyle: Paramstyle
) -> list[bool]:
    """Record the events through a DB-API cursor, in whatever transaction its connection has. See `record_on`.

    Django's cursors are of the style `format` on every database.
    """

    refuse_autocommit(getattr(cursor, "connection", None))

    def execute(text: str, values: tuple[Any, ...]) -> _Rows:
        cursor.execute(text, values)
        return _Rows(cursor)

    return _record(execute, events, dialect, paramstyle)


@attrs.frozen
class _Rows:
    """What a cursor has to return, whatever kind of rows its owner likes."""

    _cursor: Cursor

    def fetchall(self) -> list[Sequence[Any]]:
        return [tuple(row.values()) if isinstance(row, Mapping) else row for row in self._cursor.fetchall()]


def _record(
    execute: Execute, events: Sequence[Event], dialect: Dialect, paramstyle: Paramstyle
) -> list[bool]:
    for event in events:
        refuse_unrecordable(event)
    if not events:
        return []
    if dialect == "postgresql":
        return _record_postgresql(execute, events, paramstyle)
    if dialect == "sqlite":
        return record_through(lambda text, values: execute(_marked(text, paramstyle), values), events)
    raise ValueError(f"Tillport has no tables for {dialect!r}.")


def _record_postgresql(execute: Execute, events: Sequence[Event], paramstyle: Paramstyle) -> list[bool]:
    values = record_values(events)
    if len(values) == PLAIN_VALUES:
        values += [[], []]
    statement, numbers = _postgresql_statement(paramstyle)
    result = execute(statement, tuple(values[number - 1] for number in numbers))
    new = {row[0] for row in result.fetchall()}
    if new:
        execute(ANNOUNCE, ())
    return first_of_each(events, new)


@cache
def _postgresql_statement(paramstyle: Paramstyle) -> tuple[str, tuple[int, ...]]:
    """Return the statement, and which value each of its marks stands for, in order."""
    if paramstyle == "numeric_dollar":
        return record_statement(with_aliases=True), tuple(range(1, PLAIN_VALUES + 3))
    numbers: list[int] = []

    def mark(number: int) -> str:
        return f"\0{number}\0"

    text = record_statement(mark, with_aliases=True).replace("%", "%%")
    parts = text.split("\0")
    numbers = [int(part) for part in parts[1::2]]
    return "%s".join(parts[0::2]), tuple(numbers)


def _marked(text: str, paramstyle: Paramstyle) -> str:
    """Turn the question marks of a statement of ours into the cursor's marks."""
    match paramstyle:
        case "qmark":
            return text
        case "format" | "pyformat":
            return text.replace("%", "%%").replace("?", "%s")
        case _:
            raise ValueError(f"SQLite has no paramstyle {paramstyle!r}.")


__all__ = ["Cursor", "Dialect", "Paramstyle", "record_on", "record_on_async", "record_with"]
