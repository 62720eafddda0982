"""The attempt book on SQLite holds every law of its port."""

from contextlib import aclosing

import pytest

from tillport.adapters.conformance.attempts import ATTEMPT_LAWS
from tillport.adapters.sql.sqlite import SqliteLedger
from tillport.adapters.sql.sqlite_attempts import sqlite_attempts
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.ports.ledger import LedgerUnavailable


@pytest.mark.parametrize("law", ATTEMPT_LAWS, ids=[law.__name__ for law in ATTEMPT_LAWS])
async def test_the_sqlite_book_holds_the_law(law, tmp_path) -> None:
    store = SqliteStore(tmp_path / "till.sqlite3")
    try:
        await law(SqliteLedger(store), sqlite_attempts(store))
    finally:
        await store.aclose()


async def test_every_look_up_goes_by_an_index(tmp_path) -> None:
    from tillport.adapters.sql.attempts import _statements
    from tillport.adapters.sql.sqlite_store import SQLITE

    async with aclosing(SqliteStore(tmp_path / "till.sqlite3")) as store:
        plans = {}
        for name in ("about", "doubts"):
            statement = getattr(_statements(SQLITE), name)
            values = statement.positional(b_name="ch_1", b_now=0.0)
            plans[name] = [
                row[3]
                for row in await store.read(
                    lambda db, s=statement, v=values: db.execute(f"EXPLAIN QUERY PLAN {s.text}", v).fetchall()
                )
            ]
    assert not [line for line in plans["about"] if line == "SCAN tillport_attempts"], plans["about"]
    assert any("ix_tillport_attempts_unsettled" in line for line in plans["doubts"]), plans["doubts"]


async def test_a_store_that_was_closed_is_told(tmp_path) -> None:
    store = SqliteStore(tmp_path / "till.sqlite3")
    await store.aclose()
    with pytest.raises(LedgerUnavailable):
        await sqlite_attempts(store).about("ch_1")
