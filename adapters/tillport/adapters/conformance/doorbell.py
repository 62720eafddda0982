"""The laws of a doorbell: what every `Doorbell` does, however far it reaches.

    LAWS = doorbell_laws()

    @pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
    async def test_my_doorbell(law):
        async with my_doorbell() as bell:
            await law(bell)

The bell waits by a real clock here. A law ends quietly or raises `AssertionError`.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from tillport.ports.doorbell import Doorbell

PATIENCE_SECONDS: Final = 20.0
"""How long a ring may take to be heard before a law gives up: a bell may reach through a network."""

Law: TypeAlias = Callable[[Doorbell], Awaitable[None]]


async def a_ring_is_counted(bell: Doorbell) -> None:
    heard = bell.rings
    bell.ring()
    await bell.wait(heard, seconds=PATIENCE_SECONDS)
    assert bell.rings > heard


async def who_missed_a_ring_does_not_wait(bell: Doorbell) -> None:
    heard = bell.rings
    bell.ring()
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        await bell.wait(heard, seconds=PATIENCE_SECONDS)
        await bell.wait(heard, seconds=PATIENCE_SECONDS)


async def a_ring_wakes_everyone(bell: Doorbell) -> None:
    heard = bell.rings
    waiting = [asyncio.ensure_future(bell.wait(heard, seconds=PATIENCE_SECONDS)) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert not any(one.done() for one in waiting)
    bell.ring()
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        await asyncio.gather(*waiting)


async def nobody_waits_for_ever(bell: Doorbell) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await bell.wait(bell.rings + 1_000_000, seconds=0.02)


async def one_who_stops_waiting_harms_nobody(bell: Doorbell) -> None:
    heard = bell.rings
    gone = asyncio.ensure_future(bell.wait(heard, seconds=PATIENCE_SECONDS))
    stays = asyncio.ensure_future(bell.wait(heard, seconds=PATIENCE_SECONDS))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0)
    bell.ring()
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        await stays
    assert gone.cancelled()


async def it_may_be_rung_from_any_thread(bell: Doorbell) -> None:
    heard = bell.rings
    waiting = asyncio.ensure_future(bell.wait(heard, seconds=PATIENCE_SECONDS))
    await asyncio.sleep(0.01)
    thread = threading.Thread(target=bell.ring)
    thread.start()
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        await waiting
    thread.join()


_ALWAYS: Final[tuple[Law, ...]] = (
    a_ring_is_counted,
    who_missed_a_ring_does_not_wait,
    a_ring_wakes_everyone,
    nobody_waits_for_ever,
    one_who_stops_waiting_harms_nobody,
)


def doorbell_laws(*, any_thread: bool = False) -> list[Law]:
    """Return the laws of a doorbell; `any_thread` if `ring` may be called off the event loop."""
    return [*_ALWAYS, it_may_be_rung_from_any_thread] if any_thread else [*_ALWAYS]
