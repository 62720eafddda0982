"""Replay publishes a stretch again, in order, and nothing beside it."""

import pytest

from tillport.adapters.conformance.samples import event
from tillport.adapters.memory.channel import MemoryChannel
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.effects import MemoryEffectQueue
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.domain.replay import UnknownHandler, reenlist_once, replay_once
from tillport.ports.channel import ChannelUnavailable, MessageRefused
from tillport.ports.effects import Effect, EffectState
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


async def test_what_retention_took_is_told(log) -> None:
    await log.forget(received_before=2**40, up_to=4, now=0)
    channel = MemoryChannel(ManualClock())
    assert (await replay_once(log, channel, after=0, up_to=10)).reset
    assert not (await replay_once(log, channel, after=4, up_to=10)).reset
    queue = MemoryEffectQueue()
    await queue.begin("ship", position=10)
    options = {"handler": "ship", "in_order": False, "up_to": 10}
    assert (await reenlist_once(log, queue, after=0, **options)).reset
    assert not (await reenlist_once(log, queue, after=4, **options)).reset


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


# To one handler --------------------------------------------------------------------------------------------------------


async def to_handler(log, queue, **options) -> int:
    options = {"handler": "ship", "in_order": False, "after": 0, "up_to": 100} | options
    offered, more = 0, True
    while more:
        done = await reenlist_once(log, queue, **options)
        offered += done.offered
        options["after"], more = done.position, done.more
    return offered


@pytest.fixture
async def queue() -> MemoryEffectQueue:
    """A queue whose handler began at position 6 and has event 6 behind it, dead."""
    queue = MemoryEffectQueue()
    await queue.begin("ship", position=5)
    buried = Effect(handler="ship", event_id="evt_6", position=6, payment_key="pi_6")
    await queue.enlist("ship", [buried], after=5, position=6)
    await queue.postpone(buried, error="no", due_at=None)
    return queue


async def in_state(queue, *states: EffectState) -> list[str]:
    return [one.event_id for one in await queue.list(states=states)]


async def test_a_handler_gets_what_came_before_it_began(log, queue) -> None:
    assert await to_handler(log, queue, batch_size=2) == 6
    assert await in_state(queue, EffectState.DUE) == [f"evt_{number}" for number in range(1, 6)]
    assert [one.position for one in await queue.standings()] == [6], "what follows comes by itself"


async def test_what_it_has_had_it_does_not_get_again(log, queue) -> None:
    await to_handler(log, queue)
    before = await queue.list(states=tuple(EffectState))
    await to_handler(log, queue)
    assert await queue.list(states=tuple(EffectState)) == before
    assert await in_state(queue, EffectState.DEAD) == ["evt_6"]


async def test_a_handler_gets_only_what_was_selected(log, queue) -> None:
    assert await to_handler(log, queue, where=Compare("id", "=", "ch_2")) == 1
    assert await to_handler(log, queue, after=3, up_to=4, in_order=True) == 1
    found = {one.event_id: one.in_order for one in await queue.list(states=(EffectState.DUE,))}
    assert found == {"evt_2": False, "evt_4": True}


async def test_a_handler_that_never_began_is_told(log, queue) -> None:
    with pytest.raises(UnknownHandler, match="mail"):
        await to_handler(log, queue, handler="mail")


async def test_a_place_that_moves_meanwhile_loses_nothing(log) -> None:
    class Busy(MemoryEffectQueue):
        moves = 3

        async def enlist(self, handler, effects, *, after, position):
            if self.moves and effects:
                self.moves -= 1
                await super().enlist(handler, [], after=after, position=after + 1)
            return await super().enlist(handler, effects, after=after, position=position)

    queue = Busy()
    await queue.begin("ship", position=5)
    assert await to_handler(log, queue) == 8
    assert [one.position for one in await queue.standings()] == [8]
    assert len(await in_state(queue, EffectState.DUE)) == 8
