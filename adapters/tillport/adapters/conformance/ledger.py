"""The laws of a charge ledger: what every `ChargeLedger` does, whatever keeps its attempts.

    LAWS = ledger_laws(LedgerCapabilities(outages=True))

    @pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
    async def test_my_ledger(law, tmp_path):
        async with my_bench(tmp_path) as bench:
            await law(bench)

A law ends quietly or raises `AssertionError`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeAlias, cast

import attrs

from tillport.adapters.conformance.samples import NEARLY_ALIKE, NOON, attempt
from tillport.ports.housekeeping import LedgerHousekeeping
from tillport.ports.ledger import Attempt, AttemptState, ChargeLedger, LedgerUnavailable, Outcome
from tillport.ports.money import Money

PATIENCE_SECONDS: Final = 20.0
"""How soon a ledger must work again once its outage is over."""

_RACES: Final = 20
"""How often two calls are let loose upon each other: which of them comes first is the store's affair."""

FINAL: Final = [state for state in AttemptState if state.final]


@attrs.frozen(kw_only=True)
class LedgerCapabilities:
    """What the ledger under test can do; each selects laws."""

    outages: bool = False
    """The bench's `outage` works."""
    housekeeping: bool = False
    """Its ledgers are `LedgerHousekeeping` too."""
    several: bool = True
    """`open` may be entered a second time while the first is open, as a second process would."""


class LedgerBench(Protocol):
    """One store under test, empty at first."""

    def open(self) -> AbstractAsyncContextManager[ChargeLedger]:
        """Open a ledger on the store. What was written there stays when it is closed."""
        ...

    def outage(self) -> AbstractAsyncContextManager[None]:
        """Make the store unreachable for as long as this lasts."""
        ...


Law: TypeAlias = Callable[[LedgerBench], Awaitable[None]]


def outcome(state: AttemptState, text: str = "first") -> Outcome:
    """Return an outcome with everything that an outcome can hold."""
    return Outcome(
        state=state,
        body=f'{{"text": "{text} \\u0000 \N{SNOWMAN}"}}'.encode(),
        payment_intent_id=f"pi_{text}",
        charge_id=f"ch_{text}",
    )


