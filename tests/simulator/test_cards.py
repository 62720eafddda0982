"""Every published test card, by token, by payment method and by number."""

import pytest

from tillport.simulator import ApiError, Simulator
from tillport.simulator.cards import BY_NAME, BY_NUMBER, CARDS, luhn

PAY = {"amount": 2000, "currency": "usd", "confirm": True}


def outcome(sim: Simulator, **payer: object) -> tuple[str, str | None]:
    """Pay, and tell how it went: the intent's status, or the decline."""
    try:
        return sim.payment_intents.create(**PAY, **payer).status, None
    except ApiError as error:
        return f"{error.status} {error.code}", error.fields.get("decline_code")


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_name_means_the_same_as_token_and_as_payment_method(sim: Simulator, name: str) -> None:
    by_token = outcome(sim, payment_method_data={"type": "card", "card": {"token": f"tok_{name}"}})
    assert outcome(sim, payment_method=f"pm_card_{name}") == by_token
    card = BY_NAME[name]
    if BY_NUMBER[card.number] is card:
        data = {
            "number": card.number,
            "exp_month": 12,
            "exp_year": 2030,
            "cvc": "1234" if card.brand == "amex" else "123",
        }
        assert outcome(sim, payment_method_data={"type": "card", "card": data}) == by_token


def test_every_number_is_a_card_number() -> None:
    assert [card.number for card in CARDS if not luhn(card.number)] == []


@pytest.mark.parametrize("name", [card.names[0] for card in CARDS if card.names and card.declined_on_attach])
def test_a_declining_card_cannot_be_saved(sim: Simulator, name: str) -> None:
    customer = sim.customers.create()
    with pytest.raises(ApiError) as caught:
        sim.payment_methods.attach(f"pm_card_{name}", customer=customer.id)
    assert caught.value.status == 402


@pytest.mark.parametrize(
    ("name", "kind", "level", "status"),
    [
        ("visa", "authorized", "normal", "approved_by_network"),
        ("riskLevelElevated", "manual_review", "elevated", "approved_by_network"),
        ("riskLevelHighest", "authorized", "highest", "approved_by_network"),
        ("radarBlock", "blocked", "highest", "not_sent_to_network"),
        ("chargeDeclined", "issuer_declined", "normal", "declined_by_network"),
    ],
)
def test_an_outcome_tells_what_the_bank_and_radar_made_of_it(
    sim: Simulator, name: str, kind: str, level: str, status: str
) -> None:
    outcome(sim, payment_method=f"pm_card_{name}")
    found = sim.charges.list().data[0].outcome
    assert (found.type, found.risk_level, found.network_status) == (kind, level, status)
