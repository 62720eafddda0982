"""Migrations on SQLite: on the caller's connection, beside the host's own tables, to exactly our tables."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import aclosing, closing

import pytest
import sqlalchemy as sa

from tillport.adapters.conformance.effects import effect, enlist, states
from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.creation import REVISION, VERSION_TABLE
from tillport.adapters.sql.effects_stacks import DbapiEffectQueue
from tillport.adapters.sql.migrate import check, on_database, sql, upgrade, wanted_revision
from tillport.adapters.sql.schema import metadata_for
from tillport.adapters.sql.sqlite import SqliteEventLog
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.ports.effects import EffectState


@pytest.fixture
def engine(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'host.sqlite3'}")
    try:
        yield engine
    finally:
        engine.dispose()


def shape(path) -> dict[str, list]:
    """What the tables of a file look like, whatever words made them."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [
                connection.execute(f'PRAGMA table_xinfo("{name}")').fetchall(),
                sorted(row[1:] for row in connection.execute(f'PRAGMA index_list("{name}")').fetchall()),
                connection.execute(f'PRAGMA table_list("{name}")').fetchall(),
            ]
            for name in names
        }


def test_what_creates_itself_is_what_migrations_make(engine, tmp_path) -> None:
    with engine.begin() as connection:
        upgrade(connection)
    store = SqliteStore(tmp_path / "own.sqlite3")
    asyncio.run(store.read(lambda _: None))
    asyncio.run(store.aclose())
    assert shape(tmp_path / "own.sqlite3") == shape(tmp_path / "host.sqlite3")
    assert on_database(f"sqlite:///{tmp_path / 'own.sqlite3'}", check).ok
    assert wanted_revision() == REVISION


async def effects_first(path) -> None:
    """Let an embedder's queue be the first to make tables, and have something to do."""
    async with aclosing(DbapiEffectQueue(lambda: sqlite3.connect(path), threads=1)) as queue:
        await queue.create_tables()
        await enlist(queue, effect(1))


async def effects_are_whole(path) -> None:
    async with aclosing(DbapiEffectQueue(lambda: sqlite3.connect(path), threads=1)) as queue:
        await queue.create_tables()
        assert await states(queue) == {1: EffectState.DUE}


async def test_the_queue_of_effects_may_be_there_before_the_log(tmp_path, engine) -> None:
    own, host = tmp_path / "own.sqlite3", tmp_path / "host.sqlite3"
    await effects_first(own)
    await effects_first(host)
    async with aclosing(SqliteStore(own)) as store:
        assert await SqliteEventLog(store).record([event(1)]) == [True]
    with engine.begin() as connection:
        upgrade(connection)
        assert check(connection).ok
    assert shape(own) == shape(host)
    await effects_are_whole(own)
    await effects_are_whole(host)


def test_a_file_of_the_first_version_serves_as_it_is(engine, tmp_path) -> None:
    with engine.begin() as connection:
        upgrade(connection, revision="0001")
    store = SqliteStore(tmp_path / "host.sqlite3")
    asyncio.run(store.read(lambda _: None))
    asyncio.run(store.aclose())
    before = shape(tmp_path / "host.sqlite3")
    with engine.begin() as connection:
        upgrade(connection)
        assert check(connection).ok
    assert shape(tmp_path / "host.sqlite3") == before


def test_an_empty_database_becomes_ours_and_again_is_nothing(engine) -> None:
    with engine.begin() as connection:
        before = check(connection)
        assert (before.revision, before.ok) == (None, False)
        upgrade(connection)
    for _ in range(2):
        with engine.begin() as connection:
            upgrade(connection)
            after = check(connection)
            assert after.ok, after
            assert after.revision == REVISION


def test_an_upgrade_goes_with_the_callers_transaction(engine) -> None:
    with engine.connect() as connection:
        upgrade(connection)
        connection.rollback()
    with engine.begin() as connection:
        assert sa.inspect(connection).get_table_names() == []


def test_the_hosts_tables_are_the_hosts(engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('the host is here')"))
        connection.execute(sa.text("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)"))
    with engine.begin() as connection:
        upgrade(connection)
    with engine.begin() as connection:
        assert check(connection).ok, "and it speaks of ours alone"
        assert connection.execute(sa.text("SELECT * FROM alembic_version")).scalar() == "the host is here"
        assert connection.execute(sa.text(f"SELECT * FROM {VERSION_TABLE}")).scalar() == REVISION


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("DROP INDEX ix_tillport_attempts_charge_id", "ix_tillport_attempts_charge_id"),
        ("ALTER TABLE tillport_cursors ADD COLUMN surprise TEXT", "surprise"),
        ("DROP TABLE tillport_tombstones", "tillport_tombstones"),
    ],
)
def test_a_check_sees_what_is_not_as_it_should_be(engine, damage, told) -> None:
    with engine.begin() as connection:
        upgrade(connection)
        connection.execute(sa.text(damage))
        found = check(connection)
        assert not found.ok
        assert told in " ".join(found.differences)


def test_the_sql_that_is_printed_does_the_same(engine, tmp_path) -> None:
    with closing(sqlite3.connect(tmp_path / "host.sqlite3")) as raw:
        raw.executescript(sql("sqlite"))
    with engine.begin() as connection:
        assert check(connection).ok


async def test_an_upgrade_while_a_writer_is_at_work_loses_nothing(tmp_path) -> None:
    path = tmp_path / "till.sqlite3"
    async with aclosing(SqliteStore(path)) as store:
        log = SqliteEventLog(store)

        async def write() -> None:
            for number in range(60):
                assert list(await log.record([event(number)])) == [True]

        def upgrade_often() -> None:
            for _ in range(5):
                on_database(f"sqlite:///{path}", upgrade)

        await log.head()
        await asyncio.gather(write(), asyncio.to_thread(upgrade_often))
        assert len((await log.read(after=0)).events) == 60


async def test_a_host_may_take_the_tables_into_its_own_migrations(tmp_path, engine) -> None:
    """Autogenerate writes tables and no rows: nothing may need a row that only our own migrations put there."""
    host = sa.MetaData()
    sa.Table("orders", host, sa.Column("id", sa.Integer, primary_key=True))
    for table in metadata_for("sqlite").sorted_tables:
        table.to_metadata(host)
    with engine.begin() as connection:
        host.create_all(connection)
        assert check(connection).differences == ()
    async with aclosing(SqliteStore(tmp_path / "host.sqlite3", creates=False)) as store:
        log = SqliteEventLog(store)
        assert await log.head() == 0
        await log.record([event(1), event(2)])
        assert await log.forget(received_before=event(2).received_at, up_to=99, now=0) == 1
        assert (await log.read(after=0)).reset


def test_a_host_that_imports_nothing_else_has_every_table() -> None:
    """Its autogenerate would propose to drop the others."""
    program = "from tillport.adapters.sql.schema import metadata_for; print(*metadata_for('sqlite').tables)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(told.stdout.split()) == set(metadata_for("sqlite").tables)
    assert "tillport_effects" in told.stdout
