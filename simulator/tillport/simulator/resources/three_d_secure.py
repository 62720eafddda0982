"""3-D Secure: whether a card's bank wants to ask its customer, by test card (docs.stripe.com/testing#regulatory-cards).

required      always a challenge; a customer who is away can't pass it
once          a challenge, until the card is set up and the customer is away
set_up        a challenge when the customer is there; none when away: the bank has the consent already
optional      only when the merchant asks for it
frictionless  authenticated without a challenge
unsupported   never
(none)        asked for, the bank only acknowledges the attempt
"""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator.account import Account


class ThreeDSecure(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a charge, or a setup attempt, tells of the authentication."""

    authentication_flow: str | None
    electronic_commerce_indicator: str | None
    exemption_indicator: str | None = None
    result: str
    result_reason: str | None = None
    transaction_id: str | None
    version: str = "2.2.0"


class Course(msgspec.Struct, frozen=True):
    """What comes of a confirmation: "go", "challenge", or "refuse" (with the decline)."""

    step: str
    result: ThreeDSecure | None = None
    decline: c.Decline | None = None


GO = Course("go")
CHALLENGE = Course("challenge")
_AWAY = Course("refuse", None, c.AUTHENTICATION_REQUIRED)


def course(
    account: Account, card: c.Card, method_id: str, *, asked: bool, away: bool, no_action: bool
) -> Course:
    """Decide what the bank wants; `asked`: the merchant requests it; `away`: off-session; `no_action`: rather an error."""
    kind = card.three_d_secure
    if kind is None:
        return Course("go", result(account, "attempt_acknowledged")) if asked else GO
    if kind == "unsupported":
        return Course("go", result(account, "not_supported")) if asked else GO
    if kind == "frictionless":
        return Course("go", result(account, "authenticated", flow="frictionless"))
    if kind == "optional":
        if not asked:
            return GO
        if card.authentication_fails:
            # The lookup fails, but authentication was a choice: the payment may still succeed.
            return Course("go", result(account, "processing_error"))
    elif card.authentication_fails:
        failed = result(account, "processing_error")
        return Course("refuse", failed, c.decline("card_declined", "generic_decline"))
    elif away and (kind == "set_up" or (kind == "once" and method_id in account.set_up_methods)):
        return GO
    return _AWAY if away or no_action else CHALLENGE


def result(account: Account, outcome: str, *, flow: str | None = None) -> ThreeDSecure:
    """Return the record of an authentication that came out as `outcome`."""
    indicator = {"authenticated": "05", "attempt_acknowledged": "06"}.get(outcome)
    return ThreeDSecure(
        authentication_flow=flow,
        electronic_commerce_indicator=indicator,
        result=outcome,
        result_reason={"processing_error": "protocol_error", "not_supported": "card_not_enrolled"}.get(
            outcome
        ),
        transaction_id=account.ids.chars(32) if indicator else None,
    )


def next_action(account: Account, intent_id: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return where the customer goes: the bank's page, as a redirect or through Stripe.js."""
    url = f"{account.base_url}/_sim/3ds/{intent_id}"
    if params.get("return_url") and not params.get("use_stripe_sdk"):
        return {
            "redirect_to_url": {"return_url": params["return_url"], "url": url},
            "type": "redirect_to_url",
        }
    return {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {
            "source": account.ids.own("src_"),
            "stripe_js": url,
            "type": "three_d_secure_redirect",
        },
    }
