"""The network to the effects' database swallows everything, or a worker stands still in its transaction.

Nobody waits for ever, the effect in hand is somebody else's soon, and when the network is back, so is the queue.
"""

import asyncio
import threading
import time
from contextlib import aclosing, asynccontextmanager

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from tillport.adapters.conformance.effects import claim, effect, enlist
from tillport.adapters.conformance.proxy import TcpProxy
from tillport.adapters.conformance.samples import NOON, event
from tillport.adapters.sql.effects import AsyncEffectQueue, as_async_session
from tillport.adapters.sql.effects_inline import AsyncInlineLog, EffectFailed
from tillport.adapters.sql.effects_stacks import DbapiEffectQueue, EngineEffectQueue
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_engine import engine_on
from tillport.ports.event_log import LogUnavailable

STATEMENT_SECONDS, IDLE_SECONDS = 1.0, 2.0
WAIT_SECONDS_MAX = 20.0
"""Twice a statement's time and the two seconds that SQLAlchemy waits for a connection to close; and a busy machine's."""
LATER = NOON + 60
"""When the claims of the first worker have ended."""

SETTINGS = (
    "idle_in_transaction_session_timeout",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
)
SHOW = f"SELECT {', '.join(f'current_setting({name!r})' for name in SETTINGS)}"


@asynccontextmanager
async def open_queue(url, **options):
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    try:
        yield AsyncEffectQueue(engine, **options)
    finally:
        await engine.dispose()


@asynccontextmanager
async def behind_a_proxy(postgres, database, **options):
    """Open a queue behind a network that can fail, and one that nothing stands before."""
    limits = {"statement_seconds": STATEMENT_SECONDS, "idle_seconds": IDLE_SECONDS}
    async with TcpProxy(target_port=postgres.port) as proxy:
        through = database.replace(f":{postgres.port}/", f":{proxy.port}/")
        async with open_queue(through, **limits, **options) as here, open_queue(database) as there:
            yield proxy, here, there


async def run_nothing(_transaction, _effect):
    pass


async def take_over(queue, count=1):
    """Perform so many effects, each as soon as it is not locked any more."""
    done = 0
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while done < count:
            taken = await claim(queue, LATER, seconds=-1)  # a claim that has ended already
            done += sum(one.done for one in await queue.perform(taken, run_nothing))
            await asyncio.sleep(0.02)


async def test_no_statement_of_ours_is_waited_for_for_ever(postgres, database) -> None:
    async with behind_a_proxy(postgres, database) as (proxy, queue, _):
        await enlist(queue, effect(1))
        taken = await claim(queue)
        for call in (
            lambda: queue.begin("another", position=0),
            lambda: claim(queue),
            lambda: queue.perform(taken, run_nothing),
            queue.standings,
        ):
            proxy.black_hole()
            began = time.monotonic()
            with pytest.raises(LogUnavailable):
                await asyncio.wait_for(call(), WAIT_SECONDS_MAX)
            assert time.monotonic() - began < WAIT_SECONDS_MAX
            await proxy.heal()
            assert (await queue.standings())[0].due == 1, "and the network is back: the connection is another"


@pytest.mark.parametrize("lend", [None, as_async_session], ids=["connection", "session"])
async def test_a_network_that_dies_under_a_handler_costs_that_round_alone(lend, postgres, database) -> None:
    options = {} if lend is None else {"lend": lend}
    async with behind_a_proxy(postgres, database, **options) as (proxy, queue, healthy):
        await enlist(queue, effect(1), effect(2))

        async def cut_off(transaction, _effect):
            await transaction.execute(text("SELECT 1"))
            proxy.black_hole()

        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.perform(await claim(queue), cut_off), 2 * WAIT_SECONDS_MAX)
        assert time.monotonic() - began < WAIT_SECONDS_MAX
        await take_over(healthy, 2)  # what is held up in the proxy is an open connection to the server


