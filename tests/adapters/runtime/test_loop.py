"""A loop: what it survives, what wakes it, how it ends."""

import asyncio
import logging
from collections.abc import Callable

import attrs
import pytest

from tillport.adapters.runtime import Rest
from tillport.adapters.runtime.loop import describe
from tillport.ports.event_log import LogUnavailable


@attrs.define
class Scripted:
    """A work that does what it is told."""

    name: str = "scripted"
    rest: Rest = attrs.field(factory=lambda: Rest(10.0))
    fails: int = 0
    error: Callable[[], BaseException] = lambda: RuntimeError("sk_live_do_not_show")
    steps: int = 0
    closed: int = 0
    gate: asyncio.Event | None = None
    finished: int = 0

    async def step(self) -> Rest:
        self.steps += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fails > 0:
            self.fails -= 1
            raise self.error()
        self.finished += 1
        return self.rest

    async def close(self) -> None:
        self.closed += 1


async def test_it_steps_rests_and_steps_again(world) -> None:
    work = Scripted()
    async with world.loop(work):
        await world.settle()
        assert work.steps == 1
        await world.pass_time(9)
        assert work.steps == 1
        await world.pass_time(2)
        assert work.steps == 2
    assert work.closed == 1


async def test_a_bell_ends_a_rest_that_listens_and_no_other(world) -> None:
    listening, deaf = Scripted(rest=Rest(10, bell=True)), Scripted(rest=Rest(10))
    async with world.loop(listening), world.loop(deaf):
        await world.settle()
        world.doorbell.ring()
        await world.settle()
        assert (listening.steps, deaf.steps) == (2, 1)


async def test_a_ring_during_a_step_is_not_lost(world) -> None:
    work = Scripted(rest=Rest(10, bell=True), gate=asyncio.Event())
    async with world.loop(work):
        await world.settle()
        world.doorbell.ring()  # while the step is under way: it may have looked already
        work.gate.set()
        await world.settle()
        assert work.steps == 2


async def test_a_step_that_fails_is_tried_again_later_each_time(world) -> None:
    work = Scripted(fails=6)
    loop = world.loop(work, pause_seconds_min=1, pause_seconds_max=8)
    pauses = [(await loop.step()).seconds for _ in range(6)]
    for pause, longest in zip(pauses, [1, 2, 4, 8, 8, 8], strict=True):
        assert longest / 2 <= pause <= longest
    assert loop.state.failures_in_a_row == 6
    assert (await loop.step()).seconds == 10
    assert (loop.state.failures_in_a_row, loop.state.last_good_at) == (0, world.clock.now())


async def test_a_step_whose_own_waiting_was_cancelled_by_somebody_else_has_failed(world) -> None:
    work = Scripted(fails=1, error=asyncio.CancelledError)
    async with world.loop(work) as loop:
        await world.settle()
        assert loop.state.last_failure is not None
        await world.pass_time(1)
        assert work.finished == 1


async def test_an_outage_is_one_warning_and_one_recovery(world, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tillport.runtime")
    loop = world.loop(Scripted(fails=5))
    for _ in range(6):
        await loop.step()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_the_words_of_a_foreign_error_are_not_logged(world, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    loop = world.loop(Scripted(fails=2))
    await loop.step()
    assert "RuntimeError in step" in caplog.text
    assert "sk_live" not in caplog.text + str(loop.state)
    assert describe(LogUnavailable("Away.", remedy="Wait.")) == "log_unavailable: Away. Wait."


async def test_stopping_wakes_who_rests_and_clears_up(world) -> None:
    work = Scripted()
    loop = world.loop(work)
    loop.start()
    await world.settle()
    await asyncio.wait_for(loop.stop(), 20)
    assert (work.steps, work.closed) == (1, 1)


async def test_stopping_lets_a_step_that_is_under_way_finish(world) -> None:
    work = Scripted(gate=asyncio.Event())
    loop = world.loop(work)
    loop.start()
    await world.settle()
    stopping = asyncio.create_task(loop.stop())
    await world.settle()
    assert not stopping.done()
    work.gate.set()
    await asyncio.wait_for(stopping, 20)
    assert (work.finished, work.closed) == (1, 1)


async def test_stopping_cancels_a_step_that_takes_too_long(world) -> None:
    work = Scripted(gate=asyncio.Event())
    loop = world.loop(work, drain_seconds=1)
    loop.start()
    await world.settle()
    stopping = asyncio.create_task(loop.stop())
    await world.settle()
    await world.pass_time(2)
    await asyncio.wait_for(stopping, 20)
    assert (work.finished, work.closed) == (0, 1)


async def test_work_without_rest_starves_nobody(world) -> None:
    work = Scripted(rest=Rest(0))
    async with world.loop(work):
        await asyncio.wait_for(world.settle(), 5)
        assert work.steps > 10


async def test_the_host_may_cancel_the_task_it_owns(world) -> None:
    work = Scripted()
    task = asyncio.create_task(world.loop(work).run())
    await world.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.closed == 1
