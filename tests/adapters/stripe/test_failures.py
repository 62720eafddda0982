"""Every way in which a call can fail, and whether the port's error tells the truth about the money."""

import asyncio
import json

import pytest

from tillport.adapters.stripe import Patience, StripeConnection, StripeGateway
from tillport.ports.errors import TillportError
from tillport.ports.money import Money
from tillport.ports.payments import (
    AwaitsApproval,
    CardDeclined,
    ChargeOrder,
    GatewayMisconfigured,
    GatewayUnavailable,
    InvalidRequest,
    OutcomeUnknown,
    PaymentStatus,
)

KEY = "tillport-0123"
ORDER = ChargeOrder("tok_1Abc", Money(1250, "usd"))
GOOD = {
    "status": 200,
    "body": {
        "id": "pi_1",
        "object": "payment_intent",
        "status": "succeeded",
        "latest_charge": {"id": "ch_1", "object": "charge"},
    },
}


def error(status, type_, code=None, *, headers=None, **more):
    body = {"type": type_, "message": "Stripe says no.", "code": code, **more}
    return {"status": status, "headers": headers or {}, "body": {"error": body}}


def card(code, decline_code=None, **more):
    return error(402, "card_error", code, decline_code=decline_code, **more)


INVALID = "invalid_request_error"
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"

