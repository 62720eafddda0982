"""Which way a payment goes that is not simply a card's: by bank debit, or from the cash balance."""

from collections.abc import Callable
from typing import Any

from tillport.simulator.account import Account, Origin
from tillport.simulator.errors import invalid, not_modelled
from tillport.simulator.resources.payment_intents.debit import check as check_debit
from tillport.simulator.resources.payment_intents.debit import debit
from tillport.simulator.resources.payment_intents.intent import PaymentIntent
from tillport.simulator.resources.payment_intents.transfer import check as check_transfer
from tillport.simulator.resources.payment_intents.transfer import from_balance
from tillport.simulator.resources.payment_methods import PaymentMethod

Check = Callable[[Account, PaymentIntent, PaymentMethod, dict[str, Any]], None]
Way = Callable[[Account, Origin, PaymentIntent, PaymentMethod, dict[str, Any]], PaymentIntent]

_WAYS: dict[str, tuple[Check, Way]] = {
    "sepa_debit": (check_debit, debit),
    "customer_balance": (check_transfer, from_balance),
}


def check_type(intent: PaymentIntent, method: PaymentMethod) -> None:
    """Raise ApiError for a payment method of a type that the intent does not take."""
    if method.type not in intent.payment_method_types:
        raise invalid(
            f"The PaymentMethod provided ({method.type}) is not allowed for this PaymentIntent. Please attach a "
            f"PaymentMethod of one of the following types: {', '.join(intent.payment_method_types)}. Or update the "
            f'allowed payment_method_types for this PaymentIntent to include "{method.type}".',
            "payment_method",
        )


def way_of(
    account: Account, intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]
) -> Way | None:
    """Return how a payment method pays, None for a card; raise ApiError for what cannot be paid this way."""
    check_type(intent, method)
    if method.type == "card":
        if params.get("mandate_data"):
            raise not_modelled("a mandate for a card", "mandate_data")
        return None
    check, way = _WAYS[method.type]
    check(account, intent, method, params)
    return way
