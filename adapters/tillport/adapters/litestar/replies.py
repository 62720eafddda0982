"""What the one who charges is answered, at the native route and at the seed's alike."""

from typing import Any

from litestar import Request, Response

from tillport.adapters.litestar.access import single_header
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.errors import problem_of_failure
from tillport.ports.access import Caller
from tillport.ports.payments import ChargeOrder

AnyRequest = Request[Any, Any, Any]


async def make_charge(
    door: Door, request: AnyRequest, order: ChargeOrder, *, caller: Caller, backendless: bool
) -> Response[bytes]:
    """Charge, and answer with Stripe's object as Stripe gave it, or with why there is none."""
    key = single_header(request.scope, b"idempotency-key")
    answer = await door.unfinished.finish(door.till.charge(order, caller=caller, idempotency_key=key))
    headers = {
        "Cache-Control": "no-store",
        "Tillport-Attempt": answer.attempt_key,
        "Tillport-Amount": str(order.money),
    }
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    failure = answer.failure
    if failure is None:
        return Response(answer.outcome.body, status_code=200, headers=headers, media_type="application/json")
    problem = problem_of_failure(failure, attempt=answer.attempt_key)
    return Response(
        problem.body(backendless=backendless),
        status_code=problem.status,
        headers={**headers, **problem.headers},
        media_type="application/json",
    )
