"""What leaves for Stripe, and what comes back when all goes well."""

import json
import logging

import pytest

from tillport.adapters.stripe import StripeConnection, StripeGateway
from tillport.ports.money import Money
from tillport.ports.payments import (
    CardDeclined,
    ChargeOrder,
    GatewayMisconfigured,
    InvalidRequest,
    OutcomeUnknown,
    PaymentStatus,
)

KEY = "tillport-0123"
ORDER = ChargeOrder("tok_1Abc", Money(1250, "usd"), description="Tea & cakes — 2×", metadata={"cart": "7"})
CHARGE = {"id": "ch_1", "object": "charge", "amount": 1250, "note": "kept \u00e9xactly", "n": 1.50}


def intent(status="succeeded", charge=CHARGE, **more):
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "status": status,
        "client_secret": "pi_1_secret_x",
        "latest_charge": charge,
        "metadata": {"tillport_attempt": KEY},
        **more,
    }


async def test_a_charge_is_a_payment_intent_confirmed_with_the_token(server, gateway):
    server.will({"status": 200, "body": intent()})
    payment = await gateway.charge(ORDER, idempotency_key=KEY)
    assert (payment.status, payment.payment_intent_id, payment.charge_id) == (
        PaymentStatus.SUCCEEDED,
        "pi_1",
        "ch_1",
    )
    [seen] = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/payment_intents")
    assert seen.form == {
        "amount": "1250",
        "currency": "usd",
        "confirm": "true",
        "allowed_payment_method_types[0]": "card",
        "payment_method_data[type]": "card",
        "payment_method_data[card][token]": "tok_1Abc",
        "description": "Tea & cakes — 2×",
        "metadata[cart]": "7",
        "metadata[tillport_attempt]": KEY,
        "expand[0]": "latest_charge",
    }


async def test_the_request_carries_the_key_and_no_telemetry(server, gateway):
    server.will({"status": 200, "body": intent()})
    await gateway.charge(ORDER, idempotency_key=KEY)
    await gateway.charge(ORDER, idempotency_key=KEY)
    for seen in server.seen:
        assert seen.headers["idempotency-key"] == KEY
        assert seen.headers["authorization"] == "Bearer sk_test_51VerySecretKey"
        assert not [name for name in seen.headers if name.startswith("x-stripe-client")]


async def test_the_answer_is_the_charge_byte_for_byte(server, gateway):
    charge = b'{ "id":"ch_1",\n\t"object":"charge", "a": 1.50, "b":"\\u00e9\\/", "c": "\xc3\xa9" }'
    body = json.dumps(intent(charge="@")).encode().replace(b'"@"', charge)
    server.will({"status": 200, "body": body})
    assert (await gateway.charge(ORDER, idempotency_key=KEY)).body == charge


async def test_requires_action_answers_with_the_payment_intent_and_its_client_secret(server, gateway):
    server.will({"status": 200, "body": intent("requires_action", None)})
    payment = await gateway.charge(ORDER, idempotency_key=KEY)
    assert (payment.status, payment.charge_id) == (PaymentStatus.REQUIRES_ACTION, None)
    assert json.loads(payment.body)["client_secret"] == "pi_1_secret_x"
    assert "secret_x" not in repr(payment)


async def test_processing_answers_with_what_there_is(server, gateway):
    server.will(
        {"status": 200, "body": intent("processing", None)}, {"status": 200, "body": intent("processing")}
    )
    first = await gateway.charge(ORDER, idempotency_key=KEY)
    second = await gateway.charge(ORDER, idempotency_key=KEY)
    assert (json.loads(first.body)["id"], json.loads(second.body)["id"]) == ("pi_1", "ch_1")


async def test_a_charge_that_was_not_expanded_is_still_named(server, gateway):
    server.will({"status": 200, "body": intent(charge="ch_9")})
    payment = await gateway.charge(ORDER, idempotency_key=KEY)
    assert (payment.charge_id, json.loads(payment.body)["id"]) == ("ch_9", "pi_1")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "text",
        None,
        {"id": "pi_1"},
        {"object": "charge", "id": "ch_1", "status": "succeeded"},
        intent(charge=7),
        intent(charge={"object": "charge"}),
        intent("requires_payment_method", None),
        intent("requires_confirmation", None),
        intent("requires_capture"),
        intent("some_new_status"),
        {"error": {"type": "card_error"}},
    ],
    ids=repr,
)
async def test_a_success_that_is_no_payment_leaves_the_outcome_unknown(server, gateway, body):
    server.will({"status": 200, "body": body})
    with pytest.raises(OutcomeUnknown):
        await gateway.charge(ORDER, idempotency_key=KEY)


async def test_a_payment_that_ended_declined_is_told_as_a_decline(server, gateway):
    error = {"type": "card_error", "code": "card_declined", "decline_code": "lost_card", "message": "No."}
    server.will({"status": 200, "body": intent("requires_payment_method", "ch_2", last_payment_error=error)})
    with pytest.raises(CardDeclined) as told:
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert (told.value.decline_code, told.value.charge_id) == ("lost_card", "ch_2")


