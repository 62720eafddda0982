"""Setup intents, saved payment methods, customers who are away, confirmation tokens."""

from typing import Any

import pytest

from tillport.simulator import ApiError, Simulator

PAY: dict[str, Any] = {"amount": 2000, "currency": "usd", "confirm": True}


def types(sim: Simulator) -> list[str]:
    return [event.type for event in reversed(sim.events.list(limit=100).data)]


def test_a_setup_saves_a_card_to_its_customer(sim: Simulator) -> None:
    customer = sim.customers.create()
    intent = sim.setup_intents.create(
        customer=customer.id, payment_method="pm_card_visa", confirm=True, expand=["latest_attempt"]
    )
    assert (intent.status, intent.latest_attempt.status) == ("succeeded", "succeeded")
    assert [m.id for m in sim.payment_methods.list(customer=customer.id).data] == [intent.payment_method]
    assert types(sim) == [
        "customer.created",
        "setup_intent.created",
        "setup_intent.succeeded",
        "payment_method.attached",
    ]
    assert [a.id for a in sim.setup_attempts.list(setup_intent=intent.id).data] == [intent.latest_attempt.id]


def test_a_card_set_up_once_pays_while_its_owner_is_away(sim: Simulator) -> None:
    customer = sim.customers.create()
    intent = sim.setup_intents.create(
        customer=customer.id, payment_method="pm_card_authenticationRequiredOnSetup", confirm=True
    )
    assert intent.status == "requires_action"
    done = sim.authenticate(intent.id)
    assert done.status == "succeeded"
    away = {**PAY, "customer": customer.id, "payment_method": done.payment_method}
    assert sim.payment_intents.create(**away, off_session=True).status == "succeeded"
    assert sim.payment_intents.create(**away).status == "requires_action"


def test_a_card_attached_without_setup_is_declined_while_its_owner_is_away(sim: Simulator) -> None:
    customer = sim.customers.create()
    method = sim.payment_methods.attach("pm_card_authenticationRequiredOnSetup", customer=customer.id)
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(**PAY, customer=customer.id, payment_method=method.id, off_session=True)
    assert (caught.value.status, caught.value.code) == (402, "authentication_required")
    assert caught.value.fields["payment_intent"].status == "requires_payment_method"
    assert types(sim)[-2:] == ["charge.failed", "payment_intent.payment_failed"]


def test_a_payment_may_set_up_the_card_it_used(sim: Simulator) -> None:
    customer = sim.customers.create()
    intent = sim.payment_intents.create(
        **PAY,
        customer=customer.id,
        payment_method="pm_card_authenticationRequiredOnSetup",
        setup_future_usage="off_session",
    )
    done = sim.authenticate(intent.id)
    assert done.status == "succeeded"
    assert sim.events.list(type="payment_method.attached").data[0].data.object.id == done.payment_method
    again = sim.payment_intents.create(
        **PAY, customer=customer.id, payment_method=done.payment_method, off_session=True
    )
    assert again.status == "succeeded"


def test_a_failed_setup_leaves_no_saved_card(sim: Simulator) -> None:
    customer = sim.customers.create()
    with pytest.raises(ApiError) as caught:
        sim.setup_intents.create(customer=customer.id, payment_method="pm_card_chargeDeclined", confirm=True)
    failed = caught.value.fields["setup_intent"]
    assert (caught.value.status, failed.status) == (402, "requires_payment_method")
    assert failed.last_setup_error["decline_code"] == "generic_decline"
    intent = sim.setup_intents.create(customer=customer.id, payment_method="pm_card_threeDSecure2Required")
    waiting = sim.setup_intents.confirm(intent.id, return_url="https://shop.test/")
    assert waiting.next_action["type"] == "redirect_to_url"
    assert sim.authenticate(intent.id, succeed=False).last_setup_error["code"] == (
        "setup_intent_authentication_failure"
    )
    assert sim.payment_methods.list(customer=customer.id).data == []
    assert sim.setup_intents.cancel(intent.id).status == "canceled"
    with pytest.raises(ApiError) as caught:
        sim.setup_intents.confirm(intent.id, payment_method="pm_card_visa")
    assert caught.value.code == "setup_intent_unexpected_state"