FINAL = {
    # The card said no.
    "declined": (card("card_declined", "insufficient_funds"), CardDeclined),
    "expired": (card("expired_card"), CardDeclined),
    "decline with its payment": (
        card(
            "card_declined",
            "fraudulent",
            charge="ch_1",
            payment_intent={"id": "pi_1", "status": "requires_payment_method"},
        ),
        CardDeclined,
    ),
    "decline told as 400": (error(400, "card_error", "incorrect_number"), CardDeclined),
    # The request is wrong.
    "token used": (error(400, INVALID, "token_already_used"), InvalidRequest),
    "no such token": (
        error(400, INVALID, "resource_missing", param="payment_method_data[card][token]"),
        InvalidRequest,
    ),
    "too small": (error(400, INVALID, "amount_too_small", param="amount"), InvalidRequest),
    "no code": (error(400, INVALID, param="currency"), InvalidRequest),
    "402 of another type": (error(402, INVALID, "missing"), InvalidRequest),
    "404 with a code": (error(404, INVALID, "resource_missing", param="customer"), InvalidRequest),
    # We are wrong.
    "no key": (error(401, INVALID), GatewayMisconfigured),
    "expired key": (error(401, INVALID, "api_key_expired"), GatewayMisconfigured),
    "no permission": (error(403, INVALID), GatewayMisconfigured),
    "not activated": (error(400, INVALID, "testmode_charges_only"), GatewayMisconfigured),
    "our own unknown parameter": (
        error(400, INVALID, "parameter_unknown", param="foo"),
        GatewayMisconfigured,
    ),
    "a parameter of ours that Stripe took away": (
        error(400, INVALID, "payment_method_types_no_longer_supported", param="payment_method_types"),
        GatewayMisconfigured,
    ),
    "a parameter of ours that it takes no more as it is": (
        error(400, INVALID, param="allowed_payment_method_types[0]"),
        GatewayMisconfigured,
    ),
    "no such address": (error(404, INVALID), GatewayMisconfigured),
    # Not now.
    "rate limited": (error(429, INVALID, "rate_limit"), GatewayUnavailable),
    "rate limited without a code": (error(429, INVALID), GatewayUnavailable),
    "rate limited as 400": (error(400, INVALID, "rate_limit"), GatewayUnavailable),
    # Who knows.
    "other parameters under this key": (error(400, "idempotency_error"), OutcomeUnknown),
    "lock timeout": (error(429, INVALID, "lock_timeout"), OutcomeUnknown),
    "400 that blames Stripe": (error(400, "api_error"), OutcomeUnknown),
    "402 that blames Stripe": (error(402, "api_error"), OutcomeUnknown),
    "dependency failed": (error(424, INVALID), OutcomeUnknown),
    # Only an answer to work that had begun is remembered.
    "no permission, remembered": (
        error(403, INVALID, headers={"Idempotent-Replayed": "true"}),
        OutcomeUnknown,
    ),
    "no key, remembered": (error(401, INVALID, headers={"Idempotent-Replayed": "true"}), OutcomeUnknown),
    "rate limited, remembered": (
        error(429, INVALID, "rate_limit", headers={"Idempotent-Replayed": "true"}),
        OutcomeUnknown,
    ),
    # Whatever the status: it is unpublished.
    "held for approval, as 400": (error(400, INVALID, "approval_required"), AwaitsApproval),
    "held for approval, as 402": (error(402, INVALID, "approval_required"), AwaitsApproval),
    "held for approval, as 403": (error(403, INVALID, "approval_required"), AwaitsApproval),
    "held for approval, as 409": (error(409, INVALID, "approval_required"), AwaitsApproval),
    "held for approval, worth retrying": (
        error(400, INVALID, "approval_required", headers={"Stripe-Should-Retry": "true"}),
        AwaitsApproval,
    ),
    "a decline whose payment succeeded": (
        card("card_declined", payment_intent={"id": "pi_1", "status": "succeeded"}),
        OutcomeUnknown,
    ),
    "a refusal that names a charge": (error(400, INVALID, "some_code", charge="ch_1"), OutcomeUnknown),
    "500 that says not to retry": (
        error(500, "api_error", headers={"Stripe-Should-Retry": "false"}),
        OutcomeUnknown,
    ),
    "html with 400": ({"status": 400, "body": HTML}, OutcomeUnknown),
    "html with 401": ({"status": 401, "body": HTML}, OutcomeUnknown),
    "html with 429": ({"status": 429, "body": HTML}, OutcomeUnknown),
    "json without an error": ({"status": 400, "body": {"oops": 1}}, OutcomeUnknown),
    "error as text": ({"status": 400, "body": {"error": "invalid_grant"}}, OutcomeUnknown),
    "error as a list": ({"status": 400, "body": {"error": [1]}}, OutcomeUnknown),
    "error as null": ({"status": 400, "body": {"error": None}}, OutcomeUnknown),
    "error of strange types": ({"status": 402, "body": {"error": {"type": 7, "code": []}}}, OutcomeUnknown),
    "a code that is no word": (error(404, INVALID, "Not found, <b>sorry</b>"), OutcomeUnknown),
    "a list with 402": ({"status": 402, "body": []}, OutcomeUnknown),
    "a redirect": ({"status": 307, "headers": {"Location": "/elsewhere"}, "body": b""}, OutcomeUnknown),
    "a redirect as GET": (
        {"status": 302, "headers": {"Location": "/elsewhere"}, "body": b""},
        OutcomeUnknown,
    ),
}

REPEATED = {
    "500": error(500, "api_error"),
    "503": error(503, "api_error"),
    "409, the key in flight": error(409, "idempotency_error", "idempotency_key_in_use"),
    "409, whatever it says": error(409, INVALID),
    "lock timeout worth retrying": error(
        429, INVALID, "lock_timeout", headers={"Stripe-Should-Retry": "true"}
    ),
    "html with 502": {"status": 502, "body": HTML},
    "html with 200": {"status": 200, "body": HTML},
    "empty 200": {"status": 200, "body": b""},
    "200 that is not UTF-8": {"status": 200, "body": b'{"id": "\xff"}'},
    "200 cut off": {**GOOD, "cut": 10},
    "200 cut within JSON": {"status": 200, "body": json.dumps(GOOD["body"]).encode()[:-5]},
    "reset after reading": {"reset": True},
    "reset before reading": {"reset": "unread"},
    "closed without an answer": {},
    "no HTTP": {"raw": b"SSH-2.0-OpenSSH_9.2\r\n"},
    "an answer without end of headers": {"raw": b"HTTP/1.1 200 OK\r\nContent-"},
}


