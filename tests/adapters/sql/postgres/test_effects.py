"""The effect queues on PostgreSQL hold every law of their port: SQLAlchemy async and sync, DB-API, Django."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from importlib import import_module
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import attrs
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tillport.adapters.conformance.effects import (
    HANDLER,
    EffectsCapabilities,
    Mistake,
    claim,
    effect,
    effects_laws,
    enlist,
    line,
    states,
    writer,
)
from tillport.adapters.conformance.effects_histories import check_effects_histories
from tillport.adapters.conformance.samples import NOON, event
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.sql import effects, effects_statements
from tillport.adapters.sql.autocommit import NoTransaction
from tillport.adapters.sql.effects import AsyncEffectQueue, HandlerCommitted, as_async_session
from tillport.adapters.sql.effects_django import DjangoEffectQueue
from tillport.adapters.sql.effects_stacks import DbapiEffectQueue, EngineEffectQueue, as_session
from tillport.adapters.sql.testing import PostgresServer
from tillport.domain.effects import Worked, work_once
from tillport.domain.handlers import Handler
from tillport.ports.effects import EffectState
from tillport.ports.event_log import LogUnavailable

LAWS = effects_laws(EffectsCapabilities(outages=True, refused_commits=True))
TABLES = """
    CREATE TABLE lines (line TEXT);
    CREATE TABLE parents (id INTEGER PRIMARY KEY);
    CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
