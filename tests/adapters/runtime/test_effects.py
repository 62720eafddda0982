"""The loops of effects under a clock moved by hand: one enlister at a time, dead ones replaced, slow rounds shortened."""

import asyncio

import attrs
import pytest

from tillport.adapters.conformance.samples import event
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.effects import MemoryEffectQueue
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.runtime import EffectsWork, EnlisterWork
from tillport.domain.handlers import Handler
from tillport.ports.effects import EffectState
from tillport.ports.event_log import LogUnavailable


@attrs.define
class Effects:
    world: object
    queue: MemoryEffectQueue = attrs.field(factory=MemoryEffectQueue)
    bell: LocalDoorbell = attrs.field(init=False)

    def __attrs_post_init__(self):
        self.bell = LocalDoorbell(self.world.clock)

    def write(self, books, event):
        books.setdefault("lines", []).append(event.id)

    def enlister(self, owner="one", **options):
        world = self.world
        return EnlisterWork(
            handler=Handler(name="receipts", function=self.write),
            log=world.log,
            queue=self.queue,
            cursors=world.cursors,
            clock=world.clock,
            bell=self.bell,
            owner=owner,
            **options,
        )

    def worker(self, function=None, **options):
        world = self.world
        handler = Handler(name="receipts", function=function or self.write)
        return EffectsWork(handler=handler, log=world.log, queue=self.queue, clock=world.clock, **options)

    def loop(self, work):
        loop = self.world.loop(work)
        if isinstance(work, EffectsWork):
            loop.doorbell = self.bell
        return loop

    @property
    def lines(self):
        return self.queue.books.get("lines", [])


@pytest.fixture
def effects(world):
    return Effects(world)


async def test_what_is_recorded_has_its_effect_at_once(world, effects) -> None:
    async with effects.loop(effects.enlister()), effects.loop(effects.worker()):
        await world.settle()
        await world.log.record([event(1), event(2)])
        world.doorbell.ring()
        await world.settle()
        assert effects.lines == ["evt_1", "evt_2"]


async def test_the_cursor_says_what_the_log_must_still_hold(world, effects) -> None:
    """Retention may see nothing but the cursors: the queue is where the embedder keeps it."""

    async def needless():
        return (await world.cursors.positions())["effects:receipts"]

    def choose(books, event):
        if event.id == "evt_2":
            raise ValueError("no such customer")
        effects.write(books, event)

    enlister = effects.enlister()
    worker = effects.worker(choose)
    async with effects.loop(enlister), effects.loop(worker):
        await world.settle()
        await world.log.record([event(1), event(2), event(3)])
        await world.pass_time(5)
        assert effects.lines == ["evt_1", "evt_3"]
        assert await needless() == 1, "the second is not done"
        assert await effects.queue.skip("receipts", "evt_2")
        await world.pass_time(5)
        assert await needless() == 3
        await world.log.record([event(4)])
        world.doorbell.ring()
        await world.settle()
    assert await needless() == 4, "who ends in order tells it at the end"


async def test_a_worker_of_another_process_looks_by_itself(world, effects) -> None:
    async with effects.loop(effects.enlister()):
        await world.log.record([event(1)])
        await world.pass_time(2)
    effects.bell = LocalDoorbell(world.clock)
    async with effects.loop(effects.worker(look_seconds=0.5)):
        await world.log.record([event(2)])
        await world.pass_time(0.6)
    assert (await effects.queue.list(states=[EffectState.DUE])) == []


async def test_one_enlister_at_a_time_and_a_dead_one_is_replaced(world, effects) -> None:
    first, second = effects.enlister("one"), effects.enlister("two")
    await first.step()
    assert (await second.step()).seconds > 0
    assert second.position is None
    await world.log.record([event(1)])
    async with effects.loop(second):  # the first is never heard of again
        await world.pass_time(9, steps=50)
        assert second.enlisted == 1