@pytest.mark.parametrize(("script", "expected"), FINAL.values(), ids=FINAL.keys())
async def test_an_answer_that_repeating_would_not_change_is_told_at_once(server, gateway, script, expected):
    server.will(script)
    with pytest.raises(TillportError) as told:
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert type(told.value) is expected
    assert told.value.remedy
    assert len(server.seen) == 1


async def test_a_token_that_was_used_is_told_as_one_that_may_have_paid(server, gateway):
    server.will(error(400, INVALID, "token_already_used"))
    with pytest.raises(InvalidRequest, match="may have paid") as told:
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert "do not pay again before you know" in told.value.remedy


@pytest.mark.parametrize("script", REPEATED.values(), ids=REPEATED.keys())
async def test_what_may_have_moved_money_is_asked_again_under_the_same_key_and_then_unknown(
    server, gateway, clock, script
):
    server.will(script)
    with pytest.raises(TillportError) as told:
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert type(told.value) is OutcomeUnknown
    assert told.value.remedy
    assert len(clock.slept) == 2
    assert {seen.headers["idempotency-key"] for seen in server.seen} <= {KEY}


@pytest.mark.parametrize("script", REPEATED.values(), ids=REPEATED.keys())
async def test_the_same_key_brings_the_lost_answer_again(server, gateway, script):
    server.will(script, GOOD)
    payment = await gateway.charge(ORDER, idempotency_key=KEY)
    assert payment.status is PaymentStatus.SUCCEEDED
    assert {seen.headers["idempotency-key"] for seen in server.seen} == {KEY}
    assert len({json.dumps(seen.form) for seen in server.seen}) == 1


LOST = {"reset": True}
AFTER_DOUBT = {
    "still a success": (GOOD, None),
    "a decline": (card("card_declined"), CardDeclined),
    "a refusal that was remembered": (
        error(400, INVALID, "amount_too_small", headers={"Idempotent-Replayed": "true"}),
        InvalidRequest,
    ),
    "a refusal at the door": (error(400, INVALID, "token_already_used"), OutcomeUnknown),
    "a key that was revoked meanwhile": (error(401, INVALID), OutcomeUnknown),
    "the rate limiter": (error(429, INVALID, "rate_limit"), OutcomeUnknown),
    "a rule that holds it for approval": (error(400, INVALID, "approval_required"), AwaitsApproval),
}


@pytest.mark.parametrize(("script", "expected"), AFTER_DOUBT.values(), ids=AFTER_DOUBT.keys())
async def test_once_in_doubt_only_stripes_word_on_that_key_ends_the_doubt(server, gateway, script, expected):
    server.will(LOST, script)
    if expected is None:
        assert (await gateway.charge(ORDER, idempotency_key=KEY)).charge_id == "ch_1"
        return
    with pytest.raises(TillportError) as told:
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert type(told.value) is expected


async def test_who_is_turned_away_after_a_refusal_that_was_remembered_is_in_doubt(server, gateway):
    remembered = {"Idempotent-Replayed": "true", "Stripe-Should-Retry": "true"}
    server.will(error(429, INVALID, "rate_limit", headers=remembered), error(429, INVALID, "rate_limit"))
    with pytest.raises(TillportError) as told:
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert type(told.value) is OutcomeUnknown


async def test_in_doubt_a_refused_connection_is_still_doubt(server, gateway):
    def last_words(_seen):
        server._server.close()  # from now on nobody listens
        return LOST

    server.will(last_words)
    with pytest.raises(OutcomeUnknown):
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert len(server.seen) == 1


async def test_a_refused_connection_moved_nothing(server, gateway, clock):
    await server.stop()
    with pytest.raises(GatewayUnavailable):
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert len(clock.slept) == 2
    await server.start()


