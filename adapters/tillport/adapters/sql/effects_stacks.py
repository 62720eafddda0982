"""Blocking ways to a database of effects: SQLAlchemy's engine, and plain DB-API.

queue = EngineEffectQueue(engine)                        # handlers get a Connection
queue = EngineEffectQueue(engine, lend=as_session)       # or a Session
queue = DbapiEffectQueue(lambda: sqlite3.connect(path))  # a cursor; psycopg's connect likewise
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Final, Generic, TypeVar, overload

import attrs
from sqlalchemy import Connection, Dialect, Engine, NestedTransaction, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tillport.adapters.sql.autocommit import level_for
from tillport.adapters.sql.effects_statements import IDLE_SECONDS, Values
from tillport.adapters.sql.effects_sync import SyncEffectQueue, Work, refuse_other_databases
from tillport.adapters.sql.postgres_session import only_reads
from tillport.adapters.sql.statements import Compiled, compiled
from tillport.ports.errors import TillportError

Tx = TypeVar("Tx")

# SQLAlchemy's engine -------------------------------------------------------------------------------------------------


def as_connection(connection: Connection) -> AbstractContextManager[Connection]:
    """Lend handlers the connection itself."""
    return nullcontext(connection)


@contextmanager
def as_session(connection: Connection) -> Iterator[Session]:
    """Lend handlers a session of their own, inside the transaction; what it holds is flushed when they return."""
    with Session(bind=connection, join_transaction_mode="create_savepoint") as session:
        yield session
        session.commit()


@overload
def EngineEffectQueue(
    engine: Engine, *, threads: int = 4, idle_seconds: float = IDLE_SECONDS
) -> SyncEffectQueue[Connection]: ...


@overload
def EngineEffectQueue(
    engine: Engine,
    *,
    lend: Callable[[Connection], AbstractContextManager[Tx]],
    threads: int = 4,
    idle_seconds: float = IDLE_SECONDS,
) -> SyncEffectQueue[Tx]: ...


def EngineEffectQueue(  # noqa: N802 - it is to its users what a class is
    engine: Engine,
    *,
    lend: Callable[[Connection], AbstractContextManager[Any]] = as_connection,
    threads: int = 4,
    idle_seconds: float = IDLE_SECONDS,
) -> SyncEffectQueue[Any]:
    """Return an effect queue on a SQLAlchemy engine of SQLite or PostgreSQL. The engine stays its owner's.

    `lend` makes what handlers get of the connection: `as_connection`, `as_session`, or your own. Raises `TypeError` for what is
    no engine, and `ValueError` for one of another database.
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"hand in what create_engine() returns, not {type(engine).__name__}")
    refuse_other_databases(engine.dialect.name)
    return SyncEffectQueue(_EngineStack(engine, lend), threads=threads, idle_seconds=idle_seconds)


@attrs.frozen
class _EngineStack(Generic[Tx]):
    _engine: Engine
    _lend: Callable[[Connection], AbstractContextManager[Tx]]

    @property
    def dialect(self) -> Dialect:
        return self._engine.dialect

    @contextmanager
    def transaction(self) -> Iterator[Work[Tx]]:
        with begun(self._engine) as connection:
            yield _EngineWork(connection, self._lend)

    def close(self) -> None:
        """Do nothing: the pool is the engine's."""


@contextmanager
def begun(engine: Engine) -> Iterator[Connection]:
    """Lend a connection inside a transaction, whatever the engine's isolation level: AUTOCOMMIT too.

    Commits at the end. Raises `NoTransaction` where there can't be one.
    """
    with engine.connect() as connection:
        level = level_for(connection)
        if level is not None:
            connection.execution_options(isolation_level=level)
        try:
            with connection.begin():
                driver = connection.connection.driver_connection
                if engine.dialect.name == "sqlite" and not getattr(driver, "in_transaction", False):
                    # sqlite3 begins by itself only before certain statements, and then DEFERRED.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
        except Exception as error:
            if only_reads(error):
                connection.invalidate()
            raise


@attrs.define
class _EngineWork(Generic[Tx]):
    _connection: Connection
    _lend: Callable[[Connection], AbstractContextManager[Tx]]
    _savepoint: NestedTransaction | None = attrs.field(init=False, default=None)

    def execute(self, statement: str, values: Values) -> Sequence[Sequence[Any]]:
        result = self._connection.execute(_text(statement), dict(values))
        return result.all() if result.returns_rows else ()

    def savepoint(self) -> None:
        self._savepoint = self._connection.begin_nested()

    def release(self) -> None:
        if self._savepoint is None or self._connection.get_nested_transaction() is not self._savepoint:
            raise RuntimeError("The handler left a savepoint open, or ended the transaction.")
        self._savepoint.commit()

    def undo(self) -> None:
        while (left := self._connection.get_nested_transaction()) is not self._savepoint:
            if left is None:
                raise RuntimeError("The handler ended the transaction.")
            left.rollback()
        if self._savepoint is not None:
            self._savepoint.rollback()

    def lend(self) -> AbstractContextManager[Tx]:
        return self._lend(self._connection)


