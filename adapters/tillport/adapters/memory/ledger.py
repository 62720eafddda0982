"""A charge ledger in memory."""

from collections.abc import Sequence

import attrs

from tillport.ports.ledger import Attempt, AttemptState, LedgerUnavailable, Opened, Outcome

_RESUMED = {
    AttemptState.STARTED: AttemptState.UNKNOWN,  # its worker may have reached Stripe
    AttemptState.UNKNOWN: AttemptState.UNKNOWN,
    AttemptState.NOT_SENT: AttemptState.STARTED,
}


@attrs.define
class MemoryLedger:
    """Remember attempts for as long as the process lives.

    Set `available` to False and every method raises `LedgerUnavailable`, as a database does that went away.
    """

    available: bool = True
    _attempts: dict[str, Attempt] = attrs.field(init=False, factory=dict, repr=False)

    async def open(self, attempt: Attempt) -> Opened:
        """See `ChargeLedger.open`."""
        self._check_available()
        if attempt.key in self._attempts:
            return Opened(_copy(self._attempts[attempt.key]), new=False)
        self._attempts[attempt.key] = _copy(attempt)
        return Opened(_copy(attempt), new=True)

    async def take_over(self, key: str, *, seen_tries: int, now: float, busy_until: float) -> Attempt | None:
        """See `ChargeLedger.take_over`."""
        self._check_available()
        attempt = self._attempts.get(key)
        if attempt is None or attempt.state.final or attempt.busy_until > now or attempt.tries != seen_tries:
            return None
        resumed = attrs.evolve(
            attempt,
            tries=attempt.tries + 1,
            tried_at=now,
            busy_until=busy_until,
            outcome=attrs.evolve(attempt.outcome, state=_RESUMED[attempt.state]),
        )
        self._attempts[key] = resumed
        return _copy(resumed)

    async def settle(self, key: str, outcome: Outcome, *, tries: int) -> Attempt:
        """See `ChargeLedger.settle`."""
        self._check_available()
        attempt = self._attempts[key]
        if _accepts(attempt, outcome.state, tries):
            attempt = attrs.evolve(attempt, outcome=outcome, busy_until=0.0)
            self._attempts[key] = attempt
        return _copy(attempt)

    async def find(self, key: str) -> Attempt | None:
        """See `ChargeLedger.find`."""
        self._check_available()
        attempt = self._attempts.get(key)
        return None if attempt is None else _copy(attempt)

    async def unsettled(self, *, idle_at: float, limit: int) -> Sequence[Attempt]:
        """See `ChargeLedger.unsettled`."""
        self._check_available()
        idle = [
            attempt
            for attempt in self._attempts.values()
            if attempt.state in (AttemptState.STARTED, AttemptState.UNKNOWN) and attempt.busy_until <= idle_at
        ]
        idle.sort(key=lambda attempt: (max(attempt.busy_until, attempt.tried_at), attempt.key))
        return [_copy(attempt) for attempt in idle[:limit]]

    async def erase_payment(self, payment_id: str) -> int:
        """See `LedgerHousekeeping.erase_payment`."""
        self._check_available()
        count = 0
        for key, attempt in self._attempts.items():
            outcome = attempt.outcome
            about = payment_id in (outcome.charge_id, outcome.payment_intent_id)
            if not about or not attempt.state.final or not attempt.order.token:
                continue
            body = f'{{"id":"{outcome.charge_id or outcome.payment_intent_id}"}}'.encode()
            order = attrs.evolve(attempt.order, token="", description=None, metadata={})
            self._attempts[key] = attrs.evolve(attempt, order=order, outcome=attrs.evolve(outcome, body=body))
            count += 1
        return count

    def attempts(self) -> list[Attempt]:
        """Return every attempt: what looks them up goes through them all."""
        self._check_available()
        return [_copy(attempt) for attempt in self._attempts.values()]

    def _check_available(self) -> None:
        if not self.available:
            raise LedgerUnavailable("The ledger is out of reach.", remedy="Try again once the store is back.")


def _accepts(attempt: Attempt, state: AttemptState, tries: int) -> bool:
    if attempt.state.final:
        return False
    if state.final and state is not AttemptState.REFUSED:
        return True
    if state is AttemptState.STARTED or tries != attempt.tries:
        return False
    return not (state is AttemptState.NOT_SENT and attempt.state is AttemptState.UNKNOWN)


def _copy(attempt: Attempt) -> Attempt:
    """Cut the tie to the caller's own dictionary of metadata."""
    return attrs.evolve(attempt, order=attrs.evolve(attempt.order, metadata=dict(attempt.order.metadata)))
