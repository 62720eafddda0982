"""A bank debit: the intent is `processing` until the bank answers, and nobody waits for that answer; the events tell."""

from typing import Any

import msgspec

from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import ApiError, invalid, not_modelled, parameter_missing
from tillport.simulator.params import EMPTY
from tillport.simulator.resources import charges, ibans
from tillport.simulator.resources.payment_intents.attempt import failed_attempt, keep
from tillport.simulator.resources.payment_intents.intent import PaymentIntent, note_earlier_charge
from tillport.simulator.resources.payment_methods import PaymentMethod


def check(account: Account, intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]) -> None:
    """Refuse a debit that cannot be, before anything has happened."""
    if intent.currency != "eur":
        raise invalid(
            f"The currency provided ({intent.currency}) is invalid for the payment method type sepa_debit: it "
            "takes eur only.",
            "currency",
        )
    if intent.capture_method == "manual":
        raise invalid("The payment method type sepa_debit can't be captured manually.", "capture_method")
    mandate: Any = params.get("mandate_data")
    acceptance = mandate["customer_acceptance"] if mandate else EMPTY
    if acceptance.get("type") == "online" and not acceptance.get("online"):
        raise parameter_missing("mandate_data[customer_acceptance][online]")
    if ibans.course(method.sepa_debit.fingerprint).disputed:
        raise not_modelled("the dispute of a SEPA debit, which this test IBAN makes", "payment_method")


def debit(
    account: Account,
    origin: Origin,
    intent: PaymentIntent,
    method: PaymentMethod,
    params: dict[str, Any],
) -> PaymentIntent:
    """Hand a debit to the bank: the charge is pending, the intent `processing`."""
    if params.get("mandate_data") or params.get("publishable"):
        # Stripe.js shows the mandate itself.
        account.set_up_methods.add(method.id)
    elif method.id not in account.set_up_methods:
        raise ApiError(
            400,
            "This PaymentIntent requires a mandate, but no existing mandate was found. Collect mandate acceptance "
            "from the customer and try again, providing acceptance data in the mandate_data parameter.",
            code="payment_intent_mandate_invalid",
            payment_intent=intent,
        )
    charge = charges.pending(account, intent, method)
    note_earlier_charge(account, intent)
    intent = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            last_payment_error=None,
            latest_charge=charge.id,
            next_action=None,
            payment_method=method.id,
            status="processing",
        )
    )
    account.emit("payment_intent.processing", intent, origin)
    account.emit("charge.pending", charge, origin)
    if method.customer is None:
        keep(account, origin, intent, method)
    account.schedule(ibans.course(method.sepa_debit.fingerprint).seconds, _answered, intent.id, method.id)
    return intent


def _answered(account: Account, intent_id: str, method_id: str) -> None:
    intent: PaymentIntent = account.payment_intents.get(intent_id)
    method: PaymentMethod = account.payment_methods.get(method_id)
    charge: charges.Charge = account.charges.get(intent.latest_charge)
    decline = ibans.course(method.sepa_debit.fingerprint).decline
    if decline is not None:
        failed_attempt(
            account, STRIPE_ITSELF, intent, method, decline, charges.bounced(account, charge, decline)
        )
        return
    charge = charges.paid(account, charge)
    intent = account.payment_intents.put(
        msgspec.structs.replace(intent, amount_received=intent.amount, status="succeeded")
    )
    account.emit("charge.succeeded", charge)
    account.emit("payment_intent.succeeded", intent)