@cache
def _text(statement: str) -> Any:
    return text(statement)


# DB-API --------------------------------------------------------------------------------------------------------------


def DbapiEffectQueue(  # noqa: N802 - it is to its users what a class is
    connect: Callable[[], Any], *, threads: int = 4, idle_seconds: float = IDLE_SECONDS
) -> SyncEffectQueue[Any]:
    """Return an effect queue on plain DB-API connections of SQLite (`sqlite3`) or PostgreSQL (`psycopg`).

    `connect` is called once for each thread and again when a connection failed; the connections are the queue's own.
    Handlers get a cursor. Raises `TypeError` for a connection in its place.
    """
    given: Any = connect
    if not callable(given) or hasattr(given, "cursor"):  # sqlite3's connections can be called, too
        raise TypeError("hand in a function that connects: lambda: sqlite3.connect(path)")
    return SyncEffectQueue(_DbapiStack(connect), threads=threads, idle_seconds=idle_seconds)


_QMARK: Final = sqlite.dialect(paramstyle="qmark")
_FORMAT: Final = postgresql.dialect(paramstyle="format")  # type: ignore[no-untyped-call] # SQLAlchemy's own gap


@attrs.define(eq=False)
class _DbapiStack:
    _connect: Callable[[], Any]
    _local: threading.local = attrs.field(init=False, factory=threading.local)

    @property
    def dialect(self) -> Dialect:
        return _QMARK if isinstance(self._connection(), sqlite3.Connection) else _FORMAT

    @contextmanager
    def transaction(self) -> Iterator[Work[Any]]:
        connection = self._connection()
        try:
            with _closing(connection.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE" if isinstance(connection, sqlite3.Connection) else "BEGIN")
                work = _DbapiWork(connection, cursor, self.dialect)
                yield work
                cursor.execute("COMMIT")
        except BaseException:
            self.close()  # which rolls back; and a connection that failed is not trusted again
            raise

    def close(self) -> None:
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            connection.close()

    def _connection(self) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            if isinstance(connection, sqlite3.Connection):
                if getattr(connection, "autocommit", -1) != -1:  # Python 3.12's way
                    connection.autocommit = True  # type: ignore[attr-defined] # not in 3.11
                connection.isolation_level = None  # transactions begin and end where we say so
            else:
                connection.autocommit = True
            self._local.connection = connection
        return connection


@attrs.frozen
class _DbapiWork:
    _connection: Any
    _cursor: Any
    _dialect: Dialect

    def execute(self, statement: str, values: Values) -> Sequence[Sequence[Any]]:
        bound = positional(statement, self._dialect)
        self._cursor.execute(bound.text, bound.positional(**values))
        return rows_of(self._cursor)

    def savepoint(self) -> None:
        self._cursor.execute("SAVEPOINT tillport_effect")

    def release(self) -> None:
        self._cursor.execute("RELEASE SAVEPOINT tillport_effect")

    def undo(self) -> None:
        self._cursor.execute("ROLLBACK TO SAVEPOINT tillport_effect")
        self.release()

    def lend(self) -> AbstractContextManager[Any]:
        cursor = self._connection.cursor()
        if type(cursor) is sqlite3.Cursor:  # who has a class of their own gets that
            cursor = self._connection.cursor(_NoScripts)
        return _closing(cursor)


class ScriptRefused(TillportError):
    """A handler ran a script: before its first statement sqlite3 would have committed the mark that all is done."""

    code = "script_refused"


class _NoScripts(sqlite3.Cursor):
    def executescript(self, _: str, /) -> sqlite3.Cursor:
        raise ScriptRefused(
            "sqlite3 commits before it runs a script, and with it the mark that the handler is done.",
            remedy="Run the statements one by one, with execute().",
        )


@contextmanager
def _closing(cursor: Any) -> Iterator[Any]:
    try:
        yield cursor
    finally:
        cursor.close()


@cache
def positional(statement: str, dialect: Dialect) -> Compiled:
    """Return one of our texts for a cursor that takes values by position."""
    return compiled(text(statement), dialect)


def rows_of(cursor: Any) -> list[Sequence[Any]]:
    """Return what a cursor has to return, whatever kind of rows its owner likes."""
    if cursor.description is None:
        return []
    return [tuple(row.values()) if isinstance(row, Mapping) else row for row in cursor.fetchall()]
