"""The local doorbell holds every law of its port, and the manual clock wakes whom it should."""

import asyncio
import time

import pytest

from tillport.adapters.conformance.doorbell import doorbell_laws
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.doorbell import LocalDoorbell

LAWS = doorbell_laws(any_thread=True)


class RealClock:
    def now(self) -> float:
        return time.time()

    async def sleep_until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - time.time()))


@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_the_local_doorbell_holds_the_law(law) -> None:
    await law(LocalDoorbell(RealClock()))


async def test_a_wait_ends_by_the_clock_that_was_handed_in() -> None:
    clock = ManualClock()
    bell = LocalDoorbell(clock)
    waiting = asyncio.ensure_future(bell.wait(bell.rings, seconds=3600))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    clock.advance(3600)
    async with asyncio.timeout(5):
        await waiting


def test_a_ring_for_a_loop_that_is_gone_raises_nothing() -> None:
    bell = LocalDoorbell(ManualClock())

    async def wait_in_vain() -> None:
        coroutine = bell.wait(bell.rings, seconds=3600)
        coroutine.send(None)  # it waits, and its loop ends without it
        left.append(coroutine)

    left = []
    asyncio.run(wait_in_vain())
    bell.ring()
    assert bell.rings == 1
    left[0].close()


async def test_sleepers_wake_in_the_order_of_their_moments() -> None:
    clock = ManualClock(100.0)
    woken: list[str] = []

    async def sleeper(name: str, moment: float) -> None:
        await clock.sleep_until(moment)
        woken.append(name)

    tasks = [
        asyncio.ensure_future(sleeper(*one)) for one in (("late", 130.0), ("early", 110.0), ("now", 100.0))
    ]
    await asyncio.sleep(0)
    assert clock.next_wake == 110.0
    assert woken == ["now"]
    clock.advance(15)
    await asyncio.sleep(0)
    assert woken == ["now", "early"]
    clock.set(90.0)
    assert clock.now() == 90.0
    clock.set(130.0)
    await asyncio.gather(*tasks)
    assert woken == ["now", "early", "late"]
    assert clock.next_wake is None


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.ensure_future(clock.sleep_until(clock.now() + 5))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert clock.next_wake is None
    clock.advance(10)