def test_a_payment_method_without_a_customer_pays_once(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    customer = sim.customers.create()
    for use in (
        lambda: sim.payment_intents.create(**PAY, payment_method=intent.payment_method),
        lambda: sim.payment_methods.attach(intent.payment_method, customer=customer.id),
    ):
        with pytest.raises(ApiError, match="It may not be used again"):
            use()


def test_what_was_set_up_without_a_customer_pays_once_it_is_saved(sim: Simulator) -> None:
    setup = sim.setup_intents.create(payment_method="pm_card_visa", confirm=True)
    intent = sim.payment_intents.create(
        **PAY, payment_method="pm_card_visa", setup_future_usage="off_session"
    )
    for method in (setup.payment_method, intent.payment_method):
        with pytest.raises(ApiError, match="may not be used again"):
            sim.payment_intents.create(**PAY, payment_method=method)
        with pytest.raises(ApiError, match="may not be used again"):
            sim.setup_intents.create(payment_method=method, confirm=True)
    owner = sim.customers.create(payment_method=setup.payment_method)
    sim.payment_methods.attach(intent.payment_method, customer=owner.id)
    for method in (setup.payment_method, intent.payment_method):
        paid = sim.payment_intents.create(**PAY, customer=owner.id, payment_method=method, off_session=True)
        assert paid.status == "succeeded"
        sim.payment_methods.detach(method)
        with pytest.raises(ApiError, match="may not be used again"):
            sim.payment_methods.attach(method, customer=owner.id)


def test_nothing_is_saved_to_a_customer_who_is_gone(sim: Simulator) -> None:
    owner = sim.customers.create()
    pay = {"amount": 2000, "currency": "usd", "customer": owner.id, "setup_future_usage": "off_session"}
    open_ = sim.payment_intents.create(**pay)
    asked = sim.payment_intents.create(**pay, payment_method="pm_card_threeDSecure2Required", confirm=True)
    setup = sim.setup_intents.create(customer=owner.id)
    sim.customers.delete(owner.id)
    sim.payment_intents.confirm(open_.id, payment_method="pm_card_visa")
    assert sim.authenticate(asked.id).status == "succeeded"
    sim.setup_intents.confirm(setup.id, payment_method="pm_card_visa")
    assert {method.customer for method in sim.account.payment_methods} == {None}
    assert sim.events.list(type="payment_method.attached").data == []


def test_a_new_customer_gets_no_payment_method_that_is_used_up_or_anothers(sim: Simulator) -> None:
    spent = sim.payment_intents.create(**PAY, payment_method="pm_card_visa").payment_method
    owner = sim.customers.create(payment_method="pm_card_visa")
    (saved,) = sim.payment_methods.list(customer=owner.id).data
    with pytest.raises(ApiError, match="may not be used again"):
        sim.customers.create(payment_method=spent)
    with pytest.raises(ApiError, match="already been attached"):
        sim.customers.create(payment_method=saved.id)
    assert [customer.id for customer in sim.customers.list().data] == [owner.id]
    assert sim.payment_methods.retrieve(saved.id).customer == owner.id


def test_a_payment_method_that_was_saved_meanwhile_pays_for_its_customer_only(sim: Simulator) -> None:
    intent = sim.payment_intents.create(amount=2000, currency="usd", payment_method="pm_card_visa")
    setup = sim.setup_intents.create(payment_method=intent.payment_method)
    owner, other = sim.customers.create(), sim.customers.create()
    sim.payment_methods.attach(intent.payment_method, customer=owner.id)
    with pytest.raises(ApiError, match="cannot be attached"):
        sim.payment_intents.confirm(intent.id)
    with pytest.raises(ApiError, match="cannot be attached"):
        sim.setup_intents.confirm(setup.id)
    sim.payment_intents.update(intent.id, customer=other.id)
    with pytest.raises(ApiError, match=f"The customer {other.id} does not have a payment method"):
        sim.payment_intents.confirm(intent.id)
    assert sim.charges.list().data == []


def test_an_intent_keeps_its_first_customer(sim: Simulator) -> None:
    owner, other = sim.customers.create(), sim.customers.create()
    intent = sim.payment_intents.create(amount=2000, currency="usd")
    assert sim.payment_intents.update(intent.id, customer=owner.id).customer == owner.id
    assert sim.payment_intents.update(intent.id, customer=owner.id, description="d").description == "d"
    with pytest.raises(ApiError, match="cannot modify `customer`") as caught:
        sim.payment_intents.update(intent.id, customer=other.id, amount=3000)
    assert (caught.value.status, caught.value.param) == (400, "customer")
    assert sim.payment_intents.retrieve(intent.id).amount == 2000


def test_a_declined_payment_method_may_be_tried_again(sim: Simulator) -> None:
    data = {"type": "card", "card": {"token": "tok_chargeDeclined"}}
    method = sim.payment_methods.create(**data)
    for _ in range(2):
        with pytest.raises(ApiError) as caught:
            sim.payment_intents.create(**PAY, payment_method=method.id)
        assert caught.value.status == 402


def test_a_detached_payment_method_pays_no_more(sim: Simulator) -> None:
    customer = sim.customers.create()
    method = sim.payment_methods.attach("pm_card_visa", customer=customer.id)
    sim.payment_methods.detach(method.id)
    with pytest.raises(ApiError, match="detached"):
        sim.payment_intents.create(**PAY, payment_method=method.id)


def test_a_customers_default_card_pays_an_intent_that_names_none(sim: Simulator) -> None:
    customer = sim.customers.create(source="tok_visa")
    intent = sim.payment_intents.create(**PAY, customer=customer.id)
    assert (intent.status, intent.payment_method) == ("succeeded", customer.default_source)


def test_a_customers_cards_are_listed_with_the_payment_methods(sim: Simulator) -> None:
    customer = sim.customers.create(source="tok_visa")
    sim.advance(1)
    method = sim.payment_methods.attach("pm_card_mastercard", customer=customer.id)
    sim.advance(1)
    card = sim.customers.create_source(customer.id, source="tok_amex")
    expected = [card.id, method.id, customer.default_source]
    assert [m.id for m in sim.payment_methods.list(customer=customer.id).data] == expected
    page = sim.payment_methods.list(customer=customer.id, limit=1, starting_after=card.id)
    assert ([m.id for m in page.data], page.has_more) == ([method.id], True)
    back = sim.customers.payment_methods_of(customer.id, limit=1, ending_before=expected[-1])
    assert ([m.id for m in back.data], back.has_more) == ([method.id], True)
    with pytest.raises(ApiError, match="No such payment_method"):
        sim.payment_methods.list(customer=customer.id, starting_after="pm_nothing")


def test_manual_confirmation_waits_for_the_server_after_the_challenge(sim: Simulator) -> None:
    intent = sim.payment_intents.create(
        **PAY, confirmation_method="manual", payment_method="pm_card_threeDSecure2Required"
    )
    assert sim.authenticate(intent.id).status == "requires_confirmation"
    assert sim.charges.list().data == []
    done = sim.payment_intents.confirm(intent.id, expand=["latest_charge"])
    assert done.status == "succeeded"
    assert done.latest_charge.payment_method_details.card.three_d_secure.result == "authenticated"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"amount": 2001}, "requires_action"),
        ({"currency": "eur"}, "requires_action"),
        ({"amount": 2000}, "succeeded"),
        ({"description": "d"}, "succeeded"),
    ],
)
def test_a_challenge_that_was_passed_holds_for_its_amount(
    sim: Simulator, change: dict[str, Any], status: str
) -> None:
    intent = sim.payment_intents.create(
        **PAY, confirmation_method="manual", payment_method="pm_card_threeDSecure2Required"
    )
    sim.authenticate(intent.id)
    sim.payment_intents.update(intent.id, **change)
    assert sim.payment_intents.confirm(intent.id).status == status