"""
WRITE, SPOIL = "INSERT INTO lines VALUES (:line)", "INSERT INTO children VALUES (1)"

_aliases = count(1)


@asynccontextmanager
async def on_async_engine(url: str, level: str | None = None, **options: Any) -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    if level is not None:
        engine = engine.execution_options(isolation_level=level)
    try:
        yield AsyncEffectQueue(engine, **options)
    finally:
        await engine.dispose()


def on_async_session(url: str) -> Any:
    return on_async_engine(url, lend=as_async_session)


def on_async_autocommit(url: str) -> Any:
    return on_async_engine(url, "AUTOCOMMIT")


@asynccontextmanager
async def on_engine(url: str, level: str | None = None, **options: Any) -> AsyncIterator[Any]:
    engine = create_engine(
        url.replace("postgresql:", "postgresql+psycopg:"), **({"isolation_level": level} if level else {})
    )
    queue = EngineEffectQueue(engine, **options)
    try:
        yield queue
    finally:
        await queue.aclose()
        engine.dispose()


def on_session(url: str) -> Any:
    return on_engine(url, lend=as_session)


def on_autocommit(url: str) -> Any:
    return on_engine(url, "AUTOCOMMIT")


@asynccontextmanager
async def on_dbapi(url: str) -> AsyncIterator[Any]:
    queue = DbapiEffectQueue(lambda: psycopg.connect(url))
    try:
        yield queue
    finally:
        await queue.aclose()


@asynccontextmanager
async def on_django(url: str) -> AsyncIterator[Any]:
    from django.conf import settings
    from django.db import connections

    if not settings.configured:
        settings.configure()
        import_module("django").setup()
    alias, parts = f"pg_effects_{next(_aliases)}", urlsplit(url)
    wanted = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: wanted})[alias]
    queue = DjangoEffectQueue(alias)
    try:
        yield queue
    finally:
        await queue.aclose()


STACKS: dict[str, Callable[[str], Any]] = {
    "async engine": on_async_engine,
    "async session": on_async_session,
    "async autocommit": on_async_autocommit,
    "engine": on_engine,
    "session": on_session,
    "autocommit": on_autocommit,
    "dbapi": on_dbapi,
    "django": on_django,
}


# What a session changes is how effects are performed, and so does an engine that commits each statement by itself.
PERFORMING = [
    law for law in LAWS if law.__name__.startswith(("an_effect_and_its", "a_failure_undoes", "a_refused"))
]
CASES = {
    f"{name} {law.__name__}": (stack, law)
    for name, stack in STACKS.items()
    for law in (PERFORMING if "session" in name or "autocommit" in name else LAWS)
    # A crash of the server costs seconds, and is the same to all blocking stacks.
    if name in ("async engine", "dbapi") or not law.__name__.startswith("an_outage")
}


@attrs.define
class Bench:
    server: PostgresServer
    url: str
    stack: Callable[[str], Any]

    @asynccontextmanager
    async def open(self):
        async with self.stack(self.url) as queue:
            await queue.create_tables()
            yield queue

    async def write(self, transaction, line):
        await self._execute(transaction, WRITE, line)

    async def spoil(self, transaction):
        await self._execute(transaction, SPOIL)

    async def _execute(self, transaction, statement, *values):
        if self.stack in (on_async_engine, on_async_session, on_async_autocommit):
            await transaction.execute(text(statement), {"line": values[0]} if values else {})
        elif self.stack in (on_engine, on_session, on_autocommit):
            transaction.execute(text(statement), {"line": values[0]} if values else {})
        elif self.stack is on_django:
            with transaction.cursor() as cursor:
                cursor.execute(statement.replace(":line", "%s"), values)
        else:
            transaction.execute(statement.replace(":line", "%s"), values)

    async def lines(self):
        with psycopg.connect(self.url) as connection:
            return [found for (found,) in connection.execute("SELECT line FROM lines")]

    @asynccontextmanager
    async def outage(self):
        """The server crashes, and comes back."""
        self.server.kill()
        try:
            yield
        finally:
            self.server.start()


@pytest.fixture(scope="session")
def spare_urls() -> list[str]:
    """Databases that a bench is done with: two hundred files less for each that need not be made."""
    return []


@pytest.fixture
def new_effects_bench(postgres, spare_urls):
    def maker(stack):
        @asynccontextmanager
        async def new():
            postgres.start()
            url = spare_urls.pop() if spare_urls else postgres.create_database()
            with psycopg.connect(url) as connection:
                connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
                connection.execute(TABLES)
            yield Bench(postgres, url, stack)
            spare_urls.append(url)

        return new

    return maker


@pytest.mark.parametrize(("stack", "law"), CASES.values(), ids=CASES)
async def test_the_queue_holds_the_law(stack, law, new_effects_bench) -> None:
    async with new_effects_bench(stack)() as bench:
        await law(bench)


@pytest.mark.parametrize("stack", [on_async_engine, on_dbapi], ids=["async", "dbapi"])
def test_any_history_agrees_with_the_model(stack, new_effects_bench) -> None:
    check_effects_histories(new_effects_bench(stack), examples=4, shrink=False)


@pytest.mark.parametrize("stack", [on_async_autocommit, on_autocommit], ids=["async", "sync"])
async def test_a_place_moves_with_its_effects_or_not_at_all(stack, new_effects_bench) -> None:
    """Also on an engine that commits each statement by itself."""
    async with new_effects_bench(stack)() as bench, bench.open() as queue:
        await queue.begin(HANDLER, position=0)
        with psycopg.connect(bench.url) as connection:
            connection.execute("ALTER TABLE tillport_effects ADD CHECK (event_id <> 'evt_2')")
        with pytest.raises(LogUnavailable):
            await queue.enlist(HANDLER, [effect(1), effect(2)], after=0, position=2)
        assert await queue.begin(HANDLER, position=0) == 0


@pytest.mark.parametrize(
    "stack", [on_async_engine, on_engine, on_dbapi, on_django], ids=["async", "engine", "dbapi", "django"]
)
async def test_a_server_that_only_reads_is_left_as_soon_as_the_address_leads_to_one_that_writes(
    stack, new_effects_bench
) -> None:
    """As after a failover, when the application met the server that was demoted first."""
    async with new_effects_bench(stack)() as bench, bench.open() as queue:
        await enlist(queue, effect(1))
        name = bench.url.rpartition("/")[2]
        bench.server.psql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            async with stack(bench.url) as elsewhere:  # none of its connections was there before
                for _ in range(2):
                    with pytest.raises(LogUnavailable):
                        await claim(elsewhere)
                bench.server.psql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
                assert len(await claim(elsewhere)) == 1
        finally:
            bench.server.psql(f"ALTER DATABASE {name} RESET default_transaction_read_only")


async def test_an_engine_in_autocommit_stays_in_autocommit_for_its_owner(new_effects_bench) -> None:
    async with new_effects_bench(on_async_autocommit)() as bench, bench.open() as queue:
        await enlist(queue, effect(1))
        await queue.perform(await claim(queue), writer(bench))
        async with queue._engine.connect() as connection:
            raw = (await connection.get_raw_connection()).dbapi_connection
            await bench.write(connection, "the owner's")
            assert raw.autocommit
        assert sorted(await bench.lines()) == sorted([line(1), "the owner's"])


async def test_a_driver_in_autocommit_behind_sqlalchemys_back_is_refused(new_effects_bench) -> None:
    """SQLAlchemy would not put it back as it was, for the pool's other users."""
    async with new_effects_bench(on_engine)() as bench:
        url = bench.url.replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(url, connect_args={"autocommit": True})
        async with aclosing(EngineEffectQueue(engine, threads=1)) as queue:
            with pytest.raises(NoTransaction):
                await queue.create_tables()
        with engine.connect() as connection:
            assert connection.connection.dbapi_connection.autocommit
        engine.dispose()


