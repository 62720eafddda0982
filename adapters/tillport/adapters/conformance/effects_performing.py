"""The laws of an effect and its mark: committed together, once, and nothing of either when anything fails."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tillport.adapters.conformance.effects_bench import (
    HANDLER,
    EffectsBench,
    Killed,
    One,
    Queue,
    claim,
    effect,
    enlist,
    line,
    moment,
    numbers,
    only,
    states,
    writer,
)
from tillport.adapters.conformance.samples import NOON
from tillport.ports.effects import Effect, EffectState, Performed, Standing
from tillport.ports.event_log import LogUnavailable


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


async def who_is_being_run_is_done_or_skipped_and_not_both(bench: EffectsBench) -> None:
    """Who is told that an effect will never be handled must be able to rely on that."""

    async def run(transaction: Any, one: Effect) -> None:
        await bench.write(transaction, line(one.position))
        await moment()

    async with bench.open() as queue:
        await enlist(queue, effect(1))
        performing = asyncio.ensure_future(queue.perform(await claim(queue), run))
        await asyncio.sleep(0)
        skipped = await queue.skip(HANDLER, "evt_1")
        told = only(await performing)
        assert told.done != skipped
        assert await states(queue) == {1: EffectState.SKIPPED if skipped else EffectState.DONE}
        assert await bench.lines() == ([] if skipped else [line(1)])


async def who_is_killed_leaves_nothing(bench: EffectsBench) -> None:
    """What is no failure ends the round: neither the effect that was under way is there, nor its mark."""

    async def run(transaction: Any, one: Effect) -> None:
        await bench.write(transaction, line(one.position))
        if one.position == 2:
            raise Killed

    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2), effect(3))
        taken = await claim(queue)
        try:
            await queue.perform(taken, run)
        except Killed:
            pass
        else:
            raise AssertionError("what ends the process was not let out")
        done = [number for number, state in (await states(queue)).items() if state is EffectState.DONE]
        assert sorted(await bench.lines()) == [line(number) for number in sorted(done)]
        assert not {2, 3} & set(done)
        await queue.perform(taken, writer(bench))
        assert sorted(await bench.lines()) == [line(1), line(2), line(3)]


async def a_failure_is_tried_again_later(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1), effect(2))
        taken = (await claim(queue))[0]
        await queue.postpone(taken, error="first", due_at=NOON + 200)
        await queue.postpone(taken, error="second", due_at=NOON + 100)
        assert numbers(await claim(queue, NOON + 99)) == [2]
        again = only(await claim(queue, NOON + 100, limit=1))
        assert (again.position, again.tries, again.claims, again.error) == (1, 2, 2, "second")
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


async def what_is_skipped_is_never_run(bench: EffectsBench) -> None:
    async with bench.open() as queue:
        await enlist(queue, effect(1))
        taken = await claim(queue)
        assert await queue.skip(HANDLER, "evt_1")
        assert [one.done for one in await queue.perform(taken, writer(bench))] == [False]
        assert await bench.lines() == []


async def what_is_dead_is_not_run(bench: EffectsBench) -> None:
    """By a worker that was overtaken, and has its claim still."""
    async with bench.open() as queue:
        await enlist(queue, effect(1))
        taken = await claim(queue)
        await queue.postpone(taken[0], error="no", due_at=None)
        told = only(await queue.perform(taken, writer(bench)))
        assert (told.done, told.failure) == (False, None)
        assert await states(queue) == {1: EffectState.DEAD}
        assert await bench.lines() == []


async def two_on_one_database_share_the_work(bench: EffectsBench) -> None:
    async with bench.open() as here, bench.open() as there:
        await enlist(here, *(effect(number) for number in range(1, 31)))

        async def work(queue: Queue, now: float = NOON) -> int:
            done = 0
            while taken := await claim(queue, now, limit=4):
                done += sum(one.done for one in await queue.perform(taken, writer(bench)))
            return done

        done = sum(await asyncio.gather(work(here), work(there)))
        # What the other's claim held at that very moment was passed over, and is due again when its own claim ends.
        assert done + await work(here, NOON + 60) == 30
        assert sorted(await bench.lines()) == sorted(line(number) for number in range(1, 31))


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
