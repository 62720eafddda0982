"""Confirm a payment intent: find what pays, ask the customer's bank where it must be asked, then attempt."""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import params as p
from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import ApiError, invalid
from tillport.simulator.resources import charges, payment_methods
from tillport.simulator.resources.common import Call, shipping_of
from tillport.simulator.resources.payment_intents.attempt import attempt, failed_attempt
from tillport.simulator.resources.payment_intents.intent import (
    CONFIRMABLE,
    PaymentIntent,
    check_secret,
    no_method,
    unexpected,
)
from tillport.simulator.resources.payment_intents.parameters import WORDS
from tillport.simulator.resources.payment_methods import PaymentMethod


def confirm(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    """Pay: succeed, wait for the capture or the customer's bank, or answer 402 and stay payable."""
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    check_secret(call, params, intent)
    if intent.status not in CONFIRMABLE:
        if intent.status in ("succeeded", "requires_capture"):
            raise unexpected(
                intent,
                "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.",
            )
        raise unexpected(
            intent,
            f"You cannot confirm this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent "
            "with one of the following statuses may be confirmed: requires_confirmation, requires_action.",
        )
    method = method_of(account, params, intent.customer)
    if method is None and intent.payment_method is not None:
        method = account.payment_methods.get(intent.payment_method, "payment_method")
    if method is None:
        raise no_method(intent)
    changes = changed(account, intent, params)
    if changes:
        intent = msgspec.structs.replace(intent, **changes)
    return pay(account, call.origin, intent, method, params)


def pay(
    account: Account, origin: Origin, intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]
) -> PaymentIntent:
    card = c.by_fingerprint(method.card.fingerprint)
    if card.three_d_secure is None:
        return attempt(account, origin, intent, method, card.declined)
    asked = intent.payment_method_options.card.request_three_d_secure != "automatic"
    off_session = params.get("off_session", False)
    kind = card.three_d_secure
    if kind in ("once", "set_up"):
        # Set up for off-session use: the bank remembers the customer's consent.
        set_up = kind == "set_up" or method.customer is not None
        challenge = not (off_session and set_up)
    else:
        challenge = kind == "required" or (kind == "optional" and asked)
    if kind == "frictionless" or (kind == "unsupported" and asked):
        return attempt(account, origin, intent, method, card.declined, authentication(account, kind))
    if not challenge:
        return attempt(account, origin, intent, method, card.declined)
    if off_session or params.get("error_on_requires_action"):
        return attempt(
            account,
            origin,
            intent,
            method,
            c.decline("card_declined", "authentication_required")
            if off_session and not params.get("error_on_requires_action")
            else c.decline("authentication_required", "authentication_required"),
        )
    return _ask_the_bank(account, origin, intent, method, params)


def method_of(account: Account, params: dict[str, Any], customer: str | None) -> PaymentMethod | None:
    """Return the payment method that a call names, makes, or names by a test card."""
    data = params.get("payment_method_data")
    if data:
        return payment_methods.make(account, data, "payment_method_data[card]")
    given = params.get("payment_method")
    if not given:
        return None
    method = payment_methods.resolve(account, given, "payment_method")
    if method.customer is not None and method.customer != customer:
        raise invalid(
            "The provided PaymentMethod cannot be attached. To reuse a PaymentMethod, you must attach it to a "
            "Customer first."
            if customer is None
            else f"The customer {customer} does not have a payment method with the ID {method.id}. The payment "
            "method must be attached to the customer.",
            "payment_method",
        )
    return method


def changed(account: Account, intent: PaymentIntent, params: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name in ("amount", "currency", "capture_method", "payment_method_options", "payment_method_types"):
        if name in params:
            changes[name] = params[name]
    for name in WORDS:
        if name in params and name not in ("metadata", "shipping"):
            changes[name] = params[name] or None
    if "metadata" in params:
        changes["metadata"] = p.merged(intent.metadata, params["metadata"])
    if "shipping" in params:
        changes["shipping"] = shipping_of(params["shipping"])
    if params.get("customer"):
        changes["customer"] = account.customers.get(params["customer"], "customer", status=400).id
    return changes


def _ask_the_bank(
    account: Account, origin: Origin, intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]
) -> PaymentIntent:
    url = f"{account.base_url}/_sim/3ds/{intent.id}"
    action: dict[str, Any]
    if params.get("return_url") and not params.get("use_stripe_sdk"):
        action = {
            "redirect_to_url": {"return_url": params["return_url"], "url": url},
            "type": "redirect_to_url",
        }
    else:
        action = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {
                "source": account.ids.own("src_"),
                "stripe_js": url,
                "type": "three_d_secure_redirect",
            },
        }
    new = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            last_payment_error=None,
            next_action=action,
            payment_method=method.id,
            status="requires_action",
        )
    )
    account.emit("payment_intent.requires_action", new, origin)
    return new


def authenticate(account: Account, intent_id: str, *, succeed: bool = True) -> PaymentIntent:
    """Let the customer pass or fail the bank's 3-D Secure challenge, as the bank's page would.

    Never raises for a decline after the challenge: nobody is waiting for that answer; the events tell.
    """
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    if intent.status != "requires_action":
        raise unexpected(
            intent, f"This PaymentIntent does not wait for the customer: its status is {intent.status}."
        )
    method: PaymentMethod = account.payment_methods.get(intent.payment_method, "payment_method")
    card = c.by_fingerprint(method.card.fingerprint)
    intent = msgspec.structs.replace(intent, next_action=None)
    if not succeed or card.authentication_fails:
        no = c.Decline(
            "payment_intent_authentication_failure",
            None,
            "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
            "PaymentMethod to attempt to fulfill this PaymentIntent again.",
        )
        return failed_attempt(account, STRIPE_ITSELF, intent, method, no, None)
    try:
        return attempt(
            account, STRIPE_ITSELF, intent, method, card.declined, authentication(account, "challenge")
        )
    except ApiError:
        return account.payment_intents.get(intent_id)


def authentication(account: Account, kind: str) -> charges.ThreeDSecure:
    if kind == "unsupported":
        return charges.ThreeDSecure(
            authentication_flow=None,
            electronic_commerce_indicator=None,
            result="not_supported",
            transaction_id=None,
        )
    return charges.ThreeDSecure(
        authentication_flow="challenge" if kind == "challenge" else "frictionless",
        electronic_commerce_indicator="05",
        result="authenticated",
        transaction_id=account.ids.chars(32),
    )
