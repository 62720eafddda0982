"""Webhook endpoints: where events go; the signing secret is shown once, by the call that creates one."""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import invalid
from tillport.simulator.event_types import EVENT_TYPES
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources.common import Call, Deleted, List, Route
from tillport.simulator.versions import is_version

MAX_ENDPOINTS = 16
# How long an old secret may go on signing beside its successor (docs.stripe.com/webhooks#roll-endpoint-secrets).
MAX_ROLL_SECONDS = 24 * 3600


class WebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "webhook_endpoint"
    api_version: str | None = None
    application: None = None
    created: int
    description: str | None = None
    enabled_events: list[str]
    livemode: bool = False
    metadata: dict[str, str] = EMPTY
    secret: Any = msgspec.UNSET
    status: str = "enabled"
    url: str

    def __repr__(self) -> str:
        return f"WebhookEndpoint(id={self.id!r}, url={self.url!r}, status={self.status!r})"


def url(value: Any, name: str) -> str:
    read = p.string(value, name)
    if not read.lower().startswith(("http://", "https://")):
        raise invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.", name, "url_invalid"
        )
    if any(ch <= " " for ch in read) or not _reachable(read):
        raise invalid("Not a valid URL", name, "url_invalid")
    return read


def _reachable(url: str) -> bool:
    """Tell whether a request could be sent there: whether host, port and path can be written at all."""
    try:
        url.encode()
        parts = urlsplit(url)
        host = parts.hostname or ""
        # As the resolver will: this refuses empty labels and those over 63 characters.
        host.encode("idna")
        return bool(host) and (parts.port or 1) > 0
    except ValueError:  # UnicodeError is one
        return False


def event_type(value: Any, name: str) -> str:
    read = p.string(value, name)
    if read != "*" and read not in EVENT_TYPES:
        raise invalid(
            f"Invalid {name}: must be one of Stripe's event types, or *; {read[:100]!r} is none.", name
        )
    return read


_FIELDS: dict[str, p.Parser] = {
    "url": url,
    "enabled_events": p.array_of(event_type, 300),
    "description": p.text(5000),
    "metadata": p.metadata,
}


def _version(value: Any, name: str) -> str:
    read = p.string(value, name)
    if read and not is_version(read):
        raise invalid(f"Invalid API version: {read[:40]}. Versions look like 2026-10-28.endive.", name)
    return read


CREATE = Spec(
    {**_FIELDS, "api_version": _version, "connect": p.only(False)}, required=("url", "enabled_events")
)
UPDATE = Spec({**_FIELDS, "disabled": p.boolean})
LIST = p.page_spec()


def create(account: Account, call: Call, params: dict[str, Any]) -> WebhookEndpoint:
    """Register an endpoint and return it with its `secret`, this once."""
    if not params["enabled_events"]:
        raise invalid("You must select at least one event.", "enabled_events")
    if len(account.webhook_endpoints) >= MAX_ENDPOINTS:
        raise invalid(f"You have reached the maximum of {MAX_ENDPOINTS} test webhook endpoints.", None)
    endpoint = WebhookEndpoint(
        id=account.ids.own("we_"),
        api_version=params.get("api_version") or None,
        created=int(account.now()),
        description=params.get("description") or None,
        enabled_events=params["enabled_events"],
        metadata=p.merged(EMPTY, params["metadata"]) if params.get("metadata") else EMPTY,
        url=params["url"],
    )
    secret = "whsec_" + account.ids.chars(32)
    account.webhook_endpoints.add(endpoint)
    account.deliveries.register(endpoint, secret)
    return msgspec.structs.replace(endpoint, secret=secret)


def retrieve(account: Account, call: Call, params: dict[str, Any], endpoint_id: str) -> WebhookEndpoint:
    found: WebhookEndpoint = account.webhook_endpoints.get(endpoint_id, "webhook_endpoint")
    return found


def update(account: Account, call: Call, params: dict[str, Any], endpoint_id: str) -> WebhookEndpoint:
    old = retrieve(account, call, {}, endpoint_id)
    changes = {k: params[k] for k in ("url", "enabled_events") if params.get(k)}
    if "description" in params:
        changes["description"] = params["description"] or None
    if "metadata" in params:
        changes["metadata"] = p.merged(old.metadata, params["metadata"])
    if "disabled" in params:
        changes["status"] = "disabled" if params["disabled"] else "enabled"
    new = account.webhook_endpoints.put(msgspec.structs.replace(old, **changes))
    account.deliveries.configure(new)
    return new


def delete(account: Account, call: Call, params: dict[str, Any], endpoint_id: str) -> Deleted:
    retrieve(account, call, {}, endpoint_id)
    account.webhook_endpoints.remove(endpoint_id)
    account.deliveries.unregister(endpoint_id)
    return Deleted(endpoint_id, "webhook_endpoint")


def roll_secret(account: Account, endpoint_id: str, *, keep_seconds: float = 0.0) -> WebhookEndpoint:
    """Give an endpoint a new secret, as the Dashboard's "Roll secret" does; return it with the secret, this once.

    For `keep_seconds` the old secret signs too: each delivery then carries one `v1` for each. Raise ApiError for an
    unknown endpoint or for more than a day.
    """
    found = account.webhook_endpoints.get(endpoint_id, "webhook_endpoint")
    if not 0 <= keep_seconds <= MAX_ROLL_SECONDS:
        raise invalid("An old secret can be kept for up to 24 hours: give 0 to 86400 seconds.", None)
    secret = "whsec_" + account.ids.chars(32)
    account.deliveries.roll(endpoint_id, secret, account.now() + keep_seconds)
    if keep_seconds:
        account.schedule(keep_seconds, _forget, endpoint_id)
    return msgspec.structs.replace(found, secret=secret)


def _forget(account: Account, endpoint_id: str) -> None:
    account.deliveries.forget_secrets(endpoint_id)


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.webhook_endpoints.page(params)
    return List(data=page.data, has_more=page.has_more, url="/v1/webhook_endpoints")


ROUTES = (
    Route("POST", "/v1/webhook_endpoints", create, CREATE),
    Route("GET", "/v1/webhook_endpoints", list_, LIST),
    Route("GET", "/v1/webhook_endpoints/{webhook_endpoint}", retrieve),
    Route("POST", "/v1/webhook_endpoints/{webhook_endpoint}", update, UPDATE),
    Route("DELETE", "/v1/webhook_endpoints/{webhook_endpoint}", delete),
)
