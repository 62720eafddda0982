"""What this process recorded a moment ago, so that its own readers need not fetch it from the database again.

In most installations the process that takes a webhook is also the one that tells of it, milliseconds later. To read
the event back would cost the database a look at a row of 4 KB, and this process the making of the same object from it.

Nothing here decides what is in the log or where. An event is noted once its commit is over, under the number that the
database gave it, and readers go on in the database from where this ends. The age is bounded, because an event's body
may be replaced by another process (erasure).
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from tillport.ports.event_log import Event, RecordedEvent

EVENTS_MAX: Final = 2_000
BYTES_MAX: Final = 16 * 1024 * 1024
SECONDS_MAX: Final = 2.0


@attrs.define(eq=False)
class OwnEvents:
    """The newest events of this process, by the number that the database gave them.

    Belongs to one event loop. `now` counts seconds from anywhere.
    """

    _now: Callable[[], float] = attrs.field(default=time.monotonic, kw_only=True, alias="now")
    _noted: dict[int, Event] = attrs.field(init=False, factory=dict)
    _commits: deque[tuple[float, deque[int]]] = attrs.field(init=False, factory=deque)
    """When each commit was noted, and the numbers of its events, oldest first: what of `_noted` goes next."""
    _bytes: int = attrs.field(init=False, default=0)

    def __bool__(self) -> bool:
        """Tell whether there may be anything."""
        return bool(self._noted)

    def note(self, events: Iterable[Event], numbers: Mapping[str, int]) -> None:
        """Keep those that a commit gave a number, for a moment; `numbers` are by event id, and its first event has it."""
        noted, fresh = self._noted, deque[int]()
        for event in events:
            number = numbers.get(event.id)
            if number is not None and number not in noted:
                noted[number] = event
                self._bytes += len(event.body)
                fresh.append(number)
        self._commits.append((self._now(), fresh))
        self._forget_old()

    def get(self, number: int) -> Event | None:
        """Return the event with that number, if it is still here."""
        self._forget_old()
        return self._noted.get(number)

    def following(self, after: int, *, limit: int) -> tuple[RecordedEvent, ...]:
        """Return the events with the very next numbers, as far as they are here and up to `limit`.

        For a log whose positions are those numbers.
        """
        self._forget_old()
        found: list[RecordedEvent] = []
        for number in range(after + 1, after + limit + 1):
            event = self._noted.get(number)
            if event is None:
                break
            found.append(RecordedEvent(number, event))
        return tuple(found)

    def forget(self, event_id: str) -> None:
        """Forget an event whose body was replaced."""
        for number, event in list(self._noted.items()):
            if event.id == event_id:
                self._drop(number)

    def clear(self) -> None:
        """Forget everything: retention takes events away."""
        self._noted.clear()
        self._commits.clear()
        self._bytes = 0

    def _forget_old(self) -> None:
        now = self._now()
        while self._commits:
            at, numbers = self._commits[0]
            old = not 0 <= now - at <= SECONDS_MAX  # a clock that went back makes nothing younger
            while numbers and (old or len(self._noted) > EVENTS_MAX or self._bytes > BYTES_MAX):
                self._drop(numbers.popleft())
            if numbers:
                return
            self._commits.popleft()

    def _drop(self, number: int) -> None:
        event = self._noted.pop(number, None)
        if event is not None:  # else it was forgotten by its id
            self._bytes -= len(event.body)
