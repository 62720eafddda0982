"""How many effects a second: recorded events to committed effects, on a PostgreSQL of its own, handlers that insert a row.

    python benchmarks/effects.py [--events 10000] [--rounds 3] [--workers 2]      (with ingest at work: ingest.py --effects)

The log and the effects share one database. First the events are recorded; then, with nothing else going on, enlisted
and performed by the loops that a service runs. Beside it, in the same run: the same inserts through the same engine,
each in a transaction of its own, without Tillport; and in batches of 100 in savepoints, which is what a round comes to.
CPU is told for each effect, ours and the database's, from the first look at the log to the last commit.
"""

import argparse
import asyncio
import logging
import statistics
import time

from ingesting._machine import cpu_seconds
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


Measured = tuple[float, float, float]
"""A rate a second; microseconds of CPU for each, ours and the database's."""


class Meter:
    """What so many things take from now on."""

    def __init__(self, server: PostgresServer, count: int) -> None:
        assert server.pid is not None
        self._database, self._count = server.pid, count
        self._began = self._now()

    def read(self) -> Measured:
        """Return what they took."""
        seconds, ours, theirs = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return self._count / seconds, 1e6 * ours / self._count, 1e6 * theirs / self._count

    def _now(self) -> Measured:
        return time.perf_counter(), time.process_time(), cpu_seconds(self._database)


def engine_for(url: str) -> AsyncEngine:
    return create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=8)


async def prepare(server: PostgresServer) -> str:
    url = server.create_database()
    store = PostgresStore(url)
    await store.create_tables()
    await store.aclose()
    server.psql("CREATE TABLE receipts (event_id text, charge text)", database=url.rpartition("/")[2])
    return url


async def effects(server: PostgresServer, count: int, workers: int) -> Measured:
    """Measure effects from the first look at the log to the last commit."""
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
        meter = Meter(server, count)
        async with run_effects(handlers, queue, stores=stores, workers=workers) as at_work:
            while sum(worker.done for worker in at_work.workers) < count:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
            measured = meter.read()
    await engine.dispose()
    found = int(server.psql("SELECT count(DISTINCT event_id) FROM receipts", database=url.rpartition("/")[2]))
    assert found == count, f"{found} receipts for {count} events"
    return measured


async def in_savepoints(server: PostgresServer, count: int, workers: int) -> Measured:
    return await bare(server, count, workers, batch=100)


async def bare(server: PostgresServer, count: int, workers: int, *, batch: int = 1) -> Measured:
    """Measure inserts without Tillport: `batch` in a transaction, each in a savepoint if there are several."""
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
        meter = Meter(server, count)
        await asyncio.gather(*(work(range(turn, count, workers)) for turn in range(workers)))
        measured = meter.read()
    await engine.dispose()
    return measured


async def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--events", type=int, default=10_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--workers", type=int, default=2)
    given = arguments.parse_args()
    logging.basicConfig(level=logging.WARNING)
    results: dict[str, list[Measured]] = {}
    with PostgresServer() as server:
        server.start()
        for _ in range(given.rounds):
            for name, run, count in (
                ("bare, one a transaction", bare, given.events // 4),
                ("bare, 100 in savepoints", in_savepoints, given.events // 2),
                ("Tillport's effects", effects, given.events),
            ):
                results.setdefault(name, []).append(await run(server, count, given.workers))
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
