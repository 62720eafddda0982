"""Replay publishes a stretch again, in order, and nothing beside it."""

import pytest

from tillport.adapters.conformance.samples import event
from tillport.adapters.memory.channel import MemoryChannel
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.domain.replay import replay_once
from tillport.ports.channel import ChannelUnavailable, MessageRefused
from tillport.ports.selector import Compare


@pytest.fixture
async def log() -> MemoryEventLog:
    log = MemoryEventLog()
    await log.record([event(number, body=b'{"id":"evt_%d"}' % number) for number in range(1, 11)])
    return log


async def whole(log, channel, **options) -> list[int]:
    counts, more = [], True
    while more:
        done = await replay_once(log, channel, **options)
        counts.append(done.published)
        options["after"], more = done.position, done.more
    return counts


async def test_a_stretch_is_published_in_order(log) -> None:
    channel = MemoryChannel(ManualClock())
    assert await whole(log, channel, after=2, up_to=8, batch_size=4) == [4, 2]
    assert [one.id for one in channel.messages] == [f"evt_{number}" for number in range(3, 9)]


async def test_a_selector_narrows_it(log) -> None:
    channel = MemoryChannel(ManualClock())
    assert await whole(log, channel, after=0, up_to=10, where=Compare("id", "=", "ch_4")) == [1]
    assert [one.id for one in channel.messages] == ["evt_4"]


async def test_what_the_courier_never_takes_holds_up_nobody(log) -> None:
    class Picky(MemoryChannel):
        async def publish(self, messages):
            for message in messages:
                if message.id == "evt_2":
                    raise MessageRefused("too large", message_id="evt_2")
            await super().publish(messages)

    channel = Picky(ManualClock())
    done = await replay_once(log, channel, after=0, up_to=3)
    assert (done.published, done.refused, done.position, done.more) == (2, ("evt_2",), 3, False)


async def test_a_courier_out_of_reach_is_told_and_the_step_may_be_done_again(log) -> None:
    channel = MemoryChannel(ManualClock())
    channel.available = False
    with pytest.raises(ChannelUnavailable):
        await replay_once(log, channel, after=0, up_to=3)
    channel.available = True
    assert (await replay_once(log, channel, after=0, up_to=3)).published == 3
