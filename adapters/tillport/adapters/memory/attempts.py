"""The attempt book of a ledger in memory."""

from collections.abc import Sequence

import attrs

from tillport.adapters.memory.ledger import MemoryLedger
from tillport.ports.attempts import Doubts
from tillport.ports.ledger import Attempt, AttemptState


@attrs.frozen
class MemoryAttempts:
    """Look attempts up in a `MemoryLedger`, as it stands at each call."""

    ledger: MemoryLedger

    async def about(self, name: str) -> Sequence[Attempt]:
        """See `AttemptBook.about`."""
        found = [
            attempt
            for attempt in self.ledger.attempts()
            if name in (attempt.key, attempt.outcome.charge_id, attempt.outcome.payment_intent_id)
        ]
        return sorted(found, key=lambda attempt: (attempt.started_at, attempt.key))

    async def started(
        self, *, since: float, until: float, after: str | None = None, limit: int = 500
    ) -> Sequence[Attempt]:
        """See `AttemptBook.started`."""
        found = [
            attempt
            for attempt in self.ledger.attempts()
            if since <= attempt.started_at < until and (after is None or attempt.key > after)
        ]
        return sorted(found, key=lambda attempt: attempt.key)[:limit]

    async def doubts(self, *, now: float) -> Doubts:
        """See `AttemptBook.doubts`."""
        started = [
            attempt.started_at
            for attempt in self.ledger.attempts()
            if attempt.state is AttemptState.UNKNOWN
            or (attempt.state is AttemptState.STARTED and attempt.busy_until <= now)
        ]
        return Doubts(count=len(started), oldest_started_at=min(started, default=None))
