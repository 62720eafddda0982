"""Record an event once: what is written beside the raw body, and under which ids it is found.

Which payment an event is about: its *payment key* (the payment intent, else the charge, else its own object) orders
the events of one payment; its *transaction id*, the seed's `id`, is the charge once one is known. A selector
`id = 'x'` matches any *alias*, so a client that holds `pi_…` hears what happens to the charge that follows.
"""

from typing import Any

from tillport.domain.verify import VerifiedEvent
from tillport.ports.event_log import Event, EventLog

_MAX_ID_CHARACTERS = 255
"""Stripe: "ids may reach 255 characters"; what is longer is no id."""


def event_of(verified: VerifiedEvent, *, received_at: float) -> Event:
    """Return the event as the log keeps it. `received_at` is Unix seconds."""
    envelope = verified.envelope
    about = envelope.data.object
    own = _id(about.id) or envelope.id
    intent = own if about.object == "payment_intent" else _id(about.payment_intent)
    charge = own if about.object == "charge" else _id(about.charge) or _id(about.latest_charge)
    transaction = charge or own
    aliases = [transaction]
    if intent is not None and intent != transaction:
        aliases.append(intent)
    if own not in aliases:
        aliases.append(own)
    request = envelope.request
    return Event(
        id=envelope.id,
        type=envelope.type,
        transaction_id=transaction,
        payment_key=intent or charge or own,
        aliases=tuple(aliases),
        created=envelope.created,
        received_at=received_at,
        livemode=envelope.livemode,
        body=verified.body,
        api_version=envelope.api_version,
        account=envelope.account,
        request_key=None if request is None or isinstance(request, str) else request.idempotency_key,
    )


def _id(value: Any) -> str | None:
    """Return the id in a field that Stripe fills with an id, with the expanded object, or with null."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_ID_CHARACTERS else None


async def record(verified: VerifiedEvent, log: EventLog, *, received_at: float) -> tuple[Event, bool]:
    """Record a verified event and return it with whether it is new.

    When this returns the event is durable, so it may be acknowledged; when it raises (`LogUnavailable`,
    `EventRefused`) it must not be.
    """
    event = event_of(verified, received_at=received_at)
    (new,) = await log.record([event])
    return event, new
