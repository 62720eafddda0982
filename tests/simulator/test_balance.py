"""The balance tells when money becomes available: at once for the bypass cards, after two days for the others."""

import pytest

from tillport.simulator import Simulator

PAY = {"amount": 2000, "currency": "usd", "confirm": True}


def told(sim: Simulator) -> list[int]:
    """Return the available sums that were told, the oldest first."""
    events = sim.events.list(type="balance.available", limit=100).data
    return [event.data.object["available"][0]["amount"] for event in reversed(events)]


@pytest.mark.parametrize("capture_method", ["automatic", "automatic_async"])
def test_money_of_a_bypass_card_is_told_at_once(sim: Simulator, capture_method: str) -> None:
    sim.payment_intents.create(**PAY, payment_method="pm_card_bypassPending", capture_method=capture_method)
    sim.advance(5)
    assert told(sim) == [2000 - 88]


def test_other_money_is_told_after_two_days(sim: Simulator) -> None:
    sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    sim.advance(86400)
    sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    sim.payment_intents.create(**PAY, payment_method="pm_card_visa")
    assert told(sim) == []
    sim.advance(86400 + 10)
    assert told(sim) == [1912]
    sim.advance(86400 + 10)
    assert told(sim) == [1912, 3 * 1912]


def test_a_bypass_card_among_the_others_is_told_in_its_turn(sim: Simulator) -> None:
    for name in ("visa", "bypassPending", "visa", "bypassPending"):
        sim.payment_intents.create(**PAY, payment_method=f"pm_card_{name}")
        sim.advance(100)
    assert told(sim) == [1912, 2 * 1912]
    sim.advance(3 * 86400)
    assert told(sim) == [1912, 2 * 1912, 3 * 1912, 4 * 1912]


def test_a_declined_card_brings_no_word_of_the_balance(sim: Simulator) -> None:
    with pytest.raises(Exception, match="declined"):
        sim.payment_intents.create(**PAY, payment_method="pm_card_chargeDeclined")
    sim.advance(3 * 86400)
    assert told(sim) == []
