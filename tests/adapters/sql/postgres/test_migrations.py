"""Migrations on PostgreSQL: the async engine's connection, the sync one's, psql's."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pytest
import sqlalchemy as sa

from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.creation import REVISION
from tillport.adapters.sql.migrate import check, on_database, sql, upgrade
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_store import PostgresStore


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


def test_a_sync_connection_serves_as_well_and_keeps_its_transaction(engine) -> None:
    with engine.connect() as connection:
        upgrade(connection)
        connection.rollback()
    with engine.begin() as connection:
        assert check(connection).revision is None
        upgrade(connection)
    with engine.begin() as connection:
        assert check(connection).ok


def test_several_upgrades_at_once_are_one(empty) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: on_database(empty, upgrade), range(4)))
    assert on_database(empty, check).ok


def test_the_sql_that_is_printed_does_the_same(postgres, empty) -> None:
    postgres.psql(sql("postgresql"), database=empty.rpartition("/")[2])
    assert on_database(empty, check).ok


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
