"""A clock that stands still until somebody moves it."""

import asyncio
import heapq
from itertools import count

import attrs


@attrs.define
class ManualClock:
    """A clock moved by hand, so that a test of an hour takes a millisecond.

    >>> clock = ManualClock(1_700_000_000.0)
    >>> clock.advance(90)
    >>> clock.now()
    1700000090.0
    """

    _now: float = attrs.field(default=1_700_000_000.0, alias="now")
    _sleepers: list[tuple[float, int, asyncio.Future[None]]] = attrs.field(
        init=False, factory=list, repr=False
    )
    _turns: "count[int]" = attrs.field(init=False, factory=count, repr=False)

    def now(self) -> float:
        """See `Clock.now`."""
        return self._now

    async def sleep_until(self, moment: float) -> None:
        """See `Clock.sleep_until`."""
        if moment <= self._now:
            return
        awake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (moment, next(self._turns), awake))
        await awake

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`, and wake whoever waited for a moment up to then, earliest first."""
        self.set(self._now + seconds)

    def set(self, moment: float) -> None:
        """Step to `moment`, backwards too: real clocks do."""
        self._now = moment
        while self._sleepers and self._sleepers[0][0] <= moment:
            _, _, awake = heapq.heappop(self._sleepers)
            if not awake.done():
                awake.set_result(None)

    @property
    def next_wake(self) -> float | None:
        """The earliest moment that somebody waits for, None if nobody does. A simulation jumps there."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)  # its waiter was cancelled
        return self._sleepers[0][0] if self._sleepers else None
