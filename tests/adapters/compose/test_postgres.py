"""Two services on one PostgreSQL, composed as anyone would: what lands on one is heard at the other."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import attrs
import pytest

from tillport.adapters.compose import Secret, open_stores, system_clock
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.adapters.sql.testing import PostgresServer
from tillport.ports.effects import Standing
from tillport.ports.selector import Compare


@pytest.fixture
def postgres_url() -> Iterator[str]:
    with PostgresServer() as server:
        yield server.url()


async def test_two_services_on_one_database_behave_as_one(town, postgres_url: str) -> None:
    async with aclosing(PostgresStore(postgres_url)) as store:
        await store.create_tables()
    town.settings = attrs.evolve(town.settings, database_url=Secret(postgres_url))
    async with town.service() as one, town.service() as two:
        charge_id = await town.charge(two)
        async with aclosing(two.till.subscribe(Compare("id", "=", charge_id), caller=town.shop)) as stream:
            await town.deliver(one)
            heard = await asyncio.wait_for(anext(stream), 60)
            assert charge_id in heard.event.aliases
        # One of the two relays, and every event was published by it.
        recorded = await one.stores.log.head()
        async with asyncio.timeout(60):
            while sorted(work.published for work in (one.relay, two.relay)) != [0, recorded]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_a_service_on_postgresql_tells_of_the_effects_beside_its_log(town, postgres_url: str) -> None:
    async with aclosing(PostgresStore(postgres_url)) as store:
        await store.create_tables()
        await store.fetch("INSERT INTO tillport_effect_handlers (handler, position) VALUES ('book', 7)")
    async with open_stores(postgres_url, system_clock()) as stores:
        assert list(await stores.standings()) == [Standing(handler="book", position=7)]