async def test_an_enlister_that_was_replaced_stops_and_enlists_nothing_twice(world, effects) -> None:
    stale, fresh = effects.enlister("one"), effects.enlister("two")
    await stale.step()
    world.clock.advance(7)
    await fresh.step()
    await world.log.record([event(1), event(2)])
    await fresh.step()
    stale._renew_at = world.clock.now() + 1  # it slept and believes that it holds the lease
    await stale.step()
    assert stale.enlisted == 0
    assert len(await effects.queue.list(states=list(EffectState))) == 2


async def test_a_log_that_ends_before_the_handlers_place_is_told(world, effects, caplog) -> None:
    """It was restored from an older copy, say: what it records next stands where the handler has been."""
    await world.log.record([event(1)])
    await effects.queue.begin("receipts", position=1)
    await effects.enlister("one").step()
    assert "passed over" not in caplog.text
    await effects.queue.enlist("receipts", [], after=1, position=3)
    world.clock.advance(7)
    await effects.enlister("two").step()
    assert "receipts stands at position 3 and the log ends at 1" in caplog.text


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_database_that_is_older_than_the_enlister_believes_is_told_from_the_handlers_place(
    world, effects, *, noticed: bool
) -> None:
    """As after a failover to a replica that lagged: few events may come for long, and none may be passed over till then."""
    enlister = effects.enlister()
    loop = effects.loop(enlister)
    await loop.step()
    await world.log.record([event(number) for number in range(1, 6)])
    await loop.step()
    assert enlister.position == 5
    if noticed:
        world.log.available = False
        await loop.step()
    else:
        world.clock.advance(enlister.lease_seconds / 3)
    enlister.log, enlister.queue, enlister.cursors = MemoryEventLog(), MemoryEffectQueue(), MemoryCursors()
    await enlister.log.record([event(number) for number in range(1, 4)])
    await enlister.queue.begin("receipts", position=2)
    await loop.step()
    await enlister.log.record([event(11)])
    await loop.step()
    found = await enlister.queue.list(states=[EffectState.DUE])
    assert [one.event_id for one in found] == ["evt_3", "evt_11"]
    await enlister.close()
    assert await enlister.cursors.positions() == {"effects:receipts": 2}, "and the log must still hold them"


async def test_a_log_that_fails_over_to_an_older_copy_is_told_without_a_restart(
    world, effects, caplog
) -> None:
    """Its handlers' places are in another database, and as they were."""
    enlister = effects.enlister()
    loop = effects.loop(enlister)
    await loop.step()
    await world.log.record([event(1), event(2)])
    await loop.step()
    world.log.available = False
    await loop.step()
    assert "passed over" not in caplog.text
    enlister.log = MemoryEventLog()
    await loop.step()
    assert "receipts stands at position 2 and the log ends at 0" in caplog.text


async def test_the_end_gives_the_lease_away_at_once(world, effects) -> None:
    async with effects.loop(effects.enlister("one")):
        await world.settle()
    second = effects.enlister("two")
    await second.step()
    assert second.position == 0


async def test_a_dead_workers_effects_are_taken_over_in_seconds(world, effects) -> None:
    enlister = effects.enlister()
    await enlister.step()
    await world.log.record([event(1)])
    await enlister.step()
    now = world.clock.now()
    await effects.queue.claim("receipts", now=now, until=now + 8, limit=10)  # and its worker is gone
    async with effects.loop(effects.worker(lease_seconds=8)):
        await world.pass_time(7.9, steps=30)
        assert effects.lines == []
        await world.pass_time(1)
        assert effects.lines == ["evt_1"]


class Away(MemoryEffectQueue):
    """Hands out, and is away from then on."""

    away = False

    async def claim(self, handler, *, now, until, limit):
        claimed = await super().claim(handler, now=now, until=until, limit=limit)
        self.available = not self.away
        return claimed


async def test_outages_bury_nothing_that_was_never_begun(world, effects) -> None:
    queue = effects.queue = Away()
    enlister = effects.enlister()
    await enlister.step()
    await world.log.record([event(1), event(2)])
    await enlister.step()
    worker = effects.worker(lease_seconds=8)
    queue.away = True
    for _ in range(10):
        with pytest.raises(LogUnavailable):
            await worker.step()
        queue.available = True
        world.clock.advance(9)
    queue.away = False
    await worker.step()
    assert effects.lines == ["evt_1", "evt_2"]


