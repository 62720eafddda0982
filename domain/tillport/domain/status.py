"""How the till fares: what waits to be published, what nobody knows the outcome of, who reads how far."""

from collections.abc import Mapping
from typing import Any

import attrs

from tillport.domain.forget import RETENTION
from tillport.ports.attempts import AttemptBook
from tillport.ports.cursors import Cursors
from tillport.ports.effects import EffectQueue, Standing
from tillport.ports.event_log import EventLog

RELAY = "relay"
"""The name of the cursor that says how far the log was published."""


@attrs.frozen(kw_only=True)
class Status:
    """The state of a log and a ledger at one moment. Ages are in seconds, None where there is nothing to be old.

    `unpublished` counts positions between the relay and the log's end: gaps included, so it is an upper bound.
    `standings` is None where nobody handed in a queue of effects.
    """

    at: float
    head: int
    relay_position: int | None
    """None: no relay has ever run on this database."""
    unpublished: int
    oldest_unpublished_seconds: float | None
    unknown_charges: int
    oldest_unknown_seconds: float | None
    consumers: Mapping[str, int]
    """How far each further consumer of the log has come, by name."""
    standings: tuple[Standing, ...] | None = None

    @property
    def dead_letters(self) -> int:
        return sum(standing.dead for standing in self.standings or ())


async def take_status(
    log: EventLog,
    cursors: Cursors,
    attempts: AttemptBook,
    *,
    now: float,
    effects: EffectQueue[Any] | None = None,
    relay: str = RELAY,
) -> Status:
    """Look at everything once: five short reads, whatever the size of the log.

    Raises `LogUnavailable` and `LedgerUnavailable`.
    """
    positions = dict(await cursors.positions())
    reached = positions.pop(relay, None)
    positions.pop(RETENTION, None)  # who forgets reads nothing, and would seem to be behind for ever
    head = await log.head()
    waiting = await log.read(after=reached or 0, limit=1) if head > (reached or 0) else None
    doubts = await attempts.doubts(now=now)
    return Status(
        at=now,
        head=head,
        relay_position=reached,
        unpublished=max(0, head - (reached or 0)) if waiting is not None and waiting.events else 0,
        oldest_unpublished_seconds=(
            max(0.0, now - waiting.events[0].event.received_at) if waiting and waiting.events else None
        ),
        unknown_charges=doubts.count,
        oldest_unknown_seconds=(
            None if doubts.oldest_started_at is None else max(0.0, now - doubts.oldest_started_at)
        ),
        consumers=positions,
        standings=None if effects is None else tuple(await effects.standings()),
    )
