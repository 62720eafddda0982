"""Payment intents on the wire: an order as Stripe's parameters, and Stripe's answer as a payment.

The flow is Stripe's of today: a payment intent made and confirmed in one request, with a legacy card token inside
(creating through `/v1/charges` is deprecated). `allowed_payment_method_types=[card]`, and not `automatic_payment_methods`:
a token is always a card, so what can be paid with must not depend on switches in the account's dashboard, and no
method that would need a `return_url` can come up. (`payment_method_types` said the same until 2026-09-30.endive, which
refuses it; the SDK's versions that are taken here send a later one.) 3-D Secure still works: Stripe answers
`requires_action`, and the client finishes with the `client_secret`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tillport.adapters.stripe.failures import declined
from tillport.ports.payments import (
    CardDeclined,
    ChargeOrder,
    InvalidRequest,
    OutcomeUnknown,
    Payment,
    PaymentStatus,
)

ATTEMPT = "tillport_attempt"
"""The metadata key under which every payment carries its idempotency key, and by which `find` knows it again."""

_MAX_KEYS, _MAX_KEY, _MAX_VALUE = 50, 40, 500  # docs.stripe.com/api/metadata


class LastError(msgspec.Struct):
    """Why the latest try of a payment intent failed."""

    code: str | None = None
    decline_code: str | None = None
    message: str | None = None
    type: str | None = None


class Intent(msgspec.Struct):
    """What is read of a payment intent. The rest stays in its bytes."""

    id: str
    status: str
    object: str
    metadata: dict[str, str] | None = None
    latest_charge: msgspec.Raw = msgspec.Raw(b"null")
    last_payment_error: LastError | None = None

    @property
    def attempt(self) -> str | None:
        """The idempotency key of the attempt that made this payment, None for payments that are not ours."""
        return (self.metadata or {}).get(ATTEMPT)


class _Charge(msgspec.Struct):
    id: str
    object: str


def parameters(order: ChargeOrder, *, attempt: str) -> dict[str, Any]:
    """Return what Stripe is asked for. Raises `InvalidRequest` for what Stripe is known to refuse."""
    asked: dict[str, Any] = {
        "amount": order.money.amount_minor,
        "currency": order.money.currency,
        "confirm": True,
        "allowed_payment_method_types": ["card"],
        "payment_method_data": {"type": "card", "card": {"token": order.token}},
        "metadata": {**_checked_metadata(order.metadata), ATTEMPT: attempt},
        "expand": ["latest_charge"],
    }
    if order.description is not None:
        asked["description"] = _sendable(order.description, param="description")
    return asked


def payment_of(body: bytes) -> Payment:
    """Return the payment that Stripe's payment intent shows.

    Raises `CardDeclined` if its card was declined and `OutcomeUnknown` if it does not show what became of it.
    """
    intent, charge_id, charge = _read(body)
    match intent.status:
        case "succeeded" | "processing":
            # A charge that was not expanded is still named, and the intent tells the rest.
            answered = charge if charge is not None else body
        case "requires_action":
            answered = body
        case "canceled":
            raise CardDeclined(
                "The payment was canceled before it was completed.",
                reason="payment_intent_canceled",
                payment_intent_id=intent.id,
                charge_id=charge_id,
                remedy="Start again with a new token.",
            )
        case "requires_payment_method" if intent.last_payment_error is not None:
            error = intent.last_payment_error
            raise declined(
                reason=error.code,
                decline_code=error.decline_code,
                message=error.message if error.type == "card_error" else None,
                payment_intent_id=intent.id,
                charge_id=charge_id,
            )
        case status:
            raise OutcomeUnknown(
                f"Stripe's payment {intent.id} is in a state that settles nothing ({status[:40]!r}).",
                remedy="Look at the payment in the Stripe dashboard.",
            )
    return Payment(
        status=PaymentStatus(intent.status), payment_intent_id=intent.id, charge_id=charge_id, body=answered
    )


def _read(body: bytes) -> tuple[Intent, str | None, bytes | None]:
    try:
        intent = msgspec.json.decode(body, type=Intent)
        if intent.object != "payment_intent":
            raise msgspec.ValidationError("not a payment intent")
        raw = bytes(intent.latest_charge)
        return intent, _charge_id(raw), raw if raw.startswith(b"{") else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    raise OutcomeUnknown(
        "Stripe answered with success, but with something that is no payment.",
        remedy="Send the same request again, under the same key, never another.",
    )


def _charge_id(raw: bytes) -> str | None:
    """Return the id of a charge that is expanded, or named by its id, or null."""
    charge = msgspec.json.decode(raw, type=_Charge | str | None)
    return charge.id if isinstance(charge, _Charge) else charge


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    if ATTEMPT in metadata:
        raise _bad_metadata(f"The metadata key {ATTEMPT!r} is taken.", "Use another key.")
    if len(metadata) >= _MAX_KEYS:
        raise _bad_metadata(
            f"There are {len(metadata)} metadata keys.",
            f"Stripe holds {_MAX_KEYS}, of which Tillport needs one.",
        )
    for key, value in metadata.items():
        if type(key) is not str or type(value) is not str:
            raise _bad_metadata("Metadata keys and values are text.", 'Write numbers as text: "7".')
        if not 0 < len(key) <= _MAX_KEY or "[" in key or "]" in key:
            raise _bad_metadata(
                f"{key[:_MAX_KEY]!r} can't be a metadata key.",
                f"Use 1 to {_MAX_KEY} characters, without square brackets.",
            )
        if len(value) > _MAX_VALUE:
            raise _bad_metadata(
                f"The metadata value of {key!r} has {len(value)} characters.", f"Stripe holds {_MAX_VALUE}."
            )
        _sendable(key + value, param="metadata")
    return dict(metadata)


def _sendable(text: str, *, param: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return text
    raise InvalidRequest(
        f"The {param} is no valid Unicode text.",
        reason="parameter_invalid",
        param=param,
        remedy="Send no unpaired surrogates.",
    )


def _bad_metadata(message: str, remedy: str) -> InvalidRequest:
    return InvalidRequest(message, reason="parameter_invalid", param="metadata", remedy=remedy)
