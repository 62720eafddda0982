"""The effect queues on SQLite hold every law of their port: through DB-API, SQLAlchemy's engine, sessions and Django."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import create_engine, event, text

from tillport.adapters.conformance.effects import (
    HANDLER,
    EffectsCapabilities,
    claim,
    effect,
    effects_laws,
    enlist,
    writer,
)
from tillport.adapters.conformance.effects_histories import check_effects_histories
from tillport.adapters.conformance.samples import event as sample
from tillport.adapters.runtime.effects import with_time_limit
from tillport.adapters.sql import effects_statements
from tillport.adapters.sql.effects_django import DjangoEffectQueue
from tillport.adapters.sql.effects_stacks import (
    DbapiEffectQueue,
    EngineEffectQueue,
    ScriptRefused,
    as_session,
)
from tillport.domain.handlers import Handler, HandlerReturned
from tillport.ports.effects import EffectState
from tillport.ports.event_log import LogUnavailable

LAWS = effects_laws(EffectsCapabilities(outages=True, refused_commits=True))
TABLES = """
    CREATE TABLE lines (line TEXT);
    CREATE TABLE parents (id INTEGER PRIMARY KEY);
    CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
"""
WRITE, SPOIL = "INSERT INTO lines VALUES (:line)", "INSERT INTO children VALUES (1)"


# How long a stack waits for a lock. Only where the file is locked on purpose is that a waste of time.
patience = {"seconds": 5.0}


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=patience["seconds"])
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@contextmanager
def dbapi(path: Path) -> Iterator[Any]:
    yield DbapiEffectQueue(lambda: connect(path), threads=2)


@contextmanager
def engine(path: Path, level: str | None = None, **options: Any) -> Iterator[Any]:
    made = create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": patience["seconds"]},
        # With SQLAlchemy's rollback left out wherever it thinks that there is nothing to roll back.
        **({"isolation_level": level, "skip_autocommit_rollback": True} if level else {}),
    )
    try:
        event.listen(made, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON"))
        yield EngineEffectQueue(made, threads=2, **options)
    finally:
        made.dispose()


def session(path: Path) -> Any:
    return engine(path, lend=as_session)


def autocommit(path: Path) -> Any:
    return engine(path, "AUTOCOMMIT")


_aliases = count(1)


@contextmanager
def django(path: Path) -> Iterator[Any]:
    from django.conf import settings
    from django.db import connections

    if not settings.configured:
        settings.configure()
        import_module("django").setup()
    alias = f"effects_{next(_aliases)}"
    options = {"timeout": patience["seconds"], "transaction_mode": "IMMEDIATE"}
    wanted = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: wanted})[alias]
    yield DjangoEffectQueue(alias, threads=2)


STACKS: dict[str, Callable[[Path], Any]] = {
    "dbapi": dbapi,
    "engine": engine,
    "session": session,
    "autocommit": autocommit,
    "django": django,
}


@attrs.define
class Bench:
    path: Path
    stack: Callable[[Path], Any]

    @asynccontextmanager
    async def open(self):
        with self.stack(self.path) as queue:
            await queue.create_tables()
            try:
                yield queue
            finally:
                await queue.aclose()

    async def write(self, transaction, line):
        self._execute(transaction, WRITE, line)

    async def spoil(self, transaction):
        self._execute(transaction, SPOIL)

    def _execute(self, transaction, statement, *line):
        if self.stack in (engine, session, autocommit):
            transaction.execute(text(statement), {"line": line[0]} if line else {})
        elif self.stack is django:
            with transaction.cursor() as cursor:
                cursor.execute(statement.replace(":line", "%s"), line)
        else:
            transaction.execute(statement.replace(":line", "?"), line)

    async def lines(self):
        with closing(sqlite3.connect(self.path)) as connection:
            return [line for (line,) in connection.execute("SELECT line FROM lines")]

    @asynccontextmanager
    async def outage(self):
        """Another process holds the write lock."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


@pytest.fixture
def new_bench(tmp_path, request, monkeypatch):
    numbers = count(1)
    if "outage" in request.node.name:
        monkeypatch.setitem(patience, "seconds", 0.5)

    def maker(stack):
        @asynccontextmanager
        async def new():
            path = tmp_path / f"{next(numbers)}.sqlite3"
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(TABLES)
            yield Bench(path, stack)

        return new

    return maker


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_the_queue_holds_the_law(law, stack, new_bench) -> None:
    async with new_bench(stack)() as bench:
        await law(bench)


