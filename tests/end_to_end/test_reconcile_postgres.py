"""Catching up and comparing on PostgreSQL, beside two services that are at work."""

from contextlib import aclosing

import attrs
import pytest
from high_street import DAY, Town

from tillport.adapters.compose import Secret, open_stores, system_clock
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.adapters.sql.testing import PostgresServer
from tillport.domain.differences import DifferenceKind


@pytest.fixture(scope="module")
def server():
    with PostgresServer() as server:
        yield server


@pytest.fixture
async def town(server, tmp_path):
    url = server.create_database()
    async with aclosing(PostgresStore(url)) as store:
        await store.create_tables()
    town = Town(tmp_path)
    town.settings = attrs.evolve(town.settings, database_url=Secret(url))
    return town


async def test_what_was_lost_is_found_and_differences_are_told(town, server) -> None:
    url, clock = town.settings.database_url, system_clock()
    async with (
        open_stores(url, clock) as here,
        open_stores(url, clock) as there,
        town.till(stores=here) as one,
        town.till(stores=there) as other,
    ):
        keys = []
        for number in range(6):
            keys.append(await town.charge(one if number % 2 else other, 1000 + number))
            town.simulator.advance(DAY / 2)
            await town.deliver(one, lost=lambda attempt: attempt.body.count(b"e") % 2)
        report = await town.reconcile(other)
        assert report.agrees, report.differences
        page = await one.stores.log.read(after=0, limit=1000)
        assert {recorded.event.id for recorded in page.events} == town.stripe_ids()
        assert (await town.reconcile(one)).recorded == {}

        database = town.settings.database_url.reveal().rpartition("/")[2]
        server.psql(
            f"UPDATE tillport_attempts SET state = 'declined' WHERE key = '{keys[0]}'; "
            f"DELETE FROM tillport_attempts WHERE key = '{keys[1]}'",
            database=database,
        )
        report = await town.reconcile(one)
        assert {(found.kind, found.attempt_key) for found in report.differences} == {
            (DifferenceKind.CHARGED_AGAINST_LEDGER, keys[0]),
            (DifferenceKind.NOT_IN_LEDGER, keys[1]),
        }
