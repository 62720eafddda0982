"""Any call with any parameters: an answer or Stripe's error, never a failure of the simulator's own."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillport.simulator import ManualClock, Simulator
from tillport.simulator.cards import BY_NAME
from tillport.simulator.errors import ApiError
from tillport.simulator.routes import ROUTES, find
from tillport.simulator.wire import run

SCRAPS = st.sampled_from(
    [
        "",
        "x",
        "0",
        "-1",
        "1",
        "2000",
        "9" * 18,
        "9" * 30,
        "1.5",
        "true",
        "false",
        "null",
        "usd",
        "tok_visa",
        "tok_chargeDeclined",
        "pm_card_visa",
        "pm_card_threeDSecure2Required",
        "card",
        "any",
        "*",
        "charge.succeeded",
        "http://x.test/",
        "status:'succeeded'",
        "winning_evidence",
        "é" * 50,
        "\x00",
        "a" * 6000,
    ]
)
NAMES = st.sampled_from(
    "card number exp_month exp_year cvc token type address line1 name postal_code gt lte enabled url a 0 evidence "
    "uncategorized_text request_three_d_secure default_payment_method".split()
)
VALUES = st.recursive(
    SCRAPS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


IBAN = {"iban": "AT611904300234573201"}
MANDATE = {"customer_acceptance": {"type": "offline"}}
TRANSFER: dict[str, Any] = {
    "customer_balance": {
        "funding_type": "bank_transfer",
        "bank_transfer": {"type": "eu_bank_transfer", "eu_bank_transfer": {"country": "DE"}},
    }
}


def world() -> tuple[Simulator, list[str]]:
    """Return an account with one of everything, and every id in it."""
    sim = Simulator(clock=ManualClock(), seed=5)
    sim.webhook_endpoints.create(url="http://hook.test/", enabled_events=["*"])
    customer = sim.customers.create(source="tok_visa")
    pay: dict[str, Any] = {"amount": 2000, "currency": "usd", "confirm": True}
    for name in (
        "visa",
        "createDispute",
        "createDisputeInquiry",
        "threeDSecure2Required",
        "createIssuerFraudRecord",
    ):
        sim.payment_intents.create(**pay, payment_method=f"pm_card_{name}")
    held = sim.payment_intents.create(**pay, payment_method="pm_card_visa", capture_method="manual")
    sim.payment_intents.create(amount=2000, currency="usd", payment_method="pm_card_visa")
    sim.payment_methods.attach("pm_card_visa", customer=customer.id)
    sim.setup_intents.create(
        customer=customer.id, payment_method="pm_card_authenticationRequired", confirm=True
    )
    sim.setup_intents.create(customer=customer.id, payment_method="pm_card_visa", confirm=True)
    sim.charges.create(amount=1000, currency="usd", source="tok_visa", capture=False)
    charge = sim.charges.create(amount=1000, currency="usd", source="tok_visa")
    sim.refunds.create(charge=charge.id, amount=1)
    sim.confirmation_tokens.create(payment_method="pm_card_visa")
    sim.tokens.create(card={"number": "4242424242424242", "exp_month": 12, "exp_year": 2030})
    debit = sim.payment_methods.create(
        type="sepa_debit", sepa_debit=IBAN, billing_details={"name": "Bob", "email": "bob@example.com"}
    )
    pay = {"amount": 2000, "currency": "eur", "confirm": True}
    sim.payment_intents.create(
        **pay, payment_method=debit.id, allowed_payment_method_types=["sepa_debit"], mandate_data=MANDATE
    )
    sim.customers.fund_cash_balance(customer.id, amount=500, currency="eur")
    sim.payment_intents.create(
        **pay,
        customer=customer.id,
        allowed_payment_method_types=["customer_balance"],
        payment_method_data={"type": "customer_balance"},
        payment_method_options=TRANSFER,
    )
    sim.advance(5)
    account = sim.account
    ids = [held.id, account.id]
    for kind in (
        "balance_transactions cards cash_balance_transactions charges confirmation_tokens customers disputes early_fraud_warnings events "
        "payment_intents payment_methods refunds setup_attempts setup_intents tokens webhook_endpoints"
    ).split():
        ids += [row.id for row in getattr(account, kind)]
    return sim, ids


_, IDS = world()
# What a placeholder or a parameter of that name usually holds: most calls are to reach their object.
KINDS = {
    "charge": "ch_",
    "charges": "ch_",
    "customer": "cus_",
    "customers": "cus_",
    "source": "card_",
    "sources": "card_",
    "cards": "card_",
    "cash_balance_transactions": "ccsbtxn_",
    "default_source": "card_",
    "disputes": "du_",
    "events": "evt_",
    "payment_intent": "pi_",
    "payment_intents": "pi_",
    "payment_method": "pm_",
    "payment_methods": "pm_",
    "refunds": "re_",
    "setup_intent": "seti_",
    "setup_intents": "seti_",
    "tokens": "tok_",
    "confirmation_token": "ctoken_",
    "confirmation_tokens": "ctoken_",
    "balance_transactions": "txn_",
    "early_fraud_warnings": "issfr_",
    "webhook_endpoint": "we_",
    "webhook_endpoints": "we_",
}
LIKELY = {name: [i for i in IDS if i.startswith(prefix)] for name, prefix in KINDS.items()}


def an_id(name: str) -> st.SearchStrategy[str]:
    likely = LIKELY.get(name)
    anything = st.one_of(st.sampled_from(IDS), SCRAPS)
    return anything if not likely else st.one_of(st.sampled_from(likely), st.sampled_from(likely), anything)


METHODS = [f"pm_card_{name}" for name in BY_NAME]
TOKENS = [f"tok_{name}" for name in BY_NAME]
CARD = {"number": "4242424242424242", "exp_month": "12", "exp_year": "30"}
TEXTS = ["x", "winning_evidence", "losing_evidence", "escalate_inquiry_evidence"]
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "amount": st.sampled_from(["1", "50", "500", "2000", "2001"]),
    "amount_to_capture": st.sampled_from(["1", "2000"]),
    "capture": st.sampled_from(["true", "false"]),
    "card": st.just(CARD),
    "confirm": st.just("true"),
    "currency": st.sampled_from(["usd", "jpy", "kwd", "eur"]),
    "enabled_events": st.sampled_from([["*"], ["charge.succeeded"], ["v1.charge.succeeded"]]),
    "event_payload": st.sampled_from(["thin", "snapshot"]),
    "evidence": st.builds(lambda text: {"uncategorized_text": text}, st.sampled_from(TEXTS)),
    "expand": st.sampled_from(
        [["data"], ["customer"], ["payment_intent.latest_charge.refunds"], ["sources"]]
    ),
    "limit": st.sampled_from(["1", "100"]),
    "mandate_data": st.just(MANDATE),
    "metadata": st.sampled_from(["", {"a": "b"}, {"a": ""}]),
    "payment_method": st.one_of(an_id("payment_method"), st.sampled_from(METHODS)),
    "payment_method_data": st.one_of(
        st.builds(lambda t: {"type": "card", "card": {"token": t}}, st.sampled_from(TOKENS)),
        st.just({"type": "customer_balance"}),
    ),
    "payment_method_options": st.just(TRANSFER),
    "allowed_payment_method_types": st.lists(
        st.sampled_from(["card", "sepa_debit", "customer_balance"]), min_size=1, unique=True
    ),
    "sepa_debit": st.just(IBAN),
    "query": st.just("created>0"),
    "source": st.one_of(an_id("source"), st.sampled_from(TOKENS)),
    "type": st.sampled_from(
        ["card", "webhook_endpoint", "charge.succeeded", "sepa_debit", "customer_balance"]
    ),
    "url": st.just("http://x.test/"),
    "webhook_endpoint": st.one_of(st.just({"url": "http://x.test/"}), an_id("webhook_endpoint")),
}


@st.composite
def calls(draw: Callable[..., Any]) -> tuple[Any, list[str], dict[str, Any]]:
    """Draw a call: mostly one that could be meant, and often enough one that could not."""
    route = draw(st.sampled_from(ROUTES))
    parts = route.path.split("/")
    ids = [draw(an_id(before)) for before, part in pairwise(parts) if part.startswith("{")]
    known = sorted(route.spec.fields)
    wild = draw(st.integers(0, 3)) == 0
    names = draw(
        st.lists(st.sampled_from([*known, "expand", "nonsense"] if wild else known or ["expand"]), max_size=3)
    )
    if not wild or draw(st.booleans()):
        names = [*names, *route.spec.required]
    params = {}
    for name in names:
        good = GOOD[name] if name in GOOD else an_id(name) if name in LIKELY else SCRAPS
        params[name] = draw(VALUES if wild else good)
    return route, ids, params


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(calls(), min_size=1, max_size=12))
def test_any_calls_with_any_parameters_answer_or_refuse(
    made: list[tuple[Any, list[str], dict[str, Any]]],
) -> None:
    sim, _ = world()
    statuses = []
    for route, ids, params in made:
        try:
            answer = run(sim.account, route, dict(params), ids, "req_x", None)
        except ApiError as error:
            answer = error.body()
            statuses.append(error.status)
        msgspec.json.encode(answer)
        sim.advance(1)
    sim.deliver(lambda _: 200)
    assert all(400 <= status < 500 for status in statuses)


def test_every_route_is_found_by_its_path() -> None:
    for route in ROUTES:
        parts = ["x" if part.startswith("{") else part for part in route.path.split("/")]
        assert find(route.method, "/".join(parts))[0] is route
