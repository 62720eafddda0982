"""The bell on PostgreSQL holds every law of a doorbell, within a process and across processes."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tillport.adapters.conformance.doorbell import doorbell_laws
from tillport.adapters.conformance.samples import event
from tillport.adapters.memory.doorbell import RungByTheLog
from tillport.adapters.runtime.clock import SystemClock
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_doorbell import PostgresDoorbell
from tillport.adapters.sql.postgres_statements import record_statement, record_values
from tillport.adapters.sql.postgres_store import PostgresStore

LAWS = doorbell_laws(any_thread=True)


@asynccontextmanager
async def process(url):
    """What one service process has of it."""
    store = PostgresStore(url)
    log = PostgresEventLog(store)
    bell = PostgresDoorbell(store, log.sequencer, SystemClock(), sweep_seconds=0.2)
    running = asyncio.create_task(bell.run())
    try:
        async with asyncio.timeout(20):
            while not bell.listening:  # noqa: ASYNC110 - the listener has no event for it
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # the ring that follows a connection
        yield log, bell, store
    finally:
        running.cancel()
        await asyncio.wait([running])
        await log.sequencer.idle()
        await store.aclose()


@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_the_bell_holds_the_law(law, database) -> None:
    async with process(database) as (_, bell, _):
        await law(bell)


async def test_it_is_heard_in_every_process_when_there_is_something_to_read(database) -> None:
    async with AsyncExitStack() as stack:
        (log, _, _), *others = [await stack.enter_async_context(process(database)) for _ in range(3)]
        heard = [bell.rings for _, bell, _ in others]
        await log.record([event(1)])
        for (other, bell, _), before in zip(others, heard, strict=True):
            async with asyncio.timeout(30):
                await bell.wait(before, seconds=60)
            assert (await other.read(after=0)).events[0].event == event(1)


async def test_a_ring_reaches_other_processes(database) -> None:
    async with process(database) as (_, one, _), process(database) as (_, other, _):
        heard = other.rings
        one.ring()
        async with asyncio.timeout(30):
            await other.wait(heard, seconds=60)


async def test_a_batch_rings_once(database) -> None:
    async with process(database) as (log, bell, _), process(database) as (_, other, _):
        before, heard = bell.rings, other.rings
        await log.record([event(number) for number in range(20)])
        RungByTheLog(bell).ring()  # as the core does
        await other.wait(heard, seconds=60)
        await asyncio.sleep(0.05)
        assert (bell.rings - before, other.rings - heard) == (1, 1)


async def test_what_was_left_waiting_is_placed_though_nobody_tells(database) -> None:
    async with process(database) as (log, _, store):
        statement = record_statement(with_aliases=False)
        await store.fetch(
            statement, *record_values([event(1), event(2)])
        )  # as a host does who then can't notify
        async with asyncio.timeout(30):
            while await log.head() < 2:  # noqa: ASYNC110 - what is waited for is elsewhere
                await asyncio.sleep(0.02)


async def test_what_can_never_be_placed_does_not_end_the_listening(database) -> None:
    async with process(database) as (_, bell, _), process(database) as (log, other, store):
        await log.record([event(1)])
        await store.fetch("INSERT INTO tillport_pending SELECT seq FROM tillport_order")  # it has its place
        async with asyncio.timeout(20):
            while bell.listening:  # noqa: ASYNC110 - the listener has no event for it
                await asyncio.sleep(0.01)
            await store.fetch("DELETE FROM tillport_pending")
            while not (bell.listening and other.listening):  # noqa: ASYNC110 - the listeners have no event for it
                await asyncio.sleep(0.01)


async def test_it_listens_again_after_the_servers_crash(postgres, database) -> None:
    async with process(database) as (_, bell, _):
        postgres.kill()
        async with asyncio.timeout(30):
            while bell.listening:  # noqa: ASYNC110 - the listener has no event for it
                await asyncio.sleep(0.01)
        await asyncio.to_thread(postgres.start)
        async with asyncio.timeout(20):
            while not bell.listening:  # noqa: ASYNC110 - the listener has no event for it
                await asyncio.sleep(0.01)
        async with process(database) as (log, _, _):
            heard = bell.rings
            await log.record([event(1)])
            await bell.wait(heard, seconds=60)
            assert bell.rings > heard
