"""Recording in a host's own transaction on SQLite: sync and async SQLAlchemy, and plain cursors."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tillport.adapters.conformance.event_log import EventLogCapabilities, event_log_laws
from tillport.adapters.conformance.event_log_histories import check_event_log_histories
from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.autocommit import NoTransaction
from tillport.adapters.sql.host import record_on, record_on_async, record_with
from tillport.adapters.sql.sqlite import SqliteEventLog
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.ports.event_log import Event, EventLog, EventRefused

LAWS = event_log_laws(EventLogCapabilities(several=False))


class DjangoLikeCursor:
    """Django's cursor on SQLite takes `%s` and turns it into `?` (django.db.backends.sqlite3)."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.cursor = cursor

    def execute(self, text: str, values=()) -> None:
        self.cursor.execute(text % (("?",) * len(values)), values)

    def fetchall(self):
        return self.cursor.fetchall()


@attrs.define
class HostLog:
    """A log whose recording goes through a host's connection, committed by the host; it reads as ever."""

    path: Path
    way: str
    reading: SqliteEventLog

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        if self.way == "async engine":
            engine = create_async_engine(f"sqlite+aiosqlite:///{self.path}")
            try:
                async with engine.begin() as connection:
                    return await record_on_async(connection, events)
            finally:
                await engine.dispose()
        if self.way == "sync engine":
            engine = sa.create_engine(f"sqlite:///{self.path}")
            try:
                with engine.begin() as connection:
                    return record_on(connection, events)
            finally:
                engine.dispose()
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            cursor = connection.cursor()
            if self.way == "cursor":
                return record_with(cursor, events, dialect="sqlite", paramstyle="qmark")
            return record_with(DjangoLikeCursor(cursor), events, dialect="sqlite", paramstyle="format")

    def __getattr__(self, name: str):
        return getattr(self.reading, name)


@attrs.define
class HostBench:
    path: Path
    way: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[EventLog]:
        store = SqliteStore(self.path)
        await SqliteEventLog(store).head()
        try:
            yield HostLog(self.path, self.way, SqliteEventLog(store))
        finally:
            await store.aclose()


WAYS = ["async engine", "sync engine", "cursor", "cursor like Django's"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_recording_in_a_hosts_transaction_holds_the_law(law, way, tmp_path) -> None:
    await law(HostBench(tmp_path / "host.sqlite3", way))


def test_any_history_agrees_with_the_model(tmp_path) -> None:
    numbers = iter(range(10**6))

    @asynccontextmanager
    async def new_bench():
        yield HostBench(tmp_path / f"{next(numbers)}.sqlite3", "sync engine")

    check_event_log_histories(new_bench, examples=15)


@pytest.fixture
async def log(tmp_path):
    async with aclosing(SqliteStore(tmp_path / "host.sqlite3", busy_timeout_seconds=0.1)) as store:
        log = SqliteEventLog(store)
        await log.head()
        yield log


@pytest.fixture
def engine(tmp_path, log):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'host.sqlite3'}")
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE orders (id INTEGER PRIMARY KEY, paid BOOLEAN)"))
        yield engine
    finally:
        engine.dispose()


PAID = sa.text("INSERT INTO orders (paid) VALUES (1)")


async def test_event_and_effect_stand_together(engine, log) -> None:
    for _ in range(2):
        with engine.begin() as connection:
            (new,) = record_on(connection, [event(1)])
            if new:
                connection.execute(PAID)
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM orders")).scalar() == 1
    assert (await log.find("evt_1")).event == event(1)


async def test_event_and_effect_fall_together(engine, log) -> None:
    with engine.connect() as connection:
        connection.execute(PAID)
        assert record_on(connection, [event(1)]) == [True]
        assert connection.in_transaction()
        connection.rollback()
    assert await log.find("evt_1") is None
    assert list(await log.record([event(1)])) == [True], "nothing of it was remembered"


async def test_a_refused_event_leaves_the_hosts_work_alone(engine, log) -> None:
    with engine.begin() as connection:
        connection.execute(PAID)
        with pytest.raises(EventRefused):
            record_on(connection, [event(1), event(2, body=b"\xff")])
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM orders")).scalar() == 1
    assert await log.head() == 0


async def test_a_savepoint_takes_back_its_part_only(engine, log) -> None:
    with engine.begin() as connection:
        record_on(connection, [event(1)])
        inner = connection.begin_nested()
        assert record_on(connection, [event(1), event(2)]) == [False, True]
        inner.rollback()
        assert record_on(connection, [event(2, type="other")]) == [True]
    assert [one.event.type for one in (await log.read(after=0)).events] == ["charge.succeeded", "other"]


async def test_a_cursor_keeps_the_transaction_that_it_has(tmp_path, engine) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "host.sqlite3")) as connection:
        cursor = connection.cursor()
        cursor.execute("INSERT INTO orders (paid) VALUES (1)")
        assert record_with(cursor, [event(1)], dialect="sqlite", paramstyle="qmark") == [True]
        assert connection.in_transaction, "the host's work was neither committed nor rolled back"
        connection.rollback()
        assert cursor.execute("SELECT count(*) FROM orders").fetchone() == (0,)
        assert cursor.execute('SELECT count(*) FROM "StripeEvents"').fetchone() == (0,)


async def test_a_cursor_may_have_rows_of_its_owners_kind(tmp_path, engine) -> None:
    def by_name(cursor, row):
        return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}

    with contextlib.closing(sqlite3.connect(tmp_path / "host.sqlite3")) as connection:
        for factory in (by_name, sqlite3.Row):
            connection.row_factory = factory
            told = record_with(connection.cursor(), [event(1)], dialect="sqlite", paramstyle="qmark")
            assert told == [factory is by_name]


async def test_a_connection_in_autocommit_is_refused_unless_the_host_began(tmp_path, log, engine) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "host.sqlite3", isolation_level=None)) as connection:
        with pytest.raises(NoTransaction):
            record_with(connection.cursor(), [event(1)], dialect="sqlite", paramstyle="qmark")
        connection.execute("BEGIN")
        assert record_with(connection.cursor(), [event(1)], dialect="sqlite", paramstyle="qmark") == [True]
        connection.execute("ROLLBACK")
    alone = engine.execution_options(isolation_level="AUTOCOMMIT")
    with alone.begin() as connection, pytest.raises(NoTransaction):
        record_on(connection, [event(1)])
    assert await log.head() == 0


def test_other_databases_and_styles_are_refused() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        with pytest.raises(ValueError, match="no tables"):
            record_with(connection.cursor(), [event(1)], dialect="mysql", paramstyle="format")
        with pytest.raises(ValueError, match="paramstyle"):
            record_with(connection.cursor(), [event(1)], dialect="sqlite", paramstyle="numeric_dollar")
