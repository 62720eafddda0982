"""Migrations on PostgreSQL: the async engine's connection, the sync one's, psql's."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pytest
import sqlalchemy as sa

from tillport.adapters.conformance.effects import effect, enlist, states
from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.creation import REVISION
from tillport.adapters.sql.effects import open_async_effect_queue
from tillport.adapters.sql.migrate import check, on_database, sql, upgrade
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_statements import record_statement, record_values
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.ports.effects import EffectState
from tillport.ports.event_log import LogUnavailable


@pytest.fixture
def empty(postgres) -> str:
    return postgres.create_database("template1")


@pytest.fixture
def engine(empty):
    engine = sa.create_engine(empty.replace("postgresql://", "postgresql+psycopg://"))
    try:
        yield engine
    finally:
        engine.dispose()


STORAGE = (
    "SELECT attstorage FROM pg_attribute WHERE attrelid = '\"StripeEvents\"'::regclass AND attname = 'body'"
)


async def test_what_creates_itself_is_what_migrations_make(empty, database) -> None:
    def compare() -> None:
        assert on_database(empty, check).revision is None
        on_database(empty, upgrade)
        on_database(empty, upgrade)
        for url in (empty, database):
            found = on_database(url, check)
            assert found.ok, found
            assert found.revision == REVISION
            assert on_database(url, lambda db: db.execute(sa.text(STORAGE)).scalar()) in ("e", b"e")

    await asyncio.to_thread(compare)


@pytest.mark.parametrize("way", ["upgrade", "printed", "by itself"])
async def test_the_queue_of_effects_may_be_there_before_the_log(way, postgres, empty) -> None:
    async with open_async_effect_queue(empty) as queue:
        await queue.create_tables()
        await enlist(queue, effect(1))
        async with aclosing(PostgresStore(empty)) as store:
            if way == "by itself":
                await store.create_tables()
            elif way == "printed":
                postgres.psql(sql("postgresql"), database=empty.rpartition("/")[2])
            else:
                await asyncio.to_thread(on_database, empty, upgrade)
            assert await PostgresEventLog(store).record([event(1)]) == [True]
        assert (await asyncio.to_thread(on_database, empty, check)).ok
        await queue.create_tables()
        assert await states(queue) == {1: EffectState.DUE}


def test_a_sync_connection_serves_as_well_and_keeps_its_transaction(engine) -> None:
    with engine.connect() as connection:
        upgrade(connection)
        connection.rollback()
    with engine.begin() as connection:
        assert check(connection).revision is None
        upgrade(connection)
    with engine.begin() as connection:
        assert check(connection).ok


@pytest.mark.parametrize(
    "also", ["sslmode=disable", "options=-csearch_path%3Dpublic", "application_name=till"]
)
async def test_a_url_that_serves_the_service_serves_the_commands_too(also, empty) -> None:
    url = f"{empty}?{also}"
    await asyncio.to_thread(on_database, url, upgrade)
    async with aclosing(PostgresStore(url)) as store:
        assert await PostgresEventLog(store).record([event(1)]) == [True]
    async with open_async_effect_queue(url) as queue:
        assert list(await queue.standings()) == []


def test_a_database_of_another_encoding_is_told(postgres) -> None:
    postgres.psql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    latin = postgres.url("latin")
    on_database(latin, upgrade)
    (told,) = on_database(latin, check).differences
    assert "LATIN1" in told


def test_several_upgrades_at_once_are_one(empty) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: on_database(empty, upgrade), range(4)))
    assert on_database(empty, check).ok


def test_the_sql_that_is_printed_does_the_same(postgres, empty) -> None:
    postgres.psql(sql("postgresql"), database=empty.rpartition("/")[2])
    assert on_database(empty, check).ok


async def test_positions_go_on_where_the_first_tables_left_off(empty) -> None:
    def upgrade_to(revision: str) -> None:
        on_database(empty, lambda connection: upgrade(connection, revision=revision))

    await asyncio.to_thread(upgrade_to, "0001")
    async with aclosing(PostgresStore(empty)) as store:
        log = PostgresEventLog(store)
        before = await asyncio.to_thread(on_database, empty, check)
        assert not before.ok
        assert "position" in " ".join(before.differences), "who autogenerates is told, too"
        for try_it in (log.head(), log.record([event(0)])):
            with pytest.raises(LogUnavailable, match="42P01") as refused:
                await try_it
            assert "tillport db upgrade" in refused.value.remedy
        await store.fetch(
            record_statement(with_aliases=False), *record_values([event(1), event(2), event(3)])
        )
        await store.fetch(
            "WITH taken AS (DELETE FROM tillport_pending WHERE seq < (SELECT max(seq) FROM tillport_pending) RETURNING seq) "
            "INSERT INTO tillport_order SELECT row_number() OVER (ORDER BY seq), seq FROM taken"
        )
        await asyncio.to_thread(upgrade_to, "head")
        assert (await asyncio.to_thread(on_database, empty, check)).ok
        assert await log.record([event(4)]) == [True]
        await log.sequencer.sweep(at_once=True)
        found = (await log.read(after=0)).events
        assert [(one.position, one.event.id) for one in found] == [
            (1, event(1).id),
            (2, event(2).id),
            (3, event(4).id),
            (4, event(3).id),
        ]


async def test_an_upgrade_that_a_backup_holds_up_gives_up_and_changes_nothing(engine, empty) -> None:
    with engine.begin() as connection:
        upgrade(connection, revision="0001")
    with engine.connect() as backup, engine.connect() as connection:
        backup.execute(sa.text("LOCK TABLE tillport_order IN ACCESS SHARE MODE"))
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            upgrade(connection)
    with engine.begin() as connection:
        assert check(connection).revision == "0001"
        upgrade(connection)
        assert check(connection).ok
        assert connection.execute(sa.text("SHOW lock_timeout")).scalar() == "0", "the caller's own again"


async def test_an_upgrade_while_a_writer_is_at_work_loses_nothing(database) -> None:
    async with aclosing(PostgresStore(database)) as store:
        log = PostgresEventLog(store)

        async def write() -> None:
            for number in range(60):
                assert list(await log.record([event(number)])) == [True]

        def upgrade_often() -> None:
            for _ in range(3):
                on_database(database, upgrade)

        await asyncio.gather(write(), asyncio.to_thread(upgrade_often))
        await log.sequencer.idle()
        assert len((await log.read(after=0)).events) == 60
