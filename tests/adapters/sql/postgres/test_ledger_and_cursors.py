"""The ledger and the cursors on PostgreSQL hold every law of their ports."""

import pytest

from tillport.adapters.conformance.cursors import CursorsCapabilities, check_cursors_histories, cursors_laws
from tillport.adapters.conformance.ledger import LedgerCapabilities, ledger_laws
from tillport.adapters.conformance.ledger_histories import check_ledger_histories
from tillport.adapters.sql.postgres import PostgresCursors, PostgresLedger

LEDGER_LAWS = ledger_laws(LedgerCapabilities(outages=True, housekeeping=True))
CURSORS_LAWS = cursors_laws(CursorsCapabilities(outages=True))


@pytest.mark.parametrize("law", LEDGER_LAWS, ids=[law.__name__ for law in LEDGER_LAWS])
async def test_the_ledger_holds_the_law(law, new_bench) -> None:
    async with new_bench(PostgresLedger)() as bench:
        await law(bench)


@pytest.mark.parametrize("law", CURSORS_LAWS, ids=[law.__name__ for law in CURSORS_LAWS])
async def test_the_cursors_hold_the_law(law, new_bench) -> None:
    async with new_bench(PostgresCursors)() as bench:
        await law(bench)


def test_any_history_of_the_ledger_agrees_with_the_model(new_bench) -> None:
    check_ledger_histories(new_bench(PostgresLedger), examples=5, shrink=False)


def test_any_history_of_the_cursors_agrees_with_the_model(new_bench) -> None:
    check_cursors_histories(new_bench(PostgresCursors), examples=5, shrink=False)
