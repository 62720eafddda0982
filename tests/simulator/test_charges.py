"""Charges without a payment intent, and customers' cards."""

from typing import Any

import pytest

from tillport.simulator import ApiError, Simulator

PAY: dict[str, Any] = {"amount": 2000, "currency": "usd"}
CARD = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}


def types(sim: Simulator) -> list[str]:
    return [event.type for event in reversed(sim.events.list(limit=100).data)]


def test_a_token_is_charged_and_booked_at_once(sim: Simulator) -> None:
    charge = sim.charges.create(**PAY, source="tok_visa", metadata={"order": "1"}, description="d")
    assert (charge.status, charge.paid, charge.captured, charge.payment_intent) == (
        "succeeded",
        True,
        True,
        None,
    )
    assert charge.payment_method == charge.source.id
    assert (charge.source.object, charge.source.brand, charge.source.last4) == ("card", "Visa", "4242")
    assert sim.balance_transactions.retrieve(charge.balance_transaction).net == 1912
    assert types(sim) == ["charge.succeeded"]
    assert sim.events.list().data[0].data.object == charge


def test_a_real_token_pays_once(sim: Simulator) -> None:
    token = sim.tokens.create(card=CARD)
    sim.charges.create(**PAY, source=token.id)
    with pytest.raises(ApiError) as caught:
        sim.charges.create(**PAY, source=token.id)
    assert (caught.value.code, caught.value.param) == ("token_already_used", None)


def test_a_named_payment_method_is_taken_where_a_source_is(sim: Simulator) -> None:
    charge = sim.charges.create(**PAY, source="pm_card_mastercard")
    assert (charge.payment_method_details.card.brand, charge.source) == ("mastercard", None)


def test_a_decline_leaves_a_failed_charge(sim: Simulator) -> None:
    with pytest.raises(ApiError) as caught:
        sim.charges.create(**PAY, source="tok_chargeDeclinedInsufficientFunds")
    error = caught.value.body()["error"]
    assert (caught.value.status, error["decline_code"]) == (402, "insufficient_funds")
    failed = sim.charges.retrieve(error["charge"])
    assert (failed.status, failed.failure_code, failed.paid) == ("failed", "card_declined", False)
    assert types(sim) == ["charge.failed"]


def test_a_card_that_needs_its_owner_is_declined_here(sim: Simulator) -> None:
    with pytest.raises(ApiError) as caught:
        sim.charges.create(**PAY, source="tok_threeDSecure2Required")
    assert caught.value.code == "authentication_required"


def test_an_authorisation_is_captured_in_part_once(sim: Simulator) -> None:
    charge = sim.charges.create(**PAY, source="tok_visa", capture=False)
    assert (charge.captured, charge.amount_captured, charge.balance_transaction) == (False, 0, None)
    assert charge.payment_method_details.card.capture_before == charge.created + 7 * 86400
    with pytest.raises(ApiError) as caught:
        sim.charges.capture(charge.id, amount=2001)
    assert caught.value.code == "amount_too_large"
    taken = sim.charges.capture(charge.id, amount=1500, receipt_email="a@b.test")
    assert (taken.captured, taken.amount_captured, taken.amount_refunded) == (True, 1500, 0)
    event = sim.events.list(type="charge.captured").data[0]
    assert event.data.previous_attributes == {
        "amount_captured": 0,
        "balance_transaction": None,
        "captured": False,
        "receipt_email": None,
    }
    with pytest.raises(ApiError) as caught:
        sim.charges.capture(charge.id)
    assert caught.value.code == "charge_already_captured"


def test_an_authorisation_expires(sim: Simulator) -> None:
    charge = sim.charges.create(**PAY, source="tok_visa", capture=False)
    sim.advance(7 * 86400)
    assert types(sim) == ["charge.succeeded", "charge.expired"]
    with pytest.raises(ApiError) as caught:
        sim.charges.capture(charge.id)
    assert caught.value.code == "charge_expired_for_capture"


def test_an_authorisation_is_released_whole_or_not_at_all(sim: Simulator) -> None:
    charge = sim.charges.create(**PAY, source="tok_visa", capture=False)
    with pytest.raises(ApiError, match="cannot partially refund an uncaptured charge"):
        sim.refunds.create(charge=charge.id, amount=1)
    refund = sim.refunds.create(charge=charge.id)
    assert (refund.amount, refund.balance_transaction) == (2000, None)
    assert sim.charges.retrieve(charge.id).refunded is True


