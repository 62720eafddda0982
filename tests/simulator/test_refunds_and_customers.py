"""Refunds and what they do to the charge; customers and their saved cards."""

from typing import Any

import pytest

from tillport.simulator import ApiError, Simulator

PAY = {"amount": 2000, "currency": "usd", "confirm": True}


def types(sim: Simulator) -> list[str]:
    return [event.type for event in reversed(sim.events.list(limit=100).data)]


def test_partial_refunds_go_to_exhaustion_and_not_beyond(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    sim.refunds.create(payment_intent=intent.id, amount=500)
    charge = sim.charges.retrieve(intent.latest_charge, expand=["refunds"])
    assert (charge.amount_refunded, charge.refunded, len(charge.refunds.data)) == (500, False, 1)
    with pytest.raises(ApiError, match=r"Refund amount \(\$15.01\) is greater than unrefunded amount"):
        sim.refunds.create(charge=charge.id, amount=1501)
    assert sim.refunds.create(charge=charge.id).amount == 1500
    assert sim.charges.retrieve(charge.id).refunded is True
    with pytest.raises(ApiError) as caught:
        sim.refunds.create(charge=charge.id)
    assert caught.value.code == "charge_already_refunded"
    assert sim.payment_intents.retrieve(intent.id).status == "succeeded"


def test_one_refund_makes_a_burst_of_events(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    sim.advance(5)
    refund = sim.refunds.create(charge=intent.latest_charge, reason="duplicate")
    assert refund.destination_details["card"]["reference_status"] == "pending"
    sim.advance(5)
    assert types(sim)[-4:] == ["refund.created", "charge.refunded", "refund.updated", "charge.refund.updated"]
    assert sim.refunds.retrieve(refund.id).destination_details["card"]["reference_status"] == "available"


def test_the_older_refund_of_a_charge_answers_with_the_charge(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    charge = sim.charges.refund(intent.latest_charge, amount=500, expand=["refunds"])
    assert (charge.object, charge.id, charge.amount_refunded) == ("charge", intent.latest_charge, 500)
    assert [refund.amount for refund in charge.refunds.data] == [500]
    assert sim.charges.create_refund(charge.id, amount=500).object == "refund"


def test_a_refund_of_two_payments_is_refused(sim: Simulator) -> None:
    one, other = (sim.payment_intents.create(**PAY, payment_method="pm_card_visa") for _ in range(2))
    for named in (other.id, "pi_nowhere"):
        with pytest.raises(ApiError, match="is no charge of") as caught:
            sim.refunds.create(charge=one.latest_charge, payment_intent=named)
        assert (caught.value.status, caught.value.param) == (400, "payment_intent")
    assert sim.refunds.list().data == []
    assert sim.refunds.create(charge=one.latest_charge, payment_intent=one.id).status == "succeeded"


def test_a_refund_names_whom_it_goes_to(sim: Simulator) -> None:
    owner = sim.customers.create(payment_method="pm_card_visa")
    (saved,) = sim.payment_methods.list(customer=owner.id).data
    intent = sim.payment_intents.create(**PAY, customer=owner.id, payment_method=saved.id)
    refund = sim.refunds.create(payment_intent=intent.id)
    assert (refund.customer, refund.payment_method) == (owner.id, saved.id)
    shown = sim.refunds.retrieve(refund.id, expand=["customer", "payment_method"])
    assert (shown.customer, shown.payment_method) == (owner, saved)


def test_a_refund_may_be_pending_first(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_pendingRefund")
    refund = sim.refunds.create(payment_intent=intent.id)
    assert (refund.status, refund.balance_transaction) == ("pending", None)
    sim.advance(3600)
    assert sim.refunds.retrieve(refund.id).status == "succeeded"


def test_a_refund_may_fail_after_it_succeeded_and_the_charge_goes_back(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_refundFail")
    refund = sim.refunds.create(payment_intent=intent.id)
    assert refund.status == "succeeded"
    sim.advance(3600)
    failed = sim.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "lost_or_stolen_card")
    charge = sim.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert "refund.failed" in types(sim)


def test_an_authorisation_is_not_refunded(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa", capture_method="manual")
    with pytest.raises(ApiError, match="has not been captured"):
        sim.refunds.create(charge=intent.latest_charge)


def test_a_saved_card_pays_for_its_customer_only(sim: Simulator) -> None:
    customer = sim.customers.create(email="a@b.test", metadata={"user": "7"})
    method = sim.payment_methods.attach("pm_card_visa", customer=customer.id)
    assert (
        sim.payment_intents.create(**PAY, customer=customer.id, payment_method=method.id).customer
        == customer.id
    )
    with pytest.raises(ApiError, match="cannot be attached"):
        sim.payment_intents.create(**PAY, payment_method=method.id)
    assert [m.id for m in sim.payment_methods.list(customer=customer.id).data] == [method.id]
    assert sim.payment_methods.detach(method.id).customer is None
    assert sim.payment_methods.list(customer=customer.id).data == []
    event = sim.events.list(type="payment_method.detached").data[0]
    assert event.data.previous_attributes == {"customer": customer.id}


def test_a_declining_card_is_not_saved(sim: Simulator) -> None:
    customer = sim.customers.create()
    with pytest.raises(ApiError) as caught:
        sim.payment_methods.attach("pm_card_chargeDeclined", customer=customer.id)
    assert (caught.value.status, caught.value.code) == (402, "card_declined")
    assert (
        sim.payment_methods.attach("pm_card_chargeCustomerFail", customer=customer.id).customer == customer.id
    )


def test_a_customers_update_tells_what_changed_and_its_end_is_remembered(sim: Simulator) -> None:
    customer = sim.customers.create(email="a@b.test", name="A")
    sim.customers.update(customer.id, name="B", email="a@b.test")
    event = sim.events.list(type="customer.updated").data[0]
    assert event.data.previous_attributes == {"name": "A"}
    assert [c.id for c in sim.customers.list(email="a@b.test").data] == [customer.id]
    assert sim.customers.delete(customer.id).deleted is True
    assert sim.customers.retrieve(customer.id).deleted is True
    assert sim.customers.list().data == []


@pytest.mark.parametrize("word", ["UK", "JA", "Germany", "DEU", "D", "ß"])
def test_who_pays_lives_in_a_country_that_there_is(sim: Simulator, word: str) -> None:
    def card(country: str) -> Any:
        details = {"address": {"country": country}}
        return sim.payment_methods.create(type="card", card={"token": "tok_visa"}, billing_details=details)

    assert [card(good).billing_details.address.country for good in ("GB", "XK", "")] == ["GB", "XK", None]
    with pytest.raises(ApiError, match="is unknown") as caught:
        card(word)
    assert (caught.value.status, caught.value.param) == (400, "billing_details[address][country]")
    assert sim.customers.create(address={"country": word}).address.country == word


@pytest.mark.parametrize(
    "address",
    ["a", "@b.test", "a@", "a@b", "a@.b.test", "a@b.", "a b@c.test", "a@b.test ", "\n", "a@" + "b" * 511],
)
def test_what_is_no_address_is_refused(sim: Simulator, address: str) -> None:
    customer = sim.customers.create(email="a@b.test")
    charge = sim.charges.create(amount=2000, currency="usd", source="tok_visa", capture=False)
    pay = {"amount": 2000, "currency": "usd"}
    for refused in (
        lambda: sim.customers.create(email=address),
        lambda: sim.customers.update(customer.id, email=address),
        lambda: sim.payment_intents.create(**pay, receipt_email=address),
        lambda: sim.charges.create(**pay, source="tok_visa", receipt_email=address),
        lambda: sim.charges.update(charge.id, receipt_email=address),
        lambda: sim.charges.capture(charge.id, receipt_email=address),
        lambda: sim.payment_methods.create(
            type="card", card={"token": "tok_visa"}, billing_details={"email": address}
        ),
    ):
        with pytest.raises(ApiError) as caught:
            refused()
        assert caught.value.status == 400
        assert caught.value.code == ("parameter_invalid_string" if len(address) > 512 else "email_invalid")
    assert sim.customers.update(customer.id, email="").email is None


@pytest.mark.parametrize(("name", "most"), [("name", 256), ("phone", 20)])
def test_a_customers_words_have_stripes_lengths(sim: Simulator, name: str, most: int) -> None:
    assert sim.customers.create(**{name: "5" * most})
    with pytest.raises(ApiError, match=f"at most {most} characters"):
        sim.customers.create(**{name: "5" * (most + 1)})


def test_who_is_gone_is_shown_as_deleted(sim: Simulator) -> None:
    customer = sim.customers.create()
    intent = sim.payment_intents.create(**PAY, customer=customer.id, payment_method="pm_card_visa")
    sim.customers.delete(customer.id)
    shown = sim.payment_intents.retrieve(intent.id, expand=["customer", "latest_charge.customer"])
    for gone in (shown.customer, shown.latest_charge.customer):
        assert (gone.id, gone.object, gone.deleted) == (customer.id, "customer", True)
    assert sim.payment_intents.retrieve(intent.id, expand=["customer.sources"]).customer.deleted is True


def test_a_customers_end_lets_all_its_cards_go(sim: Simulator) -> None:
    customer = sim.customers.create()
    for _ in range(101):
        sim.payment_methods.attach("pm_card_visa", customer=customer.id)
        sim.customers.create_source(customer.id, source="tok_visa")
    sim.customers.delete(customer.id)
    assert {method.customer for method in sim.account.payment_methods} == {None}
    assert len(sim.account.cards) == 0


def test_a_test_cards_name_as_the_default_means_the_payment_method_made_of_it(sim: Simulator) -> None:
    chosen = {"default_payment_method": "pm_card_visa"}
    customer = sim.customers.create(payment_method="pm_card_visa", invoice_settings=chosen)
    (saved,) = sim.payment_methods.list(customer=customer.id).data
    assert customer.invoice_settings.default_payment_method == saved.id
    other = sim.payment_methods.attach("pm_card_mastercard", customer=customer.id)
    settings = {"default_payment_method": "pm_card_mastercard"}
    changed = sim.customers.update(customer.id, invoice_settings=settings)
    assert changed.invoice_settings.default_payment_method == other.id


def test_a_default_that_is_not_the_customers_own_is_refused(sim: Simulator) -> None:
    owner = sim.customers.create(payment_method="pm_card_visa")
    (saved,) = sim.payment_methods.list(customer=owner.id).data
    for chosen in (saved.id, "pm_card_visa", "pm_nowhere"):
        with pytest.raises(ApiError, match="No such PaymentMethod"):
            sim.customers.create(invoice_settings={"default_payment_method": chosen})
    other = sim.customers.create()
    with pytest.raises(ApiError, match="No such PaymentMethod"):
        sim.customers.update(other.id, invoice_settings={"default_payment_method": saved.id})
