"""The machine's clock: the one place where Tillport reads the time and waits for it."""

import asyncio
import time

import attrs


@attrs.frozen
class SystemClock:
    """Tell the machine's time.

    Whoever waits for a moment wants a while to pass. So a machine whose clock is set back does not prolong a wait
    that has begun (an hour back would stop every loop for an hour), and one that is set forward ends it within
    `look_again_seconds`.

    >>> SystemClock().now() > 1_700_000_000
    True
    """

    look_again_seconds: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))

    def now(self) -> float:
        """See `Clock.now`."""
        return time.time()

    async def sleep_until(self, moment: float) -> None:
        """See `Clock.sleep_until`."""
        end = time.monotonic() + (moment - time.time())
        while True:
            left = min(moment - time.time(), end - time.monotonic())
            if left <= 0:
                return
            await asyncio.sleep(min(left, self.look_again_seconds))


async def breathe() -> None:
    """Let every other task that is ready have its turn. Costs no time by any clock."""
    await asyncio.sleep(0)
