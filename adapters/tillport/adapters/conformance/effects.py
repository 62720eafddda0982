"""The laws of an effect queue: what every `EffectQueue` does, whatever database its handlers write to.

    LAWS = effects_laws(EffectsCapabilities(refused_commits=True))

    @pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
    async def test_my_queue(law, tmp_path):
        async with my_bench(tmp_path) as bench:
            await law(bench)

A law ends quietly or raises `AssertionError`. The bench writes lines through whatever handlers are lent, and reads
what was committed in a way of its own: the queue is not asked about itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import attrs

from tillport.adapters.conformance.samples import NOON
from tillport.ports.effects import Effect, EffectQueue, EffectState, Performed, Standing
from tillport.ports.event_log import LogUnavailable


@attrs.frozen(kw_only=True)
class EffectsCapabilities:
    """What the queue under test can do; each selects laws."""

    outages: bool = False
    """The bench's `outage` works."""
    several: bool = True
    """`open` may be entered a second time while the first is open, as a second process would."""
    refused_commits: bool = False
    """The bench's `spoil` works: the database can refuse a commit for what a handler wrote."""


class EffectsBench(Protocol):
    """One database under test, without effects and without lines at first."""

    def open(self) -> AbstractAsyncContextManager[EffectQueue[Any]]:
        """Open a queue on the database. What was written there stays when it is closed."""
        ...

    async def write(self, transaction: Any, line: str) -> None:
        """Write a line through what a handler was lent. Must not suspend where the queue's database blocks."""
        ...

    async def spoil(self, transaction: Any) -> None:
        """Write what looks well and makes the commit fail."""
        ...

    async def lines(self) -> Sequence[str]:
        """Return the lines that are committed, in any order."""
        ...

    def outage(self) -> AbstractAsyncContextManager[None]:
        """Make the database unreachable for as long as this lasts."""
        ...


Law: TypeAlias = Callable[[EffectsBench], Awaitable[None]]
One = TypeVar("One")
Queue: TypeAlias = EffectQueue[Any]

HANDLER: Final = "receipts"


class Mistake(Exception):
    """What a handler of the suite raises."""


def effect(
    number: int, *, payment: str | None = None, in_order: bool = False, handler: str = HANDLER
) -> Effect:
    """Return the effect of `evt_<number>` at that position, about a payment of its own unless told otherwise."""
    return Effect(
        handler=handler,
        event_id=f"evt_{number}",
        position=number,
        payment_key=payment or f"pi_{number}",
        in_order=in_order,
    )


async def enlist(queue: Queue, *effects: Effect) -> None:
    """Enlist effects of one handler, from its place on."""
    after = await queue.begin(effects[0].handler, position=0)
    assert await queue.enlist(effects[0].handler, effects, after=after, position=effects[-1].position)


async def claim(
    queue: Queue, now: float = NOON, *, limit: int = 10, seconds: float = 10, handler: str = HANDLER
) -> list[Effect]:
    """Claim for ten seconds."""
    return list(await queue.claim(handler, now=now, until=now + seconds, limit=limit))


def writer(bench: EffectsBench, *, failing: Sequence[str] = ()) -> Callable[[Any, Effect], Awaitable[None]]:
    """Return a handler that writes the event's id, and then fails for some."""

    async def run(transaction: Any, one: Effect) -> None:
        await bench.write(transaction, f"{one.handler} {one.event_id}")
        if one.event_id in failing:
            raise Mistake(one.event_id)

    return run


def line(number: int, handler: str = HANDLER) -> str:
    """Return what `writer` writes."""
    return f"{handler} evt_{number}"


def only(found: Sequence[One]) -> One:
    """Return the only one there must be."""
    assert len(found) == 1, found
    return found[0]


def numbers(effects: Sequence[Effect]) -> list[int]:
    """Return the positions."""
    return [one.position for one in effects]


async def states(queue: Queue) -> dict[int, EffectState]:
    """Return every effect's state by position."""
    return {one.position: one.state for one in await queue.list(states=tuple(EffectState), limit=1000)}


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


