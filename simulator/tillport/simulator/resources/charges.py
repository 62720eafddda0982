"""Charges: what a payment attempt leaves behind, good or bad; made by payment intents."""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import balance_transactions
from tillport.simulator.resources.common import (
    NO_BILLING_DETAILS,
    SHIPPING,
    BillingDetails,
    Call,
    List,
    Route,
    shipping_of,
)
from tillport.simulator.resources.payment_methods import Checks, PaymentMethod

AUTHORISED_SECONDS = (
    7 * 86400
)  # online card payments (docs.stripe.com/payments/place-a-hold-on-a-payment-method)


class Switch(msgspec.Struct, frozen=True, gc=False):
    status: str


_DISABLED = Switch("disabled")
_UNAVAILABLE = Switch("unavailable")


class NetworkToken(msgspec.Struct, frozen=True, gc=False):
    used: bool = False


class Overcapture(msgspec.Struct, frozen=True, gc=False):
    maximum_amount_capturable: int
    status: str = "unavailable"


class ThreeDSecure(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    authentication_flow: str | None
    electronic_commerce_indicator: str | None
    exemption_indicator: str | None = None
    result: str
    result_reason: str | None = None
    transaction_id: str | None
    version: str = "2.2.0"


class CardPayment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`payment_method_details.card`: the card as it was used for this charge."""

    amount_authorized: int | None
    authorization_code: str | None
    brand: str
    capture_before: Any = msgspec.UNSET
    checks: Checks
    country: str | None
    exp_month: int
    exp_year: int
    extended_authorization: Switch = _DISABLED
    fingerprint: str
    funding: str
    incremental_authorization: Switch = _UNAVAILABLE
    installments: None = None
    last4: str
    mandate: None = None
    multicapture: Switch = _UNAVAILABLE
    network: str
    network_token: NetworkToken = NetworkToken()
    network_transaction_id: str | None
    overcapture: Overcapture
    regulated_status: str | None = "unregulated"
    three_d_secure: ThreeDSecure | None = None
    transaction_link_id: None = None
    wallet: None = None


class PaymentMethodDetails(msgspec.Struct, frozen=True, gc=False):
    card: CardPayment
    type: str = "card"


class Outcome(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None
    network_status: str = "approved_by_network"
    reason: str | None = None
    risk_level: str = "normal"
    risk_score: int = 23
    seller_message: str = "Payment complete."
    type: str = "authorized"


class Charge(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    id: str
    object: str = "charge"
    amount: int
    amount_captured: int = 0
    amount_refunded: int = 0
    application: None = None
    application_fee: None = None
    application_fee_amount: None = None
    balance_transaction: Any = None
    billing_details: BillingDetails = NO_BILLING_DETAILS
    calculated_statement_descriptor: str | None = None
    captured: bool = False
    created: int
    currency: str
    customer: Any = None
    description: str | None = None
    destination: None = None
    dispute: Any = None
    disputed: bool = False
    failure_balance_transaction: Any = None
    failure_code: str | None = None
    failure_message: str | None = None
    fraud_details: dict[str, str] = EMPTY
    livemode: bool = False
    metadata: dict[str, str] = EMPTY
    on_behalf_of: None = None
    order: None = None
    outcome: Outcome | None = None
    paid: bool = False
    payment_intent: Any = None
    payment_method: str | None = None
    payment_method_details: PaymentMethodDetails | None = None
    radar_options: dict[str, str] = EMPTY
    receipt_email: str | None = None
    receipt_number: str | None = None
    receipt_url: str | None = None
    refunded: bool = False
    refunds: Any = msgspec.UNSET
    review: None = None
    shipping: dict[str, Any] | None = None
    source: Any = None
    source_transfer: None = None
    statement_descriptor: str | None = None
    statement_descriptor_suffix: str | None = None
    status: str
    transfer_data: None = None
    transfer_group: str | None = None


_APPROVED = {
    "normal": Outcome(),
    "elevated": Outcome(
        reason="elevated_risk_level",
        risk_level="elevated",
        risk_score=65,
        seller_message="Stripe evaluated this payment as having elevated risk, and placed it in your manual review queue.",
        type="manual_review",
    ),
    "highest": Outcome(risk_level="highest", risk_score=87),
}
_ADVICE = {
    "lost_card": "do_not_try_again",
    "stolen_card": "do_not_try_again",
    "insufficient_funds": "try_again_later",
    "processing_error": "try_again_later",
    "incorrect_cvc": "confirm_card_data",
    "expired_card": "confirm_card_data",
}


def outcome_of(decline: c.Decline | None, card: c.Card) -> Outcome:
    """Return what the bank and Radar made of an attempt."""
    if decline is None:
        return _APPROVED[card.risk_level]
    if decline.blocked:
        return Outcome(
            network_status="not_sent_to_network",
            reason="highest_risk_level",
            risk_level="highest",
            risk_score=87,
            seller_message="Stripe blocked this payment as too risky.",
            type="blocked",
        )
    reason = decline.decline_code or decline.code
    return Outcome(
        advice_code=_ADVICE.get(reason),
        network_status="declined_by_network",
        reason=reason,
        seller_message="The bank did not return any further details with this decline."
        if reason == "generic_decline"
        else f"The bank returned the decline code `{reason}`.",
        type="issuer_declined",
    )


def make(
    account: Account,
    *,
    stem: str,
    amount_minor: int,
    currency: str,
    method: PaymentMethod,
    decline: c.Decline | None,
    capture: bool,
    three_d_secure: ThreeDSecure | None = None,
    **copied: Any,
) -> Charge:
    """Build and store the charge of one attempt: succeeded (captured or only authorised), or failed."""
    card = method.card
    now = int(account.now())
    charge_id = account.ids.on("ch_", stem)
    good = decline is None
    held = good and not capture
    details = CardPayment(
        amount_authorized=amount_minor if good else None,
        authorization_code=account.ids.digits(6) if good else None,
        brand=card.brand,
        capture_before=now + AUTHORISED_SECONDS if held else msgspec.UNSET,
        checks=card.checks,
        country=card.country,
        exp_month=card.exp_month,
        exp_year=card.exp_year,
        fingerprint=card.fingerprint,
        funding=card.funding,
        last4=card.last4,
        network=card.brand,
        network_transaction_id=account.ids.digits(15) if good else None,
        overcapture=Overcapture(amount_minor),
        three_d_secure=three_d_secure,
    )
    return account.charges.add(
        Charge(
            id=charge_id,
            amount=amount_minor,
            amount_captured=amount_minor if good and capture else 0,
            billing_details=method.billing_details,
            calculated_statement_descriptor="TILLPORT",
            captured=good and capture,
            created=now,
            currency=currency,
            failure_code=None if decline is None else decline.code,
            failure_message=None if decline is None else decline.message,
            outcome=outcome_of(decline, c.by_fingerprint(card.fingerprint)),
            paid=good,
            payment_method=method.id,
            payment_method_details=PaymentMethodDetails(details),
            receipt_url=f"https://pay.stripe.com/receipts/payment/{charge_id}" if good else None,
            status="succeeded" if good else "failed",
            **copied,
        )
    )


def settle(account: Account, charge_id: str) -> None:
    """Book a captured charge a moment after it succeeded, and say so: `charge.updated` (asynchronous capture)."""
    charge: Charge = account.charges.get(charge_id)
    if charge.balance_transaction is not None:
        return
    card = c.by_fingerprint(charge.payment_method_details.card.fingerprint)  # type: ignore[union-attr] # ours has one
    txn = balance_transactions.for_charge(
        account, charge, charge.amount_captured, at_once=card.bypass_pending
    )
    new = account.charges.put(msgspec.structs.replace(charge, balance_transaction=txn.id))
    account.emit("charge.updated", new, previous={"balance_transaction": None})


def retrieve(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Charge:
    found: Charge = account.charges.get(charge_id, "id")
    return found


UPDATE = Spec(
    {
        "customer": p.string,
        "description": p.text(40_000),
        "fraud_details": p.hash_of(Spec({"user_report": p.one_of("fraudulent", "safe", empty=True)})),
        "metadata": p.metadata,
        "receipt_email": p.string,
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
    new = account.charges.put(msgspec.structs.replace(old, **changes))
    previous = {k: getattr(old, k) for k, v in changes.items() if getattr(old, k) != v}
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
    low, high = params.get("created", (0, 1 << 62))
    found = [ch for ch in (account.charges.get(i) for i in ids) if low <= ch.created <= high]
    shown_ids = [ch.id for ch in found]
    if (after := params.get("starting_after")) is not None:
        account.charges.get(after, "starting_after")
        found = found[shown_ids.index(after) + 1 :] if after in shown_ids else []
    if (before := params.get("ending_before")) is not None:
        account.charges.get(before, "ending_before")
        found = found[: shown_ids.index(before)] if before in shown_ids else []
    limit = params.get("limit", 10)
    data = found[-limit:] if before else found[:limit]
    return List(data=data, has_more=len(found) > limit, url="/v1/charges")


LIST = p.list_spec(customer=p.string, payment_intent=p.string, transfer_group=p.string)

ROUTES = (
    Route("GET", "/v1/charges", list_, LIST),
    Route("GET", "/v1/charges/{id}", retrieve),
    Route("POST", "/v1/charges/{id}", update, UPDATE),
)
