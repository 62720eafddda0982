"""An event log in memory: the shortest statement of what an event log is, and the reference for the others."""

from bisect import bisect_right
from collections.abc import Sequence

import attrs
import msgspec

from tillport.ports.event_log import (
    Event,
    LogUnavailable,
    Page,
    RecordedEvent,
    refuse_unrecordable,
)
from tillport.ports.selector import Selector, matches


@attrs.define
class MemoryEventLog:
    """Keep events for as long as the process lives.

    Set `available` to False and every method raises `LogUnavailable`, as a database does that went away.
    """

    available: bool = True
    _events: list[RecordedEvent] = attrs.field(init=False, factory=list)
    _known: set[str] = attrs.field(init=False, factory=set)
    _head: int = attrs.field(init=False, default=0)
    _horizon: int = attrs.field(init=False, default=0)

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        """See `EventLog.record`."""
        self._check_available()
        for event in events:
            refuse_unrecordable(event)
        return [self._add(event) for event in events]

    async def read(self, *, after: int, where: Selector | None = None, limit: int = 100) -> Page:
        """See `EventLog.read`."""
        self._check_available()
        start = bisect_right(self._events, after, key=lambda recorded: recorded.position)
        found: list[RecordedEvent] = []
        for recorded in self._events[start:]:
            if matches(where, recorded.event.fields(), recorded.event.aliases):
                found.append(recorded)
                if len(found) == limit:
                    break
        full = len(found) == limit
        return Page(
            events=tuple(found),
            position=found[-1].position if full and found else max(after, self._head),
            reset=after < self._horizon,
        )

    async def find(self, event_id: str) -> RecordedEvent | None:
        """See `EventLog.find`."""
        self._check_available()
        return next((recorded for recorded in self._events if recorded.event.id == event_id), None)

    async def head(self) -> int:
        """See `EventLog.head`."""
        self._check_available()
        return self._head

    async def forget(self, *, received_before: float, up_to: int, now: float) -> int:  # noqa: ARG002 - the port's
        """See `Housekeeping.forget`."""
        self._check_available()
        gone = 0
        for recorded in self._events:
            if recorded.position > up_to or recorded.event.received_at >= received_before:
                break
            self._horizon = recorded.position
            gone += 1
        del self._events[:gone]
        return gone

    async def replace_body(self, event_id: str, body: bytes, *, now: float) -> bool:  # noqa: ARG002 - the port's
        """See `Housekeeping.replace_body`."""
        self._check_available()
        for index, recorded in enumerate(self._events):
            if recorded.event.id == event_id:
                event = msgspec.structs.replace(recorded.event, body=body)
                refuse_unrecordable(event)
                self._events[index] = RecordedEvent(recorded.position, event)
                return True
        return False

    def _add(self, event: Event) -> bool:
        if event.id in self._known:
            return False
        self._known.add(event.id)
        self._head += 1
        self._events.append(RecordedEvent(self._head, event))
        return True

    def _check_available(self) -> None:
        if not self.available:
            raise LogUnavailable(
                "The event log is out of reach.",
                remedy="Try again once the store is back; nothing was recorded.",
            )
