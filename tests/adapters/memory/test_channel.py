"""The courier in memory: the laws of a courier, and what only a courier in memory can show."""

import asyncio
from collections.abc import Sequence

import pytest

from tillport.adapters.conformance.channel import ChannelCapabilities, Law, channel_laws
from tillport.adapters.conformance.couriers import first_hearings, message
from tillport.adapters.memory.channel import MemoryChannel, MemoryConsumer
from tillport.adapters.memory.clock import ManualClock
from tillport.ports.channel import ChannelUnavailable, Message
from tillport.ports.selector import Selector

LAWS = channel_laws(ChannelCapabilities())


class HurriedClock(ManualClock):
    """A clock that jumps to the next moment that somebody waits for, once all have had their turn."""

    async def sleep_until(self, moment: float) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        if moment > self.now():
            self.set(moment)


class MemoryCourier:
    def __init__(self) -> None:
        self.channel = MemoryChannel(HurriedClock())

    def another(self) -> MemoryChannel:
        return self.channel

    async def received(self) -> Sequence[Message]:
        return self.channel.messages

    async def cut(self) -> None:
        self.channel.available = False

    async def heal(self) -> None:
        self.channel.available = True

    def consumer(
        self, name: str, *, selector: Selector | None = None, ack_wait_seconds: float = 30.0
    ) -> MemoryConsumer:
        return self.channel.consumer(name, selector=selector, ack_wait_seconds=ack_wait_seconds)


@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_memory_channel(law: Law) -> None:
    await law(MemoryCourier())


async def test_it_can_go_away_in_the_middle_of_a_batch() -> None:
    channel = MemoryChannel(ManualClock(), breaks_after=2)
    batch = [message(number) for number in range(5)]
    with pytest.raises(ChannelUnavailable):
        await channel.publish(batch)
    assert list(channel.messages) == batch[:2]
    channel.available = True
    await channel.publish(batch)
    assert list(channel.messages) == batch


async def test_a_repetition_after_the_window_is_stored_again_and_dropped_by_consumers() -> None:
    clock = ManualClock()
    channel = MemoryChannel(clock, duplicate_window_seconds=600)
    await channel.publish([message(1)])
    clock.advance(599)
    await channel.publish([message(1)])
    assert len(channel.messages) == 1
    clock.advance(1)
    await channel.publish([message(1)])
    assert len(channel.messages) == 2
    assert first_hearings(channel.messages) == [message(1)]


async def test_a_waiting_consumer_hears_at_once_and_after_a_healing() -> None:
    channel = MemoryChannel(ManualClock())
    waiting = asyncio.ensure_future(anext(channel.consumer("a")))
    await asyncio.sleep(0)
    await channel.publish([message(1)])
    assert (await waiting).message == message(1)
    channel.available = False
    await asyncio.sleep(0)
    second = asyncio.ensure_future(anext(channel.consumer("b")))
    await asyncio.sleep(0.01)
    assert not second.done()
    channel.available = True
    assert (await second).message == message(1)


async def test_a_consumer_that_is_closed_stops_its_iteration() -> None:
    channel = MemoryChannel(ManualClock())
    consumer = channel.consumer("a")
    waiting = asyncio.ensure_future(anext(consumer, None))
    await asyncio.sleep(0)
    await consumer.close()
    assert await waiting is None


async def test_what_was_published_is_a_copy() -> None:
    channel = MemoryChannel(ManualClock())
    headers = {"id": "ch_1"}
    await channel.publish([message(1, headers=headers)])
    headers["id"] = "ch_2"
    assert channel.messages[0].headers == {"id": "ch_1"}


async def test_what_it_holds_is_a_copy_whoever_looks() -> None:
    channel = MemoryChannel(ManualClock())
    headers = {"type": "charge.succeeded"}
    await channel.publish([Message(id="evt_1", key="pi_1", headers=headers, body=b"{}")])
    headers["type"] = "changed by the publisher"
    (looked_at,) = channel.messages
    looked_at.headers["type"] = "changed by a consumer"
    delivery = await channel.consumer("invoices").next(seconds=1)
    assert delivery.message.headers == {"type": "charge.succeeded"}
