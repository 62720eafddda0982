"""The laws of who does what and when: places in the log, claims, and the order within a payment."""

import asyncio

import attrs

from tillport.adapters.conformance.effects_bench import (
    HANDLER,
    EffectsBench,
    claim,
    effect,
    enlist,
    numbers,
    only,
    states,
    writer,
)
from tillport.adapters.conformance.samples import NEARLY_ALIKE, NOON
from tillport.ports.effects import EffectState, Standing


async def a_handler_begins_once(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        assert await queue.standings() == []
        assert await queue.begin(HANDLER, position=7) == 7
        assert await queue.begin(HANDLER, position=99) == 7
        assert await queue.begin("another 'one'", position=0) == 0
        places = [(one.handler, one.position) for one in await queue.standings()]
        assert places == [("another 'one'", 0), (HANDLER, 7)]


async def of_concurrent_beginnings_one_counts(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        places = await asyncio.gather(*(queue.begin(HANDLER, position=at) for at in range(8)))
        assert len(set(places)) == 1


async def enlisting_moves_the_place_of_a_handler(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await queue.begin(HANDLER, position=0)
        assert await queue.enlist(HANDLER, [effect(2), effect(3)], after=0, position=5)
        assert await queue.begin(HANDLER, position=0) == 5
        assert await queue.enlist(HANDLER, [], after=5, position=9)
        assert await queue.standings() == [Standing(handler=HANDLER, position=9, due=2, oldest_position=2)]


async def who_stands_elsewhere_enlists_nothing(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        assert not await queue.enlist(HANDLER, [effect(1)], after=0, position=1), "it never began"
        await enlist(queue, effect(1))
        assert not await queue.enlist(HANDLER, [effect(1), effect(2)], after=0, position=2), "a late reader"
        assert await states(queue) == {1: EffectState.DUE}
        assert await queue.begin(HANDLER, position=0) == 1


async def of_concurrent_enlistings_one_counts(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await queue.begin(HANDLER, position=0)
        page = [effect(number) for number in range(1, 20)]
        told = await asyncio.gather(
            *(queue.enlist(HANDLER, page, after=0, position=19) for _ in range(6)), return_exceptions=True
        )
        assert sum(one is True for one in told) == 1
        assert len(await states(queue)) == 19


async def every_field_comes_back(bench: EffectsBench) -> None:
    odd = attrs.evolve(effect(2**40, payment="pi_'\"\\\N{SNOWMAN}"), in_order=True, due_at=NOON - 0.125)
    async with bench.open() as queue:
        await enlist(queue, odd)
        assert await queue.list(states=[EffectState.DUE]) == [odd]
        claimed = attrs.evolve(odd, claims=1, due_at=NOON + 10)
        assert await claim(queue) == [claimed]
        await queue.postpone(claimed, error="caf\N{LATIN SMALL LETTER E WITH ACUTE}: 'no'", due_at=NOON + 0.5)
        found = only(await queue.list(states=[EffectState.DUE]))
        assert found == attrs.evolve(
            claimed, tries=1, error="caf\N{LATIN SMALL LETTER E WITH ACUTE}: 'no'", due_at=NOON + 0.5
        )


async def the_earliest_are_handed_out_first(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 8)))
        assert numbers(await claim(queue, limit=3)) == [1, 2, 3]
        assert numbers(await claim(queue, limit=10)) == [4, 5, 6, 7]
        assert await claim(queue) == []
        assert await claim(queue, handler="another") == []
        for number, one in enumerate(await claim(queue, NOON + 10, limit=2)):
            await queue.postpone(one, error="no", due_at=NOON + 40 - 10 * number)
        assert numbers(await claim(queue, NOON + 60, limit=6)) == [2, 3, 4, 5, 6, 7], "due first, by position"
        assert numbers(await claim(queue, NOON + 60)) == [1], "due last"


async def a_claim_ends_by_itself(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1))
        assert numbers(await claim(queue)) == [1]
        assert await claim(queue, NOON + 9.9) == []
        again = only(await claim(queue, NOON + 10))
        assert (again.claims, again.tries) == (2, 0), "a worker that never came back is seen"


async def of_concurrent_claims_none_overlap(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 41)))
        claims = await asyncio.gather(*(claim(queue, limit=10) for _ in range(6)))
        handed = [number for one in claims for number in numbers(one)]
        handed += [number for _ in range(4) for number in numbers(await claim(queue, limit=10))]
        assert sorted(handed) == list(range(1, 41))


