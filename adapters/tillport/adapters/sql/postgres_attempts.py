"""The attempt book on PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from tillport.adapters.sql.attempts import SqlAttempts
from tillport.adapters.sql.postgres_store import POSTGRESQL, PostgresStore, StoreUnavailable, ValuesRefused
from tillport.ports.ledger import LedgerUnavailable


def postgres_attempts(store: PostgresStore) -> SqlAttempts:
    """Return the attempt book of a store."""

    async def fetch(text: str, values: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
        try:
            return [tuple(row) for row in await store.fetch(text, *values)]
        except (StoreUnavailable, ValuesRefused) as error:
            raise LedgerUnavailable(
                f"The ledger can't be read now. {error}",
                remedy="Look at the database: does it run, does it take connections? Then try again.",
            ) from error

    return SqlAttempts(POSTGRESQL, fetch)
