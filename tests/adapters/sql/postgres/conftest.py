"""A real PostgreSQL for the session, and a database of its own for every test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
)

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
def lend_database(
    postgres: PostgresServer, template: str, spare_databases: list[str]
) -> Callable[[], AbstractContextManager[str]]:
    """Lend databases with empty tables; what is given back is lent again."""
    postgres.start()

    @contextmanager
    def lend() -> Iterator[str]:
        if spare_databases:
            name = spare_databases.pop()
            tables = ", ".join(f'"{table.name}"' for table in tables_for("postgresql"))
            postgres.psql(f"TRUNCATE {tables} RESTART IDENTITY", database=name)
        else:
            name = postgres.create_database(template).rpartition("/")[2]
        yield postgres.url(name)
        spare_databases.append(name)  # not after a failure, which may have left anything behind

    return lend


@pytest.fixture
def database(lend_database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    with lend_database() as url:
        yield url


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
def new_bench(postgres: PostgresServer, lend_database: Callable[[], AbstractContextManager[str]]):
    def maker(adapter: Callable[[PostgresStore], object]) -> NewBench:
        @asynccontextmanager
        async def new() -> AsyncIterator[PostgresBench]:
            with lend_database() as url:
                yield PostgresBench(postgres, url, adapter)

        return new

    return maker