async def what_is_given_back_is_due_again(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2), effect(3))
        taken = await claim(queue)
        await queue.perform(taken[:1], writer(bench))
        await queue.give_back(taken, now=NOON + 1)
        again = await claim(queue, NOON + 1)
        assert [(one.position, one.claims) for one in again] == [(2, 1), (3, 1)]
        assert (await states(queue))[1] is EffectState.DONE


async def what_is_settled_is_not_given_back(bench: EffectsBench) -> None:
    """Whoever was long away gives back what others have decided about, and what it gave back before."""
    async with bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 5)))
        taken = await claim(queue)
        await queue.perform(taken[:1], writer(bench))
        await queue.skip(HANDLER, "evt_2")
        await queue.postpone(taken[2], error="no", due_at=None)
        for _ in range(2):
            await queue.give_back(taken, now=NOON + 1)
        done, skipped, dead, due = EffectState.DONE, EffectState.SKIPPED, EffectState.DEAD, EffectState.DUE
        assert await states(queue) == {1: done, 2: skipped, 3: dead, 4: due}
        again = only(await claim(queue, NOON + 60))
        assert (again.position, again.claims) == (4, 1), "no claims are owed to it"


async def in_order_means_one_at_a_time(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(
            queue,
            *(effect(number, payment="pi_a", in_order=True) for number in (1, 2, 4)),
            effect(3, payment="pi_b", in_order=True),
        )
        taken = await claim(queue)
        assert numbers(taken) == [1, 3]
        assert await claim(queue) == [], "the second waits for the first to be done, not to be begun"
        await queue.perform(taken, writer(bench, failing=["evt_1"]))
        await queue.postpone(taken[0], error="no", due_at=NOON + 5)
        assert await claim(queue, NOON + 4) == [], "a failed one holds up its payment"
        again = only(await claim(queue, NOON + 5))
        await queue.perform([again], writer(bench))
        assert numbers(await claim(queue, NOON + 5)) == [2]


async def a_dead_letter_holds_up_its_own_payment_alone(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(
            queue,
            effect(1, payment="pi_a", in_order=True),
            effect(2, payment="pi_a", in_order=True),
            effect(3, payment="pi_b", in_order=True),
        )
        await enlist(queue, effect(2, payment="pi_a", in_order=True, handler="another"))
        for one in await claim(queue, limit=1):
            await queue.postpone(one, error="no", due_at=None)
        assert numbers(await claim(queue)) == [3]
        assert numbers(await claim(queue, handler="another")) == [2]
        assert await queue.skip(HANDLER, "evt_1")
        assert 2 in numbers(await claim(queue, NOON + 500))


async def without_order_nothing_waits(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, *(effect(number, payment="pi_a") for number in (1, 2, 3)))
        assert numbers(await claim(queue)) == [1, 2, 3]


async def what_has_no_order_itself_is_waited_for(bench: EffectsBench) -> None:
    """A handler that asks for order from now on has effects of before to do."""
    async with bench.open() as queue:
        await enlist(queue, effect(1, payment="pi_a"), effect(2, payment="pi_a", in_order=True))
        taken = only(await claim(queue))
        assert taken.position == 1
        await queue.perform([taken], writer(bench))
        assert numbers(await claim(queue)) == [2]


async def names_that_are_nearly_the_same_are_apart(bench: EffectsBench) -> None:
    """Stripe's ids tell upper case from lower: a database that does not would take one event for another that is done."""
    ends = [end for family in NEARLY_ALIKE for end in family]
    async with bench.open() as queue:
        many = [
            attrs.evolve(effect(number), event_id=f"evt_{end}") for number, end in enumerate(ends, start=1)
        ]
        await enlist(queue, *many)
        assert len(await states(queue)) == len(ends)
        taken = await claim(queue, limit=100)
        assert [one.event_id for one in taken] == [one.event_id for one in many]
        await queue.perform(taken[:1], writer(bench))
        assert await queue.skip(HANDLER, many[1].event_id)
        left = await queue.list(states=[EffectState.DUE])
        assert [one.event_id for one in left] == [one.event_id for one in many[2:]]
        for number, end in enumerate(ends):
            assert await queue.begin(f"name{end}", position=number) == number
        assert await queue.enlist(f"name{ends[0]}", [], after=0, position=99)
        places = [99, *range(1, len(ends))]
        assert [await queue.begin(f"name{end}", position=0) for end in ends] == places
        same = [
            attrs.evolve(effect(number, handler="in order"), payment_key=f"pi_{end}", in_order=True)
            for number, end in enumerate(ends, start=1)
        ]
        await enlist(queue, *same)
        assert len(await claim(queue, handler="in order", limit=100)) == len(ends), (
            "each is a payment of its own"
        )
