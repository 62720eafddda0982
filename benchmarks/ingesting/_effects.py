"""Effects at work beside the service, in a process of their own: one handler that inserts a row for each event.

On PostgreSQL through SQLAlchemy's async engine, in the database of the log; on SQLite through `sqlite3`, in the file
of the log or in one beside it. The table takes a row twice, so that a doubled effect would be seen.
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import uvloop
from ingesting._progress import Progress
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tillport.adapters.compose import Secret, open_stores, run_effects, system_clock
from tillport.adapters.sql.effects import AsyncEffectQueue
from tillport.adapters.sql.effects_stacks import DbapiEffectQueue
from tillport.domain import Handlers
from tillport.ports.event_log import Event

_TABLE = "CREATE TABLE IF NOT EXISTS receipts (event_id text, charge text)"
_INSERT = text("INSERT INTO receipts (event_id, charge) VALUES (:event_id, :charge)")


async def write(connection: AsyncConnection, event: Event) -> None:
    """Insert the row, as a user of SQLAlchemy does."""
    await connection.execute(_INSERT, {"event_id": event.id, "charge": event.transaction_id})


def write_sqlite(cursor: sqlite3.Cursor, event: Event) -> None:
    """Insert the row with a plain cursor."""
    cursor.execute("INSERT INTO receipts (event_id, charge) VALUES (?, ?)", (event.id, event.transaction_id))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Any, Any]]:
    """Open the queue of a database, with its tables and ours, and say which handler is for it."""
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:///")

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            return connection

        with closing(connect()) as connection:
            connection.execute(_TABLE)
        blocking = DbapiEffectQueue(connect, threads=2)
        await blocking.create_tables()
        try:
            yield blocking, write_sqlite
        finally:
            await blocking.aclose()
        return
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=8)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(_TABLE))
        queue = AsyncEffectQueue(engine)
        await queue.create_tables()
        yield queue, write
    finally:
        await engine.dispose()


async def main(log_url: str, url: str, workers: str) -> None:
    """Act on what is recorded from now on, until nobody asks any more."""
    handlers = Handlers[Any]()
    async with AsyncExitStack() as stack:
        queue, function = await stack.enter_async_context(opened(url))
        handlers.on("charge.succeeded", name="receipts")(function)
        stores = await stack.enter_async_context(open_stores(Secret(log_url), system_clock()))
        at_work = await stack.enter_async_context(
            run_effects(handlers, queue, stores=stores, workers=int(workers))
        )
        await asyncio.to_thread(Progress(lambda: sum(worker.done for worker in at_work.workers)).answer)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