async def test_a_worker_that_stands_still_loses_its_effects_to_another(database) -> None:
    async with open_queue(database, idle_seconds=0.5) as here, open_queue(database) as there:
        await enlist(here, effect(1))

        standing = asyncio.Event()

        async def stand_still(connection, _effect):
            await connection.execute(text("SELECT 1"))
            standing.set()
            await asyncio.sleep(2 * WAIT_SECONDS_MAX)

        slow = asyncio.ensure_future(here.perform(await claim(here), stand_still))
        await standing.wait()
        try:
            await take_over(there)
        finally:
            slow.cancel()
            await asyncio.wait([slow])


async def test_a_blocking_worker_that_stands_still_loses_them_too(database) -> None:
    queue = DbapiEffectQueue(lambda: psycopg.connect(database), threads=2, idle_seconds=0.5)
    async with aclosing(queue), open_queue(database) as there:
        await enlist(queue, effect(1))

        standing, wakes_up = threading.Event(), threading.Event()

        async def stand_still(_cursor, _effect):
            standing.set()
            wakes_up.wait(2 * WAIT_SECONDS_MAX)

        slow = asyncio.ensure_future(queue.perform(await claim(queue), stand_still))
        assert await asyncio.to_thread(standing.wait, WAIT_SECONDS_MAX)
        try:
            await take_over(there)  # while it still stands
        finally:
            wakes_up.set()
        with pytest.raises(psycopg.Error):
            await slow


@pytest.mark.parametrize("stack", ["async engine", "engine", "dbapi"])
async def test_limits_are_our_transactions_own(stack, database) -> None:
    seen = []

    async def look(transaction, _effect):
        if stack == "async engine":
            seen.append(tuple((await transaction.execute(text(SHOW))).one()))
        elif stack == "engine":
            seen.append(tuple(transaction.execute(text(SHOW)).one()))
        else:
            seen.append(tuple(transaction.execute(SHOW).fetchone()))

    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    async with open_queue(database) as on_async:
        queue = {
            "async engine": on_async,
            "engine": EngineEffectQueue(engine, threads=1),
            "dbapi": DbapiEffectQueue(lambda: psycopg.connect(database), threads=1),
        }[stack]
        try:
            await enlist(queue, effect(1))
            await queue.perform(await claim(queue), look)
            if stack == "async engine":
                async with queue._engine.connect() as connection:
                    after = (await connection.execute(text(SHOW))).one()
                assert after[0] == "0", "the embedder's own transactions are as they were"
        finally:
            if stack != "async engine":
                await queue.aclose()
            engine.dispose()
    assert seen == [("5min", "5", "2", "3")]


async def test_an_engine_of_ours_notices_a_client_that_vanished(database) -> None:
    engine = engine_on(database)
    try:
        async with engine.connect() as connection:
            found = (await connection.execute(text(SHOW))).one()
            assert tuple(found) == ("1min", "5", "2", "3")
            assert (await connection.execute(text("SHOW statement_timeout"))).scalar_one() == "0"
    finally:
        await engine.dispose()


async def test_an_inline_log_does_not_wait_for_ever_either(postgres, store, database, monkeypatch) -> None:
    monkeypatch.setattr("tillport.adapters.sql.effects_inline.STATEMENT_SECONDS", STATEMENT_SECONDS)
    async with TcpProxy(target_port=postgres.port) as proxy:
        through = database.replace(f":{postgres.port}/", f":{proxy.port}/")
        engine = create_async_engine(through.replace("postgresql:", "postgresql+asyncpg:"))

        async def act(_connection, one):
            if one.id == "evt_2":
                proxy.black_hole()

        log = AsyncInlineLog(PostgresEventLog(store), engine, act)
        try:
            assert await log.record([event(1)]) == [True]
            for _ in range(2):  # at the commit; and from the beginning
                with pytest.raises(EffectFailed):
                    await asyncio.wait_for(log.record([event(2)]), WAIT_SECONDS_MAX)
            await proxy.heal()
            assert await log.record([event(3)]) == [True]
        finally:
            await engine.dispose()
