"""Which way a payment goes that is not simply a card's: by bank debit, or from the cash balance."""

from collections.abc import Callable
from typing import Any

from tillport.simulator.account import Account, Origin
from tillport.simulator.errors import invalid, not_modelled
from tillport.simulator.resources.payment_intents.debit import debit
from tillport.simulator.resources.payment_intents.intent import PaymentIntent
from tillport.simulator.resources.payment_intents.transfer import from_balance
from tillport.simulator.resources.payment_methods import PaymentMethod

Way = Callable[[Account, Origin, PaymentIntent, PaymentMethod, dict[str, Any]], PaymentIntent]

_WAYS: dict[str, Way] = {"sepa_debit": debit, "customer_balance": from_balance}


def way_of(intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]) -> Way | None:
    """Return how a payment method pays, None for a card; raise ApiError for a type that the intent does not take."""
    if method.type not in intent.payment_method_types:
        raise invalid(
            f"The PaymentMethod provided ({method.type}) is not allowed for this PaymentIntent. Please attach a "
            f"PaymentMethod of one of the following types: {', '.join(intent.payment_method_types)}. Or update the "
            f'allowed payment_method_types for this PaymentIntent to include "{method.type}".',
            "payment_method",
        )
    if method.type == "card" and params.get("mandate_data"):
        raise not_modelled("a mandate for a card", "mandate_data")
    return _WAYS.get(method.type)