async def test_django_without_its_autocommit_is_refused(new_effects_bench) -> None:
    """There atomic() neither begins nor commits: all would be called done, and gone with the process."""
    async with new_effects_bench(on_django)() as bench, bench.open() as queue:
        connections = queue._stack._django.connections
        alias = queue._stack._using
        connections.settings[alias]["AUTOCOMMIT"] = False
        async with aclosing(DjangoEffectQueue(alias, threads=1)) as other:
            with pytest.raises(NoTransaction):
                await other.begin(HANDLER, position=0)


@pytest.mark.parametrize("stack", [on_async_engine, on_dbapi], ids=["async", "dbapi"])
async def test_forgetting_goes_through_all_in_stretches(stack, new_effects_bench, monkeypatch) -> None:
    """A transaction has an end in time: it can't be about all of them."""
    monkeypatch.setattr(effects_statements, "FORGET_STRETCH", 2)
    async with new_effects_bench(stack)() as bench, bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 8)))
        taken = await claim(queue)
        await queue.perform([one for one in taken if one.position != 2], writer(bench))
        with psycopg.connect(bench.url, autocommit=True) as connection:
            told = "SELECT count(DISTINCT xid) FROM gone"
            connection.execute("CREATE TABLE gone (xid bigint)")
            connection.execute(
                "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN INSERT INTO gone VALUES (txid_current()); RETURN OLD; END $$"
            )
            connection.execute(
                "CREATE TRIGGER note BEFORE DELETE ON tillport_effects FOR EACH ROW EXECUTE FUNCTION note()"
            )
            assert await queue.forget(up_to=5) == 4
            assert connection.execute(told).fetchone()[0] >= 2
        assert [one.position for one in await queue.list(states=tuple(EffectState))] == [2, 6, 7]


async def test_a_handler_that_commits_is_refused_and_harms_nobody(new_effects_bench) -> None:
    async with new_effects_bench(on_async_engine)() as bench, bench.open() as queue:
        await enlist(queue, effect(1), effect(2), effect(3))
        taken = await claim(queue)

        async def run(connection, one):
            await bench.write(connection, line(one.position))
            if one.position == 2:
                await connection.commit()

        with pytest.raises(HandlerCommitted):
            await queue.perform(taken, run)
        assert await bench.lines() == []
        assert {one.state for one in await queue.list(states=tuple(EffectState))} == {EffectState.DUE}


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("ends", [["COMMIT"], ["COMMIT", "BEGIN"], ["ROLLBACK"]], ids=" ".join)
async def test_a_handler_that_ends_the_transaction_in_sql_takes_no_neighbours_along(
    ends, raises, new_effects_bench
) -> None:
    """What it committed is done; what was marked with it, and not run or undone, is due again."""
    async with new_effects_bench(on_async_engine)() as bench, bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 6)))
        taken = await claim(queue)
        ended = []

        async def run(connection, one):
            await bench.write(connection, line(one.position))
            if one.position == 2 and not ended:
                raise Mistake("not today")
            if one.position == 3:
                ended.append(one)
                for statement in ends:
                    await connection.execute(text(statement))
                if raises:
                    raise Mistake("after all")

        with pytest.raises((DBAPIError, asyncpg.PostgresError, Mistake)):
            await queue.perform(taken, run)
        kept = {1, 3} if "COMMIT" in ends else set()
        assert sorted(await bench.lines()) == [line(number) for number in sorted(kept)]
        assert await states(queue) == {
            number: EffectState.DONE if number in kept else EffectState.DUE for number in range(1, 6)
        }
        others = [one for one in taken if one.position != 3]
        await queue.perform(others, run)
        assert sorted(await bench.lines()) == [line(number) for number in sorted({1, 2, 4, 5} | kept)]


