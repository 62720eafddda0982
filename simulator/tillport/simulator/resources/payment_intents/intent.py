"""The payment intent itself: its fields, its states, and what may be said about them.

    requires_payment_method → requires_confirmation → (requires_action) → requires_capture → succeeded
    any open state → canceled; a declined attempt → requires_payment_method, and the call answers 402

The objects are immutable versions: an event refers to the version of its moment, so `payment_intent.created` shows
`requires_payment_method` even when one call created and confirmed.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError, invalid, parameter_missing
from tillport.simulator.params import EMPTY
from tillport.simulator.resources.common import Call


class AutomaticPaymentMethods(msgspec.Struct, frozen=True, gc=False):
    allow_redirects: str
    enabled: bool


AUTOMATIC = AutomaticPaymentMethods("always", True)
_AMOUNT_DETAILS: dict[str, Any] = {"tip": {}}
CARD_ONLY = ("card",)


class CardOptions(msgspec.Struct, frozen=True, gc=False):
    installments: None = None
    mandate_options: None = None
    network: None = None
    request_three_d_secure: str = "automatic"


class Options(msgspec.Struct, frozen=True, gc=False):
    card: CardOptions = CardOptions()


OPTIONS = Options()


class PaymentIntent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    id: str
    object: str = "payment_intent"
    allowed_payment_method_types: tuple[str, ...] | None = None
    amount: int
    amount_capturable: int = 0
    amount_details: dict[str, Any] = msgspec.field(default_factory=lambda: _AMOUNT_DETAILS)
    amount_received: int = 0
    application: None = None
    application_fee_amount: None = None
    automatic_payment_methods: AutomaticPaymentMethods | None = AUTOMATIC
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    capture_method: str = "automatic_async"
    client_secret: str | None
    confirmation_method: str = "automatic"
    created: int
    currency: str
    customer: Any = None
    customer_account: None = None
    description: str | None = None
    excluded_payment_method_types: None = None
    last_payment_error: dict[str, Any] | None = None
    latest_charge: Any = None
    livemode: bool = False
    managed_payments: None = None
    metadata: dict[str, str] = EMPTY
    next_action: dict[str, Any] | None = None
    on_behalf_of: None = None
    payment_method: Any = None
    payment_method_configuration_details: None = None
    # `Options`, or `MixedOptions` where more than cards is taken.
    payment_method_options: Any = OPTIONS
    payment_method_types: tuple[str, ...] = CARD_ONLY
    payment_record: None = None
    processing: None = None
    receipt_email: str | None = None
    review: None = None
    setup_future_usage: str | None = None
    shipping: dict[str, Any] | None = None
    source: None = None
    statement_descriptor: str | None = None
    statement_descriptor_suffix: str | None = None
    status: str
    transfer_data: None = None
    transfer_group: str | None = None

    def __repr__(self) -> str:
        # The client secret lets its holder pay: it stays out of logs and failure messages.
        return f"PaymentIntent(id={self.id!r}, status={self.status!r}, amount={self.amount}, currency={self.currency!r})"


OPEN = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
# What Stripe.js may read of an intent with its client secret.
PUBLIC_FIELDS = (
    "id object amount automatic_payment_methods canceled_at cancellation_reason capture_method client_secret "
    "confirmation_method created currency description last_payment_error livemode next_action payment_method "
    "payment_method_configuration_details payment_method_types processing receipt_email setup_future_usage shipping "
    "source status"
).split()


def public(intent: PaymentIntent) -> dict[str, Any]:
    """Return what a publishable key may see."""
    return {name: getattr(intent, name) for name in PUBLIC_FIELDS}


def no_method(intent: PaymentIntent) -> ApiError:
    return unexpected(
        intent,
        "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
        "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment "
        "method or ConfirmationToken.",
    )


def unexpected(intent: PaymentIntent, message: str) -> ApiError:
    return ApiError(400, message, code="payment_intent_unexpected_state", payment_intent=intent)


def check_secret(call: Call, params: dict[str, Any], intent: PaymentIntent) -> None:
    given = params.get("client_secret")
    if given is None:
        if call.publishable:
            raise parameter_missing("client_secret")
    elif given != intent.client_secret:
        raise invalid(
            "The client_secret provided does not match the client_secret associated with the PaymentIntent.",
            "client_secret",
        )


def check_descriptor(types: Sequence[str], descriptor: str | None) -> None:
    """Refuse a whole statement descriptor where a card may pay: Stripe takes only a suffix there."""
    if descriptor and "card" in types:
        raise invalid(
            "The statement_descriptor parameter is not supported for the payment_method_type `card`. To continue "
            "supporting payment_method_type `card`, please pass in `statement_descriptor_suffix` or remove the "
            "`statement_descriptor` parameter altogether.",
            "statement_descriptor",
        )


def note_earlier_charge(account: Account, intent: PaymentIntent) -> None:
    """Remember the latest charge of an intent that is about to get another: the list of its charges names them all."""
    if intent.latest_charge is not None:
        earlier = account.earlier_charges.get(intent.id, ())
        account.earlier_charges[intent.id] = (*earlier, intent.latest_charge)
