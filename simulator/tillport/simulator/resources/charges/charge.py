"""The charge itself: its fields, how one is made of an attempt, and how captured money is booked."""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError
from tillport.simulator.params import EMPTY
from tillport.simulator.resources import balance_transactions, disputes
from tillport.simulator.resources.card_details import Checks
from tillport.simulator.resources.common import NO_BILLING_DETAILS, BillingDetails
from tillport.simulator.resources.payment_methods import PaymentMethod
from tillport.simulator.resources.three_d_secure import ThreeDSecure

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
    risk_score: int | msgspec.UnsetType = 23
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
    # `PaymentMethodDetails`; of what is paid without a card, what `charges.payments` makes.
    payment_method_details: Any = None
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
    metadata: dict[str, str],
    three_d_secure: ThreeDSecure | None = None,
    customer: str | None = None,
    description: str | None = None,
    payment_intent: str | None = None,
    receipt_email: str | None = None,
    shipping: dict[str, Any] | None = None,
    source: Any = None,
    statement_descriptor: str | None = None,
    statement_descriptor_suffix: str | None = None,
    transfer_group: str | None = None,
) -> Charge:
    """Build and store the charge of one attempt: succeeded (captured or only authorised), or failed."""
    card = method.card
    now = account.second()
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
            # Named, or each charge would get empty dicts of its own: that is how msgspec reads such a default.
            fraud_details=EMPTY,
            radar_options=EMPTY,
            outcome=outcome_of(decline, c.by_fingerprint(card.fingerprint)),
            paid=good,
            payment_method=method.id,
            payment_method_details=PaymentMethodDetails(details),
            receipt_url=f"https://pay.stripe.com/receipts/payment/{charge_id}" if good else None,
            status="succeeded" if good else "failed",
            customer=customer,
            description=description,
            metadata=metadata,
            payment_intent=payment_intent,
            receipt_email=receipt_email,
            shipping=shipping,
            source=source,
            statement_descriptor=statement_descriptor,
            statement_descriptor_suffix=statement_descriptor_suffix,
            transfer_group=transfer_group,
        )
    )


# One for all: what an event keeps is never changed.
_BOOKED: dict[str, Any] = {"balance_transaction": None}


def settle(account: Account, charge_id: str) -> None:
    """Book a captured charge a moment after it succeeded, and say so: `charge.updated` (asynchronous capture)."""
    charge: Charge = account.charges.get(charge_id)
    if charge.balance_transaction is not None:
        return
    txn = balance_transactions.for_charge(
        account, charge, charge.amount_captured, at_once=card_of(charge).bypass_pending
    )
    new = account.charges.put(msgspec.structs.replace(charge, balance_transaction=txn.id))
    account.emit("charge.updated", new, previous=_BOOKED)


def card_of(charge: Charge) -> c.Card:
    """Return the test card that a charge was made with: its number decides what happens later."""
    return c.by_fingerprint(charge.payment_method_details.card.fingerprint)


def captured(
    account: Account, old: Charge, amount_minor: int, **changes: Any
) -> tuple[Charge, dict[str, Any]]:
    """Take an authorisation's money, all or part; return the new version and what changed, for the event."""
    txn = balance_transactions.for_charge(account, old, amount_minor, at_once=card_of(old).bypass_pending)
    details = old.payment_method_details
    if details is not None:
        details = PaymentMethodDetails(msgspec.structs.replace(details.card, capture_before=msgspec.UNSET))
    new = account.charges.put(
        msgspec.structs.replace(
            old,
            amount_captured=amount_minor,
            balance_transaction=txn.id,
            captured=True,
            payment_method_details=details,
            **changes,
        )
    )
    disputes.foresee(account, new, card_of(new))
    previous = {"amount_captured": 0, "balance_transaction": None, "captured": False}
    return new, previous | {k: getattr(old, k) for k in changes if getattr(old, k) != getattr(new, k)}


def declined(charge: Charge, decline: c.Decline, **embedded: Any) -> ApiError:
    """Build the 402 of a declined attempt."""
    fields: dict[str, Any] = {"charge": charge.id}
    if charge.outcome is not None and charge.outcome.advice_code is not None:
        fields["advice_code"] = charge.outcome.advice_code
    if decline.decline_code is not None:
        fields["decline_code"] = decline.decline_code
    return ApiError(
        402, decline.message, type="card_error", code=decline.code, param=decline.param, **embedded, **fields
    )
