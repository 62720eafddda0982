"""The tail: what the readers of one process all want next is read from the log once.

The relay, every live subscriber and whoever else follows the log stand at its end and ask for the same few events, each
time the doorbell rings. One look serves them all.

* A look begins after the call that it answers: whoever was rung for an event finds it. Calls that come while a look is
  under way share the next one.
* In a stream of events the next look waits until `gather_seconds` after the last one: reading ten batches at once costs
  little more than reading one. After a pause, an event is looked for at once.
* Whoever reads further back than the tail reaches reads the log itself.
* What is held is bounded in number, bytes and age. The age also bounds how long an event is still read here after its
  body was replaced (erasure).
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import attrs

from tillport.ports.clock import Clock
from tillport.ports.event_log import Event, EventLog, LogUnavailable, Page, RecordedEvent
from tillport.ports.selector import Selector, matches

GATHER_SECONDS: Final = 0.02
"""A person does not see it; at a thousand events a second twenty of them share a look."""

HELD_EVENTS_MAX: Final = 2_000
HELD_BYTES_MAX: Final = 16 * 1024 * 1024
HELD_SECONDS_MAX: Final = 2.0

_LOOK_EVENTS: Final = 500


class _Look(NamedTuple):
    """When somebody looked, how far they saw, and how much they found."""

    at: float
    position: int
    events: int
    body_bytes: int


@attrs.define(eq=False)
class SharedTail:
    """An event log whose newest events are read once for all readers of this process. Recording goes straight through.

    Belongs to one event loop. With `gather_seconds` 0 it never waits.
    """

    _log: EventLog
    _clock: Clock
    _gather_seconds: float = attrs.field(default=GATHER_SECONDS, kw_only=True, alias="gather_seconds")
    _held_events_max: int = attrs.field(default=HELD_EVENTS_MAX, kw_only=True, alias="held_events_max")
    _held_bytes_max: int = attrs.field(default=HELD_BYTES_MAX, kw_only=True, alias="held_bytes_max")
    _held_seconds_max: float = attrs.field(default=HELD_SECONDS_MAX, kw_only=True, alias="held_seconds_max")
    _start: int = attrs.field(init=False, default=0)
    _end: int = attrs.field(init=False, default=-1)
    """Every event after `_start` and up to `_end` is in `_events`. Before the first reading nothing is."""
    _events: list[RecordedEvent] = attrs.field(init=False, factory=list)
    _bytes: int = attrs.field(init=False, default=0)
    _looks: deque[_Look] = attrs.field(init=False, factory=deque)
    """The looks that found what is held, the oldest first."""
    _found_at: float = attrs.field(init=False, default=float("-inf"))
    _looking: "asyncio.Task[bool | None] | None" = attrs.field(init=False, default=None)
    _next: "asyncio.Task[bool | None] | None" = attrs.field(init=False, default=None)

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        """See `EventLog.record`."""
        return await self._log.record(events)

    async def read(self, *, after: int, where: Selector | None = None, limit: int = 100) -> Page:
        """See `EventLog.read`."""
        self._forget_old()
        while self._start <= after <= self._end:
            found = self._select(after, where, limit)
            if len(found) == limit:
                return Page(events=found, position=found[-1].position if found else after)
            more = await self._look()
            if more is None:
                break  # the log itself will say why
            if not more and self._start <= after:
                found = self._select(after, where, limit)
                full = len(found) == limit
                return Page(events=found, position=found[-1].position if full and found else self._end)
        page = await self._log.read(after=after, where=where, limit=limit)
        if len(page.events) < limit and page.position > self._end:
            self._begin(page, after if where is None and not page.reset else page.position)
        return page

    async def find(self, event_id: str) -> RecordedEvent | None:
        """See `EventLog.find`."""
        return await self._log.find(event_id)

    async def head(self) -> int:
        """See `EventLog.head`."""
        return await self._log.head()

    def _select(self, after: int, where: Selector | None, limit: int) -> tuple[RecordedEvent, ...]:
        first = bisect_right(self._events, after, key=_position)
        if where is None:
            return tuple(self._events[first : first + limit])
        found: list[RecordedEvent] = []
        for recorded in self._events[first:]:
            if len(found) == limit:
                break
            if matches(where, recorded.event.fields(), recorded.event.aliases):
                found.append(recorded)
        return tuple(found)

    async def _look(self) -> bool | None:
        """Read on at the tail's end. Return whether there is probably more, or None if the tail can't go on."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._look_after(self._looking))
        look = self._next
        # Others may share it: it goes on when this caller is cancelled.
        return await asyncio.shield(look)

    async def _look_after(self, other: "asyncio.Task[bool | None] | None") -> bool | None:
        try:
            if other is not None:
                await asyncio.wait([other])
            await self._gather()
        finally:
            self._looking, self._next = self._next, None  # from here on it is too late to share this look
        start = self._end
        try:
            page = await self._log.read(after=start, limit=_LOOK_EVENTS)
        except LogUnavailable:
            return None
        if page.reset or self._end != start:
            self._begin(Page(events=(), position=-1), 0)
            return None
        self._append(page)
        return len(page.events) == _LOOK_EVENTS

    async def _gather(self) -> None:
        rest = self._found_at + self._gather_seconds - self._clock.now()
        if 0 < rest <= self._gather_seconds:  # else the clock was set back
            await self._clock.sleep_until(self._clock.now() + rest)

    def _begin(self, page: Page, start: int) -> None:
        self._events.clear()
        self._looks.clear()
        self._bytes = 0
        self._start, self._end = start, page.position
        self._append(attrs.evolve(page, events=page.events if start < page.position else ()))

    def _append(self, page: Page) -> None:
        now = self._clock.now()
        self._end = page.position
        if not page.events:
            return
        self._found_at = now
        size = sum([len(recorded.event.body) for recorded in page.events])
        self._looks.append(_Look(now, page.position, len(page.events), size))
        self._events += page.events
        self._bytes += size
        while len(self._events) > self._held_events_max or self._bytes > self._held_bytes_max:
            self._forget_oldest_look()

    def _forget_old(self) -> None:
        now = self._clock.now()
        # A clock that was set back makes nothing younger.
        while self._looks and not 0 <= now - self._looks[0].at <= self._held_seconds_max:
            self._forget_oldest_look()

    def _forget_oldest_look(self) -> None:
        look = self._looks.popleft()
        del self._events[: look.events]
        self._bytes -= look.body_bytes
        self._start = look.position


def _position(recorded: RecordedEvent) -> int:
    return recorded.position