@pytest.mark.parametrize("stack", [dbapi, engine], ids=["dbapi", "engine"])
def test_any_history_agrees_with_the_model(stack, new_bench) -> None:
    check_effects_histories(new_bench(stack), examples=15, shrink=False)


@pytest.mark.parametrize("stretch", [1, 2, 3, 100])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
async def test_forgetting_goes_through_all_in_stretches(stack, stretch, new_bench, monkeypatch) -> None:
    monkeypatch.setattr(effects_statements, "FORGET_STRETCH", stretch)
    async with new_bench(stack)() as bench, bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 7)))
        await enlist(queue, *(effect(number, handler="ledger") for number in range(1, 7)))
        for handler in (HANDLER, "ledger"):
            taken = await claim(queue, handler=handler)
            await queue.perform([one for one in taken if one.position != 2], writer(bench))
        assert await queue.forget(up_to=4) == 6
        assert await queue.forget(up_to=4) == 0
        left = await queue.list(states=tuple(EffectState))
        assert [(one.position, one.handler) for one in left] == [
            (position, handler) for position in (2, 5, 6) for handler in ("ledger", HANDLER)
        ]


async def test_forgetting_much_keeps_nobody_from_writing_for_long(new_bench, monkeypatch) -> None:
    """In each transaction a few go; before the next one whoever waits has had its turn."""
    monkeypatch.setattr(effects_statements, "FORGET_STRETCH", 10)
    said: list[str] = []

    def connect_and_listen(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(said.append)
        return connection

    @contextmanager
    def listening(path: Path) -> Iterator[Any]:
        yield DbapiEffectQueue(lambda: connect_and_listen(path), threads=1)

    async with new_bench(listening)() as bench, bench.open() as queue:
        with closing(sqlite3.connect(bench.path)) as connection:
            rows = [(f"evt_{number}", number) for number in range(95)]
            columns = "payment_key, in_order, state, tries, claims, due_at"
            connection.executemany(
                f"INSERT INTO tillport_effects (event_id, handler, position, {columns}) "
                "VALUES (?, 'receipts', ?, 'pi', 0, 'done', 0, 1, 0.0)",
                rows,
            )
            connection.commit()
        said.clear()
        assert await queue.forget(up_to=200) == 95
        transactions = "\n".join(said).split("COMMIT")
        assert [one.count("DELETE") for one in transactions if "DELETE" in one] == [1] * 10


async def test_what_a_django_handler_wants_after_the_commit_goes_when_it_fails(new_bench) -> None:
    """Its order was undone: no letter about it may be sent. Its neighbours' letters are."""
    from django.db import transaction

    sent = []

    async def run(connection, one):
        with transaction.atomic(using=connection.alias):
            transaction.on_commit(lambda: sent.append(("inner", one.position)), using=connection.alias)
        transaction.on_commit(lambda: sent.append(("outer", one.position)), using=connection.alias)
        if one.position == 2:
            raise ValueError("no")

    async with new_bench(django)() as bench, bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 4)))
        told = await queue.perform(await claim(queue), run)
        assert [one.done for one in told] == [True, False, True]
        assert sent == [("inner", 1), ("outer", 1), ("inner", 3), ("outer", 3)]
        await queue.skip(HANDLER, "evt_2")
        assert (await queue.standings())[0].due == 0, "and the connection is sound"


async def test_what_fails_after_the_commit_in_django_undoes_nothing_and_keeps_nobody_from_theirs(
    new_bench, caplog
) -> None:
    from django.db import transaction

    sent = []

    async def run(connection, one):
        await bench.write(connection, f"{one.handler} {one.event_id}")
        letter = partial({1: sent.append, 2: int, 3: sent.append}[one.position], f"to {one.position}")
        transaction.on_commit(letter, using=connection.alias)

    async with new_bench(django)() as bench, bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 4)))
        told = await queue.perform(await claim(queue), run)
        assert [one.done for one in told] == [True] * 3
        assert len(await bench.lines()) == 3
    assert sent == ["to 1", "to 3"]
    assert "on_commit(), failed with ValueError" in caplog.text


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
async def test_what_ends_a_round_leaves_no_transaction_open(stack, new_bench) -> None:
    async def run(transaction, one):
        await bench.write(transaction, f"{one.handler} {one.event_id}")
        if one.position == 2:
            raise Killed

    async with new_bench(stack)() as bench, bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 4)))
        taken = await claim(queue)
        for _ in range(3):  # on every thread
            with pytest.raises(Killed):
                await queue.perform(taken, run)
        assert await bench.lines() == []
        told = await queue.perform(taken, writer(bench))
        assert [one.done for one in told] == [True] * 3
        assert len(await bench.lines()) == 3


