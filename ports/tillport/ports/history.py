"""The payment history: what Stripe itself remembers, for comparing it with what we remember.

Reading it costs calls to Stripe, page by page, so it is read by a worker, never within a request. Pages come newest
first, as Stripe lists them, and a page's cursor goes on from there: a reader may stop, and go on another day.
"""

from enum import StrEnum
from typing import Protocol

import attrs

EVENT_RETENTION_SECONDS = 30 * 24 * 3600
"""How long Stripe lists events (docs.stripe.com/api/events): what is older can't be caught up."""


@attrs.frozen(kw_only=True)
class EventPage:
    """Some of Stripe's events: each the JSON object as Stripe lists it. No cursor: this was the last page."""

    events: tuple[bytes, ...] = attrs.field(repr=False)
    cursor: str | None


class MovementKind(StrEnum):
    """What moved the money. `OTHER` is everything that is not about one charge that was paid: payouts, fees, top-ups, bank
    debits that are pending or failed, …
    """

    CHARGE = "charge"
    REFUND = "refund"
    DISPUTE = "dispute"
    OTHER = "other"


@attrs.frozen(kw_only=True)
class Movement:
    """One line of Stripe's own books: a balance transaction.

    `amount_minor`, `fee_minor` and `net_minor` are in the balance's `currency`, signed, and may differ from what the
    card was charged in. The last three name the payment where the line is about one: `attempt_key` is the
    idempotency key that the gateway wrote into the charge's metadata, None for charges that Tillport did not make
    and for lines that are not charges.
    """

    id: str
    kind: MovementKind
    type: str
    """Stripe's own word: `charge`, `payment`, `refund`, `adjustment`, `payout`, …"""
    amount_minor: int
    fee_minor: int
    net_minor: int
    currency: str
    created: int
    charge_id: str | None = None
    payment_intent_id: str | None = None
    attempt_key: str | None = None


@attrs.frozen(kw_only=True)
class MovementPage:
    """Some of Stripe's balance transactions. No cursor: this was the last page."""

    movements: tuple[Movement, ...]
    cursor: str | None


class PaymentHistory(Protocol):
    """Read what Stripe remembers. Changes nothing, and may be called at any time and twice.

    Raises `GatewayUnavailable` or `GatewayMisconfigured` (see `tillport.ports.payments`) from every method.
    """

    async def events(
        self,
        *,
        since: float,
        until: float | None = None,
        undelivered: bool = False,
        cursor: str | None = None,
    ) -> EventPage:
        """Return a page of the events created at or after `since` and before `until` (Unix seconds), newest first.

        `undelivered` leaves out events that every webhook endpoint has acknowledged. `cursor` is the one of the page
        before; the other arguments must then be the same. Of what is older than `EVENT_RETENTION_SECONDS` nothing
        is returned. An event that is created while the pages are read may be missed: overlap the next run.
        """
        ...

    async def movements(
        self, *, since: float, until: float | None = None, cursor: str | None = None
    ) -> MovementPage:
        """Return a page of the balance transactions created in that time, newest first.

        A charge that Stripe captures in the background has its line some seconds after it succeeded.
        """
        ...
