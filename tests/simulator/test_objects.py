"""Every modelled object against the official SDK's own types: what they require is there, of the right kind and known.

The types are read from the installed `stripe` package. A field that is not `Optional` there must be present and not
null; a `Literal` lists the values that may occur; a field that the SDK does not know must be one of the few that real
bodies carry without being documented.
"""

import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe
from stripe.params import WebhookEndpointCreateParams
from stripe.radar import EarlyFraudWarning
from stripe.v2.core import Event as ThinEvent
from stripe.v2.core import EventDestination

from tillport.simulator import ApiError, Response, Simulator
from tillport.simulator.event_types import EVENT_TYPES

CLASSES: dict[str, Any] = {
    "account": stripe.Account,
    "balance": stripe.Balance,
    "balance_transaction": stripe.BalanceTransaction,
    "card": stripe.Card,
    "cash_balance": stripe.CashBalance,
    "charge": stripe.Charge,
    "confirmation_token": stripe.ConfirmationToken,
    "customer": stripe.Customer,
    "customer_cash_balance_transaction": stripe.CustomerCashBalanceTransaction,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "radar.early_fraud_warning": EarlyFraudWarning,
    "refund": stripe.Refund,
    "setup_attempt": stripe.SetupAttempt,
    "setup_intent": stripe.SetupIntent,
    "token": stripe.Token,
    "v2.core.event": ThinEvent,
    "v2.core.event_destination": EventDestination,
    "webhook_endpoint": stripe.WebhookEndpoint,
}
# Real bodies carry these though no type has them (from captures of 2025).
UNDOCUMENTED = {
    "charge": {"destination", "dispute", "order", "source"},
    "payment_intent": {"source"},
    "card": {"wallet"},
    "dispute": {"balance_transaction"},
    "v2.core.event": {"related_object"},
    "event": {"account", "context"},
}


