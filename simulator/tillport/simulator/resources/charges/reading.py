"""Read, list and change charges."""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import invalid
from tillport.simulator.params import Spec
from tillport.simulator.resources.charges.charge import Charge
from tillport.simulator.resources.common import SHIPPING, Call, List, difference, shipping_of, sliced


def retrieve(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Charge:
    found: Charge = account.charges.get(charge_id, "id")
    return found


UPDATE = Spec(
    {
        "customer": p.reference,
        "description": p.text(40_000),
        "fraud_details": p.hash_of(Spec({"user_report": p.one_of("fraudulent", "safe", empty=True)})),
        "metadata": p.metadata,
        "receipt_email": p.email,
        "shipping": SHIPPING,
        "transfer_group": p.string,
    }
)


def update(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Charge:
    """Change what may change; Stripe announces it as `charge.updated`."""
    old = retrieve(account, call, {}, charge_id)
    changes: dict[str, Any] = {}
    for name in ("description", "receipt_email", "transfer_group"):
        if name in params:
            changes[name] = params[name] or None
    if "metadata" in params:
        changes["metadata"] = p.merged(old.metadata, params["metadata"])
    if "shipping" in params:
        changes["shipping"] = shipping_of(params["shipping"])
    if params.get("fraud_details"):
        changes["fraud_details"] = {k: v for k, v in params["fraud_details"].items() if v}
    if "customer" in params:
        changes["customer"] = account.customers.get(params["customer"], "customer", status=400).id
    for name in ("customer", "transfer_group"):
        if name in changes and getattr(old, name) not in (None, changes[name]):
            raise invalid(f"The charge {old.id} has a {name} already: it can't be given another.", name)
    if old.payment_intent is not None and "transfer_group" in changes:
        raise invalid(
            f"This Charge was created by a PaymentIntent ({old.payment_intent}). You must update the "
            "`transfer_group` on the PaymentIntent instead of updating the Charge directly.",
            "transfer_group",
        )
    new = account.charges.put(msgspec.structs.replace(old, **changes))
    previous = difference(old, new, changes)
    if previous:
        account.emit("charge.updated", new, call.origin, previous)
    return new


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    intent_id = params.get("payment_intent")
    if intent_id is not None:
        return _of_intent(account, params, intent_id)
    page = account.charges.page(
        params, where={"customer": params.get("customer"), "transfer_group": params.get("transfer_group")}
    )
    return List(data=page.data, has_more=page.has_more, url="/v1/charges")


def _of_intent(account: Account, params: dict[str, Any], intent_id: str) -> List:
    """List one intent's attempts, newest first, from the intent itself."""
    intent = account.payment_intents.get(intent_id, "payment_intent")
    ids = [
        *account.earlier_charges.get(intent_id, ()),
        *([intent.latest_charge] if intent.latest_charge else []),
    ]
    ids.reverse()
    return sliced([account.charges.get(i) for i in ids], params, "charge", "/v1/charges")


LIST = p.list_spec(customer=p.string, payment_intent=p.string, transfer_group=p.string)
