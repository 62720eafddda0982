"""Inline effects on PostgreSQL: the event and its effect are both there, or neither."""

import asyncio
from contextlib import nullcontext, suppress
from functools import partial

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.effects_inline import (
    AsyncInlineLog,
    EffectFailed,
    FailureHidden,
    HandlerEnded,
    InlineLog,
)
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


async def nothing(_connection, _event):
    pass


async def test_a_handler_that_hides_what_postgresql_refused_loses_no_event(store, database) -> None:
    """PostgreSQL gives up the transaction, and answers a commit of it as if nothing were the matter."""
    refused = text("SELECT 1 / 0")

    async def act_async(connection, _event):
        with suppress(DBAPIError):
            await connection.execute(refused)

    async def act(connection, _event):
        with suppress(DBAPIError):
            connection.execute(refused)

    engine = create_async_engine(database.replace("postgresql:", "postgresql+asyncpg:"))
    blocking = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    inner = PostgresEventLog(store)
    try:
        for log in (AsyncInlineLog(inner, engine, act_async), InlineLog(inner, blocking, act)):
            with pytest.raises(EffectFailed) as caught:
                await log.record([event(1)])
            assert isinstance(caught.value.__cause__, FailureHidden)
        assert await AsyncInlineLog(inner, engine, nothing).record([event(1)]) == [True]
        assert await InlineLog(inner, blocking, nothing).record([event(1), event(2)]) == [False, True]
    finally:
        await engine.dispose()
        blocking.dispose()


async def test_a_server_that_only_reads_is_left_as_soon_as_the_address_leads_to_one_that_writes(
    postgres, store, database
) -> None:
    """As after a failover, when the application met the server that was demoted first."""
    engine = create_async_engine(database.replace("postgresql:", "postgresql+asyncpg:"))
    blocking = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    inner, name = PostgresEventLog(store), database.rpartition("/")[2]
    logs = AsyncInlineLog(inner, engine, nothing), InlineLog(inner, blocking, nothing)
    postgres.psql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        for log in logs:
            with pytest.raises(EffectFailed):
                await log.record([event(1)])
        postgres.psql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert [await log.record([event(1)]) for log in logs] == [[True], [False]]
    finally:
        postgres.psql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await engine.dispose()
        blocking.dispose()


ENDS = ("commit", "rollback", "ROLLBACK", "ROLLBACK; SELECT 1")


@pytest.mark.parametrize("hides", [False, True], ids=["", "and hides it"])
@pytest.mark.parametrize("end", ENDS)
async def test_a_handler_that_ends_the_transaction_loses_no_event(end, hides, store, database) -> None:
    """Neither the async log nor the blocking one acknowledges what was rolled back, or lets a part be committed."""

    def ended(connection):
        with suppress(HandlerEnded) if hides else nullcontext():
            for words in end.split("; ") if end.isupper() else ():
                connection.execute(text(words))  # psycopg begins the next transaction by itself
            if end.islower():
                getattr(connection, end)()

    async def act_async(connection, event):
        await connection.run_sync(ended)

    async def act(connection, event):
        ended(connection)

    engine = create_async_engine(database.replace("postgresql:", "postgresql+asyncpg:"))
    blocking = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    try:
        for kind, on, acts in ((AsyncInlineLog, engine, act_async), (InlineLog, blocking, act)):
            for _ in range(2):
                with pytest.raises(EffectFailed) as caught:
                    await kind(PostgresEventLog(store), on, acts).record([event(1)])
                assert isinstance(caught.value.__cause__, HandlerEnded)
            assert await kind(PostgresEventLog(store), on, nothing).record([event(2)]) == [
                kind is AsyncInlineLog
            ]
        with blocking.connect() as connection:
            found = connection.execute(text('SELECT event_id FROM "StripeEvents"'))
            assert found.scalars().all() == ["evt_2"]
    finally:
        await engine.dispose()
        blocking.dispose()
