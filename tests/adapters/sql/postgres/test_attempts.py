"""The attempt book on PostgreSQL holds every law of its port."""

import pytest

from tillport.adapters.conformance.attempts import ATTEMPT_LAWS
from tillport.adapters.sql.postgres import PostgresLedger
from tillport.adapters.sql.postgres_attempts import postgres_attempts
from tillport.ports.ledger import LedgerUnavailable


@pytest.mark.parametrize("law", ATTEMPT_LAWS, ids=[law.__name__ for law in ATTEMPT_LAWS])
async def test_the_postgres_book_holds_the_law(law, store) -> None:
    await law(PostgresLedger(store), postgres_attempts(store))


async def test_a_store_that_was_closed_is_told(store) -> None:
    await store.aclose()
    with pytest.raises(LedgerUnavailable):
        await postgres_attempts(store).about("ch_1")