def fits(value: Any, kind: Any, path: str) -> Iterator[str]:
    """Yield what is wrong with a value of an annotated kind."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return
    if origin in (typing.Union, types.UnionType):
        if value is None:
            if type(None) not in args:
                yield f"{path}: null"
            return
        kinds = [a for a in args if a is not type(None)]
        literals = [a for a in kinds if typing.get_origin(a) is typing.Literal]
        # `Union[Literal[…], str]` is an open list of known values: what we send is to be known.
        kinds = literals or kinds
        tries = [list(fits(value, one, path)) for one in kinds]
        if all(tries):
            yield from min(tries, key=len)
    elif origin is typing.Literal:
        if value not in args:
            yield f"{path}: {value!r} is none of {args}"
    elif isinstance(kind, typing.ForwardRef):
        name = kind.__forward_arg__
        if isinstance(value, dict) and value.get("object") in CLASSES:
            yield from judged(value, CLASSES[value["object"]], path)
        elif not isinstance(value, dict):
            yield f"{path}: no {name}"
    elif origin is list:
        if not isinstance(value, list):
            yield f"{path}: no list"
        else:
            for i, item in enumerate(value):
                yield from fits(item, args[0], f"{path}[{i}]")
    elif kind in (str, int, bool, float):
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            yield f"{path}: {value!r} is no {kind.__name__}"
    elif isinstance(kind, type) and issubclass(kind, stripe.StripeObject):
        if not isinstance(value, dict):
            yield f"{path}: no hash"
        elif kind.__annotations__:
            yield from judged(value, kind, path)
    elif not isinstance(value, dict):
        yield f"{path}: no hash, but {value!r}"


def judged(value: dict[str, Any], kind: Any, path: str) -> Iterator[str]:
    annotations = {
        k: v for k, v in kind.__annotations__.items() if typing.get_origin(v) is not typing.ClassVar
    }
    for name, annotation in annotations.items():
        optional = type(None) in typing.get_args(annotation)
        if name == "deleted" or (name not in value and optional):
            continue
        if name not in value:
            yield f"{path}.{name}: missing"
            continue
        yield from fits(value[name], annotation, f"{path}.{name}")
    extra = value.keys() - annotations.keys() - UNDOCUMENTED.get(str(value.get("object")), set())
    if extra:
        yield f"{path}: unknown {sorted(extra)}"


Get = Callable[..., Any]


@pytest.fixture
def world(sim: Simulator, call: Callable[..., Response], decoded: Callable[[Response], Any]) -> list[Any]:
    """Live a merchant's life over the wire, and return every body that was answered."""
    bodies: list[Any] = []

    def post(path: str, **form: Any) -> Any:
        answer = call(
            "POST", path, {k.replace("__", "[", 1) + "]" if "__" in k else k: v for k, v in form.items()}
        )
        body = decoded(answer)
        assert answer.status in (200, 402), body
        bodies.append(body)
        return body

    def get(path: str) -> Any:
        answer = decoded(call("GET", path))
        assert "error" not in answer, answer
        bodies.extend(answer["data"] if answer.get("object") in ("list", "search_result") else [answer])
        return answer

    post("/v1/webhook_endpoints", url="http://hook.test/", **{"enabled_events[]": "*"})
    card = {
        "card__number": "4242424242424242",
        "card__exp_month": 12,
        "card__exp_year": 2030,
        "card__cvc": "123",
    }
    post("/v1/tokens", **card, card__address_zip="94110")
    pay = {"amount": 2000, "currency": "usd", "confirm": "true", "expand[]": "latest_charge"}
    for name in (
        "visa chargeDeclined radarBlock threeDSecure2Required amex refundFail pendingRefund createDispute "
        "createDisputeInquiry createCe3EligibleDispute createComplianceDispute createMastercardComplianceDispute "
        "createIssuerFraudRecord riskLevelElevated avsFail"
    ).split():
        made = post("/v1/payment_intents", payment_method=f"pm_card_{name}", **pay)
        if made.get("status") == "succeeded" and not name.startswith("create"):
            post("/v1/refunds", payment_intent=made["id"], amount=500)
    action = post(
        "/v1/payment_intents",
        payment_method="pm_card_authenticationRequired",
        return_url="http://x.test/",
        **pay,
    )
    sim.authenticate(action["id"])
    held = post("/v1/payment_intents", payment_method="pm_card_visa", capture_method="manual", **pay)
    post(f"/v1/payment_intents/{held['id']}/capture", amount_to_capture=1500)
    open_ = post(
        "/v1/payment_intents",
        amount=2000,
        currency="usd",
        shipping__name="A",
        **{"shipping[address][line1]": "x"},
    )
    post(f"/v1/payment_intents/{open_['id']}/cancel", cancellation_reason="abandoned")
    customer = post(
        "/v1/customers",
        source="tok_visa",
        email="a@b.test",
        **{"expand[0]": "sources", "expand[1]": "default_source"},
    )
    post("/v1/charges", amount=1000, currency="usd", customer=customer["id"])
    post("/v1/charges", amount=1000, currency="usd", source="tok_visa", capture="false")
    post(f"/v1/customers/{customer['id']}/sources", source="tok_mastercard")
    post(
        "/v1/setup_intents",
        customer=customer["id"],
        payment_method="pm_card_visa",
        confirm="true",
        **{"expand[]": "latest_attempt"},
    )
    for iban in ("AT611904300234573201", "AT861904300235473202", "AT321904300235473204"):
        bank = post(
            "/v1/payment_methods",
            type="sepa_debit",
            sepa_debit__iban=iban,
            billing_details__name="Bob",
            billing_details__email="bob@example.com",
        )
        post(
            "/v1/payment_intents",
            amount=1000,
            currency="eur",
            confirm="true",
            payment_method=bank["id"],
            **{
                "allowed_payment_method_types[]": "sepa_debit",
                "mandate_data[customer_acceptance][type]": "offline",
            },
        )
    for currency, kind in (
        ("jpy", "jp_bank_transfer"),
        ("eur", "eu_bank_transfer"),
        ("gbp", "gb_bank_transfer"),
        ("mxn", "mx_bank_transfer"),
        ("usd", "us_bank_transfer"),
    ):
        transfer = f"payment_method_options[customer_balance][bank_transfer][{kind}][country]"
        post(
            "/v1/payment_intents",
            amount=2000,
            currency=currency,
            customer=customer["id"],
            confirm="true",
            payment_method_data__type="customer_balance",
            **{
                "allowed_payment_method_types[]": "customer_balance",
                "payment_method_options[customer_balance][funding_type]": "bank_transfer",
                "payment_method_options[customer_balance][bank_transfer][type]": kind,
            }
            | ({transfer: "DE"} if currency == "eur" else {}),
        )
        for amount in (500, 2000):
            post(
                f"/v1/test_helpers/customers/{customer['id']}/fund_cash_balance",
                amount=amount,
                currency=currency,
            )
    get(f"/v1/customers/{customer['id']}?expand[]=cash_balance")
    get(f"/v1/customers/{customer['id']}/cash_balance")
    get(
        f"/v1/customers/{customer['id']}/cash_balance_transactions?limit=100"
        "&expand[]=data.customer&expand[]=data.applied_to_payment.payment_intent"
    )
    post("/v1/setup_intents", payment_method="pm_card_chargeDeclined", confirm="true")
    post("/v1/setup_intents", payment_method="pm_card_authenticationRequired", confirm="true")
    post("/v1/test_helpers/confirmation_tokens", payment_method="pm_card_visa")
    sim.advance(5)
    for dispute in get("/v1/disputes?limit=100")["data"]:
        post(f"/v1/disputes/{dispute['id']}", evidence__uncategorized_text="winning_evidence")
    sim.advance(7200)
    for path in (
        "account balance balance_transactions charges customers disputes events payment_intents radar/early_fraud_warnings "
        "refunds setup_intents webhook_endpoints"
    ).split():
        get(f"/v1/{path}" if path in ("account", "balance") else f"/v1/{path}?limit=100")
    get(
        "/v1/charges?expand[]=data.balance_transaction&expand[]=data.refunds&expand[]=data.customer&limit=100"
    )
    get("/v1/payment_intents?expand[]=data.payment_method&expand[]=data.latest_charge.balance_transaction")
    get(f"/v1/payment_methods?customer={customer['id']}")
    event = sim.events.list(type="charge.succeeded").data[0]
    get(f"/v2/core/events/evt_test_{event.id[4:]}")
    bodies.append(
        decoded(
            call(
                "POST",
                "/v2/core/event_destinations",
                b'{"name":"n","type":"webhook_endpoint","event_payload":"thin","enabled_events":["*"],'
                b'"webhook_endpoint":{"url":"http://x.test/"},"include":["webhook_endpoint.url"]}',
                content_type="application/json",
            )
        )
    )
    return bodies