@pytest.mark.parametrize("name", ["visa", "pendingRefund", "refundFail"])
def test_an_authorisation_that_was_released_moves_no_money(sim: Simulator, name: str) -> None:
    charge = sim.charges.create(**PAY, source=f"tok_{name}", capture=False)
    assert sim.refunds.create(charge=charge.id).status == "succeeded"
    sim.advance(7200)
    assert sim.balance_transactions.list().data == []
    assert sim.charges.retrieve(charge.id).refunded is True
    with pytest.raises(ApiError, match="already been refunded"):
        sim.charges.capture(charge.id)


def test_a_charge_of_an_intent_is_captured_there(sim: Simulator) -> None:
    intent = sim.payment_intents.create(
        **PAY, confirm=True, capture_method="manual", payment_method="pm_card_visa"
    )
    with pytest.raises(ApiError, match="belongs to a PaymentIntent"):
        sim.charges.capture(intent.latest_charge)


@pytest.mark.parametrize(
    ("params", "status", "code", "param"),
    [
        ({}, 400, "parameter_missing", None),
        ({"source": "tok_nothing"}, 400, "resource_missing", "source"),
        ({"customer": "cus_nobody"}, 400, "resource_missing", "customer"),
        (
            {"source": "tok_visa", "application_fee_amount": 1},
            400,
            "simulator_not_modelled",
            "application_fee_amount",
        ),
        ({"source": "tok_visa", "colour": "red"}, 400, "parameter_unknown", "colour"),
    ],
)
def test_a_charge_without_a_payer_is_refused(
    sim: Simulator, params: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    with pytest.raises(ApiError) as caught:
        sim.charges.create(**PAY, **params)
    assert (caught.value.status, caught.value.code, caught.value.param) == (status, code, param)
    assert sim.charges.list().data == []


def test_a_customers_card_pays_by_default_and_by_name(sim: Simulator) -> None:
    customer = sim.customers.create(source="tok_visa", expand=["default_source", "sources"])
    card = customer.default_source
    assert [c.id for c in customer.sources.data] == [card.id]
    assert card.customer == customer.id
    assert card.cvc_check == "pass"
    assert sim.charges.create(**PAY, customer=customer.id).source.id == card.id
    second = sim.customers.create_source(customer.id, source="tok_mastercard")
    assert sim.charges.create(**PAY, customer=customer.id, source=second.id).source.brand == "MasterCard"
    with pytest.raises(ApiError) as caught:
        sim.charges.create(**PAY, customer=customer.id, source="tok_visa")
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "missing", "source")
    other = sim.customers.create()
    with pytest.raises(ApiError) as caught:
        sim.charges.create(**PAY, customer=other.id)
    assert (caught.value.code, caught.value.param) == ("missing", "card")


def test_a_customers_card_pays_an_intent_too(sim: Simulator) -> None:
    customer = sim.customers.create(source="tok_visa")
    card = customer.default_source
    intent = sim.payment_intents.create(
        **PAY, confirm=True, customer=customer.id, payment_method=card, expand=["payment_method"]
    )
    assert (intent.status, intent.payment_method.id, intent.payment_method.object) == (
        "succeeded",
        card,
        "payment_method",
    )
    assert sim.payment_methods.retrieve(card).card.last4 == "4242"


def test_saving_a_card_tells_of_it(sim: Simulator) -> None:
    customer = sim.customers.create()
    card = sim.customers.create_source(
        customer.id, source=sim.tokens.create(card=CARD).id, metadata={"a": "b"}
    )
    assert types(sim) == ["customer.created", "customer.source.created", "customer.updated"]
    assert sim.events.list(type="customer.updated").data[0].data.previous_attributes == {
        "default_source": None
    }
    sim.customers.update_source(customer.id, card.id, name="A", exp_year=2031)
    assert sim.events.list(type="customer.source.updated").data[0].data.previous_attributes == {
        "name": None,
        "exp_year": 2030,
    }
    newer = sim.customers.create_source(customer.id, source="tok_amex")
    assert sim.customers.delete_source(customer.id, card.id).deleted is True
    assert sim.customers.retrieve(customer.id).default_source == newer.id
    assert [c.id for c in sim.customers.list_sources(customer.id).data] == [newer.id]
    with pytest.raises(ApiError, match="No such source"):
        sim.customers.retrieve_source(customer.id, card.id)


