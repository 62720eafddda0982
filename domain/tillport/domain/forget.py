"""Forget old events, but none that a consumer still has to read."""

from tillport.ports.cursors import Cursors
from tillport.ports.housekeeping import Housekeeping


async def forget(keeper: Housekeeping, cursors: Cursors, *, now: float, keep_seconds: float) -> int:
    """Take away the events that were received more than `keep_seconds` ago; return how many.

    What the slowest consumer has not done yet is kept back, however old. A consumer that was ever claimed counts for
    ever: one that nobody runs any more holds everything back. Without consumers nothing is held back.
    """
    positions = await cursors.positions()
    up_to = min(positions.values(), default=2**62)
    return await keeper.forget(received_before=now - keep_seconds, up_to=up_to, now=now)
