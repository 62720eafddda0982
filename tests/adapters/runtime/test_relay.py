"""The relay under a clock moved by hand: nothing unsaid, one relay at a time, outages cost delay only."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from tillport.adapters.conformance.samples import event
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.ports.channel import ChannelUnavailable, Message
from tillport.ports.event_log import LogUnavailable


def told(world) -> list[str]:
    return [message.id for message in world.channel.messages]


async def test_what_is_recorded_is_published_in_order_at_once(world) -> None:
    async with world.loop(world.relay()):
        await world.settle()
        await world.log.record([event(1), event(2)])
        world.doorbell.ring()
        await world.settle()
        assert told(world) == ["evt_1", "evt_2"]


async def test_in_a_stream_of_events_batches_gather(world) -> None:
    relay = world.relay(gather_seconds=0.05)
    loop = world.loop(relay)
    async with loop:
        await world.settle()
        steps = loop.state.steps
        for number in range(1, 101):  # a second of a hundred events, each of which rings
            await world.log.record([event(number)])
            world.doorbell.ring()
            await world.pass_time(0.01, steps=1)
        await world.pass_time(0.1)
    assert len(told(world)) == 100
    assert loop.state.steps - steps < 30


async def test_a_lost_ring_costs_a_second(world) -> None:
    async with world.loop(world.relay()):
        await world.settle()
        await world.log.record([event(1)])
        await world.pass_time(1.1)
        assert told(world) == ["evt_1"]


async def test_a_long_backlog_is_published_without_a_rest(world) -> None:
    await world.log.record([event(number) for number in range(1, 26)])
    async with world.loop(world.relay(batch_size=10)):
        await world.settle()
        assert len(told(world)) == 25


async def test_a_courier_that_is_away_costs_nothing_but_delay(
    world, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    world.channel.available = False
    await world.log.record([event(number) for number in range(1, 6)])
    async with world.loop(world.relay()):
        await world.pass_time(600, steps=600)
        assert told(world) == []
        assert len(caplog.records) == 1  # ten minutes away are one warning
        world.channel.available = True
        await world.pass_time(5)
        assert told(world) == [f"evt_{number}" for number in range(1, 6)]


async def test_a_batch_that_broke_in_the_middle_is_sent_again_whole(world) -> None:
    world.channel.breaks_after = 2
    await world.log.record([event(number) for number in range(1, 6)])
    async with world.loop(world.relay()):
        await world.pass_time(1)
        assert told(world) == ["evt_1", "evt_2"]
        world.channel.available = True
        await world.pass_time(5)
        assert told(world) == [f"evt_{number}" for number in range(1, 6)]


async def test_one_of_two_relays_works_and_the_other_waits(world) -> None:
    first, second = world.relay("one"), world.relay("two")
    async with world.loop(first), world.loop(second):
        for number in range(1, 31):
            await world.log.record([event(number)])
            world.doorbell.ring()
            await world.pass_time(1)
        assert (first.published, second.published) == (30, 0)


async def test_a_dead_relay_is_replaced_in_seconds(world) -> None:
    dead = world.relay("one", lease_seconds=9)
    await dead.step()  # it took the lease, and is never heard of again
    alive = world.relay("two", lease_seconds=9)
    async with world.loop(alive):
        await world.log.record([event(1)])
        await world.pass_time(8)
        assert told(world) == []
        await world.pass_time(4.1)
        assert told(world) == ["evt_1"]


async def test_a_relay_that_ends_hands_over_at_once(world) -> None:
    first, second = world.relay("one"), world.relay("two")
    leaving = world.loop(first)
    leaving.start()
    await world.settle()
    async with world.loop(second):
        await leaving.stop()
        await world.log.record([event(1)])
        await world.pass_time(3.1)  # its next look
        assert second.published == 1


async def test_a_relay_that_slept_through_its_lease_stops_when_it_wakes(world) -> None:
    sleeper, other = world.relay("one"), world.relay("two")
    await sleeper.step()
    world.clock.advance(100)
    await other.step()
    await world.log.record([event(1)])
    await other.step()
    await sleeper.step()
    assert sleeper.position is None
    assert (sleeper.published, other.published) == (0, 1)


async def test_a_relay_replaced_in_the_middle_of_a_batch_does_not_move_the_cursor(world) -> None:
    sleeper, other = world.relay("one"), world.relay("two")
    await sleeper.step()

    @attrs.define
    class Stolen:
        """A log that is slow: while it is read, another process takes the lease."""

        async def read(self, **arguments: object):
            world.clock.advance(100)
            await other.step()
            return await world.log.read(**arguments)

    await world.log.record([event(1)])
    sleeper.log = Stolen()
    await sleeper.step()
    assert sleeper.position is None
    assert (await world.cursors.positions())["relay"] == 1
    assert other.position == 1


async def test_after_a_restart_it_goes_on_where_it_was(world) -> None:
    await world.log.record([event(1)])
    async with world.loop(world.relay("one")):
        await world.settle()
    await world.log.record([event(2)])
    again = world.relay("two")
    async with world.loop(again):
        await world.settle()
    assert again.published == 1
    assert told(world) == ["evt_1", "evt_2"]


async def test_what_the_channel_will_never_take_is_told_and_stops_nobody(
    world, caplog: pytest.LogCaptureFixture
) -> None:
    await world.log.record([event(1), event(2, type="two\nlines"), event(3)])
    await world.relay().step()
    assert told(world) == ["evt_1", "evt_3"]
    assert "evt_2" in caplog.text


async def test_a_clock_that_is_set_back_does_not_let_the_lease_lapse(world) -> None:
    relay = world.relay("one", lease_seconds=9)
    await relay.step()
    world.clock.advance(-3600)
    await relay.step()
    soon = world.clock.now() + 5
    assert await world.cursors.claim("relay", owner="two", now=soon, until=soon + 9) is None


async def test_a_lease_from_before_the_clock_was_set_back_outlives_nobody(world) -> None:
    await world.relay("dead", lease_seconds=9).step()
    await world.log.record([event(1)])
    world.clock.advance(-3600)
    async with world.loop(world.relay("two", lease_seconds=9)):
        await world.pass_time(12)
        assert told(world) == ["evt_1"]


@attrs.define
class SlowChannel:
    """A courier that takes its time for each message, and waits no longer than that for the last of them."""

    world: Any
    patience_seconds: float
    message_seconds: float = 0.03

    async def publish(self, messages: Sequence[Message]) -> None:
        clock = self.world.clock
        wanted = len(messages) * self.message_seconds
        await clock.sleep_until(clock.now() + min(wanted, self.patience_seconds))
        if wanted > self.patience_seconds:
            raise ChannelUnavailable("It did not acknowledge in time.")
        await self.world.channel.publish(messages)


@pytest.mark.parametrize(
    ("processes", "patience_seconds"), [(1, 10.0), (2, 60.0)], ids=["gives up", "replaced"]
)
async def test_a_backlog_comes_through_to_a_courier_that_is_slow(
    world, processes: int, patience_seconds: float
) -> None:
    await world.log.record([event(number) for number in range(600)])
    relays = [world.relay(str(number), lease_seconds=9) for number in range(processes)]
    loops = [world.loop(relay) for relay in relays]
    for relay, loop in zip(relays, loops, strict=True):
        relay.channel = SlowChannel(world, patience_seconds)
        loop.start()
    await world.pass_time(180, steps=1800)
    heard, positions = told(world), await world.cursors.positions()
    for relay in relays:
        relay.channel = world.channel
    await world.log.record([event(number) for number in range(600, 3000)])
    await world.pass_time(20)
    ending = asyncio.gather(*(loop.stop() for loop in loops))
    await world.pass_time(60)  # a batch may be under way
    await ending
    assert heard == [f"evt_{number}" for number in range(600)]
    assert positions["relay"] == 600
    assert max(relay.limit for relay in relays) == 500, "and batches grow again"


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_database_that_is_older_than_the_relay_believes_is_told_from_its_own_cursor(
    world, *, noticed: bool
) -> None:
    """As after a failover to a replica that lagged. What it lost is found again, by `reconcile` say."""
    relay = world.relay()
    await world.log.record([event(number) for number in range(1, 6)])
    loop = world.loop(relay)
    await loop.step()
    assert relay.position == 5
    if noticed:
        world.log.available = False
        await loop.step()
    else:
        world.clock.advance(relay.lease_seconds / 3)
    relay.log, relay.cursors = MemoryEventLog(), MemoryCursors()
    await relay.log.record([event(number) for number in range(1, 4)])
    await relay.cursors.claim("relay", owner=relay.owner, now=world.clock.now(), until=world.clock.now() + 9)
    await relay.cursors.advance("relay", owner=relay.owner, position=2)
    await relay.log.record([event(number) for number in range(11, 16)])
    await loop.step()
    assert told(world) == [f"evt_{number}" for number in (*range(1, 6), *range(11, 16))]


async def test_an_idle_relay_looks_once_a_second_and_writes_a_lease_in_three(world) -> None:
    reads = claims = 0

    @attrs.define
    class Counting:
        async def read(self, **arguments: object):
            nonlocal reads
            reads += 1
            return await world.log.read(**arguments)

        async def claim(self, *arguments: object, **named: object):
            nonlocal claims
            claims += 1
            return await world.cursors.claim(*arguments, **named)

        async def release(self, *arguments: object, **named: object):
            await world.cursors.release(*arguments, **named)

    relay = world.relay()
    relay.log = relay.cursors = Counting()
    async with world.loop(relay):
        await world.pass_time(300, steps=600)
    assert reads <= 305
    assert claims <= 102


async def test_a_log_that_is_away_is_waited_for(world) -> None:
    world.log.available = False
    relay = world.relay()
    loop = world.loop(relay)
    await loop.step()
    assert "log_unavailable" in loop.state.last_failure
    world.log.available = True
    await world.log.record([event(1)])
    await loop.step()
    assert relay.published == 1


async def test_the_relay_raises_what_the_loop_survives(world) -> None:
    world.cursors.available = False
    with pytest.raises(LogUnavailable):
        await world.relay().step()