async def test_a_failed_handshake_moved_nothing(server, clock):
    server.will(GOOD)
    address = server.url.replace("http:", "https:")
    patience = Patience(connect_seconds=0.1, max_tries=1)
    async with StripeConnection(
        "sk_test_1", clock=clock, base_address=address, patience=patience
    ) as connection:
        with pytest.raises(GatewayUnavailable):
            await StripeGateway(connection).charge(ORDER, idempotency_key=KEY)
    assert not server.seen


async def test_a_name_that_does_not_resolve_moved_nothing(clock):
    async with StripeConnection(
        "sk_test_1", clock=clock, base_address="http://nowhere.localhost.:1", patience=Patience(max_tries=1)
    ) as connection:
        with pytest.raises(GatewayUnavailable):
            await StripeGateway(connection).charge(ORDER, idempotency_key=KEY)


async def test_a_full_pool_moved_nothing(server, clock):
    """Who waits for a free connection and gets none has sent nothing."""
    server.will({"hang": True})
    patience = Patience(connect_seconds=1, timeout_seconds=60, max_tries=1)
    async with StripeConnection(
        "sk_test_1", clock=clock, base_address=server.url, patience=patience
    ) as connection:
        gateway = StripeGateway(connection)
        connection._door._inner._open().connector._limit = 1
        charges = [
            asyncio.ensure_future(gateway.charge(ORDER, idempotency_key=f"{KEY}{n}")) for n in range(3)
        ]
        while sum(charge.done() for charge in charges) < 2:  # noqa: ASYNC110 - two of three
            await asyncio.sleep(0.01)
        server.hang_up()
        results = await asyncio.gather(*charges, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == [
        "GatewayUnavailable",
        "GatewayUnavailable",
        "OutcomeUnknown",
    ]
    assert len(server.seen) == 1


@pytest.mark.parametrize("script", [{"hang": True}, {**GOOD, "drip": True}], ids=["silent", "dripping"])
async def test_an_answer_that_takes_too_long_is_unknown_and_bounded(server, clock, script):
    patience = Patience(connect_seconds=1, timeout_seconds=0.5, retry_within_seconds=0)
    server.will(script)
    begun = clock.now()
    async with StripeConnection(
        "sk_test_1", clock=clock, base_address=server.url, patience=patience
    ) as connection:
        with pytest.raises(OutcomeUnknown):
            await StripeGateway(connection).charge(ORDER, idempotency_key=KEY)
    assert clock.now() - begun < 4  # it would drip for ten, and be silent for a minute
    assert len(server.seen) == 1


async def test_no_try_begins_after_the_time_for_retries(server, clock):
    patience = Patience(retry_within_seconds=2, max_tries=100)
    server.will(error(500, "api_error"))
    async with StripeConnection(
        "sk_test_1", clock=clock, base_address=server.url, patience=patience
    ) as connection:
        with pytest.raises(OutcomeUnknown):
            await StripeGateway(connection).charge(ORDER, idempotency_key=KEY)
    assert sum(clock.slept) <= 2
    assert 1 < len(server.seen) < 5


async def test_who_slept_for_a_day_between_two_tries_sends_nothing_more(server, clock, gateway):
    """Stripe may have forgotten the key by then, and would charge again."""
    sleep_until = clock.sleep_until

    async def sleep_for_a_day(_moment):
        await sleep_until(clock.now() + 25 * 3600)

    clock.sleep_until = sleep_for_a_day
    server.will(LOST, GOOD)
    with pytest.raises(OutcomeUnknown):
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert len(server.seen) == 1


async def test_an_answer_of_any_size_is_not_swallowed_whole(server, gateway, monkeypatch):
    monkeypatch.setattr("tillport.adapters.stripe.transport.MAX_ANSWER_BYTES", 1000)
    server.will({"status": 200, "body": b"[" + b" " * 5000 + b"]"})
    with pytest.raises(OutcomeUnknown):
        await gateway.charge(ORDER, idempotency_key=KEY)


async def test_a_fault_of_the_sdk_before_the_request_left_moved_nothing(server, gateway, monkeypatch):
    monkeypatch.setattr("stripe._api_requestor._api_encode", lambda _: 1 / 0)
    with pytest.raises(GatewayUnavailable):
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert not server.seen


async def test_a_fault_of_the_sdk_after_the_answer_is_unknown(server, gateway, monkeypatch):
    monkeypatch.setattr("stripe._api_requestor.StripeResponse", lambda *_: 1 / 0)
    server.will(GOOD)
    with pytest.raises(OutcomeUnknown):
        await gateway.charge(ORDER, idempotency_key=KEY)


async def test_a_notice_of_stripes_does_not_spoil_a_payment(server, gateway):
    server.will(
        {**GOOD, "headers": {"Stripe-Notice": "this would be a warning, and warnings are errors here"}}
    )
    assert (await gateway.charge(ORDER, idempotency_key=KEY)).charge_id == "ch_1"


async def test_a_decline_carries_stripes_facts(server, gateway):
    server.will(
        card(
            "card_declined",
            "lost_card",
            message="Your card was declined.",
            charge="ch_7",
            payment_intent={"id": "pi_7", "status": "requires_payment_method"},
        )
    )
    with pytest.raises(CardDeclined) as told:
        await gateway.charge(ORDER, idempotency_key=KEY)
    told = told.value
    assert (told.reason, told.decline_code, told.payment_intent_id, told.charge_id, told.message) == (
        "card_declined",
        "lost_card",
        "pi_7",
        "ch_7",
        "Your card was declined.",
    )


async def test_a_refusal_carries_code_and_param(server, gateway):
    server.will(
        error(400, INVALID, "parameter_invalid_integer", param="amount", message="Invalid integer: 20.0")
    )
    with pytest.raises(InvalidRequest) as told:
        await gateway.charge(ORDER, idempotency_key=KEY)
    assert (told.value.reason, told.value.param) == ("parameter_invalid_integer", "amount")
    assert "Invalid integer: 20.0" in str(told.value)


SECRETS = "sk_live_SECRET1 tok_1SECRET2 pi_1_secret_SECRET3 acct_SECRET4 4242 4242 4242 4242 whsec_SECRET5"
LEAKY = [
    card("card_declined", message=SECRETS),
    error(400, INVALID, "whatever", message=SECRETS),
    error(400, INVALID, "whatever", param="amount", message=SECRETS),
    error(400, "idempotency_error", message=SECRETS),
    error(401, INVALID, message=SECRETS),
    error(500, "api_error", message=SECRETS),
    {"status": 200, "body": SECRETS.encode()},
    {"status": 200, "body": {"id": "pi_1", "client_secret": SECRETS}},
    error(401, INVALID, headers={"Request-Id": SECRETS}),
]


@pytest.mark.parametrize("script", LEAKY, ids=lambda script: str(script["status"]))
async def test_no_error_shows_a_secret_in_text_repr_or_what_it_was_raised_from(
    server, gateway, caplog, script
):
    caplog.set_level("DEBUG")
    server.will(script)
    with pytest.raises(TillportError) as told:
        await gateway.charge(ORDER, idempotency_key=KEY)
    shown = f"{told.value} {told.value!r} {vars(told.value)} {caplog.text}"
    assert "SECRET" not in shown
    assert "4242 4242" not in shown
    assert told.value.__cause__ is None
    assert told.value.__context__ is None


async def test_a_cancelled_charge_is_cancelled_and_nothing_else(server, gateway):
    arrived = asyncio.Event()

    def wait_for_ever(_seen):
        arrived.set()
        return {"hang": True}

    server.will(wait_for_ever)
    task = asyncio.create_task(gateway.charge(ORDER, idempotency_key=KEY))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
