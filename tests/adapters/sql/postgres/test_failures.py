"""What PostgreSQL refuses and where it fails: whose fault it is said to be, and that nothing else suffers."""

import asyncio
import traceback
from collections.abc import Iterator
from contextlib import aclosing

import asyncpg
import pytest

from tillport.adapters.conformance.samples import attempt, event
from tillport.adapters.runtime.clock import SystemClock
from tillport.adapters.runtime.group_commit import GroupCommit
from tillport.adapters.sql.postgres import PostgresEventLog, PostgresLedger, record_on_asyncpg
from tillport.adapters.sql.postgres_doorbell import PostgresDoorbell
from tillport.adapters.sql.postgres_store import PostgresStore, StoreUnavailable, ValuesRefused, told
from tillport.adapters.sql.testing import PostgresServer
from tillport.ports.event_log import Event, EventContended, EventRefused, LogUnavailable
from tillport.ports.ledger import LedgerUnavailable
from tillport.ports.selector import Compare

TOO_LONG = "x".join(str(number * 7919) for number in range(2000))  # for an index entry, and hard to compress


@pytest.fixture
def till_user(postgres, database) -> Iterator[str]:
    """A user who owns nothing and may do nothing yet."""
    postgres.psql("CREATE ROLE till LOGIN")
    try:
        yield "till"
    finally:
        postgres.psql("DROP OWNED BY till", database=database.rpartition("/")[2])
        postgres.psql("DROP ROLE till")


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DiskFullError,
        asyncpg.TooManyConnectionsError,
        asyncpg.SerializationError,
        asyncpg.DeadlockDetectedError,
        asyncpg.QueryCanceledError,
        asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError,
        asyncpg.CannotConnectNowError,
        asyncpg.ConnectionDoesNotExistError,
        asyncpg.ReadOnlySQLTransactionError,
        asyncpg.UndefinedTableError,
        asyncpg.OutOfMemoryError,
        asyncpg.InvalidPasswordError,
        asyncpg.LockNotAvailableError,
    ],
)
def test_what_is_not_about_the_values_may_be_tried_again(error) -> None:
    assert isinstance(told(error("secret")), StoreUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CharacterNotInRepertoireError,
        asyncpg.NotNullViolationError,
        asyncpg.ProgramLimitExceededError,
    ],
)
def test_what_is_about_the_values_is_refused_without_repeating_them(error) -> None:
    refused = told(error("secret"))
    assert isinstance(refused, ValuesRefused)
    assert "secret" not in str(refused)


async def test_a_bad_row_fails_alone_in_its_batch(store) -> None:
    log = PostgresEventLog(store)
    async with aclosing(GroupCommit(log)) as group:
        bad = event(3, id=TOO_LONG)
        answers = await asyncio.gather(
            *(group.record([one]) for one in (event(1), event(2), bad, event(4), event(5))),
            return_exceptions=True,
        )
        assert [one for one in answers if isinstance(one, list)] == [[True]] * 4
        assert isinstance(answers[2], EventRefused)
        assert TOO_LONG[:40] not in "".join(traceback.format_exception(answers[2]))
    await log.sequencer.idle()
    assert await log.head() == 4


async def test_an_event_that_a_hosts_open_transaction_holds_fails_alone(store, database) -> None:
    log = PostgresEventLog(store)
    async with aclosing(GroupCommit(log)) as group:
        host = await asyncpg.connect(database)
        try:
            transaction = host.transaction()
            await transaction.start()
            assert await record_on_asyncpg(host, [event(3)]) == [True]
            async with asyncio.timeout(30):
                answers = await asyncio.gather(
                    *(group.record([event(number)]) for number in range(50)), return_exceptions=True
                )
            assert isinstance(answers.pop(3), EventContended)
            assert answers == [[True]] * 49
            await transaction.commit()
            assert await group.record([event(3)]) == [False], "and is known once the host has committed"
        finally:
            await host.close()
    await log.sequencer.idle()


async def test_a_locked_table_is_told_in_a_bounded_time(store, database) -> None:
    log = PostgresEventLog(store)
    async with aclosing(GroupCommit(log)) as group:
        await group.record([event(1000)])
        other = await asyncpg.connect(database)
        try:
            transaction = other.transaction()
            await transaction.start()
            await other.execute('LOCK TABLE "StripeEvents"')
            async with asyncio.timeout(30):
                answers = await asyncio.gather(
                    *(group.record([event(number)]) for number in range(100)), return_exceptions=True
                )
            assert all(isinstance(one, LogUnavailable) for one in answers)
            await transaction.rollback()
            assert await group.record([event(1)]) == [True]
        finally:
            await other.close()
    await log.sequencer.idle()


async def test_of_one_id_in_one_call_the_first_counts_also_beside_tombstones(store) -> None:
    log = PostgresEventLog(store)
    await log.record([event(number) for number in range(20)])
    await log.sequencer.idle()
    async with asyncio.timeout(30):
        while await log.forget(received_before=1e12, up_to=20, now=1.0) < 20:  # noqa: ASYNC110 - autovacuum may be at work
            await asyncio.sleep(0.05)
    first = event(30, body=b'{"which":"first"}', aliases=("ch_30", "re_1"))
    again = event(30, body=b'{"which":"second"}', aliases=("ch_30", "re_2"))
    others = [event(number) for number in (50, 40, 3)]
    assert await log.record([first, *others, again]) == [True, True, True, False, False]
    await log.sequencer.idle()
    assert [one.event for one in (await log.read(after=0)).events] == [first, *others[:2]]
    assert (await log.read(after=0, where=Compare("id", "=", "re_2"))).events == ()
    assert len((await log.read(after=0, where=Compare("id", "=", "re_1"))).events) == 1


