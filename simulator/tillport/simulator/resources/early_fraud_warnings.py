"""Early fraud warnings: an issuer says that a payment may be fraud, before any dispute (docs.stripe.com/radar)."""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import STRIPE_ITSELF, Account
from tillport.simulator.resources.common import Call, List, Route


class EarlyFraudWarning(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "radar.early_fraud_warning"
    actionable: bool = True
    charge: Any
    created: int
    fraud_type: str = "misc"
    livemode: bool = False
    payment_intent: Any


def warn(account: Account, charge_id: str) -> None:
    charge = account.charges.get(charge_id)
    warning = account.early_fraud_warnings.add(
        EarlyFraudWarning(
            id=account.ids.own("issfr_"),
            actionable=not charge.refunded and not charge.disputed,
            charge=charge.id,
            created=int(account.now()),
            payment_intent=charge.payment_intent,
        )
    )
    account.emit("radar.early_fraud_warning.created", warning)


def no_longer_actionable(account: Account, charge_id: str) -> None:
    """Note that a charge has been refunded in full, or disputed: a warning helps no more."""
    for old in account.early_fraud_warnings.page({"limit": 100}, where={"charge": charge_id}).data:
        if old.actionable:
            new = account.early_fraud_warnings.put(msgspec.structs.replace(old, actionable=False))
            account.emit("radar.early_fraud_warning.updated", new, STRIPE_ITSELF, {"actionable": True})


def retrieve(account: Account, call: Call, params: dict[str, Any], warning_id: str) -> EarlyFraudWarning:
    found: EarlyFraudWarning = account.early_fraud_warnings.get(warning_id, "early_fraud_warning")
    return found


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.early_fraud_warnings.page(
        params, where={"charge": params.get("charge"), "payment_intent": params.get("payment_intent")}
    )
    return List(data=page.data, has_more=page.has_more, url="/v1/radar/early_fraud_warnings")


_FACE = "early_fraud_warnings"
ROUTES = (
    Route(
        "GET",
        "/v1/radar/early_fraud_warnings",
        list_,
        p.list_spec(charge=p.string, payment_intent=p.string),
        resource=_FACE,
    ),
    Route("GET", "/v1/radar/early_fraud_warnings/{early_fraud_warning}", retrieve, resource=_FACE),
)
