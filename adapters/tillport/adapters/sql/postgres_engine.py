"""SQLAlchemy's async engine on the same URL that the service's own connections take."""

from functools import partial
from typing import Final

import asyncpg  # type: ignore[import-untyped] # it ships no types
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tillport.adapters.sql.postgres_session import SESSION_SETTINGS
from tillport.adapters.sql.postgres_store import CONNECT_SECONDS, for_asyncpg

_SETTINGS: Final = {**SESSION_SETTINGS, "idle_in_transaction_session_timeout": "60s"}
"""Without an end to a statement: a migration takes what it takes, and waits for another's."""


def engine_on(url: str) -> AsyncEngine:
    """Return an engine on a PostgreSQL database, the caller's to dispose of.

    asyncpg itself reads the URL: SQLAlchemy refuses `?sslmode=require`, which most who offer databases write into
    theirs, every other parameter of libpq's, and several hosts. Sessions are as `PostgresStore` has them: a client that
    vanished is noticed within seconds, and one that is silent in a transaction within a minute.
    """
    connect = partial(
        asyncpg.connect, for_asyncpg(url), timeout=CONNECT_SECONDS, server_settings=dict(_SETTINGS)
    )
    return create_async_engine("postgresql+asyncpg://", async_creator=connect)