async def an_effect_and_its_mark_are_committed_together(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2))
        taken = await claim(queue)
        told = await queue.perform(taken, writer(bench))
        assert told == [Performed(effect=one, done=True) for one in taken]
        assert sorted(await bench.lines()) == [line(1), line(2)]
        assert await states(queue) == {1: EffectState.DONE, 2: EffectState.DONE}
        assert await claim(queue, NOON + 99) == []
        assert await queue.standings() == [Standing(handler=HANDLER, position=2)]


async def a_failure_undoes_that_effect_alone(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 6)))
        told = await queue.perform(await claim(queue), writer(bench, failing=["evt_1", "evt_3", "evt_5"]))
        assert [one.done for one in told] == [False, True, False, True, False]
        assert [str(one.failure) for one in told if one.failure] == ["evt_1", "evt_3", "evt_5"]
        assert sorted(await bench.lines()) == [line(2), line(4)]
        due, done = EffectState.DUE, EffectState.DONE
        assert await states(queue) == {1: due, 2: done, 3: due, 4: done, 5: due}
        assert await claim(queue, NOON + 9) == [], "the claim lasts until its worker says more"


async def what_is_done_is_not_run_again(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2))
        early = await claim(queue)
        late = await claim(queue, NOON + 10)
        await queue.perform(late[:1], writer(bench))
        told = await queue.perform(early, writer(bench))
        assert [(one.done, one.failure) for one in told] == [(False, None), (True, None)]
        await queue.perform(late, writer(bench))
        assert sorted(await bench.lines()) == [line(1), line(2)]


async def of_concurrent_performers_one_runs_it(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, *(effect(number) for number in range(1, 11)))
        taken = await claim(queue)
        rounds = await asyncio.gather(
            *(queue.perform(taken[turn:] + taken[:turn], writer(bench)) for turn in range(4)),
            return_exceptions=True,
        )
        done = [one.effect.position for told in rounds if isinstance(told, list) for one in told if one.done]
        done += [one.effect.position for one in await queue.perform(taken, writer(bench)) if one.done]
        assert sorted(done) == list(range(1, 11)), "each was done by one of them"
        assert sorted(await bench.lines()) == sorted(line(number) for number in range(1, 11))


async def who_is_being_run_is_not_handed_out(bench: EffectsBench) -> None:
    """Even when the claim has ended: the worker is slow, not dead. (Or the others must wait until it is done.)"""
    handed: list[int] = []

    async def run(transaction: Any, one: Effect) -> None:
        await bench.write(transaction, f"{one.handler} {one.event_id}")

    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2))
        first = only(await claim(queue, limit=1))
        performing = asyncio.ensure_future(queue.perform([first], run))
        try:
            handed += numbers(await claim(queue, NOON + 60))
        except LogUnavailable:
            handed += []
        told = only(await performing)
        if (
            1 in handed
        ):  # it was claimed before it was begun, or before it was known to be: then it is not run twice
            again = only(await queue.perform([first], run))
            assert told.done != again.done
        assert (await bench.lines()).count(line(1)) == 1


async def a_refused_commit_does_nothing_and_is_told(bench: EffectsBench) -> None:
    async def run(transaction: Any, one: Effect) -> None:
        await bench.write(transaction, line(one.position))
        if one.position == 2:
            await bench.spoil(transaction)

    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2), effect(3))
        taken = await claim(queue)
        assert await _refusal(queue, taken, run) is not None, "a refused commit was not told"
        assert await bench.lines() == []
        assert set((await states(queue)).values()) == {EffectState.DUE}
        told = [one for each in taken if each.position != 2 for one in await queue.perform([each], run)]
        assert [one.done for one in told] == [True, True]
        assert sorted(await bench.lines()) == [line(1), line(3)]


async def _refusal(queue: Queue, taken: Sequence[Effect], run: Any) -> Exception | None:
    try:
        await queue.perform(taken, run)
    except LogUnavailable as error:
        raise AssertionError("a refusal is not an outage") from error
    except Exception as error:  # noqa: BLE001 - the database's own
        return error
    return None


