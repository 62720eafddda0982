"""Charges without a payment intent: `POST /v1/charges` and its capture, deprecated by Stripe and still in use.

The bank can't ask the customer anything here, so a card that needs a challenge is declined.
"""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import currencies
from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError, invalid
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import balance_transactions, disputes, payment_methods, sources, tokens
from tillport.simulator.resources.charges.charge import (
    AUTHORISED_SECONDS,
    Charge,
    captured,
    card_of,
    declined,
    make,
)
from tillport.simulator.resources.common import SHIPPING, Call, shipping_of
from tillport.simulator.resources.payment_methods import PaymentMethod
from tillport.simulator.resources.tokens import CardSource

CREATE = Spec(
    {
        "amount": currencies.amount,
        "currency": currencies.currency,
        "source": sources.SOURCE,
        "card": sources.SOURCE,
        "customer": p.reference,
        "capture": p.boolean,
        "description": p.text(40_000),
        "metadata": p.metadata,
        "receipt_email": p.email,
        "shipping": SHIPPING,
        "statement_descriptor": p.descriptor,
        "statement_descriptor_suffix": p.descriptor,
        "transfer_group": p.string,
    },
    required=("amount", "currency"),
    unmodelled=frozenset(
        "application_fee application_fee_amount destination on_behalf_of radar_options transfer_data".split()
    ),
)
CAPTURE = Spec(
    {
        "amount": currencies.amount,
        "receipt_email": p.email,
        "statement_descriptor": p.descriptor,
        "statement_descriptor_suffix": p.descriptor,
        "transfer_group": p.string,
    },
    unmodelled=frozenset({"application_fee", "application_fee_amount", "transfer_data"}),
)
_WORDS = (
    "description",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)


def create(account: Account, call: Call, params: dict[str, Any]) -> Charge:
    """Charge a token, a named test card, or a customer's card, in one step."""
    currencies.check_charge(params["amount"], params["currency"])
    customer = params.get("customer") or None
    method, source = _payer(account, params.get("source") or params.get("card") or None, customer)
    capture = params.get("capture", True)
    decline = _decline(account, method)
    metadata = params.get("metadata")
    charge = make(
        account,
        stem=account.ids.stem(),
        amount_minor=params["amount"],
        currency=params["currency"],
        method=method,
        decline=decline,
        capture=capture,
        customer=customer,
        metadata=p.merged(EMPTY, metadata) if metadata else EMPTY,
        shipping=shipping_of(params.get("shipping")),
        source=source,
        **{name: params.get(name) or None for name in _WORDS},
    )
    if decline is not None:
        account.emit("charge.failed", charge, call.origin)
        raise declined(charge, decline)
    if capture:
        txn = balance_transactions.for_charge(
            account, charge, charge.amount, at_once=card_of(charge).bypass_pending
        )
        charge = account.charges.put(msgspec.structs.replace(charge, balance_transaction=txn.id))
        disputes.foresee(account, charge, card_of(charge))
    else:
        account.schedule(AUTHORISED_SECONDS, _expire, charge.id)
    account.emit("charge.succeeded", charge, call.origin)
    return charge


def _payer(account: Account, given: Any, customer: str | None) -> tuple[PaymentMethod, CardSource | None]:
    """Return what pays, as the bank sees it, and the card that the charge shows as its source."""
    if customer is not None:
        owner = account.customers.get(customer, "customer", status=400)
        if isinstance(given, str) and given.startswith("pm_"):
            return sources.attached_method(account, owner.id, given), None
        card = sources.of_customer(account, owner, given)
        return payment_methods.of_card(account, card), card
    if given is None:
        raise ApiError(400, "Must provide source or customer.", code="parameter_missing", stored=False)
    if isinstance(given, str) and given.startswith("pm_card_"):
        # Named test payment methods are taken where a source is; a stored one needs its customer.
        return payment_methods.resolve(account, given, "source"), None
    if isinstance(given, str) and given.startswith("card_") and account.cards.find(given) is not None:
        raise ApiError(
            400,
            f"No such token: '{given}'; the card belongs to a customer: give the customer beside it.",
            code="resource_missing",
            param="source",
        )
    card = tokens.checked(sources.card_from(account, given, "source"))
    return payment_methods.of_card(account, card), card


def _decline(account: Account, method: PaymentMethod) -> c.Decline | None:
    card = c.by_fingerprint(method.card.fingerprint)
    if card.three_d_secure == "required" or (
        card.three_d_secure == "once" and method.id not in account.set_up_methods
    ):
        return c.AUTHENTICATION_REQUIRED
    return card.declined


def capture(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Charge:
    """Take the money of a charge made with `capture=false`, all or part; the rest is released."""
    charge: Charge = account.charges.get(charge_id, "charge")
    if charge.payment_intent is not None:
        raise invalid(
            f"Charge {charge.id} belongs to a PaymentIntent: capture {charge.payment_intent} instead.",
            "charge",
        )
    if charge.captured:
        raise ApiError(400, f"Charge {charge.id} has already been captured.", code="charge_already_captured")
    if charge.refunded:
        raise ApiError(400, f"Charge {charge.id} has already been refunded.", code="charge_already_refunded")
    if charge.status != "succeeded":
        raise invalid(f"Charge {charge.id} failed: there is nothing to capture.", "charge")
    if account.now() >= charge.created + AUTHORISED_SECONDS:
        raise ApiError(
            400,
            f"Charge {charge.id} can no longer be captured: its authorization expired after 7 days.",
            code="charge_expired_for_capture",
        )
    taken = params.get("amount", charge.amount)
    if taken > charge.amount:
        raise invalid(
            "The amount to capture is greater than the amount that was authorized, which is "
            f"{currencies.shown(charge.amount, charge.currency)}.",
            "amount",
            "amount_too_large",
        )
    changes = {k: v or None for k, v in params.items() if k != "amount"}
    if charge.transfer_group not in (None, changes.get("transfer_group", charge.transfer_group)):
        raise invalid(
            f"The charge {charge.id} has a transfer_group already: it can't be given another.",
            "transfer_group",
        )
    new, previous = captured(account, charge, taken, **changes)
    account.emit("charge.captured", new, call.origin, previous)
    return new


def _expire(account: Account, charge_id: str) -> None:
    charge: Charge = account.charges.get(charge_id)
    if not charge.captured and not charge.refunded:
        account.emit("charge.expired", charge)
