"""How a payment intent ends: captured, canceled, or expired because nobody captured it in time."""

from typing import Any

import msgspec

from tillport.simulator import currencies
from tillport.simulator import params as p
from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import invalid
from tillport.simulator.resources import charges
from tillport.simulator.resources.common import Call
from tillport.simulator.resources.payment_intents.intent import (
    OPEN,
    PaymentIntent,
    check_descriptor,
    unexpected,
)
from tillport.simulator.resources.payment_intents.transfer import awaits, give_back, reconcile


def capture(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    """Take the money of an authorisation, all or part; the rest is released."""
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    if intent.status != "requires_capture":
        raise unexpected(
            intent,
            f"This PaymentIntent could not be captured because it has a status of {intent.status}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
        )
    taken = params.get("amount_to_capture", intent.amount_capturable)
    if taken > intent.amount_capturable:
        raise invalid(
            f"The payment could not be captured because the requested capture amount is greater than the amount you "
            f"can capture for this charge, which is {currencies.shown(intent.amount_capturable, intent.currency)}.",
            "amount_to_capture",
            "amount_too_large",
        )
    check_descriptor(("card",), params.get("statement_descriptor"))  # nothing else is captured by hand
    changes: dict[str, Any] = {
        k: params[k] for k in ("statement_descriptor", "statement_descriptor_suffix") if k in params
    }
    if "metadata" in params:
        changes["metadata"] = p.merged(intent.metadata, params["metadata"])
    charge, previous = charges.captured(account, account.charges.get(intent.latest_charge), taken)
    intent = account.payment_intents.put(
        msgspec.structs.replace(
            intent, amount_capturable=0, amount_received=taken, status="succeeded", **changes
        )
    )
    account.emit("charge.captured", charge, call.origin, previous)
    account.emit("payment_intent.succeeded", intent, call.origin)
    return intent


def cancel(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    """End an open intent; what was authorised is released, with no refund object (since 2025-03-31.basil)."""
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    if intent.status not in OPEN:
        raise unexpected(
            intent,
            f"You cannot cancel this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent "
            f"with one of the following statuses may be canceled: {', '.join(OPEN)}.",
        )
    if intent.status == "processing":
        raise unexpected(
            intent,
            "You cannot cancel this PaymentIntent because its bank debit is already on its way (processing).",
        )
    return canceled(account, call.origin, intent, params.get("cancellation_reason"))


def canceled(account: Account, origin: Origin, intent: PaymentIntent, reason: str | None) -> PaymentIntent:
    """End an intent; what a customer has paid of it by bank transfer goes back to the cash balance."""
    new = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            amount_capturable=0,
            canceled_at=int(account.now()),
            cancellation_reason=reason,
            next_action=None,
            status="canceled",
        )
    )
    account.emit("payment_intent.canceled", new, origin)
    if awaits(intent) and give_back(account, origin, intent):
        reconcile(account, origin, intent.customer, intent.currency)
    return new


def expire(account: Account, intent_id: str) -> None:
    """Release an authorisation that nobody captured in time: `charge.expired`, and the intent ends."""
    intent: PaymentIntent = account.payment_intents.get(intent_id)
    if intent.status != "requires_capture":
        return
    account.emit("charge.expired", account.charges.get(intent.latest_charge))
    canceled(account, STRIPE_ITSELF, intent, "expired")
