"""One scenario, told by the simulator and by Stripe's test mode, and what differs between the two stories.

    STRIPE_TEST_SECRET_KEY=sk_test_… python -m tillport.simulator.parity

Without a key it tells the simulator's story alone. Ids are compared by their kind and by which one it is, times by being
times; what an account's own settings decide (`OF_THE_ACCOUNT`) or chance does is left out. It needs the official SDK, and
it makes small test-mode objects: use a sandbox whose contents are nobody's. Live keys are refused.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import stripe

from tillport.simulator.clock import ManualClock
from tillport.simulator.sdk import SimulatorHTTPClient
from tillport.simulator.simulator import Simulator

Story = dict[str, Any]

_ID = re.compile(
    r"\b(?:pi|ch|py|re|pyr|pm|cus|seti|setatt|evt|txn|tok|card|src|req|acct|we|du|dp)_[A-Za-z0-9]{5,}"
)
_SECRET = re.compile(r"_secret_[A-Za-z0-9]+")
_KEY = re.compile(r"\bparity-[0-9]+")
_TIME_MIN = 1_400_000_000
# Decided by the account's country, settings and history, or by chance: nothing that a simulator could know.
OF_THE_ACCOUNT = frozenset(
    "advice_code authorization_code balance_transaction calculated_statement_descriptor fingerprint invoice_prefix "
    "network_advice_code network_decline_code network_transaction_id next_invoice_sequence "
    "payment_method_configuration_details receipt_number receipt_url reference request_log_url risk_score "
    "transaction_id user_agent".split()
)
SETTLE_SECONDS = 30.0

_CARD = {"allowed_payment_method_types": ["card"]}


def scenario(client: stripe.StripeClient, wait: Callable[[float], None]) -> Iterator[tuple[str, Any]]:
    """Play the scenario; yield each step's name with what was answered."""

    def call(method: str, path: str, key: str | None = None, **params: Any) -> dict[str, Any]:
        options: Any = {"idempotency_key": key} if key else {}
        try:
            answer = client.raw_request(method, path, **options, **params)
        except stripe.StripeError as error:
            return {"status": error.http_status, "body": error.json_body}
        replayed = answer.headers.get("idempotent-replayed")
        return {"status": 200, "body": answer.data, "replayed": replayed}

    def post(path: str, **params: Any) -> dict[str, Any]:
        return call("post", path, **params)

    def get(path: str, **params: Any) -> dict[str, Any]:
        return call("get", path, **params)

    money: Any = {"amount": 2000, "currency": "usd", **_CARD}
    pay = {**money, "payment_method": "pm_card_visa", "confirm": True}

    yield (
        "customer",
        (made := post("/v1/customers", name="Ada", email="ada@example.com", metadata={"order": "1"})),
    )
    customer = made["body"]["id"]
    yield "customer changed", post(f"/v1/customers/{customer}", name="Ada L", metadata={"order": ""})
    yield "payment", (paid := post("/v1/payment_intents", **pay, customer=customer, expand=["latest_charge"]))
    intent, charge = paid["body"]["id"], paid["body"]["latest_charge"]["id"]
    yield "refund in part", post("/v1/refunds", charge=charge, amount=500, reason="requested_by_customer")
    yield "refund of too much", post("/v1/refunds", charge=charge, amount=5000)
    yield "confirmed again", post(f"/v1/payment_intents/{intent}/confirm")
    yield "cancelled too late", post(f"/v1/payment_intents/{intent}/cancel")
    for name in ("visa_chargeDeclined", "visa_chargeDeclinedInsufficientFunds", "chargeDeclinedExpiredCard"):
        yield f"declined: {name}", post("/v1/payment_intents", **{**pay, "payment_method": f"pm_card_{name}"})
    yield (
        "3-D Secure asked",
        post("/v1/payment_intents", **{**pay, "payment_method": "pm_card_authenticationRequired"}),
    )
    yield "held", (held := post("/v1/payment_intents", **pay, capture_method="manual"))
    yield "captured in part", post(f"/v1/payment_intents/{held['body']['id']}/capture", amount_to_capture=700)
    yield "without a card", (bare := post("/v1/payment_intents", **money))
    yield (
        "cancelled",
        post(f"/v1/payment_intents/{bare['body']['id']}/cancel", cancellation_reason="abandoned"),
    )
    yield (
        "a card saved",
        post("/v1/setup_intents", **_CARD, payment_method="pm_card_mastercard", confirm=True),
    )

    key = f"parity-{time.time_ns()}"
    yield "first under a key", call("post", "/v1/customers", key=key, name="Once")
    yield "again under the key", call("post", "/v1/customers", key=key, name="Once")
    yield "other parameters", call("post", "/v1/customers", key=key, name="Twice")

    yield "no such charge", get("/v1/charges/ch_nowhere")
    yield "no such URL", get("/v1/nonsense")
    yield "amount missing", post("/v1/payment_intents", currency="usd")
    yield "amount too small", post("/v1/payment_intents", **{**money, "amount": 10})
    yield "amount no integer", post("/v1/payment_intents", **{**money, "amount": "20.5"})
    yield "unknown currency", post("/v1/payment_intents", **{**money, "currency": "xxx"})
    yield "unknown parameter", post("/v1/customers", nonsense="1")
    yield "limit of zero", get("/v1/charges", limit=0)
    yield "expanding what is none", get(f"/v1/charges/{charge}", expand=["amount"])

    yield "the customer's payments", get("/v1/payment_intents", customer=customer, limit=2)
    wait(SETTLE_SECONDS)
    yield "the charge in the end", get(f"/v1/charges/{charge}")
    events = get("/v1/events", limit=100)["body"]["data"]
    about = [
        e["type"] for e in events if intent in (e["data"]["object"].get(k) for k in ("id", "payment_intent"))
    ]
    yield "its events", sorted(about)
    yield "customer deleted", call("delete", f"/v1/customers/{customer}")


