"""The memory log holds every law of an event log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest

from tillport.adapters.conformance.event_log import EventLogCapabilities, event_log_laws
from tillport.adapters.conformance.event_log_histories import check_event_log_histories
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.ports.event_log import EventLog

LAWS = event_log_laws(EventLogCapabilities(housekeeping=True, outages=True))


@attrs.define
class MemoryBench:
    log: MemoryEventLog = attrs.field(factory=MemoryEventLog)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[EventLog]:
        yield self.log

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.log.available = False
        yield
        self.log.available = True


@asynccontextmanager
async def new_bench() -> AsyncIterator[MemoryBench]:
    yield MemoryBench()


@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_the_memory_log_holds_the_law(law) -> None:
    async with new_bench() as bench:
        await law(bench)


def test_any_history_agrees_with_the_model() -> None:
    check_event_log_histories(new_bench, housekeeping=True, examples=60)
