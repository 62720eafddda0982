"""One merchant's story, told by the official SDK: on the simulator always, on Stripe's test mode when a key is given.

    TILLPORT_STRIPE_TEST_KEY=sk_test_… python -m pytest tests/simulator/test_parity.py

Both tellings are compared step by step: which keys each answer has and what they hold, modulo ids, times and what
differs from account to account (`VOLATILE`). It proves the simulator's fidelity to whoever has a key, and shows where
it is not true. The real run makes a few dozen calls and leaves test objects behind.
"""

import os
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import stripe

from tillport.simulator import ManualClock, Simulator
from tillport.simulator.sdk import SimulatorHTTPClient

KEY = "TILLPORT_STRIPE_TEST_KEY"
Story = list[tuple[str, Any]]

_ID = re.compile(
    r"\b(?:[a-z]{2,6}|acct|card|ctoken|seti|setatt|req)_(?:test_)?[A-Za-z0-9]{10,}(?:_secret_\w+)?"
)
# Times, random digits, and what an account's own settings and country decide.
VOLATILE = frozenset(
    "advice_code authorization_code available_on balance_transaction calculated_statement_descriptor canceled_at "
    "capture_before created "
    "doc_url due_by expires_at fee fee_details fingerprint idempotency_key invoice_prefix ip net network_transaction_id "
    "payment_method_configuration_details receipt_url reference reference_status request_log_url risk_score "
    "statement_descriptor transaction_id updated user_agent".split()
)


def told(client: stripe.StripeClient, mark: str) -> Story:
    """Live the story; return what each call answered, or the error it got."""
    steps: Story = []
    v1 = client.v1

    def step(name: str, call: Callable[[], Any]) -> Any:
        try:
            answer = call()
        except stripe.StripeError as error:
            body = error.json_body["error"] if isinstance(error.json_body, dict) else {}
            steps.append((name, {"status": error.http_status, "error": body}))
            # The story goes on with what it has: later steps then fail in their own words.
            return SimpleNamespace(id="nothing", payment_method="pm_nothing")
        steps.append((name, answer.to_dict()))
        return answer

    def pay(name: str, method: str, **more: Any) -> Any:
        automatic = {"enabled": True, "allow_redirects": "never"}
        params: dict[str, Any] = {
            "amount": 2000,
            "currency": "usd",
            "confirm": True,
            "payment_method": method,
            "automatic_payment_methods": automatic,
            "metadata": {"story": mark},
            "expand": ["latest_charge"],
            **more,
        }
        return step(name, lambda: v1.payment_intents.create(params))  # type: ignore[arg-type] # a plain dict, on purpose

    paid = pay("a payment succeeds", "pm_card_visa")
    part = step("a part is refunded", lambda: v1.refunds.create({"payment_intent": paid.id, "amount": 500}))
    step("the refund is read", lambda: v1.refunds.retrieve(part.id))
    step("too much is refunded", lambda: v1.refunds.create({"payment_intent": paid.id, "amount": 1501}))
    step("the rest is refunded", lambda: v1.refunds.create({"payment_intent": paid.id}))
    step("nothing is left", lambda: v1.refunds.create({"payment_intent": paid.id}))
    for method in (
        "chargeDeclined",
        "chargeDeclinedInsufficientFunds",
        "chargeDeclinedExpiredCard",
        "radarBlock",
    ):
        pay(f"{method} is declined", f"pm_card_{method}")
    pay("a bank wants to ask", "pm_card_threeDSecure2Required")
    pay("nobody is there to ask", "pm_card_authenticationRequired", off_session=True)
    held = pay("money is held", "pm_card_visa", capture_method="manual")
    step("a part is captured", lambda: v1.payment_intents.capture(held.id, {"amount_to_capture": 1500}))
    step("nothing is left to capture", lambda: v1.payment_intents.capture(held.id))
    let_go = pay("more is held", "pm_card_visa", capture_method="manual")
    step("and let go", lambda: v1.payment_intents.cancel(let_go.id))
    step("and stays so", lambda: v1.payment_intents.confirm(let_go.id))
    step("too little", lambda: v1.payment_intents.create({"amount": 1, "currency": "usd"}))
    step("no such currency", lambda: v1.payment_intents.create({"amount": 2000, "currency": "zzz"}))
    step("no such intent", lambda: v1.payment_intents.retrieve("pi_nothing"))
    step("no such charge", lambda: v1.charges.retrieve("ch_nothing"))
    customer = step("a customer comes", lambda: v1.customers.create({"email": "a@example.com", "name": "A"}))
    saved = step(
        "a card is set up",
        lambda: v1.setup_intents.create(
            {
                "customer": customer.id,
                "payment_method": "pm_card_visa",
                "confirm": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            }
        ),
    )
    pay("and pays later", saved.payment_method, customer=customer.id, off_session=True)
    step(
        "a declining card is refused",
        lambda: v1.payment_methods.attach("pm_card_chargeDeclined", {"customer": customer.id}),
    )
    step("the card is let go", lambda: v1.payment_methods.detach(saved.payment_method))
    step("the customer goes", lambda: v1.customers.delete(customer.id))
    step("and is remembered", lambda: v1.customers.retrieve(customer.id))
    return steps


