"""The ledger and the cursors on SQLite hold every law of their ports."""

import pytest

from tillport.adapters.conformance.cursors import CursorsCapabilities, check_cursors_histories, cursors_laws
from tillport.adapters.conformance.ledger import LedgerCapabilities, ledger_laws
from tillport.adapters.conformance.ledger_histories import check_ledger_histories
from tillport.adapters.sql.sqlite import SqliteCursors, SqliteLedger

LEDGER_LAWS = ledger_laws(LedgerCapabilities(housekeeping=True, outages=True))
CURSORS_LAWS = cursors_laws(CursorsCapabilities(outages=True))


@pytest.mark.parametrize("law", LEDGER_LAWS, ids=[law.__name__ for law in LEDGER_LAWS])
async def test_the_sqlite_ledger_holds_the_law(law, writes_apart, new_bench) -> None:
    async with new_bench(SqliteLedger, writes_apart=writes_apart)() as bench:
        await law(bench)


@pytest.mark.parametrize("law", CURSORS_LAWS, ids=[law.__name__ for law in CURSORS_LAWS])
async def test_the_sqlite_cursors_hold_the_law(law, writes_apart, new_bench) -> None:
    async with new_bench(SqliteCursors, writes_apart=writes_apart)() as bench:
        await law(bench)


def test_any_history_of_the_ledger_agrees_with_the_model(writes_apart, new_bench) -> None:
    check_ledger_histories(new_bench(SqliteLedger, writes_apart=writes_apart), examples=25)


def test_any_history_of_the_cursors_agrees_with_the_model(writes_apart, new_bench) -> None:
    check_cursors_histories(new_bench(SqliteCursors, writes_apart=writes_apart), examples=25)
