"""How fast the log on PostgreSQL takes batches, beside asyncpg's bare insert into the same table, in one run.

    python benchmarks/postgres_log.py [--events 6000] [--rounds 3]

"Bare" is the plainest durable insert with the same 13 columns and indexes: no queue for positions, no tombstones, no
order of ids. "Log" is `PostgresEventLog.record` with the positions given, all of them before the clock stops. Both
take turns, on a fresh table each time. Events have bodies of 3.4 KB. Then: how long after `record` returned an
event can be read, with nothing else going on; and what a host's open transaction costs.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator

import asyncpg

from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.adapters.sql.rows import EVENT_COLUMNS, event_row
from tillport.adapters.sql.testing import PostgresServer
from tillport.ports.event_log import Event

BODY = b'{"x": "' + b"abcdefghij" * 340 + b'"}'
_TYPES = {"key_is_alias": "bool", "livemode": "bool", "created": "bigint", "received_at": "float8"}
_UNNEST = ", ".join(f"${n}::{_TYPES.get(name, 'text')}[]" for n, name in enumerate(EVENT_COLUMNS, 1))
BARE = (
    f'INSERT INTO "StripeEvents" ({", ".join(EVENT_COLUMNS)}) SELECT * FROM unnest({_UNNEST}) '
    "ON CONFLICT DO NOTHING RETURNING event_id"
)


def events(count: int, chance: random.Random) -> list[Event]:
    made = []
    for _ in range(count):
        word = f"{chance.getrandbits(96):024x}"
        made.append(
            Event(
                id=f"evt_1{word}",
                type="charge.succeeded",
                transaction_id=f"ch_3{word}",
                payment_key=f"pi_3{word}",
                aliases=(f"ch_3{word}", f"pi_3{word}"),
                created=1_763_900_000,
                received_at=time.time(),
                livemode=False,
                body=BODY,
                api_version="2026-05-27.dahlia",
                request_key=f"key_{word}",
            )
        )
    return made


async def rate(
    work: Callable[[list[Event]], Awaitable[object]], batches: list[list[Event]], at_once: int
) -> float:
    remaining: Iterator[list[Event]] = iter(batches)

    async def stream() -> None:
        for batch in remaining:
            await work(batch)

    began = time.perf_counter()
    await asyncio.gather(*(stream() for _ in range(at_once)))
    return sum(map(len, batches)) / (time.perf_counter() - began)


async def bare(url: str, batches: list[list[Event]], at_once: int) -> float:
    async with asyncpg.create_pool(url, min_size=at_once, max_size=at_once, reset=_nothing) as pool:

        async def work(batch: list[Event]) -> None:
            await pool.fetch(BARE, *zip(*map(event_row, batch), strict=True))

        return await rate(work, batches, at_once)


async def ours(url: str, batches: list[list[Event]], at_once: int) -> float:
    store = PostgresStore(url)
    log = PostgresEventLog(store)
    await log.record(batches[0][:1])
    began = time.perf_counter()
    await rate(log.record, batches, at_once)
    await log.sequencer.idle()
    elapsed = time.perf_counter() - began
    assert await log.head() == sum(map(len, batches))
    await store.aclose()
    return sum(map(len, batches)) / elapsed


async def _nothing(_: object) -> None: ...


async def fresh(server: PostgresServer) -> str:
    store = PostgresStore(server.create_database())
    await store.create_tables()
    await store.aclose()
    return store.url


async def compare(server: PostgresServer, size: int, at_once: int, count: int, rounds: int) -> None:
    chance = random.Random(size)
    rates: dict[str, list[float]] = {"bare": [], "log": []}
    for _ in range(rounds):
        batches = [events(size, chance) for _ in range(count // size)]
        rates["bare"].append(await bare(await fresh(server), batches, at_once))
        rates["log"].append(await ours(await fresh(server), batches, at_once))
    ratio = statistics.median(o / b for b, o in zip(rates["bare"], rates["log"], strict=True))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    print(
        f"batch {size:4}, {at_once} at once: bare {middle['bare']:7.0f}/s, log {middle['log']:7.0f}/s, ratio {ratio:.2f}"
    )


async def visibility(server: PostgresServer, count: int) -> None:
    store = PostgresStore(await fresh(server))
    log = PostgresEventLog(store)
    recorded, visible = [], []
    for event in events(count, random.Random(7)):
        began = time.perf_counter()
        await log.record([event])
        answered = time.perf_counter()
        while await log.find(event.id) is None:
            pass
        recorded.append(answered - began)
        visible.append(time.perf_counter() - answered)
    await store.aclose()
    for name, values in (("recorded after", recorded), ("visible after another", visible)):
        low, high = statistics.median(values), sorted(values)[int(0.99 * len(values))]
        print(f"{name}: median {low * 1000:.2f} ms, p99 {high * 1000:.2f} ms")


async def beside_an_open_transaction(server: PostgresServer, count: int) -> None:
    url = await fresh(server)
    host = await asyncpg.connect(url)
    opened = host.transaction(isolation="repeatable_read")
    await opened.start()
    await host.execute("CREATE TABLE hosts (n int)")
    chance = random.Random(3)
    parts = [await ours_again(url, [events(50, chance) for _ in range(count // 200)]) for _ in range(4)]
    print(
        "while a host's transaction stays open, a quarter each: " + ", ".join(f"{one:.0f}/s" for one in parts)
    )
    await opened.rollback()
    await host.close()


async def ours_again(url: str, batches: list[list[Event]]) -> float:
    store = PostgresStore(url)
    log = PostgresEventLog(store)
    result = await rate(log.record, batches, 2)
    await log.sequencer.idle()
    await store.aclose()
    return result


def fsync_ms() -> float:
    with tempfile.NamedTemporaryFile() as file:
        times = []
        for _ in range(100):
            file.write(b"x" * 8192)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"fdatasync of 8 KB: {fsync_ms():.2f} ms")
    with PostgresServer(settings={"shared_buffers": "256MB", "max_wal_size": "4GB"}) as server:
        for size in (50, 200):
            for at_once in (1, 2):
                await compare(server, size, at_once, options.events, options.rounds)
        await visibility(server, 200)
        await beside_an_open_transaction(server, options.events * 2)


if __name__ == "__main__":
    asyncio.run(main())
