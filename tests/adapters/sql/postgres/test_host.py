"""Recording in a host's own transaction on PostgreSQL: the event stands or falls with it, and is seen soon after."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tillport.adapters.conformance.samples import event
from tillport.adapters.runtime.clock import SystemClock
from tillport.adapters.sql.autocommit import NoTransaction
from tillport.adapters.sql.host import record_on, record_on_async, record_with
from tillport.adapters.sql.postgres import PostgresEventLog, record_on_asyncpg
from tillport.adapters.sql.postgres_doorbell import PostgresDoorbell
from tillport.ports.selector import Compare


class GaveUp(Exception):
    """The host's reason to roll back."""


async def with_asyncpg(url, events, *, gives_up):
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            new = await record_on_asyncpg(connection, events)
            if gives_up:
                raise GaveUp
            return new
    finally:
        await connection.close()


async def with_psycopg(url, events, *, gives_up):
    def work():
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            new = record_with(cursor, events, dialect="postgresql", paramstyle="format")
            if gives_up:
                raise GaveUp
            return new

    return await asyncio.to_thread(work)


async def with_sqlalchemy_sync(url, events, *, gives_up):
    def work():
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        try:
            with engine.begin() as connection:
                new = record_on(connection, events)
                if gives_up:
                    raise GaveUp
                return new
        finally:
            engine.dispose()

    return await asyncio.to_thread(work)


async def with_sqlalchemy_async(url, events, *, gives_up):
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    try:
        async with engine.begin() as connection:
            new = await record_on_async(connection, events)
            if gives_up:
                raise GaveUp
            return new
    finally:
        await engine.dispose()


HOSTS = [with_asyncpg, with_psycopg, with_sqlalchemy_sync, with_sqlalchemy_async]
EVENTS = [event(2), event(1), event(2, aliases=("ch_2", "re_2")), event(3, aliases=("ch_3", "re_3"))]


@asynccontextmanager
async def following(store, **settings):
    log = PostgresEventLog(store)
    bell = PostgresDoorbell(store, log.sequencer, SystemClock(), **settings)
    running = asyncio.create_task(bell.run())
    try:
        async with asyncio.timeout(20):
            while not bell.listening:  # noqa: ASYNC110 - the listener has no event for it
                await asyncio.sleep(0.01)
        yield log, bell
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("host", HOSTS)
async def test_what_a_host_commits_is_in_the_log(host, store, database) -> None:
    async with following(store) as (log, _):
        assert await host(database, EVENTS, gives_up=False) == [True, True, False, True]
        async with asyncio.timeout(30):
            while await log.head() < 3:  # noqa: ASYNC110 - no bell is rung for this alone
                await asyncio.sleep(0.01)
        page = await log.read(after=0)
        assert [one.event for one in page.events] == [event(2), event(1), EVENTS[3]]
        assert (await log.read(after=0, where=Compare("id", "=", "re_2"))).events == ()
        assert len((await log.read(after=0, where=Compare("id", "=", "re_3"))).events) == 1
        assert await host(database, EVENTS, gives_up=False) == [False] * 4


@pytest.mark.parametrize("host", HOSTS)
async def test_what_a_host_rolls_back_was_never_recorded(host, store, database) -> None:
    log = PostgresEventLog(store)
    with pytest.raises(GaveUp):
        await host(database, EVENTS, gives_up=True)
    assert await log.record([event(1)]) == [True]


@pytest.mark.parametrize("weaker", ["off", "local"])
def test_what_a_host_recorded_is_on_the_disk_before_a_repetition_is_acknowledged(weaker, database) -> None:
    """A repetition is acknowledged without a commit that holds anything: the event is there. So it must stay there."""
    with psycopg.connect(database) as host, host.cursor() as cursor:
        host.execute(f"SET SESSION synchronous_commit = {weaker}")
        host.commit()
        record_with(cursor, [event(1)], dialect="postgresql", paramstyle="format")
        assert host.execute("SHOW synchronous_commit").fetchone() == ("on",)
        host.commit()
        record_with(cursor, [event(1)], dialect="postgresql", paramstyle="format")
        assert host.execute("SHOW synchronous_commit").fetchone() == (weaker,), "nothing new, nothing to keep"


async def test_a_hosts_commit_wakes_the_readers_at_once(store, database) -> None:
    async with following(store, sweep_seconds=3600.0) as (log, bell):
        await asyncio.sleep(0.2)  # the look that follows the connection
        heard = bell.rings
        await with_asyncpg(database, [event(1)], gives_up=False)
        await bell.wait(heard, seconds=20)
        assert (await log.read(after=0)).events[0].event == event(1)


async def test_a_repetition_of_what_a_host_still_holds_open_is_refused_for_now(store, database) -> None:
    log = PostgresEventLog(store)
    connection = await asyncpg.connect(database)
    try:
        opened = connection.transaction()
        await opened.start()
        await record_on_asyncpg(connection, [event(1)])
        with pytest.raises(Exception, match="55P03"):
            await log.record([event(1), event(2)])
        assert await log.record([event(2)]) == [True]
        await opened.rollback()
        assert await log.record([event(1)]) == [True]
    finally:
        await connection.close()
    await log.sequencer.idle()


async def by_asyncpg(url):
    connection = await asyncpg.connect(url)
    try:
        await record_on_asyncpg(connection, [event(1)])
    finally:
        await connection.close()


async def by_psycopg(url):
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        record_with(cursor, [event(1)], dialect="postgresql", paramstyle="format")


async def by_sqlalchemy_sync(url):
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    try:
        with engine.begin() as connection:
            record_on(connection, [event(1)])
    finally:
        engine.dispose()


async def by_sqlalchemy_async(url):
    engine = create_async_engine(
        url.replace("postgresql:", "postgresql+asyncpg:"), isolation_level="AUTOCOMMIT"
    )
    try:
        async with engine.begin() as connection:
            await record_on_async(connection, [event(1)])
    finally:
        await engine.dispose()


@pytest.mark.parametrize("host", [by_asyncpg, by_psycopg, by_sqlalchemy_sync, by_sqlalchemy_async])
async def test_a_connection_in_autocommit_is_refused_before_anything_is_written(
    host, store, database
) -> None:
    """The event would be there whatever became of the host's effect."""
    with pytest.raises(NoTransaction):
        await host(database)
    assert await store.fetch('SELECT 1 FROM "StripeEvents"') == []


async def test_a_transaction_that_the_host_began_in_autocommit_is_one(store, database) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        with connection.transaction(), connection.cursor() as cursor:
            new = record_with(cursor, [event(1)], dialect="postgresql", paramstyle="format")
        assert new == [True]
    engine = create_async_engine(
        database.replace("postgresql:", "postgresql+asyncpg:"), isolation_level="AUTOCOMMIT"
    )
    try:
        async with engine.connect() as connection:
            await connection.execute(sa.text("BEGIN"))
            assert await record_on_async(connection, [event(2)]) == [True]
            await connection.execute(sa.text("COMMIT"))
    finally:
        await engine.dispose()
    assert len(await store.fetch('SELECT 1 FROM "StripeEvents"')) == 2