async def test_who_ends_gives_back_what_an_outage_left_with_it(world, effects) -> None:
    queue = effects.queue = Away()
    enlister = effects.enlister()
    await enlister.step()
    await world.log.record([event(1)])
    await enlister.step()
    worker = effects.worker()
    queue.away = True
    with pytest.raises(LogUnavailable):
        await worker.step()
    queue.available = True
    await worker.close()
    (left,) = await queue.list(states=[EffectState.DUE])
    assert (left.claims, left.due_at <= world.clock.now()) == (0, True)


async def test_slow_handlers_get_few_at_once_and_quick_ones_many(world, effects) -> None:
    def slow(books, event):
        world.clock.advance(0.5)
        effects.write(books, event)

    enlister = effects.enlister()
    await enlister.step()
    await world.log.record([event(number) for number in range(1, 200)])
    await enlister.step()
    worker = effects.worker(slow)
    for _ in range(4):
        await worker.step()
    assert worker.limit <= 2
    quick = effects.worker()
    for _ in range(4):
        await quick.step()
    assert quick.limit == 100


async def test_a_coroutine_that_hangs_is_cut_off_and_holds_up_nobody(world, effects) -> None:
    async def hang(books, event):
        if event.id == "evt_1":
            await asyncio.sleep(3600)
        effects.write(books, event)

    enlister = effects.enlister()
    await enlister.step()
    await world.log.record([event(1), event(2)])
    await enlister.step()
    worker = effects.worker(hang, handler_seconds=0.05)
    await worker.step()
    assert effects.lines == ["evt_2"]
    assert worker.failed == 1
    (waiting,) = await effects.queue.list(states=[EffectState.DUE])
    assert waiting.error == "TimeoutError:"


@pytest.mark.parametrize("is_coroutine", [True, False])
async def test_what_was_cancelled_elsewhere_fails_one_effect_and_ends_no_worker(
    world, effects, is_coroutine
) -> None:
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()

    async def wait(books, event):
        if event.id == "evt_1":
            await gone
        effects.write(books, event)

    def look(books, event):
        if event.id == "evt_1":
            gone.result()
        effects.write(books, event)

    async with (
        effects.loop(effects.enlister()),
        effects.loop(effects.worker(wait if is_coroutine else look)),
    ):
        await world.settle()
        await world.log.record([event(1), event(2)])
        await world.pass_time(2)
        assert effects.lines == ["evt_2"]
        await world.log.record([event(3)])
        await world.pass_time(2)
        assert effects.lines == ["evt_2", "evt_3"]
    (failed,) = await effects.queue.list(states=[EffectState.DUE])
    assert (failed.event_id, failed.error) == (
        "evt_1",
        "HandlerCancelled: something that the handler waited for was cancelled",
    )


class Panic(BaseException):
    """As PyO3 has it: https://docs.rs/pyo3/latest/pyo3/panic/struct.PanicException.html"""


@pytest.mark.parametrize("is_coroutine", [True, False])
async def test_what_is_no_exception_fails_one_effect_and_ends_no_worker(world, effects, is_coroutine) -> None:
    def write(books, event):
        if event.id == "evt_1":
            raise Panic("index out of bounds")
        effects.write(books, event)

    async def wait(books, event):
        write(books, event)

    async with (
        effects.loop(effects.enlister()),
        effects.loop(effects.worker(wait if is_coroutine else write)),
    ):
        await world.settle()
        await world.log.record([event(1), event(2)])
        await world.pass_time(2)
        assert effects.lines == ["evt_2"]
        await world.log.record([event(3)])
        await world.pass_time(2)
        assert effects.lines == ["evt_2", "evt_3"]
    (failed,) = await effects.queue.list(states=[EffectState.DUE])
    assert (failed.event_id, failed.error) == ("evt_1", "HandlerBroke: Panic: index out of bounds")


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_process_is_let_out(world, effects, leaving) -> None:
    def leave(books, event):
        raise leaving

    enlister = effects.enlister()
    await enlister.step()
    await world.log.record([event(1)])
    await enlister.step()
    with pytest.raises(leaving):
        await effects.worker(leave).step()
