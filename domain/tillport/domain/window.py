"""The time that is reconciled: what of it can be known, what can be judged, and in which slices it is read."""

import attrs

from tillport.ports.errors import TillportError
from tillport.ports.history import EVENT_RETENTION_SECONDS

SETTLING_SECONDS = 600.0
"""What is younger is not judged: captures, lists and webhooks take seconds, clocks differ by minutes at most."""
EDGE_SECONDS = 3600.0
"""How much more than the time asked for is read of Stripe's, so that what belongs together is not cut apart."""
SLICE_SECONDS_MIN, SLICE_SECONDS_FIRST, SLICE_SECONDS_MAX = 1.0, 3600.0, 86_400.0
SLICE_EVENTS_MAX = 2_000
"""A slice with more is cut smaller: what is held in memory stays bounded."""


class InvalidWindow(TillportError):
    """The caller's time to reconcile is empty, or lies beyond what Stripe remembers."""

    code = "invalid_window"


@attrs.frozen(kw_only=True)
class Window:
    """The time that is reconciled, in Unix seconds. `cut` says that Stripe's memory is shorter than what was asked for."""

    since: float
    until: float
    cut: bool = False

    @property
    def listed_from(self) -> float:
        """Where listing events begins: a little earlier, as far as Stripe remembers."""
        return max(self.since - EDGE_SECONDS, self.until - EVENT_RETENTION_SECONDS)

    def judges(self, moment: float) -> bool:
        """Tell whether what happened then must agree: not so near either end that its counterpart lies outside."""
        earliest = self.until - EVENT_RETENTION_SECONDS + EDGE_SECONDS
        return max(self.since, earliest) <= moment < self.until - SETTLING_SECONDS


def window(*, since: float, now: float) -> Window:
    """Return the time from `since` until now, cut to the 30 days for which Stripe lists events.

    Raises `InvalidWindow` for a time that has not come yet.

    >>> window(since=0, now=3_000_000.0)
    Window(since=408000.0, until=3000000.0, cut=True)
    """
    if since >= now:
        raise InvalidWindow(
            "There is nothing to reconcile yet: the time to begin with is not past.",
            remedy="Name an earlier one, such as 7d.",
        )
    first = now - EVENT_RETENTION_SECONDS
    return Window(since=max(since, first), until=now, cut=since < first)


def next_slice_seconds(seconds: float, count: int) -> float:
    """Return how long the next slice should be, by how many events the last one held.

    >>> [next_slice_seconds(3600.0, count) for count in (0, 400, 1500)]
    [7200.0, 3600.0, 1800.0]
    """
    if count < SLICE_EVENTS_MAX // 8:
        return min(seconds * 2, SLICE_SECONDS_MAX)
    return max(seconds / 2, SLICE_SECONDS_MIN) if count > SLICE_EVENTS_MAX // 2 else seconds
