"""How many effects a second: recorded events to committed effects, on a PostgreSQL of its own, handlers that insert a row.

    python benchmarks/effects.py [--events 10000] [--rounds 3] [--workers 2]

The log and the effects share one database. First the events are recorded; then, with nothing else going on, enlisted
and performed by the loops that a service runs. Beside it, in the same run: the same inserts through the same engine,
each in a transaction of its own, without Tillport; and in batches of 100 in savepoints, which is what a round comes to.
"""

import argparse
import asyncio
import logging
import os
import statistics
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tillport.adapters.compose import Secret, open_stores, run_effects, system_clock
from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.effects import AsyncEffectQueue
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.adapters.sql.testing import PostgresServer
from tillport.domain import Handlers
from tillport.ports.event_log import Event

BODY = b'{"id": "evt", "object": "event", "data": "' + b"x" * 3500 + b'"}'
INSERT = text("INSERT INTO receipts (event_id, charge) VALUES (:event_id, :charge)")


async def write_receipt(connection: AsyncConnection, event: Event) -> None:
    await connection.execute(INSERT, {"event_id": event.id, "charge": event.transaction_id})


def engine_for(url: str) -> AsyncEngine:
    return create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=8)


async def prepare(server: PostgresServer) -> str:
    url = server.create_database()
    store = PostgresStore(url)
    await store.create_tables()
    await store.aclose()
    server.psql("CREATE TABLE receipts (event_id text, charge text)", database=url.rpartition("/")[2])
    return url


async def effects(server: PostgresServer, count: int, workers: int) -> float:
    """Return effects a second, from the first look at the log to the last commit."""
    url, clock = await prepare(server), system_clock()
    engine = engine_for(url)
    queue = AsyncEffectQueue(engine)
    handlers = Handlers[AsyncConnection]()
    handlers.on("charge.succeeded", name="receipts", from_start=True)(write_receipt)
    async with open_stores(Secret(url), clock) as stores:
        for start in range(0, count, 500):
            await stores.log.record(
                [event(number, body=BODY) for number in range(start, min(start + 500, count))]
            )
        while await stores.log.head() < count:  # noqa: ASYNC110 - a benchmark looks, no service does
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        async with run_effects(handlers, queue, stores=stores, workers=workers) as at_work:
            while sum(worker.done for worker in at_work.workers) < count:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
            seconds = time.perf_counter() - began
    await engine.dispose()
    found = int(server.psql("SELECT count(DISTINCT event_id) FROM receipts", database=url.rpartition("/")[2]))
    assert found == count, f"{found} receipts for {count} events"
    return count / seconds


async def in_savepoints(server: PostgresServer, count: int, workers: int) -> float:
    return await bare(server, count, workers, batch=100)


async def bare(server: PostgresServer, count: int, workers: int, *, batch: int = 1) -> float:
    """Return inserts a second without Tillport: `batch` in a transaction, each in a savepoint if there are several."""
    engine = engine_for(await prepare(server))

    async def work(part: range) -> None:
        for start in range(0, len(part), batch):
            async with engine.begin() as connection:
                for number in part[start : start + batch]:
                    values = {"event_id": f"evt_{number}", "charge": f"ch_{number}"}
                    if batch == 1:
                        await connection.execute(INSERT, values)
                        continue
                    async with connection.begin_nested():
                        await connection.execute(INSERT, values)

    async with engine.connect():
        began = time.perf_counter()
        await asyncio.gather(*(work(range(turn, count, workers)) for turn in range(workers)))
        seconds = time.perf_counter() - began
    await engine.dispose()
    return count / seconds


def database_seconds(server: PostgresServer) -> float:
    """Return the CPU seconds that the server and its backends, ended ones included, have used."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended just now; its parent counts it
        if server.pid == int(stat.parent.name):
            total += sum(map(int, fields[11:15]))
        elif server.pid == int(fields[1]):
            total += sum(map(int, fields[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


async def measured(server: PostgresServer, run: Coroutine[Any, Any, float], count: int) -> tuple[float, ...]:
    """Return the rate, and microseconds of CPU for each: ours and the database's, preparation included."""
    ours, theirs = time.process_time(), database_seconds(server)
    rate = await run
    return (
        rate,
        1e6 * (time.process_time() - ours) / count,
        1e6 * (database_seconds(server) - theirs) / count,
    )


async def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--events", type=int, default=10_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--workers", type=int, default=2)
    given = arguments.parse_args()
    logging.basicConfig(level=logging.WARNING)
    results: dict[str, list[tuple[float, ...]]] = {}
    with PostgresServer() as server:
        server.start()
        for _ in range(given.rounds):
            for name, run, count in (
                ("bare, one a transaction", bare, given.events // 4),
                ("bare, 100 in savepoints", in_savepoints, given.events // 2),
                ("Tillport's effects", effects, given.events),
            ):
                one = await measured(server, run(server, count, given.workers), count)
                results.setdefault(name, []).append(one)
    medians = {
        name: [statistics.median(each) for each in zip(*many, strict=True)] for name, many in results.items()
    }
    base = medians["bare, one a transaction"][0]
    print(
        f"{given.events} events of 3.5 KB, {given.workers} workers in one process; median of {given.rounds}"
    )
    for name, (rate, ours, theirs) in medians.items():
        print(
            f"{name:26} {rate:8,.0f}/s  {rate / base:5.2f} of bare   CPU us each: {ours:5.0f} ours {theirs:5.0f} database"
        )


if __name__ == "__main__":
    asyncio.run(main())