def test_a_new_source_takes_the_defaults_place(sim: Simulator) -> None:
    customer = sim.customers.create(source="tok_visa")
    changed = sim.customers.update(customer.id, source="tok_mastercard")
    assert changed.default_source != customer.default_source
    assert [c.id for c in sim.customers.list_sources(customer.id).data] == [changed.default_source]


def test_a_declining_card_is_no_customers_card(sim: Simulator) -> None:
    with pytest.raises(ApiError) as caught:
        sim.customers.create(source="tok_chargeDeclined")
    assert (caught.value.status, caught.value.code) == (402, "card_declined")
    assert sim.customers.list().data == []
    customer = sim.customers.create(source="tok_chargeCustomerFail")
    with pytest.raises(ApiError):
        sim.charges.create(**PAY, customer=customer.id)


@pytest.mark.parametrize(
    ("number", "sent", "checks"),
    [
        ("4242424242424242", {"cvc": "123", "address_zip": "1"}, ("pass", "pass", None)),
        ("4000000000000101", {"cvc": "123"}, ("fail", None, None)),
        ("4000000000000101", {}, (None, None, None)),
        ("4000000000000036", {"cvc": "123", "address_zip": "1"}, ("pass", "fail", None)),
        ("4000000000000036", {"cvc": "123"}, ("pass", None, None)),
        ("4000000000000010", {"address_zip": "1", "address_line1": "x"}, (None, "fail", "fail")),
        (
            "4000000000000044",
            {"address_zip": "1", "address_line1": "x"},
            (None, "unavailable", "unavailable"),
        ),
    ],
)
def test_a_check_fails_only_on_what_was_sent(
    sim: Simulator, number: str, sent: dict[str, str], checks: tuple[str | None, ...]
) -> None:
    token = sim.tokens.create(card={"number": number, "exp_month": 12, "exp_year": 2030, **sent})
    charge = sim.charges.create(**PAY, source=token.id)
    found = charge.payment_method_details.card.checks
    assert (found.cvc_check, found.address_postal_code_check, found.address_line1_check) == checks
    assert (
        charge.source.cvc_check,
        charge.source.address_zip_check,
        charge.source.address_line1_check,
    ) == checks


def test_a_named_card_fails_the_check_of_its_name(sim: Simulator) -> None:
    assert sim.charges.create(**PAY, source="tok_avsZipFail").source.address_zip_check == "fail"
    intent = sim.payment_intents.create(**PAY, confirm=True, payment_method="pm_card_cvcCheckFail")
    assert sim.charges.retrieve(intent.latest_charge).payment_method_details.card.checks.cvc_check == "fail"


def test_a_charge_keeps_its_first_customer_and_its_first_group(sim: Simulator) -> None:
    owner, other = sim.customers.create(), sim.customers.create()
    charge = sim.charges.create(**PAY, source="tok_visa", capture=False)
    for _ in range(2):
        charge = sim.charges.update(charge.id, customer=owner.id, transfer_group="one")
    assert (charge.customer, charge.transfer_group) == (owner.id, "one")
    for name, value in (("customer", other.id), ("transfer_group", "two")):
        with pytest.raises(ApiError, match=f"has a {name} already") as caught:
            sim.charges.update(charge.id, description="d", **{name: value})
        assert (caught.value.status, caught.value.param) == (400, name)
    with pytest.raises(ApiError, match="has a transfer_group already"):
        sim.charges.capture(charge.id, transfer_group="two")
    intent = sim.payment_intents.create(**PAY, confirm=True, payment_method="pm_card_visa")
    with pytest.raises(ApiError, match="update the `transfer_group` on the PaymentIntent"):
        sim.charges.update(intent.latest_charge, transfer_group="one")
    assert sim.charges.retrieve(charge.id) == charge


def test_a_charges_description_may_be_long(sim: Simulator) -> None:
    assert len(sim.charges.create(**PAY, source="tok_visa", description="x" * 40_000).description) == 40_000
    with pytest.raises(ApiError, match="at most 40000 characters"):
        sim.charges.create(**PAY, source="tok_visa", description="x" * 40_001)
