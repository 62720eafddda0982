"""What each call about a payment intent takes."""

from typing import Any

from tillport.simulator import currencies
from tillport.simulator import params as p
from tillport.simulator.errors import not_modelled
from tillport.simulator.params import Spec
from tillport.simulator.resources import payment_methods
from tillport.simulator.resources.common import SHIPPING
from tillport.simulator.resources.payment_intents.intent import (
    CARD_ONLY,
    OPTIONS,
    REASONS,
    CardOptions,
    Options,
)


def card_types(value: Any, name: str) -> tuple[str, ...]:
    read = p.array_of(p.string)(value, name)
    for kind in read:
        if kind != "card":
            raise not_modelled(f"the payment method type {kind!r}", name)
    return tuple(read) or CARD_ONLY


def options(value: Any, name: str) -> Options:
    read = _OPTIONS_SPEC(value, name)
    card = read.get("card") if read else None
    wanted = card.get("request_three_d_secure") if card else None
    return Options(CardOptions(request_three_d_secure=wanted)) if wanted else OPTIONS


_OPTIONS_SPEC = p.hash_of(
    Spec(
        {
            "card": p.hash_of(
                Spec(
                    {"request_three_d_secure": p.one_of("automatic", "any", "challenge")},
                    unmodelled=frozenset(
                        "capture_method cvc_token installments mandate_options moto network "
                        "request_extended_authorization request_incremental_authorization request_multicapture "
                        "request_overcapture require_cvc_recollection setup_future_usage three_d_secure "
                        "statement_descriptor_suffix_kana statement_descriptor_suffix_kanji".split()
                    ),
                )
            )
        },
        unmodelled=payment_methods.OTHER_TYPES,
    )
)
AUTOMATIC_SPEC = p.hash_of(
    Spec({"enabled": p.boolean, "allow_redirects": p.one_of("always", "never")}, required=("enabled",))
)
_UNMODELLED = frozenset(
    "allowed_payment_method_types amount_to_confirm amount_details application_fee_amount customer_account "
    "excluded_payment_method_types hooks mandate mandate_data on_behalf_of payment_details payment_method_configuration radar_options "
    "transfer_data managed_payments".split()
)
WORDS: dict[str, p.Parser] = {
    "description": p.text(1000),
    "metadata": p.metadata,
    "receipt_email": p.string,
    "shipping": SHIPPING,
    "statement_descriptor": p.text(22),
    "statement_descriptor_suffix": p.text(22),
    "transfer_group": p.string,
    "setup_future_usage": p.one_of("off_session", "on_session", empty=True),
}
_METHOD: dict[str, p.Parser] = {
    "payment_method": p.string,
    "payment_method_data": payment_methods.DATA,
    "payment_method_options": options,
    "payment_method_types": card_types,
}


def _off_session(value: Any, name: str) -> bool:
    """Read whether the customer is away: a boolean, or which kind of being away."""
    return True if value in ("one_off", "recurring") else p.boolean(value, name)


_CONFIRM: dict[str, p.Parser] = {
    "return_url": p.string,
    "off_session": _off_session,
    "confirmation_token": p.string,
    "error_on_requires_action": p.boolean,
    "use_stripe_sdk": p.boolean,
}
_CAPTURE_METHOD = p.one_of("automatic", "automatic_async", "manual")


CREATE = Spec(
    {
        "amount": currencies.amount,
        "currency": currencies.currency,
        "automatic_payment_methods": AUTOMATIC_SPEC,
        "capture_method": _CAPTURE_METHOD,
        "confirm": p.boolean,
        "confirmation_method": p.one_of("automatic", "manual"),
        "customer": p.string,
        **WORDS,
        **_METHOD,
        **_CONFIRM,
    },
    required=("amount", "currency"),
    unmodelled=_UNMODELLED,
)
UPDATE = Spec(
    {
        "amount": currencies.amount,
        "currency": currencies.currency,
        "capture_method": _CAPTURE_METHOD,
        "customer": p.string,
        **WORDS,
        **_METHOD,
    },
    unmodelled=_UNMODELLED,
)
CONFIRM = Spec(
    {
        "capture_method": _CAPTURE_METHOD,
        "client_secret": p.string,
        "receipt_email": p.string,
        "shipping": SHIPPING,
        "setup_future_usage": WORDS["setup_future_usage"],
        **_METHOD,
        **_CONFIRM,
    },
    unmodelled=_UNMODELLED,
)
CAPTURE = Spec(
    {
        "amount_to_capture": currencies.amount,
        "final_capture": p.only(True),
        "metadata": p.metadata,
        "statement_descriptor": p.text(22),
        "statement_descriptor_suffix": p.text(22),
    },
    unmodelled=frozenset(
        {"application_fee_amount", "transfer_data", "hooks", "amount_details", "payment_details"}
    ),
)
CANCEL = Spec({"cancellation_reason": p.one_of(*REASONS)})
RETRIEVE = Spec({"client_secret": p.string})
LIST = p.list_spec("customer_account", customer=p.string)
