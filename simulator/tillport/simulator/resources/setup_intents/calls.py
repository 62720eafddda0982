"""Create, read, list, change and cancel setup intents."""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import invalid
from tillport.simulator.params import EMPTY
from tillport.simulator.resources.common import Call, List
from tillport.simulator.resources.payment_intents.intent import AutomaticPaymentMethods
from tillport.simulator.resources.payment_intents.parameters import types_of
from tillport.simulator.resources.setup_intents.confirmation import confirmed, method_of
from tillport.simulator.resources.setup_intents.intent import (
    AUTOMATIC,
    OPEN,
    OPTIONS,
    SetupIntent,
    checked,
    shown,
    unexpected,
)


def create(account: Account, call: Call, params: dict[str, Any]) -> SetupIntent:
    """Begin to save a card; with `confirm`, save it in the same call."""
    if not params.get("confirm"):
        for name in ("return_url", "confirmation_token"):
            if params.get(name):
                raise invalid(f"The parameter {name} can only be used with confirm=true.", name)
    types = types_of(account, params)
    given = params.get("automatic_payment_methods")
    automatic: AutomaticPaymentMethods | None = AUTOMATIC
    if given:
        automatic = (
            AutomaticPaymentMethods(given.get("allow_redirects", "always"), True)
            if given["enabled"]
            else None
        )
    if types:
        automatic = None
    customer = params.get("customer") or None
    if customer is not None:
        account.customers.get(customer, "customer", status=400)
    method = method_of(account, params, customer)
    intent_id = account.ids.own("seti_")
    metadata = params.get("metadata")
    intent = SetupIntent(
        id=intent_id,
        allowed_payment_method_types=params.get("allowed_payment_method_types"),
        automatic_payment_methods=automatic,
        client_secret=intent_id + "_secret_" + account.ids.chars(25),
        created=int(account.now()),
        customer=customer,
        description=params.get("description") or None,
        metadata=p.merged(EMPTY, metadata) if metadata else EMPTY,
        payment_method_options=params.get("payment_method_options", OPTIONS),
        status="requires_payment_method",
        usage=params.get("usage", "off_session"),
    )
    account.setup_intents.add(intent)
    account.emit("setup_intent.created", intent, call.origin)
    if params.get("confirm"):
        return confirmed(account, call.origin, intent, method, params)
    if method is not None:
        intent = account.setup_intents.put(
            msgspec.structs.replace(intent, payment_method=method.id, status="requires_confirmation")
        )
    return intent


def retrieve(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> Any:
    return shown(call, checked(account, call, params, intent_id))


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.setup_intents.page(
        params,
        where={"customer": params.get("customer"), "payment_method": params.get("payment_method")},
    )
    return List(data=page.data, has_more=page.has_more, url="/v1/setup_intents")


def update(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> SetupIntent:
    intent: SetupIntent = account.setup_intents.get(intent_id, "intent")
    held = {"customer", "payment_method", "payment_method_data"} & params.keys()
    if intent.status not in OPEN and held:
        raise unexpected(
            intent,
            f"This SetupIntent's {min(held)} could not be updated because its status is {intent.status}.",
        )
    changes: dict[str, Any] = {}
    if types_of(account, params) is not None:
        changes["allowed_payment_method_types"] = params.get("allowed_payment_method_types")
    if "description" in params:
        changes["description"] = params["description"] or None
    if "metadata" in params:
        changes["metadata"] = p.merged(intent.metadata, params["metadata"])
    if "payment_method_options" in params:
        changes["payment_method_options"] = params["payment_method_options"]
    if params.get("customer"):
        changes["customer"] = account.customers.get(params["customer"], "customer", status=400).id
    method = method_of(account, params, changes.get("customer", intent.customer))
    if method is not None:
        changes |= {
            "payment_method": method.id,
            "status": "requires_confirmation",
            "last_setup_error": None,
            "next_action": None,
        }
    return account.setup_intents.put(msgspec.structs.replace(intent, **changes))


def cancel(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> SetupIntent:
    intent: SetupIntent = account.setup_intents.get(intent_id, "intent")
    if intent.status not in OPEN:
        raise unexpected(
            intent,
            f"You cannot cancel this SetupIntent because it has a status of {intent.status}. Only a SetupIntent with "
            f"one of the following statuses may be canceled: {', '.join(OPEN)}.",
        )
    new = account.setup_intents.put(
        msgspec.structs.replace(
            intent,
            cancellation_reason=params.get("cancellation_reason"),
            next_action=None,
            status="canceled",
        )
    )
    account.emit("setup_intent.canceled", new, call.origin)
    return new
