"""Recording in a host's own transaction on PostgreSQL: sync and async SQLAlchemy, and plain cursors."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import attrs
import psycopg
import psycopg.rows
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tillport.adapters.conformance.event_log import EventLogCapabilities, event_log_laws, visible
from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.host import record_on, record_on_async, record_with
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.ports.event_log import Event, EventLog

LAWS = event_log_laws(EventLogCapabilities(several=False))
WAYS = ["async engine", "sync engine", "cursor"]


@attrs.define
class HostLog:
    """A log whose recording goes through a host's connection, committed by the host; it reads as ever."""

    url: str
    way: str
    reading: PostgresEventLog

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        if self.way == "async engine":
            engine = create_async_engine(self.url.replace("postgresql://", "postgresql+asyncpg://"))
            try:
                async with engine.begin() as connection:
                    new = await record_on_async(connection, events)
            finally:
                await engine.dispose()
        else:
            new = await asyncio.to_thread(self._record_in_thread, events)
        await self.reading.sequencer.sweep(at_once=True)
        return new

    def _record_in_thread(self, events: Sequence[Event]) -> Sequence[bool]:
        if self.way == "sync engine":
            engine = sa.create_engine(self.url.replace("postgresql://", "postgresql+psycopg://"))
            try:
                with engine.begin() as connection:
                    return record_on(connection, events)
            finally:
                engine.dispose()
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            return record_with(cursor, events, dialect="postgresql", paramstyle="format")

    def __getattr__(self, name: str):
        return getattr(self.reading, name)


@attrs.define
class HostBench:
    url: str
    way: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[EventLog]:
        store = PostgresStore(self.url)
        log = PostgresEventLog(store)
        try:
            yield HostLog(self.url, self.way, log)
        finally:
            await log.sequencer.idle()
            await store.aclose()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_recording_in_a_hosts_transaction_holds_the_law(law, way, database) -> None:
    await law(HostBench(database, way))


async def test_a_cursor_may_have_rows_of_its_owners_kind(database) -> None:
    async with aclosing(PostgresStore(database)) as store:
        await PostgresEventLog(store).head()
    with psycopg.connect(database, row_factory=psycopg.rows.dict_row) as connection:
        told = record_with(connection.cursor(), [event(1)], dialect="postgresql", paramstyle="format")
        assert told == [True]


async def test_event_and_effect_stand_and_fall_together(database) -> None:
    async with aclosing(PostgresStore(database)) as store:
        log = PostgresEventLog(store)
        engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"))
        try:
            async with engine.begin() as connection:
                await connection.execute(sa.text("CREATE TABLE orders (paid boolean)"))
            async with engine.connect() as connection:
                await connection.execute(sa.text("INSERT INTO orders VALUES (true)"))
                assert await record_on_async(connection, [event(1)]) == [True]
                await connection.rollback()
            for _ in range(2):
                async with engine.begin() as connection:
                    (new,) = await record_on_async(connection, [event(1)])
                    if new:
                        await connection.execute(sa.text("INSERT INTO orders VALUES (true)"))
            async with engine.begin() as connection:
                assert (await connection.execute(sa.text("SELECT count(*) FROM orders"))).scalar() == 1
        finally:
            await engine.dispose()
        await log.sequencer.sweep(at_once=True)
        await visible(log, [event(1)])
        await log.sequencer.idle()


async def test_a_transaction_that_stays_open_stalls_nobody_and_loses_nothing(database) -> None:
    async with aclosing(PostgresStore(database)) as store:
        log = PostgresEventLog(store)
        engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"))
        try:
            async with engine.begin() as connection:
                assert await record_on_async(connection, [event(1)]) == [True]
                assert list(await log.record([event(2), event(3)])) == [True, True]
                await visible(log, [event(2), event(3)])
                page = await log.read(after=0)
                assert [one.event.id for one in page.events] == ["evt_2", "evt_3"]
            await log.sequencer.sweep(at_once=True)
            await visible(log, [event(1)])
            assert [one.event.id for one in (await log.read(after=page.position)).events] == ["evt_1"]
        finally:
            await engine.dispose()
        await log.sequencer.idle()
