"""A real PostgreSQL for the session, and a database of its own for every test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import attrs
import pytest

from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.adapters.sql.schema import tables_for
from tillport.adapters.sql.testing import PostgresServer

_TEMPLATE = "tillport_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server. A test that kills it brings it back."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> str:
    """A database with the tables, to be copied."""

    async def create() -> None:
        async with aclosing(PostgresStore(postgres.url(_TEMPLATE))) as store:
            await store.create_tables()

    postgres.psql(f"CREATE DATABASE {_TEMPLATE}")
    asyncio.run(create())
    return _TEMPLATE


@pytest.fixture(scope="session")
def spare_databases() -> list[str]:
    """Databases that a test is done with: emptying one takes a tenth of the time of making and removing one."""
    return []


@pytest.fixture
def new_database(
    postgres: PostgresServer, template: str, spare_databases: list[str]
) -> Iterator[Callable[[], str]]:
    """Hand out databases with empty tables."""
    postgres.start()
    lent: list[str] = []

    def new() -> str:
        if spare_databases:
            name = spare_databases.pop()
            tables = ", ".join(f'"{table.name}"' for table in tables_for("postgresql"))
            postgres.psql(f"TRUNCATE {tables} RESTART IDENTITY", database=name)
        else:
            name = postgres.create_database(template).rpartition("/")[2]
        lent.append(name)
        return postgres.url(name)

    yield new
    spare_databases += lent


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with aclosing(PostgresStore(database)) as store:
        yield store


@attrs.define
class PostgresBench:
    """One database; `adapter` is what is made of a store."""

    server: PostgresServer
    url: str
    adapter: Callable[[PostgresStore], object]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[object]:
        store = PostgresStore(self.url, connections_max=6, statement_timeout_seconds=5.0)
        made = self.adapter(store)
        try:
            yield made
            if isinstance(made, PostgresEventLog):
                await made.sequencer.idle()
        finally:
            await store.aclose()

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """The server crashes, and comes back."""
        self.server.kill()
        try:
            yield
        finally:
            self.server.start()


NewBench = Callable[[], AbstractAsyncContextManager[PostgresBench]]


@pytest.fixture
def new_bench(postgres: PostgresServer, new_database: Callable[[], str]):
    def maker(adapter: Callable[[PostgresStore], object]) -> NewBench:
        @asynccontextmanager
        async def new() -> AsyncIterator[PostgresBench]:
            yield PostgresBench(postgres, new_database(), adapter)

        return new

    return maker
