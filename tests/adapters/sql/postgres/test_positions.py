"""Positions on PostgreSQL: an event has its place when it is acknowledged, and no reader is ever overtaken."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import asyncpg
import pytest

from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.postgres import PostgresEventLog, record_on_asyncpg
from tillport.adapters.sql.postgres_statements import record_statement, record_values
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.ports.event_log import LogUnavailable, RecordedEvent

LOCK = 0x7111_9047_0000_0002
WAITING = "SELECT count(*) FROM tillport_pending"
WAITS_FOR_A_LOCK = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
ALL_IDS = 'SELECT event_id FROM "StripeEvents"'

# How the version before gave positions, to what it had recorded as `record_statement` still does.
OLD_SEQUENCER = f"""
SELECT pg_advisory_xact_lock({LOCK});
WITH taken AS (DELETE FROM tillport_pending RETURNING seq)
INSERT INTO tillport_order (position, seq)
SELECT greatest((SELECT max(position) FROM tillport_order),
                (SELECT value FROM tillport_log_state WHERE name = 'horizon'), 0) + row_number() OVER (ORDER BY seq), seq
FROM taken
"""


class OldVersion:
    """A process of the version before, at work on the same database."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    async def record(self, events) -> None:
        await self._store.fetch(record_statement(with_aliases=False), *record_values(events))
        await self._store.script(OLD_SEQUENCER)


@asynccontextmanager
async def logs(url: str, count: int):
    """As many processes' logs, each with a pool of its own."""
    stores = [PostgresStore(url) for _ in range(count)]
    try:
        yield [PostgresEventLog(store) for store in stores]
    finally:
        for store in stores:
            await store.aclose()


async def follow(log: PostgresEventLog, seen: list[RecordedEvent]) -> None:
    position = 0
    while True:
        page = await log.read(after=position, limit=20)
        seen += page.events
        position = page.position
        await asyncio.sleep(0 if page.events else 0.002)


async def read_all(log: PostgresEventLog) -> list[RecordedEvent]:
    return list((await log.read(after=0, limit=10_000)).events)


async def test_an_acknowledged_event_is_there_to_be_read_and_nothing_waits(store) -> None:
    log = PostgresEventLog(store)
    for number in range(5):
        assert await log.record([event(number)]) == [True]
        assert [one.event for one in await read_all(log)][-1] == event(number)
    assert not log.sequencer.at_work
    assert await store.fetch(WAITING) == [(0,)]


async def test_what_was_acknowledged_before_another_was_sent_stands_before_it_whoever_recorded_it(
    database,
) -> None:
    async with logs(database, 3) as processes:
        for number in range(60):
            await processes[number % 3].record([event(number)])
        assert [one.event.id for one in await read_all(processes[0])] == [event(n).id for n in range(60)]


async def test_what_a_host_recorded_in_an_order_stands_in_that_order(database) -> None:
    numbers = (3, 1, 2, 5, 4)
    async with logs(database, 1) as (log,):
        host = await asyncpg.connect(database)
        try:
            async with host.transaction():
                for number in numbers:
                    await record_on_asyncpg(host, [event(number)])
        finally:
            await host.close()
        await log.sequencer.sweep(at_once=True)
        assert [one.event.id for one in await read_all(log)] == [event(n).id for n in numbers]


async def test_what_nobody_told_of_is_placed_by_the_second_look_that_finds_it(database) -> None:
    async with logs(database, 1) as (log,):
        host = await asyncpg.connect(database)
        try:
            async with host.transaction():
                await record_on_asyncpg(host, [event(1)])
        finally:
            await host.close()
        for placed in (0, 1):  # at the first it may be another's, who is about to place it
            await log.sequencer.sweep()
            assert len(await read_all(log)) == placed


async def test_a_host_that_holds_an_event_holds_up_nobody_who_has_another(database) -> None:
    patient = PostgresStore(database, lock_timeout_seconds=50, statement_timeout_seconds=60)
    async with aclosing(patient), logs(database, 1) as (other,):
        host = await asyncpg.connect(database)
        try:
            transaction = host.transaction()
            await transaction.start()
            await record_on_asyncpg(host, [event(1)])
            waits = asyncio.create_task(PostgresEventLog(patient).record([event(2), event(1)]))
            async with asyncio.timeout(20):
                while not await patient.fetch(WAITS_FOR_A_LOCK):  # noqa: ASYNC110 - the server sets no event
                    await asyncio.sleep(0.01)
            for number in range(10, 15):
                assert await other.record([event(number)]) == [True]
            assert not waits.done()
            await transaction.rollback()
            assert await waits == [True, True]
        finally:
            await host.close()


