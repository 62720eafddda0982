"""Confirmation tokens: what a checkout form collected, handed to the server to confirm with, once.

Stripe.js makes them with a publishable key; `POST /v1/test_helpers/confirmation_tokens` makes them in tests.
"""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import invalid, missing_object, parameter_missing
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import payment_methods
from tillport.simulator.resources.card_details import CardDetails
from tillport.simulator.resources.common import (
    SHIPPING,
    BillingDetails,
    Call,
    Route,
    address_of,
)
from tillport.simulator.resources.payment_methods import PaymentMethod

# Half a day, as the API reference's examples show; Stripe promises no figure.
LIVES_SECONDS = 12 * 3600


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    allow_redisplay: str
    billing_details: BillingDetails
    card: CardDetails
    customer: Any = None
    customer_account: None = None
    type: str = "card"


class ConfirmationToken(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "confirmation_token"
    created: int
    expires_at: int | None
    livemode: bool = False
    mandate_data: None = None
    payment_intent: str | None = None
    payment_method_options: None = None
    payment_method_preview: Preview
    return_url: str | None = None
    setup_future_usage: str | None = None
    setup_intent: str | None = None
    shipping: dict[str, Any] | None = None
    use_stripe_sdk: bool = True


CREATE = Spec(
    {
        "payment_method": p.string,
        "payment_method_data": payment_methods.DATA,
        "return_url": p.return_url,
        "setup_future_usage": p.one_of("off_session", "on_session"),
        "shipping": SHIPPING,
    },
    unmodelled=frozenset({"mandate_data", "payment_method_options", "set_as_default_payment_method"}),
)


def create(account: Account, call: Call, params: dict[str, Any]) -> ConfirmationToken:
    """Keep what a customer entered, for half a day; the payment method is made when the token is used."""
    data, given = params.get("payment_method_data"), params.get("payment_method")
    if data:
        method = payment_methods.build(account, data, "payment_method_data[card]")
    elif given:
        method = payment_methods.resolve(account, given, "payment_method")
    else:
        raise parameter_missing("payment_method_data")
    payment_methods.only_card(method, "confirmation tokens")
    now = int(account.now())
    shipping = params.get("shipping")
    token = account.confirmation_tokens.add(
        ConfirmationToken(
            id=account.ids.own("ctoken_"),
            created=now,
            expires_at=now + LIVES_SECONDS,
            payment_method_preview=Preview(
                allow_redisplay=method.allow_redisplay,
                billing_details=method.billing_details,
                card=method.card,
                customer=method.customer,
            ),
            return_url=params.get("return_url") or None,
            setup_future_usage=params.get("setup_future_usage"),
            shipping={
                "address": address_of(shipping.get("address")),
                "name": shipping.get("name"),
                "phone": shipping.get("phone"),
            }
            if shipping
            else None,
        )
    )
    # A stored payment method is used as it is; a new one is stored when the token is spent.
    account.confirmation_methods[token.id] = method
    return token


def retrieve(account: Account, call: Call, params: dict[str, Any], token_id: str) -> ConfirmationToken:
    found: ConfirmationToken = account.confirmation_tokens.get(token_id, "confirmation_token")
    return found


def unspent(account: Account, token_id: str) -> tuple[PaymentMethod, ConfirmationToken]:
    """Return what a token stands for, and the token; raise ApiError for one that is unknown, used, or too old."""
    token = account.confirmation_tokens.find(token_id)
    if token is None:
        raise missing_object("confirmation_token", token_id[:255], "confirmation_token", status=400)
    if token.payment_intent or token.setup_intent:
        raise invalid(
            f"The ConfirmationToken {token_id} has already been used.",
            "confirmation_token",
            "resource_missing",
        )
    if token.expires_at is None or account.now() >= token.expires_at:
        raise invalid(
            f"The ConfirmationToken {token_id} has expired.", "confirmation_token", "resource_missing"
        )
    method = account.confirmation_methods[token_id]
    # What it stands for may have paid, been saved or left its customer since the token was made.
    return payment_methods.find(account, method.id) or method, token


def spend(account: Account, token_id: str, intent_id: str) -> tuple[PaymentMethod, ConfirmationToken]:
    """Use a token up for an intent; raise ApiError for one that can't be used."""
    method, token = unspent(account, token_id)
    used = {"setup_intent" if intent_id.startswith("seti_") else "payment_intent": intent_id}
    account.confirmation_tokens.put(msgspec.structs.replace(token, expires_at=None, **used))
    del account.confirmation_methods[token_id]
    if payment_methods.find(account, method.id) is None:
        method = account.payment_methods.add(
            msgspec.structs.replace(method, created=int(account.now()), metadata=EMPTY)
        )
    return method, token


ROUTES = (
    Route("POST", "/v1/confirmation_tokens", create, CREATE, publishable=True),
    Route("GET", "/v1/confirmation_tokens/{confirmation_token}", retrieve, publishable=True),
    Route("POST", "/v1/test_helpers/confirmation_tokens", create, CREATE, resource="confirmation_tokens"),
)
