"""The laws of a log that forgets and rewrites (`Housekeeping`): what goes, what stays, and who is told."""

import asyncio
from typing import cast

import msgspec

from tillport.adapters.conformance.event_log_bench import (
    PATIENCE_SECONDS,
    EventLogBench,
    everything,
    recorded,
    values,
    visible,
)
from tillport.adapters.conformance.samples import NOON, event
from tillport.ports.event_log import EventLog, EventRefused, RecordedEvent
from tillport.ports.housekeeping import Housekeeping
from tillport.ports.selector import Compare


async def forget(log: EventLog, count: int, *, received_before: float, up_to: int | None = None) -> bool:
    """Forget until `count` events are gone: a store may take them away in several steps."""
    keeper = _keeper(log)
    gone = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            last = await log.head() if up_to is None else up_to
            gone += await keeper.forget(received_before=received_before, up_to=last, now=NOON)
            if gone >= count:
                return gone == count
            await asyncio.sleep(0.01)


def _keeper(log: EventLog) -> Housekeeping:
    assert hasattr(log, "forget"), "a log with the capability `housekeeping` has its methods"
    assert hasattr(log, "replace_body")
    return cast("Housekeeping", log)


async def a_forgotten_event_is_never_recorded_again(bench: EventLogBench) -> None:
    old = [event(1, aliases=("ch_1", "pi_1", "re_1")), event(2)]
    kept = [event(3), event(4)]
    async with bench.open() as log:
        await recorded(log, [*old, *kept])
        horizon = kept[0].received_at
        assert await forget(log, 2, received_before=horizon)
        assert await log.find("evt_1") is None
        assert list(await log.record([*old, event(5)])) == [False, False, True]
        await visible(log, [event(5)])
        assert values(await everything(log)) == [*kept, event(5)]
        assert await everything(log, Compare("id", "=", "re_1")) == []


async def retention_keeps_what_consumers_need_and_what_is_young(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await recorded(log, [event(number) for number in range(1, 7)])
        before = await everything(log)
        assert await forget(log, 2, received_before=NOON + 1000, up_to=before[1].position)
        assert await everything(log) == before[2:]
        assert await forget(log, 1, received_before=before[3].event.received_at)
        assert await everything(log) == before[3:]
        await forget(log, 0, received_before=NOON)
        assert await everything(log) == before[3:]


async def retention_stops_at_the_first_young_event(bench: EventLogBench) -> None:
    async with bench.open() as log:
        events = [event(1), event(2, received_at=NOON + 500), event(3)]
        await recorded(log, events)
        assert await forget(log, 1, received_before=NOON + 100)
        assert values(await everything(log)) == events[1:]


async def a_reader_behind_the_horizon_is_told(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await recorded(log, [event(number) for number in range(1, 5)])
        positions = [one.position for one in await everything(log)]
        assert not (await log.read(after=0)).reset
        assert await forget(log, 2, received_before=event(3).received_at)
        assert (await log.read(after=0)).reset
        assert (await log.read(after=positions[0])).reset
        assert (await log.read(after=positions[0], where=Compare("id", "=", "ch_4"))).reset
        assert not (await log.read(after=positions[1])).reset
        assert not (await log.read(after=positions[3])).reset


async def positions_are_never_given_twice(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await recorded(log, [event(1), event(2)])
        head = await log.head()
        assert await forget(log, 2, received_before=NOON + 1000)
        assert await log.head() == head
        await recorded(log, [event(3)])
        (one,) = await everything(log)
        assert one.position > head


async def a_replaced_body_is_what_readers_get(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await recorded(log, [event(1), event(2)])
        before = await everything(log)
        assert await _keeper(log).replace_body("evt_1", b'{"reduced": true}', now=NOON)
        assert not await _keeper(log).replace_body("evt_9", b"{}", now=NOON)
        changed = RecordedEvent(
            before[0].position, msgspec.structs.replace(event(1), body=b'{"reduced": true}')
        )
        assert await everything(log) == [changed, before[1]]
        assert list(await log.record([event(1)])) == [False]
        try:
            await _keeper(log).replace_body("evt_2", b"\xff", now=NOON)
        except EventRefused:
            return
        raise AssertionError("a body that is no text was taken")