async def test_concurrent_batches_with_the_same_events_in_other_orders_do_not_deadlock(store) -> None:
    log = PostgresEventLog(store)
    events = [event(number) for number in range(40)]
    answers = await asyncio.gather(*(log.record(events[:: (-1) ** turn]) for turn in range(12)))
    assert sum(map(sum, answers)) == len(events), "each is new to exactly one"
    await log.sequencer.idle()
    assert await log.head() == len(events)


async def test_a_server_that_does_not_answer_costs_a_bounded_time(postgres, database) -> None:
    async with aclosing(
        PostgresStore(database, statement_timeout_seconds=0.3, connect_timeout_seconds=0.5)
    ) as store:
        log, ledger = PostgresEventLog(store), PostgresLedger(store)
        while await _is_refused(log, event(1)):  # so short a time may be too short on a busy machine
            pass
        postgres.freeze()
        try:
            async with asyncio.timeout(30):
                with pytest.raises(LogUnavailable):
                    await log.record([event(2)])
                with pytest.raises(LedgerUnavailable):
                    await ledger.open(attempt(1))
        finally:
            postgres.thaw()
        async with asyncio.timeout(60):
            while await _is_refused(log, event(3)):  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0.05)
        await log.sequencer.idle()


async def test_more_calls_than_connections_wait_their_turn(database, postgres) -> None:
    async with aclosing(PostgresStore(database, connections_max=2)) as store:
        log = PostgresEventLog(store)
        await asyncio.gather(*(log.record([event(number)]) for number in range(30)))
        name = database.rpartition("/")[2]
        count = postgres.psql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")
        assert int(count) <= 2
        await log.sequencer.idle()


async def test_a_database_without_tables_says_so_and_heals(postgres) -> None:
    async with aclosing(PostgresStore(postgres.create_database())) as store:
        log = PostgresEventLog(store)
        with pytest.raises(LogUnavailable, match="42P01"):
            await log.record([event(1)])
        await store.create_tables()
        assert await log.record([event(1)]) == [True]
        await log.sequencer.idle()


async def test_a_user_without_rights_is_told_which_it_needs(postgres, database, till_user) -> None:
    name = database.rpartition("/")[2]
    async with aclosing(PostgresStore(database.replace("postgres@", f"{till_user}@"))) as store:
        log = PostgresEventLog(store)
        for missing, grant in {
            "every right": "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES",
            "those on sequences": "USAGE, SELECT, UPDATE ON ALL SEQUENCES",
        }.items():
            for try_it in (log.head(), log.record([event(1)])):
                with pytest.raises(LogUnavailable, match="42501") as refused:
                    await try_it
                assert "USAGE, SELECT and UPDATE on their sequences" in refused.value.remedy, missing
            postgres.psql(f"GRANT {grant} IN SCHEMA public TO {till_user}", database=name)
        assert await log.record([event(1), event(2)]) == [True, True]
        host = await asyncpg.connect(store.url)
        try:
            async with host.transaction():
                assert await record_on_asyncpg(host, [event(3)]) == [True]
        finally:
            await host.close()
        await store.fetch("SELECT setval('tillport_order_position_seq', 1, false)")
        await log.sequencer.sweep(at_once=True)
        assert [one.event for one in (await log.read(after=0)).events] == [event(1), event(2), event(3)]


async def test_a_full_queue_of_notifications_is_an_outage_that_ends() -> None:
    with PostgresServer(settings={"max_notify_queue_pages": "64"}) as server:
        url = server.create_database()
        async with aclosing(PostgresStore(url)) as store:
            await store.create_tables()
            log = PostgresEventLog(store)
            stuck = await asyncpg.connect(url)
            try:
                await stuck.execute("LISTEN elsewhere")
                await stuck.execute("BEGIN; SELECT 1")
                fill = (
                    "SELECT pg_notify('elsewhere', repeat('x', 7000) || g) FROM generate_series(1, 10) AS g"
                )
                with pytest.raises(StoreUnavailable, match="54000"):
                    await asyncio.gather(*(store.fetch(fill) for _ in range(100)))
                with pytest.raises(LogUnavailable, match="54000"):
                    await log.record([event(1)])
            finally:
                await stuck.close()
            bell = PostgresDoorbell(store, log.sequencer, SystemClock(), sweep_seconds=0.02)
            running = asyncio.create_task(bell.run())
            try:
                async with asyncio.timeout(30):
                    while await _is_refused(log, event(1)):  # noqa: ASYNC110 - the server sets no event
                        await asyncio.sleep(0.05)
            finally:
                running.cancel()
                await asyncio.wait([running])


async def _is_refused(log: PostgresEventLog, one: Event) -> bool:
    try:
        await log.record([one])
    except LogUnavailable:
        return True
    return False


async def test_a_closed_store_is_an_outage(database) -> None:
    store = PostgresStore(database)
    await store.aclose()
    with pytest.raises(LogUnavailable):
        await PostgresEventLog(store).head()


@pytest.mark.parametrize("weaker", ["off", "local"])
async def test_what_is_acknowledged_is_durable_whatever_the_databases_default(
    weaker, postgres, database
) -> None:
    name = database.rpartition("/")[2]
    postgres.psql(f"ALTER DATABASE {name} SET synchronous_commit = {weaker}")
    postgres.psql(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    store = PostgresStore(database)
    try:
        rows = await store.fetch(
            "SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation')"
        )
        assert tuple(rows[0]) == ("on", "read committed")
    finally:
        await store.aclose()
        postgres.psql(f"ALTER DATABASE {name} RESET ALL")
