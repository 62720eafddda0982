"""What a failed call to Stripe means: did money move, and whose fault is it.

The SDK chooses its exception by the HTTP status alone and loses facts on the way (a key in flight is a bare
`APIError`, most classes drop `code`), so the verdict is read from what Stripe itself said, and the first rule that
fits decides:

| what came back | verdict | why |
|---|---|---|
| nothing left | `GatewayUnavailable` | no connection was had |
| no answer, or none that is Stripe's JSON | `OutcomeUnknown` | resets, timeouts, HTML, cut bodies, faults of the SDK |
| an error that embeds a payment under way | `OutcomeUnknown` | it contradicts itself |
| code `approval_required` | `AwaitsApproval` | once a person approves it, Stripe makes the charge by itself |
| `idempotency_error`, or 409 | `OutcomeUnknown` | a first request exists under this key |
| `card_error` | `CardDeclined` | the charge was tried, and refused |
| 401, 403, 429 that is a replay | `OutcomeUnknown` | what is refused at the door is not remembered: work had begun |
| 401, 403 | `GatewayMisconfigured` | refused at the door |
| 429, or code `rate_limit` | `GatewayUnavailable` | the limiter stands before the work |
| 429 with another code (`lock_timeout`) | `OutcomeUnknown` | the work had begun: something holds the lock |
| 404 without a code | `GatewayMisconfigured` | no such address: this is not Stripe's API |
| 400, 402, 404 `invalid_request_error` | `InvalidRequest`, or `GatewayMisconfigured` for the account's own faults | refused as such |
| anything else, 5xx above all | `OutcomeUnknown` | a 500 can follow the effect |

And one rule above all: once a try under a key is in doubt, only Stripe's word on that very key ends the doubt. A
later try that is turned away at the door says nothing about the earlier one.

Sources: docs.stripe.com/api/errors, docs.stripe.com/api/idempotent_requests, docs.stripe.com/rate-limits,
docs.stripe.com/account/approvals.
"""

import re
from typing import Any

import attrs
import msgspec
import stripe

from tillport.adapters.stripe.transport import Flight, NotSent
from tillport.ports.payments import (
    AwaitsApproval,
    CardDeclined,
    GatewayError,
    GatewayMisconfigured,
    GatewayUnavailable,
    InvalidRequest,
    OutcomeUnknown,
)

_APPROVAL_REQUIRED = "approval_required"
_UNDER_WAY = frozenset({"succeeded", "processing", "requires_capture", "requires_action"})

_ACCOUNT_CODES = frozenset(
    """
    account_closed account_country_invalid_address account_error_country_change_requires_additional_steps
    account_information_mismatch account_invalid account_number_invalid api_key_expired
    application_fees_not_allowed country_unsupported livemode_mismatch parameter_unknown
    payment_method_unactivated platform_account_required platform_api_key_expired secret_key_required
    sepa_unsupported_account testmode_charges_only tls_version_unsupported
    """.split()
)
"""Codes (docs.stripe.com/error-codes) that blame the account, the key or this adapter, not the caller's order."""

_IN_OUR_WORDS = {
    "token_already_used": (
        "This token was used before, and may have paid.",
        "If another request of yours sent it, do not pay again before you know what became of that; else send a new token.",
    ),
    "resource_missing": (
        "Stripe does not know this token.",
        "Send the token that Stripe gave your client, made with the publishable key of the same account and mode.",
    ),
    "amount_too_small": (
        "The amount is below what Stripe charges in this currency.",
        "See the minimum amounts at docs.stripe.com/currencies.",
    ),
    "amount_too_large": (
        "The amount is above what Stripe charges in this currency.",
        "See the maximum amounts at docs.stripe.com/currencies.",
    ),
}
_CALLERS_PARAMS = ("amount", "currency", "description", "metadata", "payment_method_data")
_OUR_PARAMS = ("allowed_payment_method_types", "confirm", "expand", "payment_method_types")
"""What `parameters` sends of its own accord, and what it did: no caller can correct it (Stripe's versions take some away)."""

SAME_AGAIN = "Send the same request again, under the same key, never another."
LATER = "Send the same request again later."


class _Object(msgspec.Struct):
    id: str
    status: str | None = None


