"""What a database under test offers to the laws of an effect queue, and how the laws speak to it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from tillport.adapters.conformance.samples import NOON
from tillport.ports.effects import Effect, EffectQueue, EffectState


class EffectsBench(Protocol):
    """One database under test, without effects and without lines at first."""

    def open(self) -> AbstractAsyncContextManager[EffectQueue[Any]]:
        """Open a queue on the database. What was written there stays when it is closed."""
        ...

    async def write(self, transaction: Any, line: str) -> None:
        """Write a line through what a handler was lent. Must not suspend where the queue's database blocks."""
        ...

    async def spoil(self, transaction: Any) -> None:
        """Write what looks well and makes the commit fail."""
        ...

    async def lines(self) -> Sequence[str]:
        """Return the lines that are committed, in any order."""
        ...

    def outage(self) -> AbstractAsyncContextManager[None]:
        """Make the database unreachable for as long as this lasts."""
        ...


Law: TypeAlias = Callable[[EffectsBench], Awaitable[None]]


One = TypeVar("One")


Queue: TypeAlias = EffectQueue[Any]


HANDLER: Final = "receipts"

_MOMENT_SECONDS: Final = 0.02


class Mistake(Exception):
    """What a handler of the suite raises."""


class Killed(BaseException):
    """What stands for the end of a worker in the middle of a handler."""


async def moment() -> None:
    """Let a moment pass in a handler: on the event loop where there is one, and where not, on its thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        time.sleep(_MOMENT_SECONDS)  # noqa: ASYNC251 - there is no event loop
    else:
        await asyncio.sleep(_MOMENT_SECONDS)


def effect(
    number: int, *, payment: str | None = None, in_order: bool = False, handler: str = HANDLER
) -> Effect:
    """Return the effect of `evt_<number>` at that position, about a payment of its own unless told otherwise."""
    return Effect(
        handler=handler,
        event_id=f"evt_{number}",
        position=number,
        payment_key=payment or f"pi_{number}",
        in_order=in_order,
    )


async def enlist(queue: Queue, *effects: Effect) -> None:
    """Enlist effects of one handler, from its place on."""
    after = await queue.begin(effects[0].handler, position=0)
    assert await queue.enlist(effects[0].handler, effects, after=after, position=effects[-1].position)


async def claim(
    queue: Queue, now: float = NOON, *, limit: int = 10, seconds: float = 10, handler: str = HANDLER
) -> list[Effect]:
    """Claim for ten seconds."""
    return list(await queue.claim(handler, now=now, until=now + seconds, limit=limit))


def writer(bench: EffectsBench, *, failing: Sequence[str] = ()) -> Callable[[Any, Effect], Awaitable[None]]:
    """Return a handler that writes the event's id, and then fails for some."""

    async def run(transaction: Any, one: Effect) -> None:
        await bench.write(transaction, f"{one.handler} {one.event_id}")
        if one.event_id in failing:
            raise Mistake(one.event_id)

    return run


def line(number: int, handler: str = HANDLER) -> str:
    """Return what `writer` writes."""
    return f"{handler} evt_{number}"


def only(found: Sequence[One]) -> One:
    """Return the only one there must be."""
    assert len(found) == 1, found
    return found[0]


def numbers(effects: Sequence[Effect]) -> list[int]:
    """Return the positions."""
    return [one.position for one in effects]


async def states(queue: Queue) -> dict[int, EffectState]:
    """Return every effect's state by position."""
    return {one.position: one.state for one in await queue.list(states=tuple(EffectState), limit=1000)}
