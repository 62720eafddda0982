"""Events: what happened, retrievable for thirty days."""

from typing import Any

from tillport.simulator import params as p
from tillport.simulator.account import Account, Event
from tillport.simulator.deliveries import EventView, view
from tillport.simulator.errors import invalid, missing_object
from tillport.simulator.resources.common import Call, List, Route

KEPT_SECONDS = 30 * 86400
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
    types = frozenset(params.get("types", ()))
    delivered = params.get("delivery_success")
    deliveries = account.deliveries

    def accept(event: Event) -> bool:
        if types and event.type not in types:
            return False
        if delivered is None:
            return True
        failing = event.id in deliveries.pending or event.id in deliveries.failed
        return failing is not delivered

    type_ = params.get("type")
    prefix = type_[:-1] if type_ and type_.endswith("*") else None
    low, high = params.get("created", (0, 1 << 62))
    page = account.events.page(
        {**params, "created": (max(low, int(account.now()) - KEPT_SECONDS), high)},
        where={"type": None if prefix is not None else type_},
        accept=accept if prefix is None else lambda e: e.type.startswith(prefix) and accept(e),
    )
    return List(data=[view(account, e) for e in page.data], has_more=page.has_more, url="/v1/events")


def retry(account: Account, call: Call, params: dict[str, Any], event_id: str) -> EventView:
    """Deliver an event again by hand (`stripe events resend`), to one endpoint or to all."""
    event = find(account, event_id)
    wanted = params.get("webhook_endpoint")
    targets = (
        [account.webhook_endpoints.get(wanted, "webhook_endpoint")]
        if wanted
        else list(account.webhook_endpoints)
    )
    for endpoint in targets:
        account.deliveries.resend(event, endpoint.id)
    return view(account, event)


ROUTES = (
    Route("GET", "/v1/events", list_, LIST),
    Route("GET", "/v1/events/{id}", retrieve),
    Route("POST", "/v1/events/{id}/retry", retry, RETRY),
)
