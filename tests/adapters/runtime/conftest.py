"""What the loops' tests share: a clock moved by hand, and a world in memory."""

import asyncio
from random import Random

import attrs
import pytest

from tillport.adapters.memory.channel import MemoryChannel
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.runtime import Loop, RelayWork, Work


async def settle() -> None:
    """Let every task go on for as long as it can without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)


@attrs.define
class World:
    clock: ManualClock
    doorbell: LocalDoorbell
    log: MemoryEventLog
    channel: MemoryChannel
    cursors: MemoryCursors

    def loop(self, work: Work, **options: float) -> Loop:
        return Loop(work=work, clock=self.clock, doorbell=self.doorbell, random=Random(1), **options)

    def relay(self, owner: str = "one", **options: float) -> RelayWork:
        return RelayWork(
            log=self.log,
            channel=self.channel,
            cursors=self.cursors,
            clock=self.clock,
            owner=owner,
            **options,
        )

    async def pass_time(self, seconds: float, *, steps: int = 10) -> None:
        """Let time pass in small steps, so that what wakes another wakes it in time."""
        for _ in range(steps):
            self.clock.advance(seconds / steps)
            await settle()

    async def settle(self) -> None:
        await settle()


@pytest.fixture
def world() -> World:
    clock = ManualClock()
    return World(clock, LocalDoorbell(clock), MemoryEventLog(), MemoryChannel(clock), MemoryCursors())