@contextmanager
def deferred(path: Path) -> Iterator[Any]:
    """An engine whose host begins transactions as SQLite does by itself: they lock when they first write."""
    made = create_engine(f"sqlite:///{path}", connect_args={"timeout": patience["seconds"]})
    try:
        event.listen(made, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
        event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        yield EngineEffectQueue(made, threads=1)
    finally:
        made.dispose()


async def test_a_mark_that_can_not_be_set_is_no_failure_of_the_handler(new_bench, monkeypatch) -> None:
    """Nothing was begun: to count it as a try would bury what was never run."""
    monkeypatch.setitem(patience, "seconds", 0.1)
    async with new_bench(deferred)() as bench, bench.open() as queue:
        await enlist(queue, effect(1), effect(2))
        taken = await claim(queue)
        async with bench.outage():
            with pytest.raises(LogUnavailable):
                await queue.perform(taken, writer(bench))


async def test_a_script_that_sqlite3_would_commit_is_refused(new_bench) -> None:
    """It would commit the mark first: one that then failed would be called done, and never be tried again."""

    async def run(cursor, one):
        cursor.execute(WRITE, {"line": f"{one.handler} {one.event_id}"})
        if one.position == 2:
            cursor.executescript("INSERT INTO lines VALUES ('half'); INSERT INTO nowhere VALUES (1)")

    async with new_bench(dbapi)() as bench, bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 4)))
        told = await queue.perform(await claim(queue), run)
        assert [one.done for one in told] == [True, False, True]
        assert isinstance(told[1].failure, ScriptRefused)
        assert len(await bench.lines()) == 2
        assert [one.position for one in await queue.list(states=[EffectState.DUE])] == [2]


def generator(cursor, event):
    yield cursor.execute(WRITE, {"line": event.id})


@pytest.mark.parametrize(
    "function", [generator, lambda cursor, event: cursor.execute(WRITE, {"line": event.id})]
)
async def test_a_handler_that_returns_something_is_told_so(function, new_bench) -> None:
    """A cursor, say, or a generator, which has not even begun. Nobody awaited anything."""
    handler = with_time_limit(Handler(name=HANDLER, function=function), 30)
    async with new_bench(dbapi)() as bench, bench.open() as queue:
        await enlist(queue, effect(1))
        (told,) = await queue.perform(await claim(queue), lambda cursor, _: handler.run(cursor, sample(1)))
        assert isinstance(told.failure, HandlerReturned)
        assert await bench.lines() == []


def test_what_is_no_way_to_the_database_is_refused_at_once(tmp_path: Path) -> None:
    wrong: Any = "sqlite:///till.sqlite3"
    with pytest.raises(TypeError, match="create_engine"):
        EngineEffectQueue(wrong)
    with pytest.raises(TypeError, match="a function that connects"):
        DbapiEffectQueue(wrong)
    with closing(sqlite3.connect(tmp_path / "till.sqlite3")) as connection:
        handed_in: Any = connection
        with pytest.raises(TypeError, match="a function that connects"):
            DbapiEffectQueue(handed_in)


def test_a_database_that_effects_are_not_kept_in_is_refused_at_once(tmp_path: Path, monkeypatch) -> None:
    """It would be told as one that is away, for ever."""
    made = create_engine("sqlite://")
    monkeypatch.setattr(made.dialect, "name", "mysql")
    with pytest.raises(ValueError, match="not in mysql"):
        EngineEffectQueue(made)
    with django(tmp_path / "till.sqlite3") as queue:
        connection, alias = queue._stack._connection, queue._stack._using
    monkeypatch.setattr(type(connection), "vendor", "mysql")
    with pytest.raises(ValueError, match="not in mysql"):
        DjangoEffectQueue(alias)
    with pytest.raises(import_module("django.utils.connection").ConnectionDoesNotExist):
        DjangoEffectQueue("misspelt")