@pytest.mark.parametrize(
    "metadata",
    [
        {"tillport_attempt": "mine"},
        {str(n): "x" for n in range(50)},
        {"": "x"},
        {"k" * 41: "x"},
        {"a[b]": "x"},
        {"a": "x" * 501},
        {"a": 7},
        {"a": "\ud800"},
    ],
    ids=["reserved", "too many", "empty key", "long key", "brackets", "long value", "number", "surrogate"],
)
async def test_metadata_that_stripe_would_refuse_is_refused_before_anything_leaves(server, gateway, metadata):
    with pytest.raises(InvalidRequest) as told:
        await gateway.charge(
            ChargeOrder("tok_1Abc", Money(1250, "usd"), metadata=metadata), idempotency_key=KEY
        )
    assert told.value.param == "metadata"
    assert told.value.remedy
    assert not server.seen


async def test_the_most_metadata_that_fits_is_sent(server, gateway):
    server.will({"status": 200, "body": intent()})
    metadata = {f"{n:040}": "é" * 500 for n in range(49)}
    await gateway.charge(ChargeOrder("tok_1Abc", Money(1250, "usd"), metadata=metadata), idempotency_key=KEY)
    assert sum(name.startswith("metadata[") for name in server.seen[0].form) == 50


@pytest.mark.parametrize("key", ["", "x" * 256, "a\r\nX-Evil: 1", "é"])
async def test_a_key_that_cannot_be_a_header_is_a_fault_of_the_program(gateway, key):
    with pytest.raises(ValueError, match="idempotency key"):
        await gateway.charge(ORDER, idempotency_key=key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "pk_live_123",
        "pk_test_1",
        "whsec_1",
        "sk_test_",
        "sk_test_a b",
        "sk_live_a\n",
        "sk_org_1",
        "x",
    ],
)
def test_a_wrong_key_is_refused_when_the_connection_is_made(clock, key):
    with pytest.raises(GatewayMisconfigured) as told:
        StripeConnection(key, clock=clock)
    assert len(key.strip()) < 9 or key.strip() not in str(told.value)


@pytest.mark.parametrize(
    ("key", "live"), [("sk_live_1", True), ("rk_live_1", True), ("sk_test_1", False), ("rk_test_1", False)]
)
def test_the_key_decides_whether_real_money_moves(clock, key, live):
    assert StripeGateway(StripeConnection(key, clock=clock)).livemode is live


@pytest.mark.parametrize(
    "address",
    [
        "",
        "api.stripe.com",
        "ftp://x",
        "http://",
        "https://u@x",
        "https://x?y",
        "https://x#y",
        "http://[x",
        "http://x:99999",
        "http://x:y",
        "http://x y",
    ],
)
def test_an_address_that_is_none_is_refused(clock, address):
    with pytest.raises(GatewayMisconfigured):
        StripeConnection("sk_test_1", clock=clock, base_address=address)


def test_a_live_key_never_goes_without_tls(clock):
    with pytest.raises(GatewayMisconfigured, match="TLS"):
        StripeConnection("sk_live_1", clock=clock, base_address="http://127.0.0.1:1")


def test_a_live_key_is_not_used_while_the_sdk_prints_what_it_sends(clock, monkeypatch):
    monkeypatch.setenv("STRIPE_LOG", "debug")
    with pytest.raises(GatewayMisconfigured, match="STRIPE_LOG"):
        StripeConnection("sk_live_1", clock=clock)


def test_nothing_of_the_sdk_is_set_globally(clock):
    import stripe

    before = {
        name: getattr(stripe, name)
        for name in ("api_key", "api_base", "default_http_client", "max_network_retries")
    }
    StripeConnection("sk_test_1", clock=clock)
    assert before == {name: getattr(stripe, name) for name in before}
    assert stripe.api_key is None


async def test_secrets_reach_no_log_and_no_repr(server, gateway, caplog):
    caplog.set_level(logging.DEBUG)
    server.will(
        {"status": 200, "body": intent("requires_action", None)},
        {
            "status": 400,
            "body": {"error": {"type": "invalid_request_error", "message": "No such token: 'tok_1Abc'"}},
        },
    )
    await gateway.charge(ORDER, idempotency_key=KEY)
    with pytest.raises(InvalidRequest):
        await gateway.charge(ORDER, idempotency_key="other")
    told = caplog.text + repr(gateway) + repr(gateway.connection) + repr(ORDER)
    assert "req_T3st" in caplog.text  # the control: our own log did speak
    for secret in ("VerySecretKey", "tok_1Abc", "secret_x"):
        assert secret not in told


async def test_the_sdks_own_log_still_speaks_for_others(gateway, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("stripe").debug("somebody else's call")
    assert "somebody else's call" in caplog.text


async def test_closing_twice_is_no_fault(server, gateway):
    server.will({"status": 200, "body": intent()})
    await gateway.charge(ORDER, idempotency_key=KEY)
    await gateway.aclose()
    await gateway.aclose()
