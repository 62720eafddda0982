"""The state machine of a payment, on the object face."""

from collections.abc import Callable
from typing import Any

import pytest

from tillport.simulator import ApiError, ManualClock, Response, Simulator

PAY = {"amount": 2000, "currency": "usd", "confirm": True}


def types(sim: Simulator) -> list[str]:
    return [event.type for event in reversed(sim.events.list(limit=100).data)]


def test_a_confirmed_payment_succeeds_and_leaves_a_charge_with_its_metadata(sim: Simulator) -> None:
    intent = sim.payment_intents.create(
        **PAY, payment_method="pm_card_visa", metadata={"order": "6735"}, expand=["latest_charge"]
    )
    charge = intent.latest_charge
    assert (intent.status, intent.amount_received) == ("succeeded", 2000)
    assert (charge.status, charge.paid, charge.captured, charge.amount_captured) == (
        "succeeded",
        True,
        True,
        2000,
    )
    assert charge.metadata == {"order": "6735"}
    assert charge.payment_intent == intent.id
    assert charge.balance_transaction is None
    assert intent.id[3:19] == charge.id[3:19]


def test_the_created_event_shows_the_intent_before_its_confirmation(sim: Simulator) -> None:
    sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    created = sim.events.list(type="payment_intent.created").data[0]
    assert created.data.object.status == "requires_payment_method"