async def an_attempt_is_written_down_once(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        assert await ledger.find("key_1") is None
        opened = await ledger.open(attempt(1))
        assert (opened.attempt, opened.new) == (attempt(1), True)
        again = await ledger.open(attempt(1, fingerprint="another", tries=5, busy_until=NOON + 999))
        assert (again.attempt, again.new) == (attempt(1), False)
        assert await ledger.find("key_1") == attempt(1)
        assert (await ledger.open(attempt(2))).new


async def every_field_comes_back_as_it_went_in(bench: LedgerBench) -> None:
    metadata = {"a 'key'": 'a "value" \\ \n\0', "\N{SNOWMAN}": ""}
    order = attrs.evolve(
        attempt(1).order, description=None, metadata=metadata, money=Money(99_999_999, "jpy")
    )
    written = attempt(
        1, order=order, tries=3, tried_at=NOON + 0.1234567, outcome=outcome(AttemptState.UNKNOWN)
    )
    async with bench.open() as ledger:
        await ledger.open(written)
        metadata["later"] = "changed by its owner"
        found = await ledger.find("key_1")
        assert found is not None
        assert "later" not in found.order.metadata, "the ledger keeps a copy"
        assert found == attrs.evolve(
            written, order=attrs.evolve(order, metadata={k: v for k, v in metadata.items() if k != "later"})
        )


async def of_concurrent_openings_one_is_new(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        opened = await asyncio.gather(*(ledger.open(attempt(1, fingerprint=str(turn))) for turn in range(8)))
        assert sum(one.new for one in opened) == 1
        assert len({one.attempt.fingerprint for one in opened}) == 1


async def of_concurrent_takeovers_one_succeeds(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        await ledger.open(attempt(1))
        later = NOON + 61
        calls = [
            ledger.take_over("key_1", seen_tries=1, now=later, busy_until=later + turn) for turn in range(8)
        ]
        taken = [one for one in await asyncio.gather(*calls) if one is not None]
        assert len(taken) == 1
        assert await ledger.find("key_1") == taken[0]


async def a_takeover_begins_another_try(bench: LedgerBench) -> None:
    expected = {
        AttemptState.STARTED: AttemptState.UNKNOWN,
        AttemptState.UNKNOWN: AttemptState.UNKNOWN,
        AttemptState.NOT_SENT: AttemptState.STARTED,
    }
    async with bench.open() as ledger:
        for number, (before, after) in enumerate(expected.items()):
            written = attempt(number, outcome=outcome(before))
            await ledger.open(written)
            taken = await ledger.take_over(
                f"key_{number}", seen_tries=1, now=NOON + 60, busy_until=NOON + 120
            )
            assert taken == attrs.evolve(
                written,
                tries=2,
                tried_at=NOON + 60,
                busy_until=NOON + 120,
                outcome=attrs.evolve(written.outcome, state=after),
            )
            assert await ledger.find(f"key_{number}") == taken


async def nothing_else_is_taken_over(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        await ledger.open(attempt(1))
        assert await ledger.take_over("key_1", seen_tries=1, now=NOON + 59, busy_until=NOON + 99) is None
        assert await ledger.take_over("key_1", seen_tries=2, now=NOON + 99, busy_until=NOON + 99) is None
        assert await ledger.take_over("key_9", seen_tries=1, now=NOON + 99, busy_until=NOON + 99) is None
        assert await ledger.find("key_1") == attempt(1)
        for number, state in enumerate(FINAL, start=10):
            over = attempt(number, outcome=outcome(state), busy_until=0.0)
            await ledger.open(over)
            assert (
                await ledger.take_over(over.key, seen_tries=1, now=NOON + 99, busy_until=NOON + 199) is None
            )
            assert await ledger.find(over.key) == over


async def what_follows_what_is_as_the_port_draws_it(bench: LedgerBench) -> None:
    """Every state against every outcome, from the latest try and from an earlier one."""
    async with bench.open() as ledger:
        number = 0
        for before in AttemptState:
            for after in AttemptState:
                for tries in (1, 2, 3):
                    number += 1
                    written = attempt(number, tries=2, outcome=outcome(before, "before"))
                    await ledger.open(written)
                    settled = await ledger.settle(written.key, outcome(after, "after"), tries=tries)
                    taken = not before.final and (
                        (after.final and after is not AttemptState.REFUSED)
                        or (tries == 2 and after in (AttemptState.UNKNOWN, AttemptState.REFUSED))
                        or (
                            tries == 2
                            and after is AttemptState.NOT_SENT
                            and before is not AttemptState.UNKNOWN
                        )
                    )
                    story = f"{before} -> {after} by try {tries} of 2"
                    if taken:
                        assert settled.outcome == outcome(after, "after"), story
                        assert settled.busy_until <= NOON, f"{story}: nobody is at work any more"
                        assert attrs.evolve(settled, outcome=written.outcome, busy_until=NOON + 60) == written
                    else:
                        assert settled == written, story
                    assert await ledger.find(written.key) == settled, story


async def an_outcome_stands_against_a_doubt_of_the_same_moment(bench: LedgerBench) -> None:
    """The try that was given up for dead succeeds while the one after it ends in doubt."""
    async with bench.open() as ledger:
        await _settled_at_once(ledger, ledger)


async def of_concurrent_outcomes_the_first_stays(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        for number in range(_RACES):
            key = f"key_{number}"
            await ledger.open(attempt(number, tries=2))
            answers = await _at_once(
                number,
                ledger.settle(key, outcome(AttemptState.SUCCEEDED), tries=1),
                ledger.settle(key, outcome(AttemptState.DECLINED), tries=2),
            )
            assert answers[0] == answers[1] == await ledger.find(key)


async def an_outcome_stands_against_a_takeover_of_the_same_moment(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        for number in range(_RACES):
            key = f"key_{number}"
            await ledger.open(attempt(number))
            await _at_once(
                number,
                ledger.settle(key, outcome(AttemptState.SUCCEEDED), tries=1),
                ledger.take_over(key, seen_tries=1, now=NOON + 61, busy_until=NOON + 120),
            )
            await _stands(ledger, key)


async def _settled_at_once(here: ChargeLedger, there: ChargeLedger) -> None:
    for number in range(_RACES):
        key = f"key_{number}"
        await here.open(attempt(number, tries=2))
        await _at_once(
            number,
            here.settle(key, outcome(AttemptState.SUCCEEDED), tries=1),
            there.settle(key, outcome(AttemptState.UNKNOWN), tries=2),
        )
        await _stands(there, key)


async def _at_once(number: int, *calls: Awaitable[Attempt | None]) -> list[Attempt | None]:
    """Let the calls loose upon each other, now in this order and now in the other."""
    return list(await asyncio.gather(*(calls if number % 2 == 0 else reversed(calls))))


async def _stands(ledger: ChargeLedger, key: str) -> None:
    found = await ledger.find(key)
    assert found is not None
    assert found.outcome == outcome(AttemptState.SUCCEEDED), "the money moved, and nothing may unsay it"


async def keys_that_are_nearly_the_same_are_different(bench: LedgerBench) -> None:
    written = [
        attempt(number, key=f"key{end}")
        for number, end in enumerate(end for family in NEARLY_ALIKE for end in family)
    ]
    async with bench.open() as ledger:
        for one in written:
            opened = await ledger.open(one)
            assert (opened.attempt, opened.new) == (one, True)
        settled = await ledger.settle(written[0].key, outcome(AttemptState.SUCCEEDED), tries=1)
        assert [await ledger.find(one.key) for one in written] == [settled, *written[1:]]


async def settling_what_was_never_opened_is_a_mistake(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        try:
            await ledger.settle("key_1", outcome(AttemptState.SUCCEEDED), tries=1)
        except KeyError:
            return
        raise AssertionError("a key that was never opened was settled")


async def a_settled_try_may_be_followed_at_once(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        await ledger.open(attempt(1))
        await ledger.settle("key_1", Outcome(state=AttemptState.NOT_SENT), tries=1)
        taken = await ledger.take_over("key_1", seen_tries=1, now=NOON, busy_until=NOON + 60)
        assert taken is not None
        assert taken.state is AttemptState.STARTED


async def unsettled_are_those_that_somebody_must_look_at(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        for number, state in enumerate(AttemptState):
            await ledger.open(attempt(number, outcome=outcome(state), busy_until=NOON + 10))
        await ledger.open(attempt(20, busy_until=NOON + 5))
        await ledger.open(attempt(21, busy_until=NOON + 100))
        await ledger.open(
            attempt(22, tried_at=NOON - 50, busy_until=0.0, outcome=outcome(AttemptState.UNKNOWN))
        )
        idle = list(await ledger.unsettled(idle_at=NOON + 10, limit=10))
        states = [one.state for one in idle]
        assert [one.key for one in idle[:2]] == ["key_22", "key_20"], "longest idle first"
        assert sorted(states[2:]) == [AttemptState.STARTED, AttemptState.UNKNOWN]
        assert list(await ledger.unsettled(idle_at=NOON + 10, limit=1)) == idle[:1]
        assert [one.key for one in await ledger.unsettled(idle_at=NOON + 4, limit=10)] == ["key_22"]


async def a_ledger_opened_again_has_everything(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        await ledger.open(attempt(1))
        settled = await ledger.settle("key_1", outcome(AttemptState.SUCCEEDED), tries=1)
    async with bench.open() as ledger:
        assert await ledger.find("key_1") == settled
        assert not (await ledger.open(attempt(1))).new


async def two_ledgers_on_one_store_are_one_ledger(bench: LedgerBench) -> None:
    async with bench.open() as here, bench.open() as there:
        opened = await asyncio.gather(*(ledger.open(attempt(1)) for ledger in (here, there, here, there)))
        assert sum(one.new for one in opened) == 1
        later = NOON + 61
        taken = await asyncio.gather(
            *(
                ledger.take_over("key_1", seen_tries=1, now=later, busy_until=later)
                for ledger in (here, there)
            )
        )
        assert sum(one is not None for one in taken) == 1
        assert await here.find("key_1") == await there.find("key_1")


async def an_outcome_stands_against_a_doubt_in_another_ledger(bench: LedgerBench) -> None:
    async with bench.open() as here, bench.open() as there:
        await _settled_at_once(here, there)


async def an_outage_is_told_and_changes_nothing(bench: LedgerBench) -> None:
    async with bench.open() as ledger:
        await ledger.open(attempt(1))
        async with bench.outage():
            for call in (
                ledger.open(attempt(2)),
                ledger.settle("key_1", outcome(AttemptState.SUCCEEDED), tries=1),
            ):
                try:
                    await call
                except LedgerUnavailable:
                    continue
                raise AssertionError("a call succeeded during an outage")
        async with asyncio.timeout(PATIENCE_SECONDS):
            opened = await _opened_at_last(ledger, attempt(2))
        assert opened, "nothing of a failed call was kept"
        assert await ledger.find("key_1") == attempt(1)


async def _opened_at_last(ledger: ChargeLedger, one: Attempt) -> bool:
    while True:
        try:
            return (await ledger.open(one)).new
        except LedgerUnavailable:
            await asyncio.sleep(0.05)


async def an_erased_payment_keeps_what_decides(bench: LedgerBench) -> None:
    charged = outcome(AttemptState.SUCCEEDED, "1")
    async with bench.open() as ledger:
        keeper = cast("LedgerHousekeeping", ledger)
        await ledger.open(attempt(1, outcome=charged))
        await ledger.open(attempt(2, outcome=outcome(AttemptState.DECLINED, "2")))
        await ledger.open(attempt(3, outcome=outcome(AttemptState.UNKNOWN, "3")))
        intent_alone = attrs.evolve(outcome(AttemptState.REQUIRES_ACTION, "4"), charge_id=None)
        await ledger.open(attempt(4, outcome=intent_alone))
        assert await keeper.erase_payment("ch_1") == 1
        assert await keeper.erase_payment("pi_1") == 0, "it was erased already"
        assert await keeper.erase_payment("pi_3") == 0, "it is not over: its worker still needs it"
        assert await keeper.erase_payment("pi_4") == 1
        assert await keeper.erase_payment("ch_9") == 0
        order = attrs.evolve(attempt(1).order, token="", description=None, metadata={})
        assert await ledger.find("key_1") == attempt(
            1, order=order, outcome=attrs.evolve(charged, body=b'{"id":"ch_1"}')
        )
        assert await ledger.find("key_2") == attempt(2, outcome=outcome(AttemptState.DECLINED, "2"))
        found = await ledger.find("key_4")
        assert found is not None
        assert found.outcome.body == b'{"id":"pi_4"}'
        assert not (await ledger.open(attempt(1))).new, "it is still known"


_ALWAYS: Final[tuple[Law, ...]] = (
    an_attempt_is_written_down_once,
    every_field_comes_back_as_it_went_in,
    of_concurrent_openings_one_is_new,
    of_concurrent_takeovers_one_succeeds,
    a_takeover_begins_another_try,
    nothing_else_is_taken_over,
    what_follows_what_is_as_the_port_draws_it,
    an_outcome_stands_against_a_doubt_of_the_same_moment,
    of_concurrent_outcomes_the_first_stays,
    an_outcome_stands_against_a_takeover_of_the_same_moment,
    keys_that_are_nearly_the_same_are_different,
    settling_what_was_never_opened_is_a_mistake,
    a_settled_try_may_be_followed_at_once,
    unsettled_are_those_that_somebody_must_look_at,
    a_ledger_opened_again_has_everything,
)


def ledger_laws(capabilities: LedgerCapabilities) -> list[Law]:
    """Return the laws that a ledger with these capabilities must hold."""
    laws = [*_ALWAYS]
    if capabilities.several:
        laws += [
            two_ledgers_on_one_store_are_one_ledger,
            an_outcome_stands_against_a_doubt_in_another_ledger,
        ]
    if capabilities.housekeeping:
        laws.append(an_erased_payment_keeps_what_decides)
    if capabilities.outages:
        laws.append(an_outage_is_told_and_changes_nothing)
    return laws