@attrs.define
class AnswerLost:
    """A connection on which the first answer to a statement never comes, though the statement was carried out."""

    driver: Any
    statement: str
    lost: bool = False

    async def execute(self, statement):
        await self.driver.execute(statement)
        if statement == self.statement and not self.lost:
            self.lost = True
            raise TimeoutError


@pytest.mark.parametrize("statement", [effects._NEXT, effects._RELEASE], ids=["between two", "at the end"])
async def test_an_answer_that_is_lost_leaves_no_effect_without_its_mark(
    statement, new_effects_bench, monkeypatch
) -> None:
    """The savepoint of the handler may be gone by then: what is rolled back is the next one, and the effect would be there."""
    begin_round = AsyncEffectQueue._begin_round

    async def begin_lossy_round(self, connection, those):
        marked, xid, driver = await begin_round(self, connection, those)
        return marked, xid, AnswerLost(driver, statement)

    async with new_effects_bench(on_async_engine)() as bench, bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 4)))
        taken = await claim(queue)
        with monkeypatch.context() as patch:
            patch.setattr(AsyncEffectQueue, "_begin_round", begin_lossy_round)
            with pytest.raises(TimeoutError):
                await queue.perform(taken, writer(bench))
        assert await bench.lines() == []
        assert await states(queue) == dict.fromkeys((1, 2, 3), EffectState.DUE)
        await queue.perform(taken, writer(bench))
        assert sorted(await bench.lines()) == [line(number) for number in (1, 2, 3)]


async def test_a_mark_that_another_worker_has_set_meanwhile_stays(new_effects_bench) -> None:
    async with new_effects_bench(on_async_engine)() as bench, bench.open() as queue, bench.open() as other:
        await enlist(queue, effect(1), effect(2))
        taken = await claim(queue)

        async def run(connection, one):
            if one.position == 1:
                await connection.execute(text("ROLLBACK"))
                assert [told.done for told in await other.perform(taken[1:], writer(bench))] == [True]
            await bench.write(connection, line(one.position))

        with pytest.raises(asyncpg.PostgresError):
            await queue.perform(taken, run)
        assert await states(queue) == {1: EffectState.DUE, 2: EffectState.DONE}


async def test_a_session_that_commits_commits_a_savepoint(new_effects_bench) -> None:
    async with new_effects_bench(on_async_session)() as bench, bench.open() as queue:
        await enlist(queue, effect(1), effect(2))

        async def run(session, one):
            await bench.write(session, line(one.position))
            await session.commit()
            if one.position == 2:
                raise ValueError("after all")

        told = await queue.perform(await claim(queue), run)
        assert [one.done for one in told] == [True, False]
        assert await bench.lines() == [line(1)]


async def test_a_handler_that_fails_in_sql_harms_nobody(new_effects_bench) -> None:
    """PostgreSQL refuses every statement after one that failed, up to the savepoint."""
    async with new_effects_bench(on_async_engine)() as bench, bench.open() as queue:
        await enlist(queue, effect(1), effect(2), effect(3))

        async def run(connection, one):
            await bench.write(connection, line(one.position))
            if one.position == 2:
                async with connection.begin_nested():
                    await connection.execute(text("SELECT 1 / 0"))

        told = await queue.perform(await claim(queue), run)
        assert [one.done for one in told] == [True, False, True]
        assert sorted(await bench.lines()) == [line(1), line(3)]


