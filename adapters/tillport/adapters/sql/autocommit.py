"""Connections that commit each statement by itself: what must stand or fall together would not, on those.

An engine in AUTOCOMMIT gets a real isolation level for our transactions, and has its own back afterwards. A connection
that a host hands in is the host's to set, and is refused before anything is written.
"""

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from tillport.ports.event_log import LogUnavailable

if TYPE_CHECKING:  # it needs greenlet, which only those have who use it
    from sqlalchemy.ext.asyncio import AsyncConnection

_LEVELS: Final = {"postgresql": "READ COMMITTED", "sqlite": "SERIALIZABLE"}
"""What each database does by itself."""

_LEGACY: Final = -1
"""`sqlite3.LEGACY_TRANSACTION_CONTROL`, which Python 3.11 has no name for, nor any other way."""


class NoTransaction(LogUnavailable):
    """The connection is in autocommit: what belongs together would be committed apart. Nothing was written."""

    code = "no_transaction"


def level_for(connection: Connection) -> str | None:
    """Return the isolation level that an engine's new connection is to be given, None if it has one already.

    Raises `NoTransaction` if the driver is in autocommit and SQLAlchemy does not know: it would not put it back.
    """
    named = connection.get_execution_options().get("isolation_level")
    if named is None:
        # SQLAlchemy has no public word for it; where it had none at all, the driver's would be refused below.
        named = getattr(connection.dialect, "_on_connect_isolation_level", None)
    if named == "AUTOCOMMIT":
        return _LEVELS[connection.dialect.name]
    # sqlite3 without transactions of its own is well: we say BEGIN there.
    if getattr(connection.connection.dbapi_connection, "autocommit", False) is True:
        raise _refused("Hand in an engine whose driver's `autocommit` is off.")
    return None


async def set_level(connection: "AsyncConnection") -> None:
    """Give an async engine's new connection the level that it needs, if any. Raises as `level_for` does."""
    assert connection.sync_connection is not None
    level = level_for(connection.sync_connection)
    if level is not None:
        await connection.execution_options(isolation_level=level)


def refuse_autocommit(connection: Any) -> None:
    """Raise `NoTransaction` if a driver's connection, or SQLAlchemy's adapter of one, commits by itself now.

    One on which somebody has said BEGIN does not, whatever its settings.
    """
    driver = getattr(connection, "driver_connection", connection)
    if hasattr(driver, "in_transaction"):  # sqlite3's, or aiosqlite's
        mode = getattr(driver, "autocommit", _LEGACY)
        alone = driver.isolation_level is None if mode == _LEGACY else bool(mode)
        alone = alone and not driver.in_transaction
    else:
        # asyncpg itself has no setting: it is in autocommit until somebody begins.
        asyncpgs = connection is driver and hasattr(driver, "is_in_transaction")
        alone = getattr(connection, "autocommit", asyncpgs) is True and not _began(driver)
    if alone:
        raise _refused("Begin a transaction, and record in it.")


def _began(driver: Any) -> bool:
    if hasattr(driver, "is_in_transaction"):  # asyncpg's
        return bool(driver.is_in_transaction())
    # psycopg's and psycopg2's, where 0 is idle
    return bool(getattr(getattr(driver, "info", None), "transaction_status", 0))


def _refused(remedy: str) -> NoTransaction:
    return NoTransaction("The connection commits each statement by itself.", remedy=remedy)
