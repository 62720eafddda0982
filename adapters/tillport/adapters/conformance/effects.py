"""The laws of an effect queue: what every `EffectQueue` does, whatever database its handlers write to.

    LAWS = effects_laws(EffectsCapabilities(refused_commits=True))

    @pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
    async def test_my_queue(law, tmp_path):
        async with my_bench(tmp_path) as bench:
            await law(bench)

A law ends quietly or raises `AssertionError`. The bench writes lines through whatever handlers are lent, and reads
what was committed in a way of its own: the queue is not asked about itself.
"""

from typing import Final

import attrs

from tillport.adapters.conformance.effects_bench import (
    HANDLER,
    EffectsBench,
    Law,
    Mistake,
    Queue,
    claim,
    effect,
    enlist,
    line,
    numbers,
    only,
    states,
    writer,
)
from tillport.adapters.conformance.effects_claiming import (
    a_claim_ends_by_itself,
    a_dead_letter_holds_up_its_own_payment_alone,
    a_handler_begins_once,
    enlisting_moves_the_place_of_a_handler,
    every_field_comes_back,
    in_order_means_one_at_a_time,
    names_that_are_nearly_the_same_are_apart,
    of_concurrent_beginnings_one_counts,
    of_concurrent_claims_none_overlap,
    of_concurrent_enlistings_one_counts,
    the_earliest_are_handed_out_first,
    what_has_no_order_itself_is_waited_for,
    what_is_given_back_is_due_again,
    what_is_settled_is_not_given_back,
    who_stands_elsewhere_enlists_nothing,
    without_order_nothing_waits,
)
from tillport.adapters.conformance.effects_performing import (
    a_failure_is_tried_again_later,
    a_failure_undoes_that_effect_alone,
    a_refused_commit_does_nothing_and_is_told,
    an_effect_and_its_mark_are_committed_together,
    an_outage_is_told_and_nothing_is_run,
    of_concurrent_performers_one_runs_it,
    two_on_one_database_share_the_work,
    what_is_dead_is_not_run,
    what_is_done_is_not_run_again,
    what_is_skipped_is_never_run,
    who_is_being_run_is_done_or_skipped_and_not_both,
    who_is_being_run_is_not_handed_out,
    who_is_killed_leaves_nothing,
    who_was_overtaken_postpones_nothing,
)
from tillport.adapters.conformance.samples import NOON
from tillport.ports.effects import EffectState, Standing

__all__ = [
    "HANDLER",
    "EffectsBench",
    "EffectsCapabilities",
    "Law",
    "Mistake",
    "Queue",
    "claim",
    "effect",
    "effects_laws",
    "enlist",
    "line",
    "numbers",
    "only",
    "states",
    "writer",
]


@attrs.frozen(kw_only=True)
class EffectsCapabilities:
    """What the queue under test can do; each selects laws."""

    outages: bool = False
    """The bench's `outage` works."""
    several: bool = True
    """`open` may be entered a second time while the first is open, as a second process would."""
    refused_commits: bool = False
    """The bench's `spoil` works: the database can refuse a commit for what a handler wrote."""


async def a_dead_letter_rests_until_people_act(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2), effect(3))
        for one in await claim(queue):
            await queue.postpone(one, error="no", due_at=None)
        assert await claim(queue, NOON + 10**6) == []
        assert numbers(await queue.list()) == [1, 2, 3]
        assert await queue.standings() == [Standing(handler=HANDLER, position=3, dead=3, oldest_position=1)]
        assert await queue.retry(HANDLER, "evt_1", now=NOON)
        assert not await queue.retry(HANDLER, "evt_1", now=NOON), "it is due now"
        assert not await queue.retry("another", "evt_2", now=NOON)
        assert await queue.skip(HANDLER, "evt_2")
        assert not await queue.skip(HANDLER, "evt_2")
        assert not await queue.retry(HANDLER, "evt_2", now=NOON), "skipped is for ever"
        again = only(await claim(queue))
        assert (again.position, again.tries, again.claims) == (1, 0, 1), "as if it had never been tried"
        await queue.perform([again], writer(bench))
        assert not await queue.skip(HANDLER, "evt_1"), "done is done"
        assert not await queue.retry(HANDLER, "evt_1", now=NOON), "and for ever"
        assert await bench.lines() == [line(1)]
        assert numbers(await queue.list()) == [3]


async def handlers_are_apart(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1))
        await enlist(queue, effect(1, handler="ledger"))
        await queue.perform(await claim(queue, handler="ledger"), writer(bench))
        assert await bench.lines() == [line(1, "ledger")]
        assert await queue.standings() == [
            Standing(handler="ledger", position=1),
            Standing(handler=HANDLER, position=1, due=1, oldest_position=1),
        ]
        await queue.perform(await claim(queue), writer(bench))
        assert sorted(await bench.lines()) == [line(1, "ledger"), line(1)]