def test_the_balance_transaction_comes_later_with_charge_updated(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    assert types(sim) == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    sim.advance(3)
    assert types(sim)[-1] == "charge.updated"
    event = sim.events.list(type="charge.updated").data[0]
    assert event.data.previous_attributes == {"balance_transaction": None}
    assert (event.request.id, event.request.idempotency_key) == (None, None)
    txn = sim.balance_transactions.retrieve(event.data.object.balance_transaction)
    assert (txn.amount, txn.fee, txn.net, txn.source) == (2000, 88, 1912, intent.latest_charge)


@pytest.mark.parametrize(
    ("name", "code", "decline_code"),
    [
        ("chargeDeclined", "card_declined", "generic_decline"),
        ("chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("chargeDeclinedExpiredCard", "expired_card", None),
        ("chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
        ("chargeDeclinedProcessingError", "processing_error", None),
        ("radarBlock", "card_declined", "fraudulent"),
    ],
)
def test_a_declined_attempt_is_a_402_and_the_intent_lives_on(
    sim: Simulator, name: str, code: str, decline_code: str | None
) -> None:
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(
            **PAY, payment_method_data={"type": "card", "card": {"token": f"tok_{name}"}}
        )
    error = caught.value.body()["error"]
    assert (caught.value.status, error["type"], error["code"]) == (402, "card_error", code)
    assert error.get("decline_code") == decline_code
    intent = error["payment_intent"]
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error["charge"] == intent.latest_charge == error["charge"]
    assert sim.charges.retrieve(error["charge"]).status == "failed"
    assert types(sim) == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]
    again = sim.payment_intents.confirm(intent.id, payment_method="pm_card_visa")
    assert again.status == "succeeded"
    assert again.last_payment_error is None
    assert [c.status for c in sim.charges.list(payment_intent=intent.id).data] == ["succeeded", "failed"]


def test_a_challenge_waits_for_the_customer_and_then_pays(sim: Simulator) -> None:
    intent = sim.payment_intents.create(
        **PAY, payment_method="pm_card_threeDSecure2Required", return_url="https://shop.test/back"
    )
    assert (intent.status, intent.latest_charge) == ("requires_action", None)
    assert intent.next_action["redirect_to_url"]["return_url"] == "https://shop.test/back"
    assert sim.authenticate(intent.id).status == "succeeded"
    charge = sim.charges.list(payment_intent=intent.id).data[0]
    assert charge.payment_method_details.card.three_d_secure.result == "authenticated"


def test_a_failed_challenge_makes_no_charge(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_threeDSecure2Required")
    failed = sim.authenticate(intent.id, succeed=False)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error["code"] == "payment_intent_authentication_failure"
    assert sim.charges.list().data == []


def test_an_absent_customer_cannot_pass_a_challenge(sim: Simulator) -> None:
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(**PAY, payment_method="pm_card_authenticationRequired", off_session=True)
    assert caught.value.fields["decline_code"] == "authentication_required"


@pytest.mark.parametrize("path", ["/v1/payment_intents", "/v1/setup_intents"])
@pytest.mark.parametrize(
    ("version", "code"),
    [
        (None, None),
        ("2026-10-28.endive", "payment_method_types_no_longer_supported"),
        ("2026-09-30.endive", "payment_method_types_no_longer_supported"),
        ("2026-08-26.dahlia", None),
        ("2019-03-14", None),
    ],
)
def test_types_of_payment_methods_are_named_as_the_version_names_them(
    call: Callable[..., Response],
    decoded: Callable[[Response], Any],
    path: str,
    version: str | None,
    code: str | None,
) -> None:
    form = {} if path.endswith("setup_intents") else {"amount": 2000, "currency": "usd"}
    sent = {} if version is None else {"stripe_version": version}
    answer = decoded(call("POST", path, {**form, "payment_method_types[]": "card"}, **sent))
    assert answer.get("error", {}).get("code") == code
    intent = decoded(call("POST", path, {**form, "allowed_payment_method_types[]": "card"}, **sent))
    assert intent["allowed_payment_method_types"] == intent["payment_method_types"] == ["card"]
    update = decoded(call("POST", f"{path}/{intent['id']}", {"payment_method_types[]": "card"}, **sent))
    assert update.get("error", {}).get("code") == code


def test_allowed_types_stand_alone(sim: Simulator) -> None:
    with pytest.raises(ApiError, match="no longer supported"):
        sim.payment_intents.create(amount=2000, currency="usd", payment_method_types=["card"])
    given = {"amount": 2000, "currency": "usd", "allowed_payment_method_types": ["card"]}
    assert sim.payment_intents.create(**given, automatic_payment_methods={"enabled": False})
    with pytest.raises(ApiError, match="may only specify one of these"):
        sim.payment_intents.create(**given, automatic_payment_methods={"enabled": True})
    open_ = sim.payment_intents.create(amount=2000, currency="eur")
    assert open_.allowed_payment_method_types is None
    changed = sim.payment_intents.update(open_.id, allowed_payment_method_types=["card", "sepa_debit"])
    assert changed.allowed_payment_method_types == changed.payment_method_types == ("card", "sepa_debit")


def test_a_card_payment_takes_only_a_suffix_of_the_statement_descriptor(sim: Simulator) -> None:
    descriptor = {"statement_descriptor": "ORDER 6735"}
    mixed = ["card", "sepa_debit"]
    held = sim.payment_intents.create(
        **PAY,
        payment_method="pm_card_visa",
        capture_method="manual",
        statement_descriptor_suffix="ORDER 6735",
    )
    debit = sim.payment_intents.create(
        amount=2000, currency="eur", allowed_payment_method_types=["sepa_debit"], **descriptor
    )
    assert debit.statement_descriptor == "ORDER 6735"
    for refused in (
        lambda: sim.payment_intents.create(**PAY, payment_method="pm_card_visa", **descriptor),
        lambda: sim.payment_intents.create(
            amount=2000, currency="eur", allowed_payment_method_types=mixed, **descriptor
        ),
        lambda: sim.payment_intents.update(debit.id, allowed_payment_method_types=mixed),
        lambda: sim.payment_intents.capture(held.id, **descriptor),
    ):
        with pytest.raises(ApiError, match="`statement_descriptor_suffix`") as caught:
            refused()
        assert (caught.value.status, caught.value.param) == (400, "statement_descriptor")
    assert len(sim.payment_intents.list().data) == 2
    assert sim.payment_intents.retrieve(held.id).status == "requires_capture"


@pytest.mark.parametrize("suffix", ["6735", "#1", "Joe's", 'A"', "A*", "<b", "a>", "a\\", "éß", "x" * 23])
def test_what_no_statement_prints_is_refused(sim: Simulator, suffix: str) -> None:
    given = {"statement_descriptor_suffix": suffix}
    pay = {"amount": 2000, "currency": "usd"}
    open_ = sim.payment_intents.create(**pay)
    held = sim.payment_intents.create(**PAY, payment_method="pm_card_visa", capture_method="manual")
    charge = sim.charges.create(**pay, source="tok_visa", capture=False)
    for refused in (
        lambda: sim.payment_intents.create(**pay, **given),
        lambda: sim.payment_intents.update(open_.id, **given),
        lambda: sim.payment_intents.capture(held.id, **given),
        lambda: sim.charges.create(**pay, source="tok_visa", **given),
        lambda: sim.charges.create(**pay, source="tok_visa", statement_descriptor=suffix),
        lambda: sim.charges.capture(charge.id, **given),
    ):
        with pytest.raises(ApiError, match=r"statement.descriptor") as caught:
            refused()
        assert caught.value.status == 400
    assert sim.payment_intents.update(open_.id, statement_descriptor_suffix="Order #6735, №1")
    assert (
        sim.payment_intents.update(open_.id, **dict.fromkeys(given, "")).statement_descriptor_suffix is None
    )


def test_an_authorisation_is_captured_in_part_once(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa", capture_method="manual")
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 2000)
    taken = sim.payment_intents.capture(intent.id, amount_to_capture=1500)
    assert (taken.status, taken.amount_received, taken.amount_capturable) == ("succeeded", 1500, 0)
    charge = sim.charges.retrieve(taken.latest_charge)
    assert (charge.amount_captured, charge.refunded, charge.captured) == (1500, False, True)
    with pytest.raises(ApiError, match="could not be captured because it has a status of succeeded"):
        sim.payment_intents.capture(intent.id)


def test_an_authorisation_expires_after_seven_days(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa", capture_method="manual")
    sim.advance(7 * 86400)
    gone = sim.payment_intents.retrieve(intent.id)
    assert (gone.status, gone.cancellation_reason) == ("canceled", "expired")
    assert types(sim)[-2:] == ["charge.expired", "payment_intent.canceled"]


def test_a_succeeded_intent_is_neither_confirmed_nor_canceled_again(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    for action in (sim.payment_intents.confirm, sim.payment_intents.cancel):
        with pytest.raises(ApiError) as caught:
            action(intent.id)
        assert caught.value.code == "payment_intent_unexpected_state"


def test_a_real_token_pays_once_and_a_named_one_as_often_as_asked(sim: Simulator) -> None:
    token = sim.tokens.create(
        card={"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}
    )
    data = {"type": "card", "card": {"token": token.id}}
    assert sim.payment_intents.create(**PAY, payment_method_data=data).status == "succeeded"
    assert sim.tokens.retrieve(token.id).used is True
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(**PAY, payment_method_data=data)
    assert caught.value.code == "token_already_used"
    for _ in range(2):
        data = {"type": "card", "card": {"token": "tok_visa"}}
        assert sim.payment_intents.create(**PAY, payment_method_data=data).status == "succeeded"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "42"}, "invalid_number"),
        ({"exp_month": "13"}, "invalid_expiry_month"),
        ({"exp_year": "1995"}, "invalid_expiry_year"),
        ({"cvc": "99"}, "invalid_cvc"),
    ],
)
def test_card_data_is_judged_at_the_token(sim: Simulator, change: dict[str, str], code: str) -> None:
    card = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2030", "cvc": "123"} | change
    with pytest.raises(ApiError) as caught:
        sim.tokens.create(card=card)
    assert (caught.value.status, caught.value.code) == (402, code)


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (49, "usd", "amount_too_small"),
        (100_000_000, "usd", "amount_too_large"),
        (0, "usd", "parameter_invalid_integer"),
        (-5, "usd", "parameter_invalid_integer"),
        ("20.0", "usd", "parameter_invalid_integer"),
        (20.5, "usd", "parameter_invalid_integer"),
        (12345, "isk", "parameter_invalid_integer"),
        (12345, "kwd", "parameter_invalid_integer"),
        (2000, "zzz", None),
    ],
)
def test_an_amount_outside_the_currencys_rules_is_refused(
    sim: Simulator, amount: object, currency: str, code: str | None
) -> None:
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(amount=amount, currency=currency)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert sim.payment_intents.list().data == []


