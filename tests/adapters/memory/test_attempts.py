"""The memory attempt book holds every law, and a book that looks wrongly is caught."""

import pytest

from tillport.adapters.conformance.attempts import (
    ATTEMPT_LAWS,
    a_stretch_of_time_includes_its_start_and_not_its_end,
    an_attempt_is_found_by_its_key_charge_and_payment,
    doubts_are_what_nobody_knows_and_nobody_works_on,
    pages_hold_every_attempt_once,
)
from tillport.adapters.memory.attempts import MemoryAttempts
from tillport.adapters.memory.ledger import MemoryLedger
from tillport.ports.attempts import Doubts
from tillport.ports.ledger import LedgerUnavailable


@pytest.mark.parametrize("law", ATTEMPT_LAWS, ids=[law.__name__ for law in ATTEMPT_LAWS])
async def test_the_memory_book_holds_the_law(law) -> None:
    ledger = MemoryLedger()
    await law(ledger, MemoryAttempts(ledger))


async def test_a_ledger_out_of_reach_is_told() -> None:
    with pytest.raises(LedgerUnavailable):
        await MemoryAttempts(MemoryLedger(available=False)).about("key_1")


class ByKeyAlone(MemoryAttempts):
    async def about(self, name):
        return [one for one in await super().about(name) if one.key == name]


class WithItsEnd(MemoryAttempts):
    async def started(self, *, since, until, after=None, limit=500):
        return await super().started(since=since, until=until + 1e-3, after=after, limit=limit)


class WithoutPaging(MemoryAttempts):
    async def started(self, *, since, until, after=None, limit=500):
        return [] if after else await super().started(since=since, until=until, limit=limit)


class OfWhoIsAtWork(MemoryAttempts):
    async def doubts(self, *, now):
        found = [one.started_at for one in await self.started(since=0, until=1e12) if not one.state.final]
        return Doubts(count=len(found), oldest_started_at=min(found, default=None))


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (ByKeyAlone, an_attempt_is_found_by_its_key_charge_and_payment),
        (WithItsEnd, a_stretch_of_time_includes_its_start_and_not_its_end),
        (WithoutPaging, pages_hold_every_attempt_once),
        (OfWhoIsAtWork, doubts_are_what_nobody_knows_and_nobody_works_on),
    ],
    ids=lambda one: one.__name__,
)
async def test_a_broken_book_is_caught(broken, law) -> None:
    ledger = MemoryLedger()
    with pytest.raises(AssertionError):
        await law(ledger, broken(ledger))
