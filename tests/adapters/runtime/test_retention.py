"""Old events go by themselves, from one process at a time, and none that somebody still needs."""

from contextlib import asynccontextmanager

import pytest

from tillport.adapters.conformance.samples import NOON, event
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.effects import MemoryEffectQueue
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.runtime import MarksRetentionWork, RetentionWork
from tillport.domain.effects import enlist_once
from tillport.domain.forget import Reach, forgettable, gone_up_to, reach
from tillport.domain.handlers import Handler
from tillport.ports.effects import EffectState, Standing
from tillport.ports.event_log import LogUnavailable

DAY = 86_400.0


class OneUnfinished:
    """A queue whose handler has an effect to do at a position."""

    def __init__(self, position: int) -> None:
        self.position = position

    async def standings(self):
        return [
            Standing(handler="mail", position=99, due=1, oldest_position=self.position),
            Standing(handler="other", position=99),
        ]


@pytest.fixture
async def log():
    log = MemoryEventLog()
    await log.record([event(number, received_at=NOON + number * DAY) for number in range(1, 11)])
    return log


def work(log, cursors, *, owner="a", day=20, **more) -> RetentionWork:
    clock = ManualClock(now=NOON + day * DAY)
    return RetentionWork(keeper=log, cursors=cursors, clock=clock, owner=owner, keep_seconds=15 * DAY, **more)


async def test_what_is_old_goes_and_what_is_young_stays(log) -> None:
    keeping = work(log, MemoryCursors())
    rest = await keeping.step()
    assert rest.seconds > 0
    assert keeping.forgotten == 4
    await keeping.step()
    assert keeping.forgotten == 4
    assert [one.position for one in (await log.read(after=0)).events] == [5, 6, 7, 8, 9, 10]


async def test_one_process_does_it_and_another_takes_over(log) -> None:
    cursors = MemoryCursors()
    first, second = work(log, cursors), work(log, cursors, owner="b", day=21)
    await first.step()
    second.clock.set(first.clock.now() + 1)
    await second.step()
    assert second.forgotten == 0
    second.clock.set(NOON + 21 * DAY)
    await second.step()
    assert second.forgotten == 1, "the lease of the first has run out"
    await second.close()
    await first.step()
    assert first._holds


async def test_a_consumer_holds_back_until_it_is_dropped(log) -> None:
    cursors = MemoryCursors()
    await cursors.claim("report", owner="x", now=NOON, until=NOON + 1)
    await cursors.advance("report", owner="x", position=2)
    keeping = work(log, cursors)
    await keeping.step()
    assert keeping.forgotten == 2
    assert await reach(cursors) == Reach(up_to=2, held_by="the consumer report")
    assert await cursors.drop("report", now=NOON + 1)
    await keeping.step()
    assert keeping.forgotten == 4, "and the cursor of retention itself holds nothing back"


async def test_an_unfinished_effect_holds_its_event_back(log) -> None:
    @asynccontextmanager
    async def effects():
        yield OneUnfinished(3)

    keeping = work(log, MemoryCursors(), effects=effects)
    await keeping.step()
    assert keeping.forgotten == 2


async def test_nothing_goes_while_it_is_not_known_what_is_needed(log) -> None:
    @asynccontextmanager
    async def effects():
        raise LogUnavailable("away")
        yield

    keeping = work(log, MemoryCursors(), effects=effects)
    with pytest.raises(LogUnavailable):
        await keeping.step()
    assert (await log.read(after=0)).events[0].position == 1


@pytest.mark.parametrize("day", range(14, 30))
async def test_what_would_go_is_known_before(log, day) -> None:
    cursors = MemoryCursors()
    now = NOON + day * DAY
    found = await forgettable(log, cursors, now=now, keep_seconds=15 * DAY)
    keeping = work(log, cursors, day=day)
    await keeping.step()
    assert found.events_at_most == keeping.forgotten
    assert (found.oldest_received_at is None) == (keeping.forgotten == 0)


BOOK = Handler(name="book", function=lambda books, event: books.setdefault("lines", []).append(event.id))


async def booked(log) -> MemoryEffectQueue:
    """Return a queue whose handler has done all that the log asks for, but for events 2 (dead) and 3 (skipped)."""
    queue = MemoryEffectQueue()
    position = await queue.begin(BOOK.name, position=0)
    await enlist_once(BOOK, log, queue, position=position)
    effects = await queue.claim(BOOK.name, now=NOON, until=NOON + 9, limit=99)
    await queue.postpone(effects[1], error="no", due_at=None)
    await queue.skip(BOOK.name, effects[2].event_id)

    async def run(books, effect) -> None:
        BOOK.function(books, (await log.find(effect.event_id)).event)

    await queue.perform([effects[0], *effects[3:]], run)
    return queue


async def left(queue) -> list[int]:
    return [one.position for one in await queue.list(states=list(EffectState))]


async def test_a_mark_stays_while_its_event_is_in_the_log(log) -> None:
    queue = await booked(log)
    work = MarksRetentionWork(log=log, queue=queue)
    rest = await work.step()
    assert rest.seconds > 0
    assert await gone_up_to(log) == 0
    assert await left(queue) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    await log.forget(received_before=NOON + 6 * DAY, up_to=99, now=NOON)
    assert await gone_up_to(log) == 5
    await work.step()
    assert await left(queue) == [2, 6, 7, 8, 9, 10], "what is not done stays, however old"
    assert work.forgotten == 4


async def test_nothing_whose_mark_was_forgotten_is_ever_done_again(log) -> None:
    queue = await booked(log)
    everything = [one.event for one in (await log.read(after=0)).events]
    await log.forget(received_before=NOON + 99 * DAY, up_to=99, now=NOON)
    work = MarksRetentionWork(log=log, queue=queue)
    await work.step()
    assert await left(queue) == [2], "in a log that was emptied too"
    assert list(await log.record(everything)) == [False] * 10, "Stripe says all of it again"
    for position in (0, 5, await queue.begin(BOOK.name, position=0)):
        await enlist_once(BOOK, log, queue, position=position)
    assert await left(queue) == [2]
    await log.record([event(11)])
    await enlist_once(BOOK, log, queue, position=10)
    assert await left(queue) == [2, 11], "and what is new is still seen"
    await work.step()
    assert await left(queue) == [2, 11]