async def test_a_handler_that_is_cut_off_loses_the_round_and_nothing_else(new_effects_bench) -> None:
    async with new_effects_bench(on_async_engine)() as bench, bench.open() as queue:
        await enlist(queue, effect(1), effect(2))
        taken = await claim(queue)

        async def run(connection, one):
            await bench.write(connection, line(one.position))
            if one.position == 2:
                async with asyncio.timeout(0.05):
                    await connection.execute(text("SELECT pg_sleep(60)"))

        with pytest.raises(TimeoutError):
            await queue.perform(taken, run)
        assert await bench.lines() == []
        assert [one.done for one in await queue.perform(taken[:1], run)] == [True]


async def test_a_slow_worker_is_passed_over_and_not_waited_for(new_effects_bench) -> None:
    """SKIP LOCKED: while one handler hangs, the claims that have ended go to nobody else, and the rest goes on."""
    async with new_effects_bench(on_async_engine)() as bench, bench.open() as here, bench.open() as there:
        await enlist(here, effect(1), effect(2))
        entered, leave = asyncio.Event(), asyncio.Event()

        async def hang(connection, one):
            entered.set()
            await leave.wait()
            await bench.write(connection, line(one.position))

        slow = asyncio.ensure_future(here.perform(await claim(here, limit=1), hang))
        await entered.wait()
        later = await asyncio.wait_for(claim(there, 1_700_000_060.0), 5)
        assert [one.position for one in later] == [2]
        assert [one.done for one in await there.perform(later, writer(bench))] == [True]
        leave.set()
        assert [one.done for one in await slow] == [True]
        assert sorted(await bench.lines()) == [line(1), line(2)]


@attrs.define
class InterruptedLog(MemoryEventLog):
    """A log that is read between a claim and its performing, when somebody else may do something."""

    interrupt: Callable[[], object] = attrs.field(kw_only=True)

    async def read(self, *, after, limit, where=None):
        self.interrupt()
        return await super().read(after=after, limit=limit, where=where)


@pytest.mark.parametrize("in_time", [True, False])
async def test_what_another_claim_locked_for_a_moment_is_due_again_at_once(
    in_time, new_effects_bench
) -> None:
    """Who claims at the same moment locks what we have got, too, until its own commit. Nobody runs it meanwhile."""
    async with new_effects_bench(on_async_engine)() as bench, bench.open() as queue:
        with psycopg.connect(bench.url) as other:

            def lock():
                other.execute("SELECT FROM tillport_effects WHERE position = 2 FOR UPDATE")

            async def write(connection, event):
                if in_time:
                    other.rollback()
                await bench.write(connection, event.id)

            log, clock = InterruptedLog(interrupt=lock), ManualClock(NOON)
            await log.record([event(1), event(2)])
            await enlist(queue, effect(1), effect(2))
            worked = await work_once(Handler(name=HANDLER, function=write), log, queue, clock)
            assert worked == Worked(claimed=2, done=1)
            (left,) = await queue.list(states=[EffectState.DUE])
            assert (left.position, left.claims) == (2, 0 if in_time else 1)
            assert (left.due_at <= clock.now()) is in_time, "one that is locked still keeps its claim"


async def test_a_blocking_handler_leaves_the_event_loop_alone(new_effects_bench) -> None:
    async with new_effects_bench(on_dbapi)() as bench, bench.open() as queue:
        await enlist(queue, effect(1))
        entered, leave = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        async def run(_cursor, _one):
            loop.call_soon_threadsafe(entered.set)
            leave.wait(10)

        performing = asyncio.ensure_future(queue.perform(await claim(queue), run))
        await asyncio.wait_for(entered.wait(), 10)
        assert (await queue.standings())[0].due == 1, "other calls are served meanwhile"
        leave.set()
        assert [one.done for one in await performing] == [True]
