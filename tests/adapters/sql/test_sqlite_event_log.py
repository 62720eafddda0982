"""The SQLite log holds every law of an event log, and what SQLite can do to it."""

import sqlite3
from contextlib import closing

import pytest

from tillport.adapters.conformance.event_log import EventLogCapabilities, event_log_laws, everything
from tillport.adapters.conformance.event_log_histories import check_event_log_histories
from tillport.adapters.conformance.samples import NOON, event
from tillport.adapters.sql.creation import create_sqlite
from tillport.adapters.sql.own_events import OwnEvents
from tillport.adapters.sql.schema import events as events_table
from tillport.adapters.sql.selection import span_statement
from tillport.adapters.sql.sqlite import SqliteEventLog
from tillport.adapters.sql.sqlite_store import SQLITE
from tillport.ports.selector import AllOf, Compare, matches


def with_own(store):
    """As the service opens it: what this process recorded is not read again."""
    return SqliteEventLog(store, own=OwnEvents())


LOGS = pytest.mark.parametrize(
    ("log", "writes_apart"),
    [(SqliteEventLog, False), (with_own, False), (with_own, True)],
    ids=["plain", "own", "apart"],  # the last is what `tillport serve` has
)
LAWS = event_log_laws(EventLogCapabilities(housekeeping=True, outages=True))


@LOGS
@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_the_sqlite_log_holds_the_law(law, log, writes_apart, new_bench) -> None:
    async with new_bench(log, writes_apart=writes_apart)() as bench:
        await law(bench)


@pytest.mark.parametrize("near", [1, 2, 3])
async def test_events_of_a_time_are_found_near_and_far(near: int, new_bench, monkeypatch) -> None:
    """Whatever stretch of the log is read first, and though times are not in the order of the log."""
    monkeypatch.setattr("tillport.adapters.sql.sqlite._NEAR", near)
    times = [9, 1, 2, 8, 3, 4, 5, 9, 6, 7, 1, 8]
    events = [event(number, received_at=NOON + one) for number, one in enumerate(times)]
    async with new_bench(SqliteEventLog)() as bench, bench.open() as log:
        await log.record(events)
        for low in range(11):
            for high in range(low, 11):
                since = Compare("received_at", ">=", NOON + low)
                where = AllOf((since, Compare("received_at", "<", NOON + high))) if high < 10 else since
                expected = [one for one in events if matches(where, one.fields(), one.aliases)]
                for limit in (1, 2, 5, 20):
                    found = [one.event for one in await everything(log, where, limit=limit)]
                    assert found == expected, (low, high, limit)


def test_what_lies_far_away_is_found_by_the_index_of_times() -> None:
    for field in ("received_at", "created"):
        statement = span_statement(((field, ">="), (field, "<")), SQLITE, events_table.c.seq, events_table)
        with closing(sqlite3.connect(":memory:")) as connection:
            create_sqlite(connection)
            values = statement.positional(b_after=1, s0=1, s1=2)
            plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", values).fetchall())
        assert f"USING COVERING INDEX ix_StripeEvents_{field}" in plan


@LOGS
def test_any_history_agrees_with_the_model(log, writes_apart, new_bench) -> None:
    check_event_log_histories(new_bench(log, writes_apart=writes_apart), housekeeping=True, examples=25)