def told(client: stripe.StripeClient, wait: Callable[[float], None]) -> Story:
    """Play the scenario and return its story, with ids and times made comparable."""
    seen: dict[str, str] = {}
    return {name: comparable(answer, seen) for name, answer in scenario(client, wait)}


def comparable(value: Any, seen: dict[str, str]) -> Any:
    """Return a value with each id as its kind and number, each time as `<time>`, and no trace of the account."""
    if isinstance(value, dict):
        return {
            str(name): comparable(inner, seen)
            for name, inner in sorted(value.items())
            if name not in OF_THE_ACCOUNT
        }
    if isinstance(value, list):
        return [comparable(inner, seen) for inner in value]
    if isinstance(value, str):

        def numbered(match: re.Match[str]) -> str:
            kind = match[0].partition("_")[0]
            count = sum(1 for name in seen.values() if name.startswith(f"<{kind} "))
            return seen.setdefault(match[0], f"<{kind} {count + 1}>")

        # An id in an error's text stays as it was sent.
        return (
            value
            if "nowhere" in value
            else _ID.sub(numbered, _KEY.sub("<key>", _SECRET.sub("_secret", value)))
        )
    if isinstance(value, int) and not isinstance(value, bool) and value > _TIME_MIN:
        return "<time>"
    return value


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each place in which two stories differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            place = f"{path}.{name}" if path else name
            if name not in other:
                yield f"{place}: {one[name]!r} here, absent there"
            elif name not in one:
                yield f"{place}: absent here, {other[name]!r} there"
            else:
                yield from differences(one[name], other[name], place)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{path}[{number}]")
    elif one != other:
        yield f"{path}: {one!r} here, {other!r} there"


def simulated(simulator: Simulator | None = None) -> Story:
    """Return the simulator's own story."""
    sim = Simulator(clock=ManualClock(), seed="parity") if simulator is None else simulator
    client = stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim))

    def wait(seconds: float) -> None:
        sim.advance(seconds, lambda _: 200)

    return told(client, wait)


def real(key: str) -> Story:
    """Return Stripe's story for a test-mode key; raise ValueError for any other."""
    if not key.startswith(("sk_test_", "rk_test_")):
        raise ValueError(
            "parity is for test-mode keys alone: STRIPE_TEST_SECRET_KEY must begin with sk_test_"
        )
    return told(stripe.StripeClient(key, max_network_retries=2), time.sleep)


def main() -> int:
    """Tell the differences; return 0 when there is none."""
    here = simulated()
    key = os.environ.get("STRIPE_TEST_SECRET_KEY")
    if not key:
        sys.stdout.write(
            f"The simulator tells {len(here)} steps. Set STRIPE_TEST_SECRET_KEY to compare them with Stripe's test mode.\n"
        )
        return 0
    try:
        lines = list(differences(here, real(key)))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("\n".join([*lines, f"{len(here)} steps, {len(lines)} differences"]) + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
