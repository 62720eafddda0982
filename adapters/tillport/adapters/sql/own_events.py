"""What this process recorded a moment ago, so that its own readers need not fetch it from the database again.

In most installations the process that takes a webhook is also the one that tells of it, milliseconds later. To read
the event back would cost the database a look at a row of 4 KB, and this process the making of the same object from it.

Nothing here decides what is in the log or where. Events are noted once their commit is over, at the positions that the
database gave them, and are handed out only where nothing can stand between: positions that follow on one another. Where
somebody else's event came in between, readers go on in the database, and what was noted before is of no use any more. The
age is bounded, because an event's body may be replaced by another process (erasure).
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, NamedTuple

import attrs

from tillport.ports.event_log import Event, Page, RecordedEvent

EVENTS_MAX: Final = 2_000
BYTES_MAX: Final = 16 * 1024 * 1024
SECONDS_MAX: Final = 2.0


class _Commit(NamedTuple):
    """When a commit was noted, and how much it held."""

    at: float
    events: int
    body_bytes: int


@attrs.define(eq=False)
class OwnEvents:
    """The newest events of this process, as far as they stand next to one another.

    Belongs to one event loop. `now` counts seconds from anywhere.
    """

    _now: Callable[[], float] = attrs.field(default=time.monotonic, kw_only=True, alias="now")
    _noted: list[RecordedEvent] = attrs.field(init=False, factory=list)
    """At positions that follow on one another."""
    _commits: deque[_Commit] = attrs.field(init=False, factory=deque)
    """The commits that brought them, oldest first."""
    _bytes: int = attrs.field(init=False, default=0)

    def note(self, events: Iterable[Event], positions: Mapping[str, int]) -> None:
        """Keep those that a commit gave a position, for a moment.

        `positions` are by event id and follow on one another in the order of the events. Of several events with one id
        the first one has it.
        """
        fresh: list[RecordedEvent] = []
        size, last = 0, 0
        for event in events:
            position = positions.get(event.id)
            if position is not None and position > last:  # else an id that stood here before
                fresh.append(RecordedEvent(position, event))
                size += len(event.body)
                last = position
        if not fresh:
            return
        if self._noted and self._noted[-1].position + 1 != fresh[0].position:
            self.clear()
        self._noted += fresh
        self._bytes += size
        self._commits.append(_Commit(self._now(), len(fresh), size))
        while len(self._noted) > EVENTS_MAX or self._bytes > BYTES_MAX:
            self._forget_oldest()

    def following(self, after: int, *, limit: int) -> tuple[RecordedEvent, ...]:
        """Return the events at the very next positions, as far as they are here and up to `limit`."""
        self._forget_old()
        if not self._noted:
            return ()
        start = after + 1 - self._noted[0].position
        return tuple(self._noted[start : start + limit]) if start >= 0 else ()

    async def page(self, read: Callable[[int, int], Awaitable[Page]], *, after: int, limit: int) -> Page:
        """Return a page of the log: what is here first, then what `read` finds after a position, up to a limit."""
        own = self.following(after, limit=limit)
        if not own:
            return await read(after, limit)
        last = own[-1].position
        if len(own) == limit:
            return Page(events=own, position=last)
        rest = await read(last, limit - len(own))
        return attrs.evolve(rest, events=own + rest.events)

    def clear(self) -> None:
        """Forget everything: events are taken away (retention), or their bodies replaced (erasure)."""
        self._noted.clear()
        self._commits.clear()
        self._bytes = 0

    def _forget_old(self) -> None:
        now = self._now()
        # A clock that went back makes nothing younger.
        while self._commits and not 0 <= now - self._commits[0].at <= SECONDS_MAX:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        commit = self._commits.popleft()
        del self._noted[: commit.events]
        self._bytes -= commit.body_bytes