def test_every_object_has_what_the_sdks_types_require_and_nothing_unheard_of(world: list[Any]) -> None:
    wrong: dict[str, int] = {}
    seen: set[str] = set()
    for body in world:
        if "error" in body:
            error = body["error"]
            assert error["type"] in ("api_error", "card_error", "idempotency_error", "invalid_request_error")
            subjects = [error[k] for k in ("payment_intent", "payment_method", "setup_intent") if k in error]
        else:
            subjects = [body, body["data"]["object"]] if body["object"] == "event" else [body]
        for subject in subjects:
            kind = subject["object"]
            seen.add(kind)
            for fault in judged(subject, CLASSES[kind], kind):
                wrong[fault] = wrong.get(fault, 0) + 1
    assert wrong == {}
    assert seen >= CLASSES.keys() - {"card", "setup_attempt"}


def test_every_event_type_is_one_that_can_be_listened_to(world: list[Any], sim: Simulator) -> None:
    known = set(typing.get_args(typing.get_args(stripe.Event.__annotations__["type"])[0])) or set(
        typing.get_args(stripe.Event.__annotations__["type"])
    )
    sent = {event.type for event in sim.events.list(limit=100).data}
    assert len(known) > 200
    assert sent - known == set()


def test_an_endpoint_may_ask_for_every_type_of_the_sdk_and_for_no_other(sim: Simulator) -> None:
    wanted = WebhookEndpointCreateParams.__annotations__["enabled_events"]
    names = set(re.findall(r"'([a-z0-9_]+\.[a-z0-9_.]+)'", str(wanted)))
    assert len(names) > 200
    assert names == EVENT_TYPES
    endpoint = sim.webhook_endpoints.create(url="http://hook.test/", enabled_events=sorted(names))
    # Slips that would leave an application deaf: Stripe takes none of these.
    for slip in ("payment_intent.failed", "charge.succeded", "charge.*", "v1.charge.succeeded", "charge", ""):
        with pytest.raises(ApiError, match="must be one of"):
            sim.webhook_endpoints.create(url="http://hook.test/", enabled_events=["charge.succeeded", slip])
        with pytest.raises(ApiError, match="must be one of"):
            sim.webhook_endpoints.update(endpoint.id, enabled_events=[slip])


@pytest.mark.parametrize("payload", ["thin", "snapshot"])
def test_an_event_destination_asks_for_types_that_there_are(sim: Simulator, payload: str) -> None:
    def create(name: str) -> None:
        sim.event_destinations.create(
            name="x",
            type="webhook_endpoint",
            event_payload=payload,
            enabled_events=[name],
            webhook_endpoint={"url": "http://hook.test/"},
        )

    good, other = ("v1.charge.succeeded", "charge.succeeded")[:: 1 if payload == "thin" else -1]
    create(good)
    for slip in (other, "v1.charge.succeded", "charge.succeded", "v2.core.account.updated"):
        with pytest.raises(ApiError):
            create(slip)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"amount": None}, "charge.amount: None is no int"),
        ({"status": "done"}, "charge.status: 'done' is none of"),
        ({"colour": "red"}, "charge: unknown ['colour']"),
        ({"outcome": {"advice_code": "hope", "type": "authorized"}}, "charge.outcome.advice_code"),
    ],
)
def test_a_wrong_object_is_found_out(
    sim: Simulator,
    call: Callable[..., Response],
    decoded: Callable[[Response], Any],
    change: dict[str, Any],
    fault: str,
) -> None:
    charge = decoded(call("POST", "/v1/charges", {"amount": 2000, "currency": "usd", "source": "tok_visa"}))
    assert list(judged(charge, stripe.Charge, "charge")) == []
    assert any(found.startswith(fault) for found in judged(charge | change, stripe.Charge, "charge"))
