"""Cursors: how far each named consumer of the event log has come, and who is reading for it at the moment."""

from typing import Final, Protocol

from tillport.ports.errors import TillportError

LEASE_AHEAD_SECONDS: Final = 600.0
"""A lease that would end so much later than the one that is asked for was taken before the clock was set back. Longer
than the clocks of two processes may be apart, and than any lease lasts."""


class LeaseLost(TillportError):
    """Somebody else reads for this consumer now: whoever gets this stops and claims again later."""

    code = "lease_lost"


class Cursors(Protocol):
    """Keep one durable position per consumer name, moved only by the holder of its lease.

    The position says: everything up to here is done. It survives crashes; a lease ends by itself.
    Raises `LogUnavailable` (see `tillport.ports.event_log`) when the store can't be reached.
    """

    async def claim(self, name: str, *, owner: str, now: float, until: float) -> int | None:
        """Take or renew the lease of `name` until the given time (Unix seconds) and return its position.

        A name that was never seen starts at position 0. Returns None while another owner's lease runs: until its end
        has passed `now`, or lies more than `LEASE_AHEAD_SECONDS` after `until`.
        """
        ...

    async def advance(self, name: str, *, owner: str, position: int) -> None:
        """Move the position forward, durably. A position behind the present one changes nothing.

        Raises `LeaseLost` unless `owner` made the latest claim, even if its lease has run out by the clock:
        who was not replaced may still finish.
        """
        ...

    async def release(self, name: str, *, owner: str) -> None:
        """Give the lease up, so that another may claim at once. Does nothing for anyone but its owner."""
        ...

    async def positions(self) -> dict[str, int]:
        """Return the position of every consumer that was ever claimed, apart from those that were dropped."""
        ...

    async def drop(self, name: str, *, now: float) -> bool:
        """Forget a consumer that nobody runs any more, and return whether it was forgotten.

        It no longer holds retention back, and whoever claims its name again starts at position 0. Does nothing while
        anybody's lease of it runs at `now` (Unix seconds), and nothing for a name that was never claimed.
        """
        ...
