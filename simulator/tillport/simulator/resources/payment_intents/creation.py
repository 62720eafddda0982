"""Create, read, list and change payment intents."""

from typing import Any

import msgspec

from tillport.simulator import currencies
from tillport.simulator.account import Account
from tillport.simulator.errors import invalid
from tillport.simulator.params import EMPTY
from tillport.simulator.resources.common import Call, List, shipping_of
from tillport.simulator.resources.payment_intents.confirmation import changed, confirmed, method_of
from tillport.simulator.resources.payment_intents.intent import (
    AUTOMATIC,
    CARD_ONLY,
    CONFIRMABLE,
    OPTIONS,
    AutomaticPaymentMethods,
    PaymentIntent,
    check_descriptor,
    check_secret,
    unexpected,
)
from tillport.simulator.resources.payment_intents.options import shown
from tillport.simulator.resources.payment_intents.parameters import types_of
from tillport.simulator.resources.payment_intents.transfer import check_unchanged
from tillport.simulator.resources.payment_intents.ways import check_type, way_of


def create(account: Account, call: Call, params: dict[str, Any]) -> PaymentIntent:
    """Create an intent; with `confirm`, pay it in the same call."""
    currencies.check_charge(params["amount"], params["currency"])
    confirm_now = params.get("confirm", False)
    if not confirm_now:
        for name in (
            "off_session",
            "error_on_requires_action",
            "return_url",
            "confirmation_token",
            "mandate_data",
        ):
            if params.get(name):
                raise invalid(f"The parameter {name} can only be used with confirm=true.", name)
    types = types_of(account, params)
    check_descriptor(types or CARD_ONLY, params.get("statement_descriptor"))
    options = params.get("payment_method_options", OPTIONS)
    if options is not OPTIONS or (types is not None and types is not CARD_ONLY):
        options = shown(types or CARD_ONLY, options)
    automatic: AutomaticPaymentMethods | None = AUTOMATIC
    if given := params.get("automatic_payment_methods"):
        if given["enabled"]:
            automatic = AutomaticPaymentMethods(given.get("allow_redirects", "always"), True)
        else:
            automatic = None
    if types:
        automatic = None
    customer = params.get("customer") or None
    if customer is not None:
        account.customers.get(customer, "customer", status=400)
    method = method_of(account, params, customer)
    stem = account.ids.stem()
    intent_id = account.ids.on("pi_", stem)
    metadata = params.get("metadata")
    intent = PaymentIntent(
        id=intent_id,
        allowed_payment_method_types=params.get("allowed_payment_method_types"),
        amount=params["amount"],
        automatic_payment_methods=automatic,
        capture_method=params.get("capture_method", "automatic_async"),
        confirmation_method=params.get("confirmation_method", "automatic"),
        client_secret=intent_id + "_secret_" + account.ids.chars(25),
        created=account.second(),
        currency=params["currency"],
        customer=customer,
        description=params.get("description") or None,
        metadata={k: v for k, v in metadata.items() if v} if metadata else EMPTY,
        payment_method_options=options,
        payment_method_types=types or CARD_ONLY,
        receipt_email=params.get("receipt_email") or None,
        setup_future_usage=params.get("setup_future_usage") or None,
        shipping=shipping_of(params.get("shipping")),
        statement_descriptor=params.get("statement_descriptor") or None,
        statement_descriptor_suffix=params.get("statement_descriptor_suffix") or None,
        status="requires_payment_method",
        transfer_group=params.get("transfer_group") or None,
    )
    if method is not None and (
        method.type != "card" or intent.payment_method_types is not CARD_ONLY or "mandate_data" in params
    ):
        # What cannot be paid leaves no intent behind.
        if confirm_now:
            way_of(account, intent, method, params)
        else:
            check_type(intent, method)
    account.payment_intents.add(intent)
    account.emit("payment_intent.created", intent, call.origin)
    if confirm_now:
        return confirmed(account, call.origin, intent, method, params)
    if method is not None:
        intent = account.payment_intents.put(
            msgspec.structs.replace(intent, payment_method=method.id, status="requires_confirmation")
        )
    return intent


def retrieve(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    check_secret(call, params, intent)
    return intent


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.payment_intents.page(params, where={"customer": params.get("customer")})
    return List(data=page.data, has_more=page.has_more, url="/v1/payment_intents")


# What a bank transfer is on its way for: changing it would send back what has come already.
_FOR_TRANSFER = frozenset(
    "allowed_payment_method_types amount capture_method currency customer payment_method payment_method_data payment_method_options "
    "payment_method_types setup_future_usage".split()
)


def update(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    """Change an intent; a new payment method clears the last error."""
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    held = {"amount", "currency", "payment_method", "payment_method_data", "capture_method"} & params.keys()
    if intent.next_action is not None and _FOR_TRANSFER & params.keys():
        check_unchanged(intent, f"a change ({min(_FOR_TRANSFER & params.keys())})")
    if intent.status not in CONFIRMABLE and held:
        raise unexpected(
            intent,
            f"This PaymentIntent's {min(held)} could not be updated because it has a status of {intent.status}. "
            "You may only update it with one of the following statuses: requires_payment_method, "
            "requires_confirmation, requires_action.",
        )
    currencies.check_charge(params.get("amount", intent.amount), params.get("currency", intent.currency))
    changes: dict[str, Any] = changed(account, intent, params)
    if any(
        changes.get(name, getattr(intent, name)) != getattr(intent, name) for name in ("amount", "currency")
    ):
        # What the customer agrees to at the bank is another payment (PSD2's technical standards, article 5).
        account.authenticated.pop(intent.id, None)
        if intent.status == "requires_action":
            changes |= {"next_action": None, "status": "requires_confirmation"}
    method = method_of(account, params, changes.get("customer", intent.customer))
    if method is not None:
        check_type(msgspec.structs.replace(intent, **changes), method)
        changes |= {
            "payment_method": method.id,
            "status": "requires_confirmation",
            "last_payment_error": None,
            "next_action": None,
        }
    return account.payment_intents.put(msgspec.structs.replace(intent, **changes))
