"""What a store under test offers to the laws of an event log, and how the laws look at it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeAlias

from tillport.ports.event_log import Event, EventLog, RecordedEvent
from tillport.ports.selector import Selector

PATIENCE_SECONDS: Final = 20.0
"""How long a recorded event may take to become visible before a law gives up."""


class EventLogBench(Protocol):
    """One store under test, empty at first."""

    def open(self) -> AbstractAsyncContextManager[EventLog]:
        """Open a log on the store. What was recorded there stays when it is closed."""
        ...

    def outage(self) -> AbstractAsyncContextManager[None]:
        """Make the store unreachable for as long as this lasts."""
        ...


Law: TypeAlias = Callable[[EventLogBench], Awaitable[None]]


async def visible(log: EventLog, events: Iterable[Event]) -> None:
    """Wait until each of the events can be read."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for one in events:
            while await log.find(one.id) is None:  # noqa: ASYNC110 - the port has nothing to wait on
                await asyncio.sleep(0.01)


async def everything(log: EventLog, where: Selector | None = None, *, limit: int = 3) -> list[RecordedEvent]:
    """Read the log from its start to its end, page by page."""
    found: list[RecordedEvent] = []
    after, head = 0, await log.head()
    while after < head:
        page = await log.read(after=after, where=where, limit=limit)
        assert len(page.events) <= limit
        assert page.position > after, "a page below the head moves on"
        found += page.events
        after = page.position
    return found


async def recorded(log: EventLog, events: Sequence[Event]) -> list[bool]:
    new = list(await log.record(events))
    await visible(log, events)
    return new


def values(found: Iterable[RecordedEvent]) -> list[Event]:
    return [one.event for one in found]
