"""The seed's own URLs, so that what was written for the plugin goes on working.

Two forms: `/<APP-ID>/<API-KEY>/services/Stripe/…`, and the later `/api/services/Stripe/…` of custom domains, which
has no place for a key. The webhook's key in the URL is not looked at: the signature is what counts there.
"""

from litestar import Response, post
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler

from tillport.adapters.litestar.access import caller_of, caller_of_url, header
from tillport.adapters.litestar.body import read_body
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.orders import seed_order
from tillport.adapters.litestar.refusals import NotFound, Unauthorized
from tillport.adapters.litestar.replies import AnyRequest, make_charge
from tillport.adapters.litestar.webhook import webhook_handler, webhook_handler_with_parameters
from tillport.ports.access import Caller

WITH_KEY = "/{app_id:str}/{api_key:str}/services/Stripe"
WITHOUT_KEY = "/api/services/Stripe"


def seed_handlers(door: Door) -> list[HTTPRouteHandler | ASGIRouteHandler]:
    """Return the handlers of the seed's URLs."""

    @post(f"{WITH_KEY}/charge", status_code=200, include_in_schema=False)
    async def charge(request: AnyRequest) -> Response[bytes]:
        """Charge as the seed's clients do, with the key in the URL."""
        if door.settings.app_id not in (None, request.path_params["app_id"]):
            raise NotFound("There is no such app here.", remedy="Check the <APP-ID> in the URL.")
        return await _charge(door, request, caller_of_url(door.keys, request.path_params["api_key"]))

    @post(f"{WITHOUT_KEY}/charge", status_code=200, include_in_schema=False)
    async def charge_without_key(request: AnyRequest) -> Response[bytes]:
        """Charge as the clients of a custom domain do; a key may come as a header."""
        return await _charge(door, request, _caller_without_key(door, request))

    return [
        charge,
        charge_without_key,
        webhook_handler_with_parameters(door, f"{WITH_KEY}/webhooks/handler"),
        webhook_handler(door, f"{WITHOUT_KEY}/webhooks/handler"),
    ]


def _caller_without_key(door: Door, request: AnyRequest) -> Caller:
    if header(request.scope, b"authorization") is not None:
        return caller_of(request.scope, door.keys)
    if door.default_caller is None:
        raise Unauthorized(
            "This URL has no API key, and the service has none to take in its place.",
            remedy="Use /<APP-ID>/<API-KEY>/services/Stripe/charge, or send Authorization: Bearer <key>.",
        )
    return door.default_caller


async def _charge(door: Door, request: AnyRequest, caller: Caller) -> Response[bytes]:
    body = await read_body(request.scope, request.receive, bytes_max=door.settings.charge_bytes_max)
    order = seed_order(body, currency=door.settings.currency)
    return await make_charge(door, request, order, caller=caller, backendless=True)
