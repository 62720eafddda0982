"""The shared tail is the log itself, asked less often."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest

from tillport.adapters.conformance.event_log import EventLogCapabilities, event_log_laws
from tillport.adapters.conformance.event_log_histories import check_event_log_histories
from tillport.adapters.conformance.samples import event
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.runtime import tail as tail_module
from tillport.adapters.runtime.tail import SharedTail
from tillport.ports.event_log import EventLog, LogUnavailable, Page
from tillport.ports.selector import Compare, Selector

LAWS = event_log_laws(EventLogCapabilities(outages=True))


@attrs.define
class CountingLog(MemoryEventLog):
    looks: int = 0

    async def read(self, *, after: int, where: Selector | None = None, limit: int = 100) -> Page:
        self.looks += 1
        await asyncio.sleep(0)
        return await super().read(after=after, where=where, limit=limit)


@attrs.define
class Bench:
    log: MemoryEventLog = attrs.field(factory=MemoryEventLog)
    held_events_max: int = 2_000

    @asynccontextmanager
    async def open(self) -> AsyncIterator[EventLog]:
        yield SharedTail(self.log, ManualClock(), gather_seconds=0, held_events_max=self.held_events_max)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.log.available = False
        yield
        self.log.available = True


@pytest.mark.parametrize("held", [2_000, 2])
@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_the_shared_tail_holds_the_law(law, held: int) -> None:
    await law(Bench(held_events_max=held))


@pytest.mark.parametrize("held", [2_000, 2])
def test_any_history_agrees_with_the_model(held: int) -> None:
    @asynccontextmanager
    async def new_bench() -> AsyncIterator[Bench]:
        yield Bench(held_events_max=held)

    check_event_log_histories(new_bench)


def ids(page: Page) -> Sequence[str]:
    return [recorded.event.id for recorded in page.events]


async def tail_at_the_end(log: MemoryEventLog, **options: float) -> SharedTail:
    tail = SharedTail(log, ManualClock(), **{"gather_seconds": 0.0, **options})
    await tail.read(after=0)
    return tail


async def test_many_readers_at_the_end_share_one_look() -> None:
    log = CountingLog()
    tail = await tail_at_the_end(log)
    await log.record([event(1), event(2)])
    log.looks = 0
    pages = await asyncio.gather(*(tail.read(after=0) for _ in range(20)))
    assert {tuple(ids(page)) for page in pages} == {("evt_1", "evt_2")}
    assert log.looks == 1


async def test_a_look_that_began_before_the_call_does_not_answer_it() -> None:
    log = CountingLog()
    tail = await tail_at_the_end(log)
    first = asyncio.create_task(tail.read(after=0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert tail._looking is not None
    assert tail._next is None
    second = asyncio.create_task(tail.read(after=0))
    await log.record([event(1)])
    await first
    assert ids(await second) == ["evt_1"]


async def test_in_a_stream_the_next_look_gathers() -> None:
    log, clock = CountingLog(), ManualClock()
    tail = SharedTail(log, clock, gather_seconds=0.02)
    await tail.read(after=0)
    await log.record([event(1)])
    assert ids(await tail.read(after=0)) == ["evt_1"], "the first after a pause is told at once"
    await log.record([event(2)])
    later = asyncio.create_task(tail.read(after=1))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not later.done()
    await log.record([event(3)])
    clock.advance(0.02)
    assert ids(await later) == ["evt_2", "evt_3"]


async def test_a_reader_that_goes_away_stops_nobody_else() -> None:
    log = CountingLog()
    tail = await tail_at_the_end(log)
    await log.record([event(1)])
    first, second = (asyncio.create_task(tail.read(after=0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert ids(await second) == ["evt_1"]


@pytest.mark.parametrize("seconds", [2.1, -3600.0], ids=["later", "the clock was set back"])
async def test_an_old_event_is_read_from_the_log_itself_so_that_an_erased_body_is_gone(
    seconds: float,
) -> None:
    log, clock = CountingLog(), ManualClock()
    tail = SharedTail(log, clock, gather_seconds=0, held_seconds_max=2.0)
    await tail.read(after=0)
    await log.record([event(1)])
    await tail.read(after=0)
    await log.replace_body("evt_1", b'{"erased":true}', now=clock.now())
    clock.advance(seconds)
    (recorded,) = (await tail.read(after=0)).events
    assert recorded.event.body == b'{"erased":true}'


async def test_a_reader_behind_the_horizon_is_told_so() -> None:
    log, clock = CountingLog(), ManualClock()
    tail = SharedTail(log, clock, gather_seconds=0, held_seconds_max=2.0)
    await tail.read(after=0)
    await log.record([event(1), event(2)])
    await log.forget(received_before=float("inf"), up_to=2, now=clock.now())
    page = await tail.read(after=0)
    assert page.reset
    assert (await tail.read(after=2)).reset is False


async def test_every_reader_behind_the_horizon_is_told_so_not_the_first_alone() -> None:
    log = MemoryEventLog()
    await log.record([event(number) for number in range(1, 6)])
    await log.forget(received_before=event(9).received_at + 9, up_to=3, now=0)
    tail = SharedTail(log, ManualClock(), gather_seconds=0)
    assert [(await tail.read(after=1)).reset for _ in range(2)] == [True, True]


@attrs.define
class GatedLog(MemoryEventLog):
    """A log whose looks wait at a gate, once they have seen what there is; other readings come back at once."""

    gate: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def read(self, *, after: int, where: Selector | None = None, limit: int = 100) -> Page:
        page = await super().read(after=after, where=where, limit=limit)
        if limit == tail_module._LOOK_EVENTS:
            await self.gate.wait()
        return page


async def test_a_look_that_another_reader_overtook_repeats_nothing() -> None:
    """Whoever reads from further back than the tail, and to its end, begins it anew."""
    log = GatedLog()
    await log.record([event(1)])
    tail = SharedTail(log, ManualClock(), gather_seconds=0)
    await tail.read(after=1)
    await log.record([event(2), event(3)])
    first = asyncio.ensure_future(tail.read(after=1))
    for _ in range(5):
        await asyncio.sleep(0)
    await log.record([event(4)])
    assert ids(await tail.read(after=0)) == ["evt_1", "evt_2", "evt_3", "evt_4"]
    log.gate.set()
    assert ids(await first) == ["evt_2", "evt_3", "evt_4"]
    await log.record([event(5)])
    assert ids(await tail.read(after=1)) == ["evt_2", "evt_3", "evt_4", "evt_5"]
    assert ids(await tail.read(after=3)) == ["evt_4", "evt_5"]


async def test_selected_events_are_found_past_many_others() -> None:
    log = CountingLog()
    tail = await tail_at_the_end(log)
    await log.record([event(number) for number in range(1_200)])
    page = await tail.read(after=0, where=Compare("event_id", "=", "evt_1199"), limit=5)
    assert ids(page) == ["evt_1199"]
    assert page.position == 1_200


async def test_what_is_held_is_bounded() -> None:
    log = CountingLog()
    tail = await tail_at_the_end(log, held_events_max=10, held_bytes_max=1_000)
    position = 0
    for number in range(50):
        await log.record([event(number)])
        position = (await tail.read(after=position)).position
        assert len(tail._events) <= 10
        assert tail._bytes <= 1_000
        assert tail._bytes == sum(len(recorded.event.body) for recorded in tail._events)
    assert len((await tail.read(after=0)).events) == 50


async def test_an_outage_is_told_and_forgotten() -> None:
    log = CountingLog()
    tail = await tail_at_the_end(log)
    log.available = False
    with pytest.raises(LogUnavailable):
        await tail.read(after=0)
    log.available = True
    await log.record([event(1)])
    assert ids(await tail.read(after=0)) == ["evt_1"]
