"""Connections kept at hand: lent again at once, never lent broken, never kept from who waits."""

import asyncio
from contextlib import aclosing

import asyncpg
import pytest

from tillport.adapters.sql import postgres_pool
from tillport.adapters.sql.postgres_pool import KEPT_MAX, KEPT_SECONDS
from tillport.adapters.sql.postgres_store import PostgresStore, StoreUnavailable

WHO = "SELECT pg_backend_pid()"


async def backend(store) -> int:
    ((process,),) = await store.fetch(WHO)
    return int(process)


async def backends(watching) -> set[int]:
    """Who is connected to this database, apart from who asks."""
    rows = await watching.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    return {row[0] for row in rows}


async def until(holds) -> None:
    for _ in range(6000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def gone(watching, process) -> None:
    async def is_gone() -> bool:
        return process not in await backends(watching)

    await until(is_gone)


@pytest.fixture
async def watching(database):
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()


async def test_one_call_after_another_uses_one_connection(store) -> None:
    assert len({await backend(store) for _ in range(20)}) == 1


async def test_bringing_a_connection_back_costs_no_turn_of_the_loop(store) -> None:
    """The control is the pool by itself: it takes some."""
    await store.fetch(WHO)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    try:
        async with store.connection() as connection:
            before = turns
        after_keeping = turns
        connections = store._connections
        lent = await connections.lend()
        at_pool = turns
        await connections.give_up(lent)
        after_giving_up = turns
    finally:
        counting.cancel()
    assert connection is lent
    assert (after_keeping - before, after_giving_up > at_pool) == (0, True)


async def test_a_connection_that_broke_while_it_was_kept_is_not_lent(store, watching) -> None:
    for _ in range(3):
        process = await backend(store)
        await watching.execute("SELECT pg_terminate_backend($1)", process)
        await gone(watching, process)
        ((connection, _),) = store._connections._kept

        async def is_noticed(connection=connection) -> bool:
            return not postgres_pool._is_open(connection)

        await until(is_noticed)
        assert await backend(store) != process


async def test_a_connection_that_nobody_used_for_long_is_not_lent(store, watching, monkeypatch) -> None:
    process, now = await backend(store), 0.0
    ((connection, since),) = store._connections._kept
    monkeypatch.setattr(postgres_pool.time, "monotonic", lambda: since + now)
    now = KEPT_SECONDS - 1
    assert await backend(store) == process
    store._connections._kept[:] = [(connection, since)]
    now = KEPT_SECONDS
    other = await backend(store)
    assert other != process
    await gone(watching, process)


async def test_a_call_that_failed_or_was_left_brings_nothing_into_disorder(store) -> None:
    for _ in range(10):
        with pytest.raises(StoreUnavailable):
            await store.fetch("SELECT no_such_function()")
        left = asyncio.create_task(store.fetch("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.01)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert await store.fetch("SELECT 1") == [(1,)]


async def test_who_waits_is_served_before_anything_is_kept(database) -> None:
    async with aclosing(PostgresStore(database, connections_max=1, connect_timeout_seconds=60)) as store:
        entered, go_on = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with store.connection():
                entered.set()
                await go_on.wait()

        holding = asyncio.create_task(hold())
        await entered.wait()
        others = [asyncio.create_task(backend(store)) for _ in range(5)]

        async def all_wait() -> bool:
            return store._connections._waiting == len(others)

        await until(all_wait)
        go_on.set()
        async with asyncio.timeout(30):
            await holding
            assert len(set(await asyncio.gather(*others))) == 1


async def test_no_more_are_open_than_allowed_and_few_are_kept(database, watching) -> None:
    async with aclosing(PostgresStore(database, connections_max=4)) as store:
        await asyncio.gather(*(store.fetch("SELECT pg_sleep(0.01)") for _ in range(40)))
        assert 1 <= len(await backends(watching)) <= 4
        assert len(store._connections._kept) <= KEPT_MAX


async def test_closing_waits_for_what_is_lent_and_not_for_what_is_kept(database, watching) -> None:
    store = PostgresStore(database, connect_timeout_seconds=60)
    await asyncio.gather(*(store.fetch(WHO) for _ in range(4)))
    under_way = asyncio.create_task(store.fetch("SELECT pg_sleep(0.2), 7"))

    async def has_begun() -> bool:
        active = (
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(0.2)%' AND state = 'active'"
        )
        return bool(await watching.fetch(active))

    await until(has_begun)
    async with asyncio.timeout(30):
        await store.aclose()
    assert (await under_way)[0][1] == 7

    async def nobody_is_there() -> bool:
        return not await backends(watching)

    await until(nobody_is_there)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.fetch(WHO)


async def test_a_server_that_only_reads_is_left_as_soon_as_the_address_leads_to_one_that_writes(
    postgres, database, store
) -> None:
    """As after a failover, when the service met the server that was demoted first."""
    name = database.rpartition("/")[2]
    write = "DELETE FROM tillport_cursors"
    postgres.psql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        # Several at once, so that some are at hand and some at the pool.
        met = await asyncio.gather(*(store.fetch(write) for _ in range(5)), return_exceptions=True)
        assert [getattr(one, "sqlstate", None) for one in met] == ["25006"] * 5
    finally:
        postgres.psql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    async with asyncio.timeout(30):
        await asyncio.gather(*(store.fetch(write) for _ in range(5)))
    assert len(store._connections._kept) <= KEPT_MAX
