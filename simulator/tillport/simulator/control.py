"""The control routes under `/_sim/`: move the clock, script faults, look inside, play the customer's bank.

One function, bytes to bytes as the API's own door, so a test in-process and a browser use the same thing. They are
for whoever runs the simulator and ask for no key: serve it on loopback only.
"""

from html import escape
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from tillport.simulator import accounts_control
from tillport.simulator.errors import ApiError, invalid
from tillport.simulator.faults import Fault, Faults
from tillport.simulator.form import decode
from tillport.simulator.render import plain, pretty
from tillport.simulator.resources import events
from tillport.simulator.simulator import Simulator
from tillport.simulator.wire import Request, Response

PREFIX = "/_sim/"


class _Advance(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float


class _Redeliver(msgspec.Struct, forbid_unknown_fields=True):
    event: str
    webhook_endpoint: str | None = None


def control(simulator: Simulator, request: Request) -> Response:
    """Answer a control request; never raises for anything a client can send."""
    path = request.path.partition("?")[0]
    method = request.method.upper()
    name, _, rest = path[len(PREFIX) :].partition("/")
    try:
        if name == "3ds":
            return _bank(simulator, method, rest, request)
        payload = _answer(simulator, method, name, rest, request)
    except ApiError as error:
        return _json(error.status, error.body())
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError, TypeError) as error:
        return _json(400, invalid(f"{error}", None).body())
    return _json(200, payload)


def _answer(simulator: Simulator, method: str, name: str, rest: str, request: Request) -> Any:
    account = simulator.account
    if name == "accounts":
        return accounts_control.answer(simulator, method, rest, lambda: _body(request))
    match method, name:
        case "POST", "reset":
            _body(request)
            simulator.reset()
            return _state(simulator)
        case "GET", "":
            return _state(simulator)
        case "POST", "clock":
            simulator.advance(msgspec.json.decode(_body(request), type=_Advance).seconds)
            return {"now": account.now()}
        case "GET", "faults":
            return {"rates": account.faults.rates, "script": account.faults.script}
        case "POST", "faults":
            simulator.set_faults(msgspec.json.decode(_body(request), type=Faults))
            return {"rates": account.faults.rates}
        case "POST", "script":
            simulator.script(*msgspec.json.decode(_body(request), type=list[Fault]))
            return {"script": account.faults.script}
        case "DELETE", "script":
            account.faults.script.clear()
            return {"script": []}
        case "GET", "requests":
            return {"requests": list(simulator.wire.seen)}
        case "GET", "deliveries":
            return {"backlog": account.deliveries.backlog, "deliveries": list(account.deliveries.log)}
        case "POST", "redeliver":
            order = msgspec.json.decode(_body(request), type=_Redeliver)
            return _redeliver(simulator, order)
    raise ApiError(404, f"No such control route: {method} {PREFIX}{name[:100]}. See docs/simulator.md.")


def _body(request: Request) -> bytes:
    # JSON only: a page of another site cannot send it to loopback without asking first.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "Send JSON with Content-Type: application/json.")
    return request.body


def _state(simulator: Simulator) -> dict[str, Any]:
    account = simulator.account
    return {
        "account": account.id,
        "accounts": simulator.private_accounts.names(),
        "now": account.now(),
        "seed": account.seed,
        "secret_key": account.secret_key,
        "publishable_key": account.publishable_key,
        "counts": {
            name: len(getattr(account, name))
            for name in ("charges", "events", "payment_intents", "payment_methods", "tokens")
        },
        "backlog": account.deliveries.backlog,
        "next_due": account.next_due(),
        "webhook_endpoints": [plain(endpoint) for endpoint in account.webhook_endpoints],
    }


def _redeliver(simulator: Simulator, order: _Redeliver) -> dict[str, Any]:
    account = simulator.account
    with simulator.lock:
        event = events.find(account, order.event)
        if order.webhook_endpoint is None:
            queued = account.deliveries.resend_to_all(event)
        else:
            found = account.webhook_endpoints.get(order.webhook_endpoint, "webhook_endpoint")
            account.deliveries.resend(event, found.id)
            queued = 1
    if simulator.on_change is not None:
        simulator.on_change()
    return {"queued": queued}


def _bank(simulator: Simulator, method: str, intent_id: str, request: Request) -> Response:
    """Show the bank's page, or take the customer's answer: `outcome=succeed` or `outcome=fail`."""
    setup = intent_id.startswith("seti_")
    intent: Any = getattr(simulator.account, "setup_intents" if setup else "payment_intents").get(
        intent_id, "intent"
    )
    if method == "GET":
        return _html(200, _bank_page(intent))
    if method != "POST":
        raise ApiError(405, "Use GET to see the bank's page and POST to answer it.")
    given = decode(request.body.decode(errors="replace"))
    outcome = given.get("outcome")
    if outcome not in ("succeed", "fail"):
        raise invalid("Send outcome=succeed or outcome=fail.", "outcome")
    back = ((intent.next_action or {}).get("redirect_to_url") or {}).get("return_url")
    after = simulator.authenticate(intent_id, succeed=outcome == "succeed")
    if back:
        status = "succeeded" if after.status in ("succeeded", "requires_capture") else "failed"
        more = urlencode(
            {
                "setup_intent" if setup else "payment_intent": after.id,
                f"{'setup' if setup else 'payment'}_intent_client_secret": after.client_secret or "",
                "redirect_status": status,
            }
        )
        # Before the part that only the browser sees, as in https://shop.example/?order=1#/done.
        page, mark, place = back.partition("#")
        url = f"{page}{'&' if '?' in page else '?'}{more}{mark}{place}"
        return Response(
            303, {"Location": quote(url, safe=":/?&=%#[]@!$'()*+,;~-._"), "Content-Type": "text/plain"}, b""
        )
    return _html(200, f"<p>It is now <b>{escape(after.status)}</b>. You can close this page.</p>")


def _bank_page(intent: Any) -> str:
    action = (intent.next_action or {}).get("type")
    if intent.status != "requires_action" or action not in ("redirect_to_url", "use_stripe_sdk"):
        return f"<p>Nothing to authenticate: it is <b>{escape(intent.status)}</b>.</p>"
    what = (
        "A card to be saved"
        if intent.object == "setup_intent"
        else f"A payment of {intent.amount} {escape(intent.currency)} (minor units)"
    )
    return (
        f"<p>{what} waits for you.</p>"
        '<form method="post"><button name="outcome" value="succeed">Complete</button> '
        '<button name="outcome" value="fail">Fail</button></form>'
    )


def _html(status: int, inner: str) -> Response:
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>3-D Secure (simulated)</title>'
        f"<body><h1>Your bank, simulated</h1>{inner}</body></html>"
    )
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": "default-src 'none'"}
    return Response(status, headers, page.encode())


def _json(status: int, payload: Any) -> Response:
    return Response(status, {"Content-Type": "application/json"}, pretty(payload))
