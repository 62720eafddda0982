"""Confirm a payment intent: find what pays, ask the customer's bank where it must be asked, then attempt."""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import params as p
from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import ApiError, invalid
from tillport.simulator.resources import confirmation_tokens, payment_methods, three_d_secure
from tillport.simulator.resources.common import Call, shipping_of
from tillport.simulator.resources.payment_intents import options
from tillport.simulator.resources.payment_intents.attempt import attempt, failed_attempt
from tillport.simulator.resources.payment_intents.intent import (
    CARD_ONLY,
    CONFIRMABLE,
    OPTIONS,
    PaymentIntent,
    check_descriptor,
    check_secret,
    no_method,
    unexpected,
)
from tillport.simulator.resources.payment_intents.parameters import WORDS, types_of
from tillport.simulator.resources.payment_intents.transfer import awaits, check_unchanged
from tillport.simulator.resources.payment_intents.ways import way_of
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
    if call.publishable and intent.confirmation_method == "manual":
        raise invalid(
            "This PaymentIntent's confirmation_method is manual: confirm it on your server, with the secret key.",
            None,
        )
    if intent.next_action is not None:
        check_unchanged(intent, "another confirmation")
    if call.publishable:
        params["publishable"] = True
    method = method_of(account, params, intent.customer)
    if method is None and intent.payment_method is not None:
        method = payment_methods.get(account, intent.payment_method)
        payment_methods.check_usable_by(account, method, intent.customer)
    changes = changed(account, intent, params)
    if changes:
        intent = msgspec.structs.replace(intent, **changes)
    return confirmed(account, call.origin, intent, method, params)


def confirmed(
    account: Account,
    origin: Origin,
    intent: PaymentIntent,
    method: PaymentMethod | None,
    params: dict[str, Any],
) -> PaymentIntent:
    """Find what pays when no payment method is named, then pay."""
    if params.get("confirmation_token"):
        stored, token = confirmation_tokens.spend(account, params["confirmation_token"], intent.id)
        # What the request itself says takes precedence over the token.
        if method is None or not (params.get("payment_method") or params.get("payment_method_data")):
            method = stored
        given = {"return_url": token.return_url, **params}
        usage = params.get("setup_future_usage") or token.setup_future_usage or intent.setup_future_usage
        shipping = None if params.get("shipping") else token.shipping
        intent = msgspec.structs.replace(
            intent, setup_future_usage=usage, shipping=shipping or intent.shipping
        )
        return pay(account, origin, intent, method, given)
    if method is None and intent.customer is not None:
        # As for those who come from the Charges API: the customer's default card.
        default = account.customers.get(intent.customer).default_source
        method = None if default is None else payment_methods.find(account, default)
    if method is None:
        raise no_method(intent)
    return pay(account, origin, intent, method, params)


def pay(
    account: Account, origin: Origin, intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]
) -> PaymentIntent:
    """Attempt the payment, or send the customer to the bank first."""
    if (
        method.type != "card" or intent.payment_method_types is not CARD_ONLY or "mandate_data" in params
    ) and (way := way_of(account, intent, method, params)) is not None:
        return way(account, origin, intent, method, params)
    card = c.by_fingerprint(method.card.fingerprint)
    asked = intent.payment_method_options.card.request_three_d_secure != "automatic"
    if card.three_d_secure is None and not asked:
        return attempt(account, origin, intent, method, card.declined)
    passed = account.authenticated.pop(intent.id, None)
    if passed is not None and passed[0] == method.id:
        return attempt(account, origin, intent, method, card.declined, passed[1])
    course = three_d_secure.course(
        account,
        card,
        method.id,
        asked=asked,
        away=params.get("off_session", False),
        no_action=params.get("error_on_requires_action", False),
    )
    if course.step == "challenge":
        return _ask_the_bank(account, origin, intent, method, params)
    return attempt(account, origin, intent, method, course.decline or card.declined, course.result)


def method_of(account: Account, params: dict[str, Any], customer: str | None) -> PaymentMethod | None:
    """Return the payment method that a call names, makes, or names by a test card or a confirmation token."""
    data = params.get("payment_method_data")
    if data:
        return payment_methods.make(account, data, "payment_method_data[card]")
    given = params.get("payment_method")
    token = params.get("confirmation_token")
    if given:
        method = payment_methods.resolve(account, given, "payment_method")
    elif token:
        method, _ = confirmation_tokens.unspent(account, token)
    else:
        return None
    payment_methods.check_usable_by(account, method, customer)
    return method


def changed(account: Account, intent: PaymentIntent, params: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name in ("amount", "currency", "capture_method", "payment_method_options"):
        if name in params:
            changes[name] = params[name]
    types = types_of(account, params)
    if types is not None:
        changes["allowed_payment_method_types"] = params.get("allowed_payment_method_types")
        changes["payment_method_types"] = types
    if "payment_method_options" in changes or "payment_method_types" in changes:
        changes["payment_method_options"] = options.shown(
            changes.get("payment_method_types", intent.payment_method_types),
            changes.get("payment_method_options", OPTIONS),
            intent.payment_method_options,
        )
    for name in WORDS:
        if name in params and name not in ("metadata", "shipping"):
            changes[name] = params[name] or None
    if "payment_method_types" in changes or "statement_descriptor" in changes:
        check_descriptor(
            changes.get("payment_method_types", intent.payment_method_types),
            changes.get("statement_descriptor", intent.statement_descriptor),
        )
    if "metadata" in params:
        changes["metadata"] = p.merged(intent.metadata, params["metadata"])
    if "shipping" in params:
        changes["shipping"] = shipping_of(params["shipping"])
    if params.get("customer"):
        changes["customer"] = account.customers.get(params["customer"], "customer", status=400).id
        if intent.customer not in (None, changes["customer"]):
            raise invalid(
                "You cannot modify `customer` on a PaymentIntent once it already has been set. To fulfill a payment "
                "with a different Customer, cancel this PaymentIntent and create a new one.",
                "customer",
            )
    return changes


def _ask_the_bank(
    account: Account, origin: Origin, intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]
) -> PaymentIntent:
    new = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            last_payment_error=None,
            next_action=three_d_secure.next_action(account, intent.id, params),
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
    if intent.status != "requires_action" or awaits(intent):
        raise unexpected(
            intent, f"This PaymentIntent does not wait for a challenge: its status is {intent.status}."
        )
    method = payment_methods.get(account, intent.payment_method)
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
    passed = three_d_secure.result(account, "authenticated", flow="challenge")
    if intent.setup_future_usage == "off_session":
        account.set_up_methods.add(method.id)
    if intent.confirmation_method == "manual":
        # The server confirms once more; the bank's answer waits for it.
        account.authenticated[intent.id] = (method.id, passed)
        return account.payment_intents.put(msgspec.structs.replace(intent, status="requires_confirmation"))
    try:
        return attempt(account, STRIPE_ITSELF, intent, method, card.declined, passed)
    except ApiError:
        return account.payment_intents.get(intent_id)
