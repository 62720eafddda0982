"""Thin events: the small notification that names an object and leaves fetching it to the receiver.

A thin event tells the same change as a snapshot event under an id of its own (docs.stripe.com/event-destinations), so
that a receiver of both kinds never takes one for the other. Its id is the snapshot's with `test_` in it.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from tillport.simulator.account import Event

_URLS = {
    "charge": "/v1/charges/{id}",
    "customer": "/v1/customers/{id}",
    "customer_cash_balance_transaction": "/v1/customers/{customer}/cash_balance_transactions/{id}",
    "dispute": "/v1/disputes/{id}",
    "payment_intent": "/v1/payment_intents/{id}",
    "payment_method": "/v1/payment_methods/{id}",
    "radar.early_fraud_warning": "/v1/radar/early_fraud_warnings/{id}",
    "refund": "/v1/refunds/{id}",
    "setup_intent": "/v1/setup_intents/{id}",
}
# Objects of which there is one.
_SINGLETONS = {"balance": "/v1/balance", "cash_balance": "/v1/customers/{customer}/cash_balance"}


class RelatedObject(msgspec.Struct, frozen=True, kw_only=True):
    # What there is one of, such as the balance, has no id, and then no `id` is told.
    id: str | msgspec.UnsetType = msgspec.UNSET
    type: str
    url: str


class Request(msgspec.Struct, frozen=True):
    id: str
    # Never null here: the SDK's type is a plain string.
    idempotency_key: str


class Reason(msgspec.Struct, frozen=True):
    request: Request
    type: str = "request"


class ThinEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A v2 event: what is delivered, and what `GET /v2/core/events/:id` answers with `snapshot_event` beside it."""

    id: str
    object: str = "v2.core.event"
    context: str | None = None
    created: str
    livemode: bool
    reason: Reason | None = None
    related_object: RelatedObject | None
    snapshot_event: Any = msgspec.UNSET
    type: str


def thin(event: "Event", *, livemode: bool, fetched: bool = False) -> ThinEvent:
    """Render an event thin; `fetched` adds what only the API tells."""
    origin = event.request
    return ThinEvent(
        id=thin_id(event.id),
        created=iso(event.created),
        livemode=livemode,
        reason=None if origin.id is None else Reason(Request(origin.id, origin.idempotency_key or "")),
        related_object=_related(event.object),
        snapshot_event=event.id if fetched else msgspec.UNSET,
        type="v1." + event.type,
    )


def _related(about: Any) -> RelatedObject | None:
    fields: dict[str, Any] = (
        about
        if isinstance(about, dict)
        else {n: getattr(about, n, None) for n in ("id", "object", "customer")}
    )
    object_id, kind, customer = fields.get("id"), str(fields.get("object")), fields.get("customer")
    if kind in _SINGLETONS:
        return RelatedObject(type=kind, url=_SINGLETONS[kind].format(customer=customer))
    pattern = _URLS.get(kind)
    if kind == "card" and isinstance(customer, str):
        pattern = "/v1/customers/{customer}/sources/{id}"
    if pattern is None or not object_id:
        return None
    return RelatedObject(id=str(object_id), type=kind, url=pattern.format(id=object_id, customer=customer))


def thin_id(event_id: str) -> str:
    return "evt_test_" + event_id[4:]


def snapshot_id(event_id: str) -> str:
    return "evt_" + event_id.removeprefix("evt_test_")


def iso(moment: float) -> str:
    """Return a Unix time as v2 writes it.

    >>> iso(1_700_000_000)
    '2023-11-14T22:13:20.000Z'
    """
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
