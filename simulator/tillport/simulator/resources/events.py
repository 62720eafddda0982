"""Events: what happened, retrievable for thirty days."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import json

from tillport.simulator import params as p
from tillport.simulator.account import STRIPE_ITSELF, Account, Event
from tillport.simulator.deliveries import EventView, view
from tillport.simulator.errors import invalid, missing_object
from tillport.simulator.resources.common import Call, List, Route

KEPT_SECONDS = 30 * 86400
_TYPE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+\Z", re.ASCII)
LIST = p.list_spec(type=p.string, types=p.array_of(p.string, 20), delivery_success=p.boolean)
RETRY = p.Spec({"webhook_endpoint": p.string, "account": p.string})


def retrieve(account: Account, call: Call, params: dict[str, Any], event_id: str) -> EventView:
    return view(account, find(account, event_id))


def find(account: Account, event_id: str) -> Event:
    event = account.events.get(event_id, "id")
    if account.now() - event.created > KEPT_SECONDS:
        raise missing_object("event", event_id, "id")
    return event


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    """List events of the last thirty days, newest first."""
    if "type" in params and "types" in params:
        raise invalid("You may only specify one of these parameters: type, types.", "type")
    types = params.get("types")
    if types == []:
        raise invalid("Invalid array: give at least one type.", "types")
    delivered = params.get("delivery_success")
    deliveries = account.deliveries
    wanted = frozenset(types or ())
    type_ = params.get("type")
    prefix = type_[:-1] if type_ and type_.endswith("*") else None
    unsettled = deliveries.pending.keys() | deliveries.failed if delivered is False else None

    def accept(event: Event) -> bool:
        if delivered is True and (event.id in deliveries.pending or event.id in deliveries.failed):
            return False
        if wanted and event.type not in wanted:
            return False
        return prefix is None or event.type.startswith(prefix)

    low, high = params.get("created", (0, 1 << 62))
    page = account.events.page(
        {**params, "created": (max(low, int(account.now()) - KEPT_SECONDS), high)},
        where={"type": None if prefix is not None else type_},
        among=("type", types) if types else None,
        # What is undelivered is few beside what is: it is looked up instead of sought.
        ids=unsettled,
        accept=accept,
    )
    return List(data=[view(account, e) for e in page.data], has_more=page.has_more, url="/v1/events")


def own(
    account: Account, type_: str, about: Mapping[str, Any], previous: Mapping[str, Any] | None = None
) -> EventView:
    """Record and deliver an event of the caller's own making; raise ApiError for what could be no event."""
    if not _TYPE.match(type_):
        raise invalid(f"Invalid event type: {type_[:80]!r}. Types look like charge.succeeded.", "type")
    plain: Any = json.decode(json.encode(about))
    if not isinstance(plain, dict) or not isinstance(plain.get("object"), str):
        raise invalid("An event is about an object: a mapping with `object` (its kind) in it.", "object")
    event = account.emit(type_, plain, STRIPE_ITSELF, dict(previous) if previous else None)
    return view(account, event)


def retry(account: Account, call: Call, params: dict[str, Any], event_id: str) -> EventView:
    """Deliver an event again by hand (`stripe events resend`), to one endpoint or to all that listen for it."""
    event = find(account, event_id)
    if wanted := params.get("webhook_endpoint"):
        account.deliveries.resend(event, account.webhook_endpoints.get(wanted, "webhook_endpoint").id)
    else:
        account.deliveries.resend_to_all(event)
    return view(account, event)


ROUTES = (
    Route("GET", "/v1/events", list_, LIST),
    Route("GET", "/v1/events/{id}", retrieve),
    Route("POST", "/v1/events/{id}/retry", retry, RETRY),
)
