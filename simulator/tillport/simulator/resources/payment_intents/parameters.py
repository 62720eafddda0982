"""What each call about a payment intent takes."""

from typing import Any

from tillport.simulator import currencies
from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import invalid, not_modelled
from tillport.simulator.params import Spec
from tillport.simulator.resources import payment_methods
from tillport.simulator.resources.common import SHIPPING
from tillport.simulator.resources.payment_intents import options
from tillport.simulator.resources.payment_intents.intent import CARD_ONLY, REASONS


def _types(*known: str) -> p.Parser:
    def parse(value: Any, name: str) -> tuple[str, ...]:
        read = p.array_of(p.string)(value, name)
        for kind in read:
            if kind not in known:
                raise not_modelled(f"the payment method type {kind!r}", name)
        # The one tuple, so that an intent for cards alone is known at a glance.
        return tuple(read) if read and read != ["card"] else CARD_ONLY

    return parse


card_only = _types("card")
_some = _types("card", "customer_balance", "sepa_debit")
# From this version on Stripe refuses `payment_method_types` (docs.stripe.com/changelog/endive/2026-09-30).
_ALLOWED_ONLY = "2026-09-30"


def types_of(account: Account, params: dict[str, Any]) -> tuple[str, ...] | None:
    """Return which types of payment method a call names, None if it names none; raise ApiError for how it does so."""
    allowed, types = params.get("allowed_payment_method_types"), params.get("payment_method_types")
    if types and account.version >= _ALLOWED_ONLY:
        raise invalid(
            "The parameter `payment_method_types` is no longer supported in this API version. Use "
            "`allowed_payment_method_types`, or leave it out to take what is enabled in your Dashboard.",
            "payment_method_types",
            "payment_method_types_no_longer_supported",
        )
    automatic = params.get("automatic_payment_methods")
    named = (allowed, types, automatic and automatic["enabled"])
    if sum(map(bool, named)) > 1:
        raise invalid(
            "You may only specify one of these parameters: allowed_payment_method_types, "
            "automatic_payment_methods, payment_method_types.",
            "allowed_payment_method_types" if allowed else "automatic_payment_methods",
        )
    return allowed or types


AUTOMATIC_SPEC = p.hash_of(
    Spec({"enabled": p.boolean, "allow_redirects": p.one_of("always", "never")}, required=("enabled",))
)
_UNMODELLED = frozenset(
    "amount_to_confirm amount_details application_fee_amount customer_account "
    "excluded_payment_method_types hooks mandate on_behalf_of payment_details payment_method_configuration radar_options "
    "transfer_data managed_payments".split()
)
WORDS: dict[str, p.Parser] = {
    "description": p.text(1000),
    "metadata": p.metadata,
    "receipt_email": p.email,
    "shipping": SHIPPING,
    "statement_descriptor": p.descriptor,
    "statement_descriptor_suffix": p.descriptor,
    "transfer_group": p.string,
    "setup_future_usage": p.one_of("off_session", "on_session", empty=True),
}
_METHOD: dict[str, p.Parser] = {
    "payment_method": p.reference,
    "payment_method_data": payment_methods.DATA,
    "payment_method_options": options.parse,
    "allowed_payment_method_types": _some,
    "payment_method_types": _some,
}


def _off_session(value: Any, name: str) -> bool:
    """Read whether the customer is away: a boolean, or which kind of being away."""
    return True if value in ("one_off", "recurring") else p.boolean(value, name)


_MANDATE = p.hash_of(
    Spec(
        {
            "customer_acceptance": p.hash_of(
                Spec(
                    {
                        "type": p.one_of("online", "offline"),
                        "accepted_at": p.integer,
                        "offline": p.hash_of(Spec({})),
                        "online": p.hash_of(
                            Spec(
                                {
                                    "ip_address": p.string,
                                    "user_agent": p.string,
                                    "infer_from_client": p.boolean,
                                }
                            )
                        ),
                    },
                    required=("type",),
                )
            )
        },
        required=("customer_acceptance",),
    )
)
_CONFIRM: dict[str, p.Parser] = {
    "mandate_data": _MANDATE,
    "return_url": p.return_url,
    "off_session": _off_session,
    "confirmation_token": p.reference,
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
        "customer": p.reference,
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
        "customer": p.reference,
        **WORDS,
        **_METHOD,
    },
    unmodelled=_UNMODELLED,
)
CONFIRM = Spec(
    {
        "capture_method": _CAPTURE_METHOD,
        "client_secret": p.string,
        "receipt_email": p.email,
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
        "statement_descriptor": p.descriptor,
        "statement_descriptor_suffix": p.descriptor,
    },
    unmodelled=frozenset(
        {"application_fee_amount", "transfer_data", "hooks", "amount_details", "payment_details"}
    ),
)
CANCEL = Spec({"cancellation_reason": p.one_of(*REASONS)})
RETRIEVE = Spec({"client_secret": p.string})
LIST = p.list_spec("customer_account", customer=p.string)
