"""Forgetting on PostgreSQL beside those who are recording: no id is ever without its row or its tombstone."""

import asyncio
from contextlib import aclosing

import asyncpg

from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.postgres import PostgresEventLog, record_on_asyncpg
from tillport.adapters.sql.postgres_store import PostgresStore

WAITS_FOR_A_LOCK = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
FORGET = {"received_before": 1e12, "up_to": 1, "now": 1.0}


async def test_what_an_insert_that_has_written_nothing_yet_may_repeat_is_not_taken(database, store) -> None:
    """It looked for tombstones when it began, and waits for two hosts, one after the other, before it looks for rows."""
    patient = PostgresStore(database, lock_timeout_seconds=50, statement_timeout_seconds=60)
    log, repeated = PostgresEventLog(store), event(5)
    one, other = [await asyncpg.connect(database) for _ in range(2)]
    try:
        async with aclosing(patient):
            await log.record([repeated])
            first, second = one.transaction(), other.transaction()
            await first.start()
            await record_on_asyncpg(one, [event(1)])
            waits = asyncio.create_task(PostgresEventLog(patient).record([event(1), event(2), repeated]))
            async with asyncio.timeout(20):
                while not await store.fetch(WAITS_FOR_A_LOCK):  # noqa: ASYNC110 - the server sets no event
                    await asyncio.sleep(0.01)
            assert await log.forget(**FORGET) == 0, "it only marks, since the first host is at work"
            await second.start()
            await record_on_asyncpg(other, [event(2)])
            await first.commit()
            async with asyncio.timeout(20):
                while not await store.fetch(WAITS_FOR_A_LOCK):  # noqa: ASYNC110 - the server sets no event
                    await asyncio.sleep(0.01)
            await log.forget(**FORGET)
            await second.commit()
            assert await waits == [False, False, False]
            async with asyncio.timeout(20):
                while await log.forget(**FORGET) == 0:  # noqa: ASYNC110 - autovacuum may be at work
                    await asyncio.sleep(0.05)
            assert await log.record([repeated]) == [False]
    finally:
        await one.close()
        await other.close()


async def test_what_was_marked_on_another_server_is_taken_too(store) -> None:
    """A copy brings the tombstones along, and their transactions' numbers, which may lie far ahead here."""
    log = PostgresEventLog(store)
    await log.record([event(1)])
    await store.fetch("INSERT INTO tillport_tombstones VALUES ($1, 1.0, $2)", event(1).id, 2**40)
    async with asyncio.timeout(20):
        while await log.forget(**FORGET) == 0:  # noqa: ASYNC110 - autovacuum may be at work
            await asyncio.sleep(0.05)
    assert await log.record([event(1)]) == [False]