def test_a_challenge_is_off_when_its_amount_changes(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_threeDSecure2Required")
    changed = sim.payment_intents.update(intent.id, amount=99_900)
    assert (changed.status, changed.next_action) == ("requires_confirmation", None)
    with pytest.raises(ApiError, match="does not wait for a challenge"):
        sim.authenticate(intent.id)
    assert sim.payment_intents.confirm(intent.id).status == "requires_action"
    assert sim.authenticate(intent.id).amount_received == 99_900


def test_an_action_may_be_refused_beforehand(sim: Simulator) -> None:
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(
            **PAY, payment_method="pm_card_threeDSecure2Required", error_on_requires_action=True
        )
    assert (caught.value.status, caught.value.code) == (402, "authentication_required")


@pytest.mark.parametrize(
    ("name", "asked", "status", "result"),
    [
        ("visa", "automatic", "succeeded", None),
        ("visa", "any", "succeeded", "attempt_acknowledged"),
        ("amex_threeDSecureNotSupported", "any", "succeeded", "not_supported"),
        ("threeDSecureOptional", "automatic", "succeeded", None),
        ("threeDSecureOptional", "any", "requires_action", "authenticated"),
        ("threeDSecureOptionalProcessingError", "any", "succeeded", "processing_error"),
        ("threeDSecureRequired", "automatic", "requires_action", "authenticated"),
        ("authenticationRequired", "automatic", "requires_action", "authenticated"),
        ("authenticationRequiredSetupForOffSession", "automatic", "requires_action", "authenticated"),
    ],
)
def test_each_card_is_authenticated_as_its_bank_does(
    sim: Simulator, name: str, asked: str, status: str, result: str | None
) -> None:
    intent = sim.payment_intents.create(
        **PAY,
        payment_method=f"pm_card_{name}",
        payment_method_options={"card": {"request_three_d_secure": asked}},
    )
    assert intent.status == status
    if status == "requires_action":
        intent = sim.authenticate(intent.id)
    found = sim.charges.retrieve(intent.latest_charge).payment_method_details.card.three_d_secure
    assert (found.result if found else None) == result


def test_a_failing_lookup_declines_without_a_challenge(sim: Simulator) -> None:
    with pytest.raises(ApiError) as caught:
        sim.payment_intents.create(**PAY, payment_method="pm_card_threeDSecureRequiredProcessingError")
    assert caught.value.code == "card_declined"
    charge = sim.charges.retrieve(caught.value.fields["charge"])
    assert charge.payment_method_details.card.three_d_secure.result == "processing_error"


def test_a_bank_may_decline_after_the_challenge(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_threeDSecureRequiredChargeDeclined")
    failed = sim.authenticate(intent.id)
    assert (failed.status, failed.last_payment_error["code"]) == ("requires_payment_method", "card_declined")


def test_a_frictionless_card_is_known_by_its_number(sim: Simulator) -> None:
    data = {"type": "card", "card": {"number": "4000000032200000", "exp_month": 12, "exp_year": 2030}}
    intent = sim.payment_intents.create(**PAY, payment_method_data=data, expand=["latest_charge"])
    found = intent.latest_charge.payment_method_details.card.three_d_secure
    assert (found.authentication_flow, found.result) == ("frictionless", "authenticated")


def test_a_confirmation_token_confirms_once(sim: Simulator) -> None:
    token = sim.confirmation_tokens.create(
        payment_method_data={"type": "card", "card": {"token": "tok_visa"}, "billing_details": {"name": "A"}},
        return_url="https://shop.test/back",
        shipping={"name": "A", "address": {"line1": "x"}},
    )
    assert token.payment_method_preview.card.last4 == "4242"
    intent = sim.payment_intents.create(**PAY, confirmation_token=token.id, expand=["payment_method"])
    assert (intent.status, intent.shipping["name"]) == ("succeeded", "A")
    assert intent.payment_method.billing_details.name == "A"
    assert sim.confirmation_tokens.retrieve(token.id).payment_intent == intent.id
    with pytest.raises(ApiError, match="already been used"):
        sim.payment_intents.create(**PAY, confirmation_token=token.id)


def test_a_confirmation_token_stands_for_no_more_than_its_payment_method(sim: Simulator) -> None:
    method = sim.payment_methods.create(type="card", card={"token": "tok_visa"})
    first, second = (sim.confirmation_tokens.create(payment_method=method.id) for _ in range(2))
    paid = sim.payment_intents.create(**PAY, confirmation_token=first.id)
    assert paid.payment_method == method.id
    owner = sim.customers.create()
    saved = sim.payment_methods.attach("pm_card_visa", customer=owner.id)
    owned = sim.confirmation_tokens.create(payment_method=saved.id)
    for token, reason in ((second, "may not be used again"), (owned, "cannot be attached")):
        with pytest.raises(ApiError, match=reason):
            sim.payment_intents.create(**PAY, confirmation_token=token.id)
        with pytest.raises(ApiError, match=reason):
            sim.setup_intents.create(confirm=True, confirmation_token=token.id)
        assert sim.confirmation_tokens.retrieve(token.id).expires_at is not None
    assert [intent.id for intent in sim.payment_intents.list().data] == [paid.id]
    assert len(sim.events.list(type="payment_intent.created").data) == 1
    assert sim.setup_intents.list().data == sim.events.list(type="setup_intent.created").data == []
    done = sim.payment_intents.create(**PAY, customer=owner.id, confirmation_token=owned.id)
    assert (done.status, done.payment_method) == ("succeeded", saved.id)


def test_a_request_takes_precedence_over_its_confirmation_token(sim: Simulator) -> None:
    token = sim.confirmation_tokens.create(
        payment_method="pm_card_visa",
        setup_future_usage="off_session",
        shipping={"name": "A", "address": {"line1": "x"}},
    )
    intent = sim.payment_intents.create(
        **PAY,
        confirmation_token=token.id,
        payment_method="pm_card_mastercard",
        setup_future_usage="on_session",
        shipping={"name": "B", "address": {"line1": "y"}},
        expand=["payment_method"],
    )
    assert intent.payment_method.card.brand == "mastercard"
    assert (intent.setup_future_usage, intent.shipping["name"]) == ("on_session", "B")


@pytest.mark.parametrize("name", ["return_url", "confirmation_token"])
def test_what_confirms_a_setup_is_refused_without_its_confirmation(sim: Simulator, name: str) -> None:
    with pytest.raises(ApiError, match="can only be used with confirm=true"):
        sim.setup_intents.create(**{name: "https://shop.test/"})


def test_a_confirmation_token_grows_old(sim: Simulator) -> None:
    token = sim.confirmation_tokens.create(payment_method="pm_card_visa")
    sim.advance(12 * 3600)
    with pytest.raises(ApiError, match="expired"):
        sim.setup_intents.create(confirm=True, confirmation_token=token.id)


def test_the_balance_adds_up(sim: Simulator) -> None:
    sim.charges.create(amount=2000, currency="usd", source="tok_visa")
    sim.charges.create(amount=1000, currency="eur", source="tok_bypassPending")
    balance = sim.balance.retrieve()
    assert {b["currency"]: b["amount"] for b in balance["pending"]} == {"eur": 0, "usd": 1912}
    assert {b["currency"]: b["amount"] for b in balance["available"]} == {"eur": 941, "usd": 0}
    sim.advance(2 * 86400)
    assert {b["currency"]: b["amount"] for b in sim.balance.retrieve()["available"]} == {
        "eur": 941,
        "usd": 1912,
    }


def test_the_account_knows_itself(sim: Simulator) -> None:
    own = sim.accounts.retrieve_current()
    assert sim.accounts.retrieve(own["id"]) == own
    with pytest.raises(ApiError) as caught:
        sim.accounts.retrieve("acct_other")
    assert caught.value.status == 403


def test_only_a_saved_card_is_changed_and_to_a_date_that_is_to_come(sim: Simulator) -> None:
    loose = sim.payment_methods.create(type="card", card={"token": "tok_visa"})
    with pytest.raises(ApiError, match="must save this PaymentMethod to a customer"):
        sim.payment_methods.update(loose.id, metadata={"a": "b"})
    saved = sim.payment_methods.attach(loose.id, customer=sim.customers.create().id)
    for card, code in (
        ({"exp_month": 13}, "invalid_expiry_month"),
        ({"exp_year": 1999}, "invalid_expiry_year"),
        ({"exp_month": "-1", "exp_year": 2040}, "invalid_expiry_month"),
        ({"networks": {"preferred": "visa"}}, "simulator_not_modelled"),
    ):
        with pytest.raises(ApiError) as caught:
            sim.payment_methods.update(saved.id, card=card)
        assert caught.value.code == code
    assert sim.payment_methods.retrieve(saved.id).card == saved.card
    assert sim.payment_methods.update(saved.id, card={"exp_year": 2040}).card.exp_year == 2040
