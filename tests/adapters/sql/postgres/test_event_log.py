"""The log on PostgreSQL holds every law of an event log."""

import pytest

from tillport.adapters.conformance.event_log import EventLogCapabilities, event_log_laws
from tillport.adapters.conformance.event_log_histories import check_event_log_histories
from tillport.adapters.sql.postgres import PostgresEventLog

LAWS = event_log_laws(EventLogCapabilities(housekeeping=True, outages=True))


@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_the_log_holds_the_law(law, new_bench) -> None:
    async with new_bench(PostgresEventLog)() as bench:
        await law(bench)


def test_any_history_agrees_with_the_model(new_bench) -> None:
    check_event_log_histories(new_bench(PostgresEventLog), housekeeping=True, examples=15, shrink=False)
