"""Inline effects on SQLite: the event and its effect are both there, or neither."""

import asyncio
import sqlite3
from contextlib import aclosing, closing, nullcontext, suppress
from functools import partial

import pytest
from sqlalchemy import create_engine, text

from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.effects_inline import EffectFailed, HandlerEnded, InlineLog
from tillport.adapters.sql.sqlite import SqliteEventLog
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.domain.effects import inline
from tillport.domain.handlers import Handlers
from tillport.ports.event_log import EventRefused


@pytest.fixture
async def world(tmp_path):
    path = tmp_path / "till.sqlite3"
    async with aclosing(SqliteStore(path)) as store:
        inner = SqliteEventLog(store)
        await inner.head()  # which makes the tables
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE receipts (charge TEXT)")
        engine = create_engine(f"sqlite:///{path}")
        try:
            handlers = Handlers()

            @handlers.on("charge.succeeded", name="receipts")
            def write(connection, event):
                connection.execute(
                    text("INSERT INTO receipts VALUES (:charge)"), {"charge": event.transaction_id}
                )
                if event.id == "evt_9":
                    raise ValueError("no")

            def receipts():
                with closing(sqlite3.connect(path)) as connection:
                    return [
                        charge
                        for (charge,) in connection.execute("SELECT charge FROM receipts ORDER BY charge")
                    ]

            yield InlineLog(inner, engine, partial(inline, handlers)), receipts
        finally:
            engine.dispose()


async def test_the_event_and_its_effect_are_there_together(world) -> None:
    log, receipts = world
    assert await log.record([event(1), event(2)]) == [True, True]
    assert await log.record([event(1)]) == [False]
    assert receipts() == ["ch_1", "ch_2"]
    assert [one.event.id for one in (await log.read(after=0)).events] == ["evt_1", "evt_2"]


async def test_a_handler_that_fails_keeps_the_event_out(world) -> None:
    log, receipts = world
    with pytest.raises(EffectFailed) as caught:
        await log.record([event(9)])
    assert isinstance(caught.value.__cause__, ValueError)
    assert receipts() == []
    assert await log.head() == 0
    assert await log.find("evt_9") is None


async def test_repeated_at_the_same_time_it_is_done_once(world) -> None:
    log, receipts = world
    told = await asyncio.gather(*(log.record([event(1)]) for _ in range(5)))
    assert sorted(new for (new,) in told) == [False] * 4 + [True]
    assert receipts() == ["ch_1"]


async def test_what_can_not_be_kept_is_refused_as_ever(world) -> None:
    log, receipts = world
    with pytest.raises(EventRefused):
        await log.record([event(1, body=b"\0")])
    assert receipts() == []


ENDS = {
    "commit": lambda connection: connection.commit(),
    "rollback": lambda connection: connection.rollback(),
    "ROLLBACK": lambda connection: connection.execute(text("ROLLBACK")),
    # sqlite3 begins the next transaction by itself, and what is committed in the end is that one.
    "ROLLBACK and on": lambda connection: [
        connection.execute(text(words)) for words in ("ROLLBACK", "INSERT INTO receipts VALUES ('alone')")
    ],
}


@pytest.mark.parametrize("hides", [False, True], ids=["", "and hides it"])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_handler_that_ends_the_transaction_loses_no_event_and_leaves_none_alone(
    end, hides, world
) -> None:
    """A rollback would have been acknowledged, and a commit would have kept the next handler from its effect."""
    log, receipts = world
    inner = log._act

    async def act(connection, one):
        await inner(connection, one)
        with suppress(HandlerEnded) if hides else nullcontext():
            end(connection)

    meddling = InlineLog(log._log, log._engine, act)
    for _ in range(2):
        with pytest.raises(EffectFailed) as caught:
            await meddling.record([event(1)])
        assert isinstance(caught.value.__cause__, HandlerEnded)
        assert await log.find("evt_1") is None
    assert await log.record([event(2), event(1)]) == [True, True], "and the pool's connections are sound"
    assert receipts() == ["ch_1", "ch_2"]
