"""The native charge routes: charge, and ask what became of it."""

from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from tillport.adapters.litestar.access import caller_of, plain_id
from tillport.adapters.litestar.body import read_body
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.errors import problem_of_failure
from tillport.adapters.litestar.orders import native_order
from tillport.adapters.litestar.refusals import NotFound
from tillport.adapters.litestar.replies import AnyRequest, make_charge
from tillport.domain import sees_raw, without_client_secret
from tillport.domain.notify import SHOWN
from tillport.ports.access import Caller


def charge_handlers(door: Door) -> list[HTTPRouteHandler]:
    """Return the handlers of `/charges`."""

    @post("/charges", status_code=200, include_in_schema=False)
    async def charge(request: AnyRequest) -> Response[bytes]:
        """Charge a card once, however often this is sent."""
        caller = caller_of(request.scope, door.keys)
        body = await read_body(request.scope, request.receive, bytes_max=door.settings.charge_bytes_max)
        order = native_order(body, currency=door.settings.currency)
        return await make_charge(door, request, order, caller=caller, backendless=False)

    @get("/charges/{attempt:str}", include_in_schema=False)
    async def charge_status(request: AnyRequest) -> Response[bytes]:
        """Tell what is known of an attempt, to the key that made it."""
        caller = caller_of(request.scope, door.keys)
        answer = await door.till.charge_status(plain_id(request.path_params["attempt"]), caller=caller)
        if answer is None:
            raise NotFound(
                "This API key made no such attempt.",
                remedy="Use the answer's Tillport-Attempt, and the same key.",
            )
        status: dict[str, Any] = {
            "attempt": answer.attempt_key,
            "state": answer.state.value,
            "final": answer.state.final,
            "payment_intent_id": answer.outcome.payment_intent_id,
            "charge_id": answer.outcome.charge_id,
        }
        failure = answer.failure
        if failure is None:
            status["payment"] = _payment(answer.outcome.body, caller)
        else:
            status["error"] = problem_of_failure(failure, attempt=None).facts
        return Response(
            msgspec.json.encode(status), headers={"Cache-Control": "no-store"}, media_type="application/json"
        )

    return [charge, charge_status]


def _payment(body: bytes, caller: Caller) -> msgspec.Raw | dict[str, Any]:
    # An app key is no secret, and a caller's own Idempotency-Key may be guessed ("order-17"): whoever asks by app
    # key sees what became of the money and nothing of who paid. The client_secret is for the answer to the charge.
    if sees_raw(caller):
        return msgspec.Raw(without_client_secret(body))
    shown: dict[str, Any] = msgspec.json.decode(body)
    return {name: _plain(value) for name, value in shown.items() if name in SHOWN}


def _plain(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) else value
