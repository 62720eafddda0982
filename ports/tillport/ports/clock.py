"""Time, handed in."""

from typing import Protocol


class Clock(Protocol):
    """Tell the time and wait for it. The only source of time that Tillport has.

    A test hands in a clock that it moves by hand; the core never learns the difference.
    """

    def now(self) -> float:
        """Return the time in seconds since the Unix epoch (UTC). May step backwards, as real clocks do."""
        ...

    async def sleep_until(self, moment: float) -> None:
        """Return once `now()` is at least `moment`; at once if it is already.

        A clock that is set back meanwhile need not prolong the wait: it ends when it would have ended without.
        """
        ...
