"""The memory ledger and cursors hold every law of their ports."""

from contextlib import asynccontextmanager

import attrs
import pytest

from tillport.adapters.conformance.cursors import CursorsCapabilities, check_cursors_histories, cursors_laws
from tillport.adapters.conformance.ledger import LedgerCapabilities, ledger_laws
from tillport.adapters.conformance.ledger_histories import check_ledger_histories
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.ledger import MemoryLedger

LEDGER_LAWS = ledger_laws(LedgerCapabilities(housekeeping=True, outages=True))
CURSORS_LAWS = cursors_laws(CursorsCapabilities(outages=True))


@attrs.define
class Bench:
    adapter: MemoryLedger | MemoryCursors

    @asynccontextmanager
    async def open(self):
        yield self.adapter

    @asynccontextmanager
    async def outage(self):
        self.adapter.available = False
        yield
        self.adapter.available = True


@asynccontextmanager
async def new_ledger():
    yield Bench(MemoryLedger())


@asynccontextmanager
async def new_cursors():
    yield Bench(MemoryCursors())


@pytest.mark.parametrize("law", LEDGER_LAWS, ids=[law.__name__ for law in LEDGER_LAWS])
async def test_the_memory_ledger_holds_the_law(law) -> None:
    async with new_ledger() as bench:
        await law(bench)


@pytest.mark.parametrize("law", CURSORS_LAWS, ids=[law.__name__ for law in CURSORS_LAWS])
async def test_the_memory_cursors_hold_the_law(law) -> None:
    async with new_cursors() as bench:
        await law(bench)


def test_any_history_of_the_ledger_agrees_with_the_model() -> None:
    check_ledger_histories(new_ledger, examples=60)


def test_any_history_of_the_cursors_agrees_with_the_model() -> None:
    check_cursors_histories(new_cursors, examples=60)