def test_what_is_not_modelled_is_named_and_refused(sim: Simulator) -> None:
    with pytest.raises(ApiError, match="does not model the parameter transfer_data"):
        sim.payment_intents.create(
            **PAY, payment_method="pm_card_visa", transfer_data={"destination": "acct_1"}
        )


def test_the_same_seed_and_calls_give_the_same_ids_and_signatures() -> None:
    def story() -> list[tuple[str, bytes]]:
        sim = Simulator(clock=ManualClock(), seed="s")
        sim.webhook_endpoints.create(url="http://hook.test/", enabled_events=["*"])
        for name in ("visa", "mastercard", "threeDSecure2Required"):
            sim.payment_intents.create(**PAY, payment_method=f"pm_card_{name}")
        done = sim.advance(5, lambda _: 200)
        return [(attempt.headers["Stripe-Signature"], attempt.body) for attempt, _ in done]

    assert story() == story()
    assert len(story()) == 10


@pytest.mark.parametrize("key", ["", "k" * 41, "a[b]", "]"])
def test_a_key_that_no_metadata_has_is_refused(sim: Simulator, key: str) -> None:
    with pytest.raises(ApiError, match="Metadata keys") as caught:
        sim.payment_intents.create(amount=2000, currency="usd", metadata={key: "v"})
    assert (caught.value.status, caught.value.param) == (400, "metadata")


@pytest.mark.parametrize(("currency", "most"), [("huf", 999_999_999_999), ("lbp", 99_999_999_999_999)])
def test_currencies_of_small_units_are_paid_in_large_amounts(
    sim: Simulator, currency: str, most: int
) -> None:
    assert sim.payment_intents.create(amount=most, currency=currency).amount == most
    with pytest.raises(ApiError, match="no more than"):
        sim.payment_intents.create(amount=most + 1, currency=currency)
