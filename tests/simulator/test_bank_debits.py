"""SEPA Direct Debit: the intent is `processing` until the bank answers, and the events tell its answer."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tillport.simulator import ApiError, ManualClock, Response, Simulator
from tillport.simulator.resources import ibans

AT = "AT611904300234573201"
MANDATE = {"customer_acceptance": {"type": "offline", "accepted_at": 1590590577}}
ADDRESS = {"line1": "1 High Street", "city": "London", "postal_code": "N1 9GU", "country": "GB"}
PAY: dict[str, Any] = {
    "amount": 1000,
    "currency": "eur",
    "allowed_payment_method_types": ["sepa_debit"],
    "confirm": True,
    "mandate_data": MANDATE,
}


def bob(sim: Simulator, iban: str = AT) -> str:
    made: str = sim.payment_methods.create(
        type="sepa_debit",
        sepa_debit={"iban": iban},
        billing_details={"name": "Bob", "email": "bob@example.com", "address": ADDRESS},
    ).id
    return made


def types(sim: Simulator) -> list[str]:
    return [event.type for event in reversed(sim.events.list(limit=100).data)]


@pytest.mark.parametrize(
    ("iban", "wait"), [(AT, 2), ("DE89370400440532013000", 2), ("AT321904300235473204", 180)]
)
def test_a_debit_is_processing_and_succeeds_when_the_bank_has_answered(
    sim: Simulator, clock: ManualClock, iban: str, wait: int
) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method=bob(sim, iban))
    assert (intent.status, intent.amount_received) == ("processing", 0)
    charge = sim.charges.retrieve(intent.latest_charge)
    assert (charge.status, charge.paid, charge.captured, charge.id[:3]) == ("pending", False, False, "py_")
    assert types(sim) == ["payment_intent.created", "payment_intent.processing", "charge.pending"]
    assert sim.balance.retrieve()["pending"][0]["amount"] == 0
    if wait > 100:
        sim.advance(wait - 10)
        assert sim.payment_intents.retrieve(intent.id).status == "processing"
    sim.advance(wait)
    intent = sim.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.amount_received) == ("succeeded", 1000)
    charge = sim.charges.retrieve(intent.latest_charge)
    assert (charge.status, charge.paid, charge.amount_captured) == ("succeeded", True, 1000)
    assert types(sim)[3:] == ["charge.succeeded", "payment_intent.succeeded"]
    (txn,) = sim.balance_transactions.list().data
    assert (txn.type, txn.source, txn.amount) == ("payment", charge.id, 1000)
    assert intent.payment_method_options.card is msgspec.UNSET
    refund = sim.refunds.create(payment_intent=intent.id, amount=400)
    assert (refund.status, refund.id[:4]) == ("succeeded", "pyr_")
    assert refund.destination_details is msgspec.UNSET  # nothing of a card's
    booked = sim.balance_transactions.retrieve(refund.balance_transaction, expand=["source"])
    assert (booked.type, booked.amount, booked.source.id) == ("payment_refund", -400, refund.id)
    sim.advance(7200)
    assert types(sim)[5:] == ["refund.created", "charge.refunded"]


@pytest.mark.parametrize("iban", ["AT861904300235473202", "AT051904300235473205", "DE62370400440532013001"])
def test_a_debit_that_fails_leaves_the_intent_payable_again(sim: Simulator, iban: str) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method=bob(sim, iban))
    assert intent.status == "processing"
    sim.advance(200)
    failed = sim.payment_intents.retrieve(intent.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error["code"] == "insufficient_funds"
    assert types(sim)[3:] == ["charge.failed", "payment_intent.payment_failed"]
    assert sim.balance_transactions.list().data == []
    again = sim.payment_intents.confirm(intent.id, payment_method=bob(sim), mandate_data=MANDATE)
    assert again.status == "processing"
    assert again.latest_charge != failed.latest_charge
    sim.advance(2)
    assert sim.payment_intents.retrieve(intent.id).status == "succeeded"


@pytest.mark.parametrize(
    ("iban", "code"),
    [
        ("DE65370400440000343434", "charge_exceeds_source_limit"),
        ("FR5920041010050000000121212", "charge_exceeds_weekly_limit"),
        ("IE10AIBK93115202222227", "insufficient_funds"),
        ("NO0586010343434", "charge_exceeds_source_limit"),
        ("NL91ABNA0417164300", "insufficient_funds"),
    ],
)
def test_a_test_iban_fails_as_it_is_published_to(sim: Simulator, iban: str, code: str) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method=bob(sim, iban))
    sim.advance(200)
    failed = sim.payment_intents.retrieve(intent.id)
    assert (failed.status, failed.last_payment_error["code"]) == ("requires_payment_method", code)
    (charge,) = sim.charges.list().data
    assert (charge.status, charge.failure_code, charge.outcome.reason) == ("failed", code, code)


@pytest.mark.parametrize(
    ("iban", "code"),
    [
        ("AT271904300000055555", "sepa_debit_bank_not_supported"),
        ("BE43510000066666", "sepa_debit_debits_not_supported"),
    ],
)
def test_an_account_that_cannot_be_debited_makes_no_payment_method(
    sim: Simulator, iban: str, code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        bob(sim, iban)
    assert (caught.value.status, caught.value.code) == (400, code)


def test_a_debit_that_would_be_disputed_is_refused_by_name(sim: Simulator) -> None:
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(**PAY, payment_method=bob(sim, "DE35370400440532013002"))
    assert caught.value.code == "simulator_not_modelled"


def test_every_published_iban_has_right_check_digits_and_countries_have_ten_each() -> None:
    found = ibans.published()
    assert all(ibans.remainder(iban) == 1 for iban in found)
    assert set(Counter(iban[:2] for iban in found).values()) == {10}


def test_an_intent_takes_no_payment_method_of_another_type(sim: Simulator) -> None:
    draft = {k: v for k, v in PAY.items() if k not in ("confirm", "mandate_data")}
    with pytest.raises(ApiError, match="is not allowed for this PaymentIntent"):
        sim.payment_intents.create(**draft, payment_method="pm_card_visa")
    open_ = sim.payment_intents.create(**draft)
    with pytest.raises(ApiError, match="is not allowed for this PaymentIntent"):
        sim.payment_intents.update(open_.id, payment_method="pm_card_visa")
    changed = sim.payment_intents.update(
        open_.id, payment_method="pm_card_visa", allowed_payment_method_types=["card"]
    )
    assert changed.status == "requires_confirmation"
    assert changed.payment_method_options.card.request_three_d_secure == "automatic"


def test_what_is_processing_is_neither_canceled_nor_confirmed_nor_refunded(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method=bob(sim))
    acts: tuple[Callable[[], Any], ...] = (
        lambda: sim.payment_intents.cancel(intent.id),
        lambda: sim.payment_intents.confirm(intent.id),
        lambda: sim.payment_intents.update(intent.id, amount=5),
        lambda: sim.payment_intents.capture(intent.id),
        lambda: sim.refunds.create(payment_intent=intent.id),
        lambda: sim.refunds.create(charge=intent.latest_charge),
        lambda: sim.charges.capture(intent.latest_charge),
    )
    for act in acts:
        with pytest.raises(ApiError) as caught:
            act()
        assert caught.value.status == 400
    sim.advance(2)
    assert sim.payment_intents.retrieve(intent.id).status == "succeeded"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mandate_data": None}, "payment_intent_mandate_invalid"),
        ({"currency": "usd"}, None),
        ({"capture_method": "manual"}, None),
        ({"allowed_payment_method_types": ["card"]}, None),
        ({"allowed_payment_method_types": None}, None),
        ({"payment_method": "pm_card_visa", "mandate_data": None}, None),
        ({"allowed_payment_method_types": ["ideal"]}, "simulator_not_modelled"),
        ({"mandate_data": {"customer_acceptance": {"type": "online"}}}, "parameter_missing"),
        ({"payment_method": "pm_sepaDebit_success_de"}, "simulator_not_modelled"),
    ],
)
def test_a_debit_that_cannot_be_is_refused(sim: Simulator, change: dict[str, Any], code: str | None) -> None:
    given = {k: v for k, v in ({**PAY, "payment_method": bob(sim)} | change).items() if v is not None}
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(**given)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert sim.charges.list().data == []
    # Only a missing mandate is told of the intent that misses it.
    assert len(sim.payment_intents.list().data) == (code == "payment_intent_mandate_invalid")


@pytest.mark.parametrize(
    "iban", ["", "AT611904300234573202", "4242424242424242", "AT61", "ÄT611904300234573201", "⅐" * 20]
)
def test_an_iban_with_wrong_check_digits_is_refused(sim: Simulator, iban: str) -> None:
    with pytest.raises(ApiError) as caught:
        bob(sim, iban)
    assert caught.value.status == 400


@pytest.mark.parametrize("missing", ADDRESS)
def test_who_banks_outside_the_eea_gives_an_address(sim: Simulator, missing: str) -> None:
    owner = {"name": "Bob", "email": "bob@example.com"}
    sim.payment_methods.create(type="sepa_debit", sepa_debit={"iban": AT}, billing_details=owner)
    address = {name: word for name, word in ADDRESS.items() if name != missing}
    for iban in ("GB82WEST12345698765432", "CH9300762011623852957", "GI60MPFS599327643783385"):
        with pytest.raises(ApiError) as caught:
            sim.payment_methods.create(
                type="sepa_debit", sepa_debit={"iban": iban}, billing_details={**owner, "address": address}
            )
        assert caught.value.code == "parameter_missing"
        assert caught.value.param == f"billing_details[address][{missing}]"
        assert bob(sim, iban)


def test_before_endive_a_street_and_a_country_are_address_enough(
    call: Callable[..., Response], decoded: Callable[[Response], Any]
) -> None:
    form = {"type": "sepa_debit", "sepa_debit[iban]": "GB82WEST12345698765432"}
    form |= {"billing_details[name]": "Bob", "billing_details[email]": "bob@example.com"}
    form |= {f"billing_details[address][{name}]": ADDRESS[name] for name in ("line1", "country")}
    path = "/v1/payment_methods"
    assert call("POST", path, form, stripe_version="2026-08-26.dahlia").status == 200
    refused = decoded(call("POST", path, form, stripe_version="2026-09-30.endive"))["error"]
    assert refused["param"] == "billing_details[address][city]"
    del form["billing_details[address][line1]"]
    refused = decoded(call("POST", path, form, stripe_version="2026-08-26.dahlia"))["error"]
    assert refused["param"] == "billing_details[address][line1]"


def test_the_owner_of_the_account_is_named(sim: Simulator) -> None:
    with pytest.raises(ApiError, match="billing_details"):
        sim.payment_methods.create(
            type="sepa_debit", sepa_debit={"iban": AT}, billing_details={"name": "Bob"}
        )
    with pytest.raises(ApiError, match="iban"):
        sim.payment_methods.create(type="sepa_debit")


def test_a_saved_account_pays_again_without_a_new_mandate(sim: Simulator) -> None:
    customer = sim.customers.create()
    method = bob(sim)
    first = {**PAY, "customer": customer.id, "payment_method": method}
    sim.payment_intents.create(**first, setup_future_usage="off_session")
    assert [m.id for m in sim.payment_methods.list(customer=customer.id, type="sepa_debit").data] == [method]
    assert sim.payment_methods.list(customer=customer.id, type="card").data == []
    later = {k: v for k, v in first.items() if k != "mandate_data"}
    assert sim.payment_intents.create(**later, off_session=True).status == "processing"


def test_an_account_that_paid_once_pays_no_more_without_a_customer(sim: Simulator) -> None:
    method = bob(sim)
    sim.payment_intents.create(**PAY, payment_method=method)
    with pytest.raises(ApiError, match="previously used"):
        sim.payment_intents.create(**PAY, payment_method=method)


def test_where_only_cards_are_modelled_an_account_is_refused_by_name(sim: Simulator) -> None:
    method = bob(sim)
    customer = sim.customers.create(payment_method=method)
    acts: tuple[Callable[[], Any], ...] = (
        lambda: sim.setup_intents.create(customer=customer.id, payment_method=method, confirm=True),
        lambda: sim.charges.create(amount=1000, currency="eur", customer=customer.id, source=method),
    )
    for act in acts:
        with pytest.raises(ApiError) as caught:
            act()
        assert caught.value.code == "simulator_not_modelled"
    assert sim.charges.search(query='payment_method_details.card.brand:"visa"').data == []


def test_the_customer_agrees_to_the_mandate_in_the_browser(call: Any, decoded: Any, sim: Simulator) -> None:
    intent = sim.payment_intents.create(
        amount=1000, currency="eur", allowed_payment_method_types=["sepa_debit"]
    )
    form = {
        "client_secret": intent.client_secret,
        "payment_method_data[type]": "sepa_debit",
        "payment_method_data[sepa_debit][iban]": AT,
        "payment_method_data[billing_details][name]": "Bob",
        "payment_method_data[billing_details][email]": "bob@example.com",
    }
    path = f"/v1/payment_intents/{intent.id}/confirm"
    assert decoded(call("POST", path, form, auth=sim.publishable_key))["status"] == "processing"


def test_an_intent_for_both_takes_either(sim: Simulator) -> None:
    both = {
        "amount": 1000,
        "currency": "eur",
        "allowed_payment_method_types": ["card", "sepa_debit"],
        "confirm": True,
    }
    debited = sim.payment_intents.create(**both, payment_method=bob(sim), mandate_data=MANDATE)
    assert debited.status == "processing"
    carded = sim.payment_intents.create(
        **both,
        payment_method="pm_card_visa",
        payment_method_options={"card": {"request_three_d_secure": "any"}},
    )
    assert carded.status == "succeeded"
    shown = carded.payment_method_options
    assert (shown.card.request_three_d_secure, shown.sepa_debit) == ("any", {})


@pytest.mark.parametrize("name", ["mandate_options", "setup_future_usage", "target_date"])
def test_an_option_of_a_debit_is_refused_by_name(sim: Simulator, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(
            **PAY, payment_method=bob(sim), payment_method_options={"sepa_debit": {name: "x"}}
        )
    assert caught.value.code == "simulator_not_modelled"
    assert name in caught.value.message


def test_a_search_for_cards_passes_debits_by(sim: Simulator) -> None:
    sim.payment_intents.create(**PAY, payment_method=bob(sim))
    assert sim.charges.search(query='payment_method_details.card.brand:"visa"').data == []
    assert len(sim.charges.search(query='status:"pending"').data) == 1
