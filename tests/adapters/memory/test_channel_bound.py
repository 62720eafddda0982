"""A courier in memory with a bound: what is too old goes, and nobody stumbles over the gap."""

from tillport.adapters.memory.channel import MemoryChannel
from tillport.adapters.memory.clock import ManualClock
from tillport.ports.channel import Message


def message(number: int) -> Message:
    return Message(id=f"evt_{number}", key=f"pi_{number}", headers={}, body=b"{}")


async def test_no_more_is_kept_than_the_bound() -> None:
    channel = MemoryChannel(ManualClock(), keeps=3)
    for number in range(100):
        await channel.publish([message(number)])
    assert [held.id for held in channel.messages] == ["evt_97", "evt_98", "evt_99"]
    assert len(channel._known) == 3


async def test_who_was_too_slow_goes_on_with_the_oldest_that_is_left() -> None:
    clock = ManualClock()
    channel = MemoryChannel(clock, keeps=3)
    consumer = channel.consumer("slow")
    await channel.publish([message(1)])
    first = await anext(consumer)
    assert first.message.id == "evt_1"  # and it is never acknowledged
    await channel.publish([message(number) for number in range(2, 8)])
    clock.advance(60)
    heard = [await consumer.next(seconds=0) for _ in range(4)]
    assert [one and one.message.id for one in heard] == ["evt_5", "evt_6", "evt_7", None]
    await first.ack()
