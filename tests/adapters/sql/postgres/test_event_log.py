"""The log on PostgreSQL holds every law of an event log."""

import random

import pytest

from tillport.adapters.conformance.event_log import EventLogCapabilities, event_log_laws, everything, visible
from tillport.adapters.conformance.event_log_histories import check_event_log_histories
from tillport.adapters.conformance.samples import NOON, event
from tillport.adapters.sql.own_events import OwnEvents
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.ports.selector import AllOf, Compare, matches


def with_own(store):
    """As the service opens it: what this process recorded is not read again."""
    return PostgresEventLog(store, own=OwnEvents())


LOGS = pytest.mark.parametrize("log", [PostgresEventLog, with_own], ids=["plain", "own"])
LAWS = event_log_laws(EventLogCapabilities(housekeeping=True, outages=True))


@LOGS
@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_the_log_holds_the_law(law, log, new_bench) -> None:
    async with new_bench(log)() as bench:
        await law(bench)


@LOGS
def test_any_history_agrees_with_the_model(log, new_bench) -> None:
    check_event_log_histories(new_bench(log), housekeeping=True, examples=15, shrink=False)


@pytest.mark.parametrize("near", [1, 3])
async def test_events_of_a_time_are_found_near_and_far(near: int, new_bench, monkeypatch) -> None:
    """Whatever stretch of the log is read first, and though times are not in the order of the log."""
    monkeypatch.setattr("tillport.adapters.sql.postgres._NEAR", near)
    times = [9, 1, 2, 8, 3, 4, 5, 9, 6, 7, 1, 8]
    events = [event(number, received_at=NOON + one) for number, one in enumerate(times)]
    async with new_bench(PostgresEventLog)() as bench, bench.open() as log:
        await log.record(events)
        await log.sequencer.idle()
        for low in range(0, 11, 2):
            for high in range(low, 11, 2):
                since = Compare("received_at", ">=", NOON + low)
                where = AllOf((since, Compare("received_at", "<", NOON + high))) if high < 10 else since
                expected = [one for one in events if matches(where, one.fields(), one.aliases)]
                for limit in (1, 2, 20):
                    found = [one.event for one in await everything(log, where, limit=limit)]
                    assert found == expected, (low, high, limit)


@pytest.mark.parametrize("near", [1, 3, 10])
async def test_events_of_a_type_are_found_near_and_far(near: int, store, monkeypatch) -> None:
    """Whichever way is taken: along the log, or by the index of types."""
    monkeypatch.setattr("tillport.adapters.sql.postgres._NEAR", near)
    chance = random.Random(near)
    events = [event(n, type=chance.choice("aaaab")) for n in range(1, 40)]
    events += [event(n, type="ca"[n % 2]) for n in range(40, 60)]
    log = PostgresEventLog(store)
    await log.record(events)
    await visible(log, events)
    for where in (
        *(Compare("type", "=", one) for one in "abcd"),
        AllOf((Compare("type", "=", "a"), Compare("created", ">=", events[30].created))),
        AllOf((Compare("type", "=", "c"), Compare("id", "=", "ch_50"))),
        Compare("id", "=", "ch_45"),
        Compare("payment_key", "=", "pi_7"),
    ):
        expected = [one for one in events if matches(where, one.fields(), one.aliases)]
        for limit in (1, 2, 5, 100):
            assert [one.event for one in await everything(log, where, limit=limit)] == expected, (
                where,
                limit,
            )