class _Error(msgspec.Struct):
    type: str
    code: str | None = None
    param: str | None = None
    message: str | None = None
    decline_code: str | None = None
    charge: _Object | str | None = None
    payment_intent: _Object | str | None = None


class _Envelope(msgspec.Struct):
    error: _Error


@attrs.frozen(kw_only=True)
class Failure:
    """One failed call, as far as it is known. `error` is Stripe's own word, if it came as Stripe words it."""

    left: bool
    what: str
    status: int | None = None
    error: _Error | None = attrs.field(default=None, repr=False)
    request_id: str | None = None
    replayed: bool = False
    retry_advice: bool | None = None

    @property
    def code(self) -> str | None:
        """Stripe's error code, if it gave one."""
        return self.error.code if self.error else None

    @property
    def limited(self) -> bool:
        """Whether Stripe's rate limiter turned the call away before any work."""
        if self.error is None:
            return False
        return self.code == "rate_limit" or (self.status == 429 and self.code is None)

    @property
    def worth_repeating(self) -> bool:
        """Whether the same call, under the same key, may do better in a moment.

        Stripe's own advice first (`Stripe-Should-Retry`), then as its SDKs judge: connections, 409 and 5xx.
        """
        if self.code == _APPROVAL_REQUIRED:
            return False  # each time a person would be asked anew
        if self.retry_advice is not None:
            return self.retry_advice
        if self.status is None or self.status == 409 or self.status >= 500:
            return True
        return 200 <= self.status < 300  # a success whose answer was cut: the same key brings it again

    def __str__(self) -> str:
        facts = [
            str(self.status or ""),
            (self.error and self.error.type) or "",
            self.code or "",
            self.request_id or "",
        ]
        told = " ".join(filter(None, facts))
        return f"{self.what} ({told})" if told else self.what


def read_failure(raised: Exception, flight: Flight) -> Failure:
    """Gather what is known of a call that ended in an exception of the SDK or below it."""
    if isinstance(raised, NotSent):
        return Failure(left=False, what=str(raised.user_message))
    if not flight.handed_over:
        return Failure(left=False, what=f"the request could not be made: {type(raised).__name__}")
    headers = {name.lower(): value for name, value in flight.headers.items()}
    error = _error_of(raised)
    if flight.status is None:
        what = "the connection broke before an answer came"
    elif error is None:
        what = "Stripe's answer could not be read"
    else:
        what = "Stripe refused the call"
    return Failure(
        left=True,
        what=what,
        status=flight.status,
        error=error,
        request_id=_plain(headers.get("request-id")),
        replayed=headers.get("idempotent-replayed") == "true",
        retry_advice={"true": True, "false": False}.get(headers.get("stripe-should-retry", "")),
    )


def verdict(failure: Failure, *, in_doubt: bool = False) -> GatewayError:
    """Return the port's error for a failed charge. `in_doubt` says that an earlier try under the key may have worked."""
    found = _verdict(failure)
    settles = isinstance(found, CardDeclined | AwaitsApproval) or (
        isinstance(found, InvalidRequest) and found.replayed
    )
    if in_doubt and not settles:
        return OutcomeUnknown(
            f"An earlier try may have charged the card, and the last one did not tell: {failure}.",
            remedy=SAME_AGAIN,
        )
    return found


def _verdict(failure: Failure) -> GatewayError:
    error, status = failure.error, failure.status
    if not failure.left:
        return GatewayUnavailable(f"Nothing was sent: {failure}.", remedy=LATER)
    if error is None or _contradicts_itself(error):
        return _unknown(failure)
    if error.code == _APPROVAL_REQUIRED:
        return AwaitsApproval(
            f"Stripe makes this charge only once a person approves it: {failure}.",
            remedy="The operator finds it in Stripe's dashboard under Settings > Approvals, and gives the till a key "
            "to which no rule applies.",
        )
    if error.type == "idempotency_error" or status == 409:
        return _unknown(failure)
    if error.type == "card_error" and status in (400, 402, 404):
        return _declined(error)
    at_the_door = status in (401, 403) or failure.limited
    if at_the_door and failure.replayed:
        return _unknown(failure)
    if status in (401, 403):
        return GatewayMisconfigured(
            f"Stripe does not accept our key for this: {failure}.",
            remedy="The operator checks the secret key, its mode and its permissions.",
        )
    if failure.limited:
        return GatewayUnavailable(f"Stripe takes no more requests at the moment: {failure}.", remedy=LATER)
    if error.type == "invalid_request_error" and status in (400, 402, 404):
        return _refused(failure, error)
    return _unknown(failure)


