"""The events of a storm: a simulated account's own, payment by payment, as its webhooks would carry them."""

import random
from collections.abc import Iterator
from typing import Any

from tillport.simulator.clock import ManualClock
from tillport.simulator.deliveries import Attempt
from tillport.simulator.errors import ApiError
from tillport.simulator.simulator import Simulator

_METHODS = (
    "pm_card_visa",
    "pm_card_mastercard",
    "pm_card_amex",
    "pm_card_chargeDeclined",
    "pm_card_createDispute",
)


def payments(seed: int | str, now: float) -> Iterator[list[Attempt]]:
    """Yield, without end, the events of one payment after the other, each list in Stripe's usual order."""
    dice = random.Random(f"{seed}:payments")  # noqa: S311 - repeatable on purpose
    sim = Simulator(clock=ManualClock(now), seed=f"{seed}:chaos")
    sim.webhook_endpoints.create(url="http://127.0.0.1/", enabled_events=["*"])
    while True:
        heard: list[Attempt] = []

        def listen(attempt: Attempt, heard: list[Attempt] = heard) -> int:
            heard.append(attempt)
            return 200

        _pay(sim, dice)
        # What settles within seconds belongs to the payment; the clock itself stays where the storm is.
        for attempt in sim.due_deliveries():
            sim.delivery_result(attempt, listen(attempt))
        yield heard


def _pay(sim: Simulator, dice: random.Random) -> None:
    paid: dict[str, Any] = {
        "amount": dice.randrange(100, 100_000),
        "currency": dice.choice(("usd", "eur", "gbp")),
        "payment_method": dice.choice(_METHODS),
        "metadata": {"order": str(dice.randrange(10_000))},
        "confirm": True,
    }
    try:
        match dice.randrange(4):
            case 0:
                intent = sim.payment_intents.create(**paid)
                sim.refunds.create(payment_intent=intent.id)
            case 1:
                intent = sim.payment_intents.create(**paid, capture_method="manual")
                dice.choice((sim.payment_intents.capture, sim.payment_intents.cancel))(intent.id)
            case 2:
                customer = sim.customers.create(email=f"buyer{dice.randrange(1000)}@example.com")
                sim.payment_intents.create(**paid, customer=customer.id)
            case _:
                sim.payment_intents.create(**paid)
    except ApiError:
        pass  # a decline is a story too: its events are what we came for
