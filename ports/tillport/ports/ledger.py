"""The charge ledger: every attempt to charge, written down before Stripe hears of it.

An attempt's life:

    STARTED ──► SUCCEEDED | REQUIRES_ACTION | PROCESSING | DECLINED | REFUSED     (final: answered again, as they are)
       │
       ├──► NOT_SENT   this try moved nothing: the same request may try again
       └──► UNKNOWN    the money may have moved ──► any final state, or NOT_CHARGED on proof

A worker that dies leaves its attempt STARTED; when its lease has run out, whoever takes it over finds it UNKNOWN,
because the dead worker may have reached Stripe. From UNKNOWN nothing leads back to NOT_SENT.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import attrs

from tillport.ports.errors import TillportError
from tillport.ports.payments import ChargeOrder


class LedgerUnavailable(TillportError):
    """The ledger can't be read or written now. The call that raises this sent no charge.

    That is no proof that nothing moved or will: an earlier call may have sent one, and what was to be written may be there
    although the answer was lost. An attempt that is there is made by whoever finds it. So the same request is sent again, and
    never another in its place.
    """

    code = "ledger_unavailable"


class AttemptState(StrEnum):
    """Where an attempt stands. The module docstring draws what follows what."""

    STARTED = "started"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    DECLINED = "declined"
    REFUSED = "refused"
    NOT_CHARGED = "not_charged"

    @property
    def final(self) -> bool:
        """Whether the attempt is over: its outcome is answered again and never changes."""
        return self not in _OPEN


_OPEN = frozenset({AttemptState.STARTED, AttemptState.NOT_SENT, AttemptState.UNKNOWN})


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of an attempt. `body` is a JSON object: Stripe's answer, or the facts of the refusal."""

    state: AttemptState
    body: bytes = attrs.field(default=b"{}", repr=False)
    payment_intent_id: str | None = None
    charge_id: str | None = None


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt to charge, as the ledger keeps it.

    `key` is the idempotency key that Stripe sees and the attempt's identity. `fingerprint` identifies the
    parameters: the same key with another fingerprint is a caller's mistake. Times are Unix seconds.
    """

    key: str
    fingerprint: str
    caller_id: str
    order: ChargeOrder
    started_at: float
    tried_at: float
    """When the latest try began."""
    busy_until: float
    """Until then somebody is at work on it; afterwards anyone may take it over."""
    tries: int = 1
    outcome: Outcome = attrs.field(factory=lambda: Outcome(state=AttemptState.STARTED))

    @property
    def state(self) -> AttemptState:
        """The state of its outcome."""
        return self.outcome.state


@attrs.frozen
class Opened:
    """The attempt under a key, and whether this call put it there."""

    attempt: Attempt
    new: bool


class ChargeLedger(Protocol):
    """Remember attempts durably. Each method is atomic, and committed when it returns.

    Raises `LedgerUnavailable` from every method.
    """

    async def open(self, attempt: Attempt) -> Opened:
        """Write a new attempt down, or return the one that already has its key, untouched.

        Of any number of concurrent calls with one key exactly one gets `new`.
        """
        ...

    async def take_over(self, key: str, *, seen_tries: int, now: float, busy_until: float) -> Attempt | None:
        """Begin another try of an attempt that is not final and that nobody is at work on.

        `tries` grows by one and `tried_at` and `busy_until` are set; STARTED becomes UNKNOWN (its worker may
        have reached Stripe), UNKNOWN stays, NOT_SENT becomes STARTED. Returns the attempt as it now stands, or
        None if it is final, busy (`busy_until > now`), gone, or has other than `seen_tries` tries: of any number
        of concurrent calls exactly one succeeds.
        """
        ...

    async def settle(self, key: str, outcome: Outcome, *, tries: int) -> Attempt:
        """Write an outcome down and end the busy time; return the attempt as it then stands.

        A final outcome is accepted from any try unless the attempt is final already. REFUSED, NOT_SENT and UNKNOWN are
        accepted only from the latest try (`tries` equals the attempt's), and NOT_SENT never replaces UNKNOWN;
        what is not accepted changes nothing. (What Stripe refuses before it begins it does not remember: a later try may
        have charged.) Raises `KeyError` for a key that was never opened.
        """
        ...

    async def find(self, key: str) -> Attempt | None:
        """Return the attempt with that key."""
        ...

    async def unsettled(self, *, idle_at: float, limit: int) -> Sequence[Attempt]:
        """Return attempts that are STARTED or UNKNOWN and not busy at that time, longest idle first."""
        ...