async def lists_are_narrowed_and_limited(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, *(effect(number, payment=f"pi_{number % 2}") for number in range(1, 7)))
        await enlist(queue, effect(3, handler="ledger", payment="pi_1"))
        everything = tuple(EffectState)
        assert numbers(await queue.list(states=everything)) == [1, 2, 3, 3, 4, 5, 6]
        assert numbers(await queue.list(states=everything, limit=2)) == [1, 2]
        assert numbers(await queue.list(states=everything, payment_key="pi_0")) == [2, 4, 6]
        assert [one.handler for one in await queue.list(states=everything, event_id="evt_3")] == [
            "ledger",
            HANDLER,
        ]
        assert numbers(await queue.list(states=everything, handler="ledger")) == [3]
        assert await queue.list() == []
        assert await queue.list(states=[]) == []


async def forgetting_takes_what_is_settled(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 6)))
        taken = await claim(queue)
        await queue.perform([taken[0], taken[3]], writer(bench))
        await queue.skip(HANDLER, "evt_2")
        await queue.postpone(taken[2], error="no", due_at=None)
        assert await queue.forget(up_to=3) == 2
        assert set(await states(queue)) == {3, 4, 5}, "what is open stays, however old"
        assert await queue.forget(up_to=4) == 1
        assert not await queue.enlist(HANDLER, [effect(1)], after=0, position=1), "and it never comes back"


async def what_is_done_is_known_at_another_position(bench: EffectsBench) -> None:
    """A log that was restored from a backup may give an event a new place."""
    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2), effect(3))
        taken = await claim(queue)
        await queue.perform(taken[:1], writer(bench))
        await queue.skip(HANDLER, "evt_2")
        await queue.postpone(taken[2], error="no", due_at=None)
        moved = [attrs.evolve(effect(number), position=number + 4) for number in (1, 2, 3)]
        assert await queue.enlist(HANDLER, [*moved, effect(8)], after=3, position=8)
        assert numbers(await claim(queue, NOON + 60)) == [8], "what is settled or dead stays so"
        assert await bench.lines() == [line(1)]


async def a_queue_opened_again_stands_where_it_stood(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2), effect(3))
        taken = await claim(queue, limit=2)
        await queue.perform(taken[:1], writer(bench))
    async with bench.open() as queue:
        assert await queue.begin(HANDLER, position=0) == 3
        assert numbers(await claim(queue)) == [3], "a claim outlives its process"
        assert numbers(await claim(queue, NOON + 10)) == [2, 3], "and ends"
        assert sorted(await bench.lines()) == [line(1)]


_ALWAYS: Final[tuple[Law, ...]] = (
    a_handler_begins_once,
    of_concurrent_beginnings_one_counts,
    enlisting_moves_the_place_of_a_handler,
    who_stands_elsewhere_enlists_nothing,
    of_concurrent_enlistings_one_counts,
    every_field_comes_back,
    the_earliest_are_handed_out_first,
    a_claim_ends_by_itself,
    of_concurrent_claims_none_overlap,
    what_is_given_back_is_due_again,
    what_is_settled_is_not_given_back,
    an_effect_and_its_mark_are_committed_together,
    a_failure_undoes_that_effect_alone,
    what_is_done_is_not_run_again,
    of_concurrent_performers_one_runs_it,
    who_is_being_run_is_not_handed_out,
    who_is_being_run_is_done_or_skipped_and_not_both,
    who_is_killed_leaves_nothing,
    a_failure_is_tried_again_later,
    who_was_overtaken_postpones_nothing,
    a_dead_letter_rests_until_people_act,
    what_is_skipped_is_never_run,
    what_is_dead_is_not_run,
    in_order_means_one_at_a_time,
    a_dead_letter_holds_up_its_own_payment_alone,
    without_order_nothing_waits,
    what_has_no_order_itself_is_waited_for,
    handlers_are_apart,
    names_that_are_nearly_the_same_are_apart,
    lists_are_narrowed_and_limited,
    forgetting_takes_what_is_settled,
    what_is_done_is_known_at_another_position,
    a_queue_opened_again_stands_where_it_stood,
)


def effects_laws(capabilities: EffectsCapabilities) -> list[Law]:
    """Return the laws that a queue with these capabilities must hold."""
    laws = [*_ALWAYS]
    if capabilities.several:
        laws.append(two_on_one_database_share_the_work)
    if capabilities.refused_commits:
        laws.append(a_refused_commit_does_nothing_and_is_told)
    if capabilities.outages:
        laws.append(an_outage_is_told_and_nothing_is_run)
    return laws