def plain(value: Any, names: dict[str, str]) -> Any:
    """Return a value with ids numbered by first sight and what is volatile left out."""
    if isinstance(value, dict):
        return {k: plain(v, names) for k, v in sorted(value.items()) if k not in VOLATILE}
    if isinstance(value, list):
        return [plain(item, names) for item in value]
    if isinstance(value, str):
        return _ID.sub(lambda m: names.setdefault(m[0], f"{m[0].partition('_')[0]}#{len(names)}"), value)
    return value


def differences(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if key not in one or key not in other:
                yield f"{path}.{key}: only {'here' if key in one else 'there'}"
            else:
                yield from differences(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{path}[{i}]")
    elif one != other:
        yield f"{path}: {one!r} here, {other!r} there"


def compared(here: Story, there: Story) -> list[str]:
    found: list[str] = []
    mine: dict[str, str] = {}
    theirs: dict[str, str] = {}
    for (name, one), (_, other) in zip(here, there, strict=True):
        found += differences(plain(one, mine), plain(other, theirs), name)
    return found


def simulated(seed: int) -> Story:
    sim = Simulator(clock=ManualClock(1_790_000_000.0 + seed), seed=seed)
    return told(stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim)), "parity")


def test_the_story_is_the_same_whoever_hears_it() -> None:
    assert compared(simulated(1), simulated(2)) == []


def test_the_story_has_the_turns_that_it_tells_of() -> None:
    told_of = {name: step["error"].get("code") for name, step in simulated(1) if "error" in step}
    assert told_of == {
        "too much is refunded": None,
        "nothing is left": "charge_already_refunded",
        "chargeDeclined is declined": "card_declined",
        "chargeDeclinedInsufficientFunds is declined": "card_declined",
        "chargeDeclinedExpiredCard is declined": "expired_card",
        "radarBlock is declined": "card_declined",
        "nobody is there to ask": "authentication_required",
        "nothing is left to capture": "payment_intent_unexpected_state",
        "and stays so": "payment_intent_unexpected_state",
        "too little": "amount_too_small",
        "no such currency": None,
        "no such intent": "resource_missing",
        "no such charge": "resource_missing",
        "a declining card is refused": "card_declined",
    }


def test_the_comparison_sees_what_differs() -> None:
    here, there = simulated(1), simulated(1)
    there[0][1]["amount"] += 1
    del there[1][1]["status"]
    assert compared(here, there) == [
        "a payment succeeds.amount: 2000 here, 2001 there",
        "a part is refunded.status: only here",
    ]


@pytest.mark.skipif(
    KEY not in os.environ, reason=f"set {KEY} to a Stripe test key to compare with the real thing"
)
def test_the_simulator_tells_it_as_stripe_does() -> None:
    key = os.environ[KEY]
    assert key.startswith(("sk_test_", "rk_test_")), "this story spends money: give it a test key only"
    real = told(stripe.StripeClient(key, max_network_retries=2), "parity")
    found = compared(simulated(1), real)
    assert found == [], "\n".join(found)