async def a_failure_is_tried_again_later(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2))
        taken = (await claim(queue))[0]
        await queue.postpone(taken, error="first", due_at=NOON + 100)
        assert numbers(await claim(queue, NOON + 99)) == [2]
        again = only(await claim(queue, NOON + 100, limit=1))
        assert (again.position, again.tries, again.claims, again.error) == (1, 1, 2, "first")
        await queue.perform([again], writer(bench))
        assert (await states(queue))[1] is EffectState.DONE


async def who_was_overtaken_postpones_nothing(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2))
        taken = await claim(queue)
        await queue.perform(taken[:1], writer(bench))
        assert await queue.skip(HANDLER, "evt_2")
        for one in taken:
            await queue.postpone(one, error="late", due_at=None)
        assert await states(queue) == {1: EffectState.DONE, 2: EffectState.SKIPPED}


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
        assert await bench.lines() == [line(1)]
        assert numbers(await queue.list()) == [3]


async def what_is_skipped_is_never_run(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1))
        taken = await claim(queue)
        assert await queue.skip(HANDLER, "evt_1")
        assert [one.done for one in await queue.perform(taken, writer(bench))] == [False]
        assert await bench.lines() == []


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


async def handlers_are_apart(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1))
        await enlist(queue, effect(1, handler="ledger"))
        await queue.perform(await claim(queue, handler="ledger"), writer(bench))
        assert await bench.lines() == [line(1, "ledger")]
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
        assert not await queue.enlist(HANDLER, [effect(1)], after=0, position=1), "and it never comes back"


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


async def two_on_one_database_share_the_work(bench: EffectsBench) -> None:
    async with bench.open() as here, bench.open() as there:
        await enlist(here, *(effect(number) for number in range(1, 31)))

        async def work(queue: Queue) -> int:
            done = 0
            while taken := await claim(queue, limit=4):
                done += sum(one.done for one in await queue.perform(taken, writer(bench)))
            return done

        assert sum(await asyncio.gather(work(here), work(there))) == 30
        assert sorted(await bench.lines()) == sorted(line(number) for number in range(1, 31))


async def an_outage_is_told_and_nothing_is_run(bench: EffectsBench) -> None:
    ran: list[Effect] = []

    async def run(_: Any, one: Effect) -> None:
        ran.append(one)

    async with bench.open() as queue:
        await enlist(queue, effect(1))
        taken = await claim(queue)
        async with bench.outage():
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda: claim(queue, NOON + 99),
                lambda: queue.perform(taken, run),
                lambda: queue.postpone(taken[0], error="no", due_at=None),
                lambda: queue.enlist(HANDLER, [effect(2)], after=1, position=2),
            ]
            for call in calls:
                try:
                    await call()
                except LogUnavailable:
                    continue
                raise AssertionError("something was done during an outage")
        assert ran == []
        assert await _once_back(lambda: states(queue)) == {1: EffectState.DUE}
        # Once more patiently: the first call that works may leave other connections of a pool to be found dead.
        performed = await _once_back(lambda: queue.perform(taken, writer(bench)))
        assert [one.done for one in performed] == [True]
    assert await bench.lines() == [line(1)]


async def _once_back(call: Callable[[], Awaitable[One]]) -> One:
    for _ in range(100):
        try:
            return await call()
        except LogUnavailable:
            await asyncio.sleep(0.1)
    return await call()


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
    an_effect_and_its_mark_are_committed_together,
    a_failure_undoes_that_effect_alone,
    what_is_done_is_not_run_again,
    of_concurrent_performers_one_runs_it,
    who_is_being_run_is_not_handed_out,
    a_failure_is_tried_again_later,
    who_was_overtaken_postpones_nothing,
    a_dead_letter_rests_until_people_act,
    what_is_skipped_is_never_run,
    in_order_means_one_at_a_time,
    a_dead_letter_holds_up_its_own_payment_alone,
    without_order_nothing_waits,
    handlers_are_apart,
    lists_are_narrowed_and_limited,
    forgetting_takes_what_is_settled,
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
