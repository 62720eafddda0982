"""What this process recorded a moment ago, so that its own readers need not fetch it from the database again.

In most installations the process that takes a webhook is also the one that tells of it, milliseconds later. To read
the event back would cost the database a look at a row of 4 KB, and this process the making of the same object from it.

Nothing here decides what is in the log or where. An event is noted once its commit is over, under the number that the
database gave it, and readers go on in the database from where this ends. The age is bounded, because an event's body
may be replaced by another process (erasure).
"""

import time
from collections import OrderedDict
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
    # Not a dict: that one looks for its first key among all that were taken away before.
    _noted: OrderedDict[int, tuple[float, Event]] = attrs.field(init=False, factory=OrderedDict)
    _bytes: int = attrs.field(init=False, default=0)

    def __bool__(self) -> bool:
        """Tell whether there may be anything."""
        return bool(self._noted)

    def note(self, events: Iterable[Event], numbers: Mapping[str, int]) -> None:
        """Keep those that a commit gave a number, for a moment; `numbers` are by event id, and its first event has it."""
        now, noted = self._now(), self._noted
        for event in events:
            number = numbers.get(event.id)
            if number is not None and number not in noted:
                noted[number] = (now, event)
                self._bytes += len(event.body)
        self._forget_old(now)

    def get(self, number: int) -> Event | None:
        """Return the event with that number, if it is still here."""
        at, event = self._noted.get(number, (0.0, None))
        return event if event is not None and 0 <= self._now() - at <= SECONDS_MAX else None

    def following(self, after: int, *, limit: int) -> tuple[RecordedEvent, ...]:
        """Return the events with the very next numbers, as far as they are here and up to `limit`.

        For a log whose positions are those numbers.
        """
        found: list[RecordedEvent] = []
        now, noted = self._now(), self._noted
        for number in range(after + 1, after + limit + 1):
            one = noted.get(number)
            if one is None or not 0 <= now - one[0] <= SECONDS_MAX:
                break
            found.append(RecordedEvent(number, one[1]))
        return tuple(found)

    def forget(self, event_id: str) -> None:
        """Forget an event whose body was replaced."""
        for number, (_, event) in list(self._noted.items()):
            if event.id == event_id:
                self._drop(number)

    def clear(self) -> None:
        """Forget everything: retention takes events away."""
        self._noted.clear()
        self._bytes = 0

    def _forget_old(self, now: float) -> None:
        while self._noted:
            number, (at, _) = next(iter(self._noted.items()))
            if len(self._noted) <= EVENTS_MAX and self._bytes <= BYTES_MAX and now - at <= SECONDS_MAX:
                return
            self._drop(number)

    def _drop(self, number: int) -> None:
        self._bytes -= len(self._noted.pop(number)[1].body)
