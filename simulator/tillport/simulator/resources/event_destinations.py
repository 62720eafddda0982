"""Event destinations (`/v2/core/event_destinations`): webhook endpoints of the second API, for thin events or snapshots.

Bodies are JSON here. The signing secret and the URL are told only to who asks for them by `include`.
"""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.deliveries import DEFAULT_VERSION
from tillport.simulator.errors import invalid, missing_object, not_modelled
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources.common import Call, Route
from tillport.simulator.resources.events import KEPT_SECONDS
from tillport.simulator.resources.webhook_endpoints import event_type, url
from tillport.simulator.thin import ThinEvent, iso, snapshot_id, thin


class Target(msgspec.Struct, frozen=True):
    signing_secret: Any = msgspec.UNSET
    url: Any = msgspec.UNSET

    def __repr__(self) -> str:
        return "Target()"


class EventDestination(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "v2.core.event_destination"
    created: str
    description: str = ""
    enabled_events: list[str]
    event_payload: str
    events_from: list[str]
    livemode: bool = False
    metadata: dict[str, str] = EMPTY
    name: str
    snapshot_api_version: str | None = None
    status: str = "enabled"
    status_details: dict[str, Any] | None = None
    type: str = "webhook_endpoint"
    updated: str
    webhook_endpoint: Target = Target()


class Deleted(msgspec.Struct, frozen=True):
    id: str
    object: str = "v2.core.event_destination"


class Endpoint(msgspec.Struct, frozen=True):
    """What the delivery queue needs to know of a destination."""

    id: str
    url: str
    enabled_events: list[str]
    status: str
    api_version: str | None
    thin: bool


def _include(value: Any, name: str) -> Any:
    return p.array_of(p.one_of("webhook_endpoint.signing_secret", "webhook_endpoint.url"))(value, name)


def _type(value: Any, name: str) -> str:
    read: str = p.one_of("amazon_eventbridge", "azure_event_grid", "webhook_endpoint")(value, name)
    if read != "webhook_endpoint":
        raise not_modelled(f"event destinations of type {read}", name)
    return read


def _event_type(value: Any, name: str) -> str:
    # Thin events have the same names behind v1; whether they fit the payload is seen when both are known.
    read = p.string(value, name)
    if not read.startswith("v2."):
        event_type(read.removeprefix("v1."), name)
    return read


_FIELDS: dict[str, p.Parser] = {
    "description": p.text(5000),
    "enabled_events": p.array_of(_event_type, 300),
    "include": _include,
    "metadata": p.metadata,
    "name": p.text(255),
    "webhook_endpoint": p.hash_of(Spec({"url": url}, required=("url",))),
}
CREATE = Spec(
    {
        **_FIELDS,
        "event_payload": p.one_of("snapshot", "thin"),
        "events_from": p.array_of(p.only("@self")),
        "snapshot_api_version": p.string,
        "type": _type,
    },
    required=("enabled_events", "event_payload", "name", "type", "webhook_endpoint"),
    unmodelled=frozenset({"amazon_eventbridge", "azure_event_grid"}),
)
UPDATE = Spec(_FIELDS)
RETRIEVE = Spec({"include": _include})
LIST = Spec({"include": _include, "limit": p.limit, "page": p.string})


def _endpoint(destination: EventDestination) -> Endpoint:
    return Endpoint(
        destination.id,
        destination.webhook_endpoint.url,
        destination.enabled_events,
        destination.status,
        destination.snapshot_api_version,
        destination.event_payload == "thin",
    )


def _shown(destination: EventDestination, include: list[str], secret: str | None = None) -> EventDestination:
    target = Target(
        secret if secret is not None and "webhook_endpoint.signing_secret" in include else msgspec.UNSET,
        destination.webhook_endpoint.url if "webhook_endpoint.url" in include else msgspec.UNSET,
    )
    return msgspec.structs.replace(destination, webhook_endpoint=target)


def _check_fit(types: list[str], *, is_thin: bool) -> None:
    """Refuse names of the other payload's events."""
    wrong = [
        t
        for t in types
        if t != "*" and (not t.startswith("v1.") if is_thin else t.startswith(("v1.", "v2.")))
    ]
    if wrong:
        raise invalid(
            f"Thin events of v1 objects have names such as v1.charge.succeeded; this simulator has no event {wrong[0]}."
            if is_thin
            else f"Snapshot events have names such as charge.succeeded; there is no event {wrong[0]}.",
            "enabled_events",
        )


def create(account: Account, call: Call, params: dict[str, Any]) -> EventDestination:
    """Register a destination for thin events or snapshots."""
    is_thin = params["event_payload"] == "thin"
    _check_fit(params["enabled_events"], is_thin=is_thin)
    now = iso(account.now())
    destination = EventDestination(
        id=account.ids.own("ed_test_"),
        created=now,
        description=params.get("description", ""),
        enabled_events=params["enabled_events"],
        event_payload=params["event_payload"],
        events_from=params.get("events_from", ["@self"]),
        metadata=p.merged(EMPTY, params["metadata"]) if params.get("metadata") else EMPTY,
        name=params["name"],
        snapshot_api_version=None if is_thin else params.get("snapshot_api_version", DEFAULT_VERSION),
        updated=now,
        webhook_endpoint=Target(url=params["webhook_endpoint"]["url"]),
    )
    secret = "whsec_" + account.ids.chars(32)
    account.event_destinations.add(destination, created=int(account.now()))
    account.deliveries.register(_endpoint(destination), secret)
    return _shown(destination, params.get("include", []), secret)


def retrieve(account: Account, call: Call, params: dict[str, Any], destination_id: str) -> EventDestination:
    return _shown(account.event_destinations.get(destination_id, "id"), params.get("include", []))


def list_(account: Account, call: Call, params: dict[str, Any]) -> dict[str, Any]:
    page: dict[str, Any] = {"limit": params.get("limit", 20)}
    if params.get("page"):
        page["starting_after"] = params["page"]
    found = account.event_destinations.page(page)
    more = f"/v2/core/event_destinations?page={found.data[-1].id}" if found.has_more else None
    return {
        "data": [_shown(d, params.get("include", [])) for d in found.data],
        "next_page_url": more,
        "previous_page_url": None,
    }


def _replaced(account: Account, old: EventDestination, **changes: Any) -> EventDestination:
    new = account.event_destinations.put(msgspec.structs.replace(old, updated=iso(account.now()), **changes))
    account.deliveries.configure(_endpoint(new))
    return new


def update(account: Account, call: Call, params: dict[str, Any], destination_id: str) -> EventDestination:
    old = account.event_destinations.get(destination_id, "id")
    _check_fit(params.get("enabled_events", []), is_thin=old.event_payload == "thin")
    changes: dict[str, Any] = {k: params[k] for k in ("description", "enabled_events", "name") if k in params}
    if "metadata" in params:
        changes["metadata"] = p.merged(old.metadata, params["metadata"])
    if "webhook_endpoint" in params:
        changes["webhook_endpoint"] = Target(url=params["webhook_endpoint"]["url"])
    return _shown(_replaced(account, old, **changes), params.get("include", []))


def disable(account: Account, call: Call, params: dict[str, Any], destination_id: str) -> EventDestination:
    old = account.event_destinations.get(destination_id, "id")
    details = {"disabled": {"reason": "user"}}
    return _shown(
        _replaced(account, old, status="disabled", status_details=details), params.get("include", [])
    )


def enable(account: Account, call: Call, params: dict[str, Any], destination_id: str) -> EventDestination:
    old = account.event_destinations.get(destination_id, "id")
    return _shown(_replaced(account, old, status="enabled", status_details=None), params.get("include", []))


def delete(account: Account, call: Call, params: dict[str, Any], destination_id: str) -> Deleted:
    account.event_destinations.get(destination_id, "id")
    account.event_destinations.remove(destination_id)
    account.deliveries.unregister(destination_id)
    return Deleted(destination_id)


def retrieve_event(account: Account, call: Call, params: dict[str, Any], event_id: str) -> ThinEvent:
    """Return a thin event in full, for thirty days."""
    event = account.events.find(snapshot_id(event_id))
    if event is None or account.now() - event.created > KEPT_SECONDS:
        raise missing_object("event", event_id[:255], "id")
    return thin(event, livemode=account.livemode, fetched=True)


_FACE = "event_destinations"
ROUTES = (
    Route("POST", "/v2/core/event_destinations", create, CREATE, resource=_FACE),
    Route("GET", "/v2/core/event_destinations", list_, LIST, resource=_FACE),
    Route("GET", "/v2/core/event_destinations/{id}", retrieve, RETRIEVE, resource=_FACE),
    Route("POST", "/v2/core/event_destinations/{id}", update, UPDATE, resource=_FACE),
    Route("DELETE", "/v2/core/event_destinations/{id}", delete, resource=_FACE),
    Route("POST", "/v2/core/event_destinations/{id}/disable", disable, RETRIEVE, resource=_FACE),
    Route("POST", "/v2/core/event_destinations/{id}/enable", enable, RETRIEVE, resource=_FACE),
    Route("GET", "/v2/core/events/{id}", retrieve_event, resource="events", name="retrieve_thin"),
)
