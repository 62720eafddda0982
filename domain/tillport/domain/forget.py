"""Forget old events, but none that somebody still has to read."""

from typing import Any, Final

import attrs

from tillport.ports.cursors import Cursors
from tillport.ports.effects import EffectQueue
from tillport.ports.event_log import EventLog
from tillport.ports.housekeeping import Housekeeping

RETENTION: Final = "retention"
"""The name of the cursor whose holder forgets, where several processes could. It holds nothing back itself."""

_EVERYTHING: Final = 2**62


@attrs.frozen(kw_only=True)
class Reach:
    """How far forgetting may go: `up_to` that position, because of what `held_by` has still to read.

    `held_by` is None where nothing is held back.
    """

    up_to: int
    held_by: str | None


@attrs.frozen(kw_only=True)
class Forgettable:
    """What forgetting would take: at most so many events, the oldest of them received then; and what limits it."""

    events_at_most: int
    oldest_received_at: float | None
    reach: Reach


async def reach(cursors: Cursors, effects: EffectQueue[Any] | None = None) -> Reach:
    """Say how far forgetting may go: up to the slowest consumer, and before the oldest effect that is not done.

    A consumer counts until it is dropped (`Cursors.drop`), however long ago it ran. Raises `LogUnavailable`.
    """
    standings = () if effects is None else await effects.standings()
    unfinished = [
        (one.oldest_position - 1, f"an unfinished effect of {one.handler}")
        for one in standings
        if one.oldest_position is not None
    ]
    positions = await cursors.positions()
    reading = [(at, f"the consumer {name}") for name, at in positions.items() if name != RETENTION]
    up_to, held_by = min(unfinished + reading, default=(_EVERYTHING, None))
    return Reach(up_to=up_to, held_by=held_by)


async def forget(
    keeper: Housekeeping,
    cursors: Cursors,
    *,
    now: float,
    keep_seconds: float,
    effects: EffectQueue[Any] | None = None,
) -> int:
    """Take away the events that were received more than `keep_seconds` ago; return how many.

    What somebody still has to read is kept back, however old (see `reach`). Safe at any time, and twice; a store may
    take away less than it could at first (see `Housekeeping.forget`). Raises `LogUnavailable`.
    """
    limit = await reach(cursors, effects)
    return await keeper.forget(received_before=now - keep_seconds, up_to=limit.up_to, now=now)


async def gone_up_to(log: EventLog) -> int:
    """Return the position up to which retention has taken every event, 0 if it has taken none.

    Raises `LogUnavailable`.
    """
    page = await log.read(after=0, limit=1)
    return page.begins_after if page.reset else 0


async def forgettable(
    log: EventLog,
    cursors: Cursors,
    *,
    now: float,
    keep_seconds: float,
    effects: EffectQueue[Any] | None = None,
) -> Forgettable:
    """Say what `forget` would take, and change nothing. Reads a few dozen events, whatever the size of the log.

    It counts positions up to where the events become younger, by halving, so it is an upper bound: `forget` stops
    at the first younger event, and positions may have gaps. Raises `LogUnavailable`.
    """
    limit = await reach(cursors, effects)
    received_before = now - keep_seconds
    first = (await log.read(after=0, limit=1)).events
    if not first or first[0].event.received_at >= received_before or first[0].position > limit.up_to:
        return Forgettable(events_at_most=0, oldest_received_at=None, reach=limit)
    old, end = first[0].position, min(await log.head(), limit.up_to)
    while old < end:
        middle = (old + end) // 2
        found = (await log.read(after=middle, limit=1)).events
        if found and found[0].position <= end and found[0].event.received_at < received_before:
            old = found[0].position
        else:
            end = middle
    return Forgettable(
        events_at_most=old - first[0].position + 1,
        oldest_received_at=first[0].event.received_at,
        reach=limit,
    )
