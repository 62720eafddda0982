"""The laws of an attempt book: what every `AttemptBook` finds of what its ledger holds.

    @pytest.mark.parametrize("law", ATTEMPT_LAWS, ids=[law.__name__ for law in ATTEMPT_LAWS])
    async def test_my_attempt_book(law):
        await law(my_ledger, my_book_of_that_ledger)

A law takes a ledger that is empty and its book, and ends quietly or raises `AssertionError`.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import attrs

from tillport.adapters.conformance.samples import NOON, attempt
from tillport.ports.attempts import AttemptBook, Doubts
from tillport.ports.ledger import AttemptState, ChargeLedger, Outcome

AttemptLaw: TypeAlias = Callable[[ChargeLedger, AttemptBook], Awaitable[None]]


async def an_attempt_is_found_by_its_key_charge_and_payment(ledger: ChargeLedger, book: AttemptBook) -> None:
    await ledger.open(attempt(1))
    await ledger.open(attempt(2))
    outcome = Outcome(state=AttemptState.SUCCEEDED, charge_id="ch_1", payment_intent_id="pi_1")
    settled = await ledger.settle("key_1", outcome, tries=1)
    for name in ("key_1", "ch_1", "pi_1"):
        assert list(await book.about(name)) == [settled], name
    assert list(await book.about("key_2")) == [attempt(2)]


async def what_is_no_attempts_name_finds_nothing(ledger: ChargeLedger, book: AttemptBook) -> None:
    await ledger.open(attempt(1))
    for name in ("", "key", "key_11", "tok_1", "KEY_1", "key_1\0", "\ud800", "' OR 1=1 --"):
        assert list(await book.about(name)) == [], ascii(name)


async def attempts_about_one_payment_come_by_when_they_began(ledger: ChargeLedger, book: AttemptBook) -> None:
    for number, started_at in ((1, NOON + 5), (2, NOON + 1), (3, NOON + 5)):
        outcome = Outcome(state=AttemptState.DECLINED, payment_intent_id="pi_9")
        await ledger.open(attempt(number, started_at=started_at, outcome=outcome))
    assert [one.key for one in await book.about("pi_9")] == ["key_2", "key_1", "key_3"]


async def a_stretch_of_time_includes_its_start_and_not_its_end(
    ledger: ChargeLedger, book: AttemptBook
) -> None:
    for number in range(5):
        await ledger.open(attempt(number, started_at=NOON + number))
    found = await book.started(since=NOON + 1, until=NOON + 3)
    assert sorted(one.key for one in found) == ["key_1", "key_2"]
    assert attempt(1, started_at=NOON + 1) in found
    assert list(await book.started(since=NOON + 9, until=NOON + 99)) == []


async def pages_hold_every_attempt_once(ledger: ChargeLedger, book: AttemptBook) -> None:
    keys = {f"key_{number}" for number in range(25)}
    for number in range(25):
        await ledger.open(attempt(number))
    seen: list[str] = []
    while page := await book.started(since=NOON, until=NOON + 1, after=seen[-1] if seen else None, limit=7):
        seen += [one.key for one in page]
    assert len(seen) == 25
    assert set(seen) == keys


async def doubts_are_what_nobody_knows_and_nobody_works_on(ledger: ChargeLedger, book: AttemptBook) -> None:
    assert await book.doubts(now=NOON) == Doubts(count=0, oldest_started_at=None)
    for number, state in enumerate(AttemptState):
        await ledger.open(attempt(number, outcome=Outcome(state=state), started_at=NOON + number))
    unknown = list(AttemptState).index(AttemptState.UNKNOWN)
    started = list(AttemptState).index(AttemptState.STARTED)
    during = await book.doubts(now=NOON + 59)
    assert during == Doubts(count=1, oldest_started_at=NOON + unknown), "who is at work may yet know"
    after = await book.doubts(now=NOON + 60)
    assert after == Doubts(count=2, oldest_started_at=NOON + min(started, unknown))


async def looking_changes_nothing(ledger: ChargeLedger, book: AttemptBook) -> None:
    written = attempt(1, order=attrs.evolve(attempt(1).order, metadata={"a": "b"}))
    await ledger.open(written)
    await book.about("key_1")
    await book.started(since=0, until=2 * NOON)
    await book.doubts(now=2 * NOON)
    assert await ledger.find("key_1") == written


ATTEMPT_LAWS: Final[tuple[AttemptLaw, ...]] = (
    an_attempt_is_found_by_its_key_charge_and_payment,
    what_is_no_attempts_name_finds_nothing,
    attempts_about_one_payment_come_by_when_they_began,
    a_stretch_of_time_includes_its_start_and_not_its_end,
    pages_hold_every_attempt_once,
    doubts_are_what_nobody_knows_and_nobody_works_on,
    looking_changes_nothing,
)
