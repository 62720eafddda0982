"""The one clock of a simulator, handed in: real, or moved by hand."""

import time
from typing import Protocol

# The end of the year 9998. What comes after 9999 can't be written as a date, and real time goes on.
LAST_SECOND = 253_370_764_800


def end_of(start: float, seconds: float) -> float:
    """Return when a step ends; raise ValueError for one backwards, or beyond the calendar.

    >>> end_of(1_000, 5)
    1005
    """
    if not seconds >= 0:
        raise ValueError("time does not run backwards: give a step of zero or more seconds")
    if start + seconds > LAST_SECOND:
        raise ValueError("time ends with the year 9998: give a smaller step")
    return start + seconds


class Clock(Protocol):
    """Tell the time in Unix seconds; never goes backwards."""

    def now(self) -> float:
        """Return the time in Unix seconds."""
        ...


class MovableClock(Clock, Protocol):
    """A clock that a test, or the control route, can push forward."""

    def advance(self, seconds: float) -> None:
        """Move the time forward."""
        ...


class ManualClock:
    """Stand still until told to move: virtual time for tests.

    >>> clock = ManualClock(1_000)
    >>> clock.advance(5)
    >>> clock.now()
    1005.0
    """

    def __init__(self, start: float = 1_793_491_200.0) -> None:
        self._now = float(start)

    def now(self) -> float:
        """Return the time that was set."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward; raise ValueError for a negative step, or one beyond the year 9998."""
        self._now = end_of(self._now, seconds)

    def fork(self) -> "ManualClock":
        """Return a clock of its own that stands at the same time."""
        return ManualClock(self._now)


class RealClock:
    """Follow the machine's time (freezegun's, where it is active) plus what `advance` added."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Return the machine's time, and what it was moved by."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Jump ahead of real time; raise ValueError for a negative step, or one beyond the year 9998."""
        end_of(self.now(), seconds)
        self._ahead += seconds

    def fork(self) -> "RealClock":
        """Return a clock of its own, as far ahead of real time as this one."""
        made = RealClock()
        made._ahead = self._ahead
        return made


def fork_clock(clock: Clock) -> Clock:
    """Return a clock for a copy: the clock's own `fork`, or the same clock where it has none."""
    fork = getattr(clock, "fork", None)
    return clock if fork is None else fork()
