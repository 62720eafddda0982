"""The SQLite adapters for callers without an event loop: every law still holds, and nothing suspends."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import attrs
import pytest

from tillport.adapters.conformance.event_log import EventLogCapabilities, event_log_laws
from tillport.adapters.conformance.ledger import LedgerCapabilities, ledger_laws
from tillport.adapters.conformance.samples import attempt, event
from tillport.adapters.sql.sqlite import SqliteEventLog, SqliteLedger
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.domain import run
from tillport.domain.sync import Suspended

LOG_LAWS = event_log_laws(EventLogCapabilities(housekeeping=True))
LEDGER_LAWS = ledger_laws(LedgerCapabilities(housekeeping=True))


@attrs.define
class Bench:
    path: object
    adapter: object

    @asynccontextmanager
    async def open(self) -> AsyncIterator[object]:
        store = SqliteStore(self.path, blocking=True)
        try:
            yield self.adapter(store)
        finally:
            await store.aclose()


@pytest.mark.parametrize("law", LOG_LAWS, ids=[law.__name__ for law in LOG_LAWS])
async def test_the_blocking_log_holds_the_law(law, tmp_path) -> None:
    await law(Bench(tmp_path / "till.sqlite3", SqliteEventLog))


@pytest.mark.parametrize("law", LEDGER_LAWS, ids=[law.__name__ for law in LEDGER_LAWS])
async def test_the_blocking_ledger_holds_the_law(law, tmp_path) -> None:
    await law(Bench(tmp_path / "till.sqlite3", SqliteLedger))


def test_it_needs_no_event_loop(tmp_path) -> None:
    store = SqliteStore(tmp_path / "till.sqlite3", blocking=True)
    assert run(SqliteEventLog(store).record([event(1), event(1)])) == [True, False]
    assert run(SqliteLedger(store).open(attempt(1))).new
    run(store.aclose())


def test_of_many_threads_one_is_told_that_the_event_is_new(tmp_path) -> None:
    store = SqliteStore(tmp_path / "till.sqlite3", blocking=True)
    log = SqliteEventLog(store)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: run(log.record([event(1)])), range(40)))
    assert sum(new for (new,) in answers) == 1
    run(store.aclose())


def test_a_store_that_waits_for_an_event_loop_does_not_block(tmp_path) -> None:
    """Negative control: without `blocking` a loop must be there."""
    store = SqliteStore(tmp_path / "till.sqlite3")
    with pytest.raises(Suspended, match="event loop"):
        run(store.read(lambda db: db.execute("SELECT 1").fetchone()))
    asyncio.run(store.aclose())