@pytest.mark.parametrize("what", ["our own", "a host's"])
async def test_who_waits_for_a_slow_commit_of_another_process_is_not_refused(what, database) -> None:
    async with aclosing(PostgresStore(database, lock_timeout_seconds=0.1)) as store:
        log = PostgresEventLog(store)
        if what == "a host's":
            await store.fetch(record_statement(with_aliases=False), *record_values([event(1)]))
        other = await asyncpg.connect(database)
        try:
            transaction = other.transaction()
            await transaction.start()
            await other.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
            placing = log.record([event(1)]) if what == "our own" else log.sequencer.sweep(at_once=True)
            waits = asyncio.create_task(placing)
            await asyncio.sleep(0.5)
            assert not waits.done()
            await transaction.rollback()
            await waits
            assert [one.event for one in await read_all(log)] == [event(1)]
        finally:
            await other.close()


async def test_beside_processes_of_the_version_before_nothing_is_lost_or_overtaken(database) -> None:
    async with logs(database, 3) as (one, other, reading), aclosing(PostgresStore(database)) as store:
        old = OldVersion(store)
        seen: list[RecordedEvent] = []
        following = asyncio.create_task(follow(reading, seen))

        async def record(log, name: str) -> None:
            for number in range(40):
                await log.record([event(1, id=f"evt_{name}_{number}_{part}") for part in range(3)])

        await asyncio.gather(record(one, "one"), record(other, "other"), record(old, "old"))
        await asyncio.gather(one.sequencer.idle(), other.sequencer.idle())
        ids = {row[0] for row in await store.fetch(ALL_IDS)}
        assert len(ids) == 3 * 40 * 3
        async with asyncio.timeout(20):
            while len(seen) < len(ids):  # noqa: ASYNC110 - the reader sets no event
                await asyncio.sleep(0.01)
        following.cancel()
        assert {one.event.id for one in seen} == ids
        assert seen == await read_all(reading), "each once, and in the log's order"


@pytest.mark.parametrize("head", [1, 2, 30])  # a sequence that gave nothing says 1, as one that gave 1
@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_copy_that_came_without_its_sequences_heals(database, forgotten, head) -> None:
    async with aclosing(PostgresStore(database)) as store:
        log = PostgresEventLog(store)
        await log.record([event(number) for number in range(head)])
        if forgotten:
            async with asyncio.timeout(30):
                while await log.forget(received_before=1e12, up_to=head, now=1.0) == 0:  # noqa: ASYNC110 - autovacuum may be at work
                    await asyncio.sleep(0.05)
        for sequence in ("tillport_order_position_seq", '"StripeEvents_seq_seq"'):
            await store.fetch(f"SELECT setval('{sequence}', 1, false)")
        for number in range(head, head + 5):
            assert await log.record([event(number)]) == [True]
        await log.sequencer.idle()
        page = await log.read(after=head)
        assert [one.event.id for one in page.events] == [event(number).id for number in range(head, head + 5)]
        assert await store.fetch(WAITING) == [(0,)]


async def test_a_number_that_is_taken_is_not_the_events_fault(postgres, template) -> None:
    async with aclosing(PostgresStore(postgres.create_database(template))) as store:
        log = PostgresEventLog(store)
        await log.record([event(1)])
        await store.fetch("CREATE UNIQUE INDEX ON tillport_order ((position > 0))")  # a host's mistake, say
        with pytest.raises(LogUnavailable, match="23505"):
            await log.record([event(2)])


TAKEN_AGAIN_AND_AGAIN = """
CREATE SEQUENCE tries;
CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('tries') <= {times} THEN
        RAISE unique_violation;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_some BEFORE INSERT ON tillport_order FOR EACH ROW EXECUTE FUNCTION refuse_some();
"""


async def test_a_batch_outlasts_a_run_of_positions_that_are_taken(postgres, template) -> None:
    async with aclosing(PostgresStore(postgres.create_database(template))) as store:
        await store.script(TAKEN_AGAIN_AND_AGAIN.format(times=6))
        log = PostgresEventLog(store)
        assert await log.record([event(1), event(2)]) == [True, True]
        assert [one.event for one in await read_all(log)] == [event(1), event(2)]


async def test_a_position_that_fails_is_a_gap_and_nothing_else(database) -> None:
    async with aclosing(PostgresStore(database)) as store:
        log = PostgresEventLog(store)
        await log.record([event(1)])
        await store.fetch("SELECT nextval('tillport_order_position_seq')")
        await log.record([event(2)])
        assert [one.position for one in await read_all(log)] == [1, 3]
        assert (await log.read(after=1)).position == 3
