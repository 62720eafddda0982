"""What a fault does to a request before its work, and to the answer after it."""

from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError
from tillport.simulator.faults import Fault
from tillport.simulator.idempotency import in_flight
from tillport.simulator.messages import Response
from tillport.simulator.render import pretty


def strike_before(account: Account, fault: Fault, key: str | None) -> Response | None:
    """Refuse or lose a request before its work begins: nothing happens, nothing is remembered."""
    kind = fault.kind
    if kind in ("reset_before", "timeout_before"):
        return Response(0, {}, b"", "reset" if kind == "reset_before" else "timeout", fault.seconds or 0.0)
    retry = account.faults.rates.should_retry
    headers = {} if retry is None else {"Stripe-Should-Retry": "true" if retry else "false"}
    if kind == "rate_limited":
        headers["Stripe-Rate-Limited-Reason"] = "global-rate"
        text = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
        raise ApiError(429, text, code="rate_limit", headers=headers, stored=False)
    if kind == "lock_timeout":
        text = (
            "This object cannot be accessed right now because another API request or Stripe process is currently "
            "accessing it. If you see this error intermittently, retry the request."
        )
        raise ApiError(429, text, code="lock_timeout", headers=headers, stored=False)
    if kind == "key_in_use":
        raise in_flight(key or "")
    if kind == "approval_required":
        # The status is unpublished, and what becomes of the request in the end is not modelled.
        text = (
            "This action needs the approval of a reviewer (Settings > Approvals). An approval request was made for it; once "
            "it is approved, the action is carried out."
        )
        raise ApiError(400, text, code="approval_required", stored=False)
    status = 503 if kind == "unavailable" else 500
    raise ApiError(status, "An unknown error occurred", type="api_error", headers=headers, stored=False)


def strike_after(
    account: Account, fault: Fault, response: Response, key: str | None, request_id: str, *, replayed: bool
) -> Response:
    """Spoil the answer after the effect; what a key has answered before, it goes on answering."""
    rates = account.faults.rates
    match fault.kind:
        case "answer_lost":
            response.connection = "reset"
        case "timeout_after":
            response.connection = "timeout"
            response.delay_seconds = fault.seconds or 0.0
        case "truncated":
            response.connection = "truncated"
        case "drip":
            response.connection = "drip"
            response.delay_seconds = fault.seconds or rates.slow_seconds
        case "slow":
            response.delay_seconds = fault.seconds or rates.slow_seconds
        case "webhook_first":
            response.deliver_first = True
        case "error_after":
            error = ApiError(500, "An unknown error occurred", type="api_error")
            body = error.body(account.log_url(request_id))
            if key and not replayed:
                account.idempotency.overwrite(key, 500, body)
            response.status = 500
            response.body = pretty(body)
            if rates.should_retry is not None:
                response.headers["Stripe-Should-Retry"] = "true" if rates.should_retry else "false"
    if response.delay_seconds and key and response.connection != "timeout":
        # Until the answer is out, the key is in flight for everybody else.
        account.idempotency.hold(key, account.now() + response.delay_seconds)
    return response
