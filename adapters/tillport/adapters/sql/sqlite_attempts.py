"""The attempt book in a SQLite file."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from tillport.adapters.sql.attempts import SqlAttempts
from tillport.adapters.sql.sqlite_file import StoreUnavailable
from tillport.adapters.sql.sqlite_store import SQLITE, SqliteStore
from tillport.ports.ledger import LedgerUnavailable


def sqlite_attempts(store: SqliteStore) -> SqlAttempts:
    """Return the attempt book of a store."""

    async def fetch(text: str, values: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
        def work(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(text, values).fetchall()

        try:
            return await store.read(work)
        except StoreUnavailable as error:
            raise LedgerUnavailable(
                f"The ledger can't be read now. {error}", remedy="Look at the database file, then try again."
            ) from error

    return SqlAttempts(SQLITE, fetch)