def _contradicts_itself(error: _Error) -> bool:
    if isinstance(error.payment_intent, _Object) and error.payment_intent.status in _UNDER_WAY:
        return True
    return error.charge is not None and error.type != "card_error"


def _unknown(failure: Failure) -> OutcomeUnknown:
    return OutcomeUnknown(f"Whether the card was charged is not known: {failure}.", remedy=SAME_AGAIN)


def _declined(error: _Error) -> CardDeclined:
    return declined(
        reason=error.code,
        decline_code=error.decline_code,
        message=error.message,
        payment_intent_id=_id(error.payment_intent),
        charge_id=_id(error.charge),
    )


def declined(
    *,
    reason: str | None,
    decline_code: str | None,
    message: str | None,
    payment_intent_id: str | None,
    charge_id: str | None,
) -> CardDeclined:
    """Return the decline. Stripe writes the messages of card errors for the cardholder: they are passed on."""
    return CardDeclined(
        safe(message) or "The card was declined.",
        reason=reason or "card_declined",
        decline_code=decline_code,
        payment_intent_id=payment_intent_id,
        charge_id=charge_id,
    )


def _id(named: _Object | str | None) -> str | None:
    return named.id if isinstance(named, _Object) else named


def _refused(failure: Failure, error: _Error) -> GatewayError:
    ours = error.param is not None and error.param.startswith(_OUR_PARAMS)
    if ours or error.code in _ACCOUNT_CODES or (failure.status == 404 and error.code is None):
        return GatewayMisconfigured(
            f"Stripe does not take charges from us as we are set up: {failure}.",
            remedy="The operator looks the request up in the Stripe dashboard (Workbench > Logs), where Stripe's reason is.",
        )
    about_token = error.param is None or "token" in error.param
    if error.code in _IN_OUR_WORDS and (error.code != "resource_missing" or about_token):
        message, remedy = _IN_OUR_WORDS[error.code]
    elif error.param is not None and error.param.startswith(_CALLERS_PARAMS):
        message, remedy = (
            safe(error.message) or f"Stripe refused {safe(error.param)}.",
            "Correct it and send it again.",
        )
    else:
        # Messages for developers may speak of our account: callers get the code, operators find the request by id.
        message, remedy = f"The charge was not made: {failure}.", "See docs.stripe.com/error-codes."
    return InvalidRequest(
        message, reason=error.code, param=error.param, remedy=remedy, replayed=failure.replayed
    )


def _error_of(raised: Exception) -> _Error | None:
    body: Any = raised.json_body if isinstance(raised, stripe.StripeError) else None
    if not isinstance(body, dict):
        return None
    try:
        error = msgspec.convert(body, _Envelope).error
    except msgspec.ValidationError:
        return None
    # Types and codes are words. Whatever else stands there, Stripe did not write it.
    words = [error.type, *filter(None, (error.code, error.decline_code))]
    return error if all(map(_plain, words)) else None


_NAMES_A_SECRET = re.compile(
    r"\b(?:acct|card|ctoken|cus|ek|pi|pk|pm|rk|seti|sk|src|tok|whsec)_[\w*-]+|\d[\d -]{10,}\d"
)
_LONGEST_MESSAGE = 300


def safe(message: str | None) -> str:
    """Return a message of Stripe's as it may be shown: bounded, printable, without keys, tokens or long numbers.

    >>> safe("No such token: 'tok_1Abc'; your key is sk_live_x.")
    "No such token: '…'; your key is …."
    """
    text = "".join(letter for letter in (message or "") if letter.isprintable())
    return _NAMES_A_SECRET.sub("…", text)[:_LONGEST_MESSAGE]


def _plain(word: str | None) -> str | None:
    return word if word is not None and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", word) else None
