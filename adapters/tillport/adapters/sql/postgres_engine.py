"""SQLAlchemy's async engine on the same URL that the service's own connections take."""

from functools import partial

import asyncpg  # type: ignore[import-untyped] # it ships no types
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tillport.adapters.sql.postgres_store import for_asyncpg


def engine_on(url: str) -> AsyncEngine:
    """Return an engine on a PostgreSQL database, the caller's to dispose of.

    asyncpg itself reads the URL: SQLAlchemy refuses `?sslmode=require`, which most who offer databases write into
    theirs, every other parameter of libpq's, and several hosts.
    """
    return create_async_engine(
        "postgresql+asyncpg://", async_creator=partial(asyncpg.connect, for_asyncpg(url))
    )
