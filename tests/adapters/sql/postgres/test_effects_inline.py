"""Inline effects on PostgreSQL: the event and its effect are both there, or neither."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.effects_inline import AsyncInlineLog, EffectFailed, InlineLog
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.domain.effects import inline
from tillport.domain.handlers import Handlers


@pytest.mark.parametrize("options", [{}, {"isolation_level": "AUTOCOMMIT"}], ids=["plain", "autocommit"])
async def test_the_event_and_its_effect_stand_or_fall_together(options, store, database) -> None:
    engine = create_async_engine(database.replace("postgresql:", "postgresql+asyncpg:"), **options)
    handlers = Handlers()

    @handlers.on("charge.succeeded", name="receipts")
    async def write(connection, event):
        await connection.execute(
            text("INSERT INTO receipts VALUES (:charge)"), {"charge": event.transaction_id}
        )
        if event.id == "evt_9":
            raise ValueError("no")

    log = AsyncInlineLog(PostgresEventLog(store), engine, partial(inline, handlers))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("DROP TABLE IF EXISTS receipts"))  # databases are lent again
            await connection.execute(text("CREATE TABLE receipts (charge text)"))
        told = await asyncio.gather(*(log.record([event(1)]) for _ in range(5)))
        assert sorted(new for (new,) in told) == [False] * 4 + [True]
        with pytest.raises(EffectFailed):
            await log.record([event(9)])
        async with engine.begin() as connection:
            assert (await connection.execute(text("SELECT charge FROM receipts"))).scalars().all() == ["ch_1"]
            found = await connection.execute(text('SELECT event_id FROM "StripeEvents"'))
            assert found.scalars().all() == ["evt_1"]
    finally:
        await engine.dispose()


@pytest.mark.parametrize("options", [{}, {"isolation_level": "AUTOCOMMIT"}], ids=["plain", "autocommit"])
async def test_so_they_do_on_a_blocking_engine(options, store, database) -> None:
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"), **options)

    async def act(_connection, event):
        if event.id == "evt_9":
            raise ValueError("no")

    log = InlineLog(PostgresEventLog(store), engine, act)
    try:
        assert await log.record([event(1)]) == [True]
        with pytest.raises(EffectFailed):
            await log.record([event(9)])
        with engine.connect() as connection:
            found = connection.execute(text('SELECT event_id FROM "StripeEvents"'))
            assert found.scalars().all() == ["evt_1"]
    finally:
        engine.dispose()
