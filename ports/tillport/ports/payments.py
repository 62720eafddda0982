"""The payment gateway: how Tillport asks Stripe to move money.

Every error says whether money may have moved, because that decides what the core may do next:

| error | whose fault | did money move | what follows |
|---|---|---|---|
| `CardDeclined` | the card's | no | a new token |
| `InvalidRequest` | the caller's | no | a corrected request |
| `GatewayMisconfigured` | ours | no | the operator mends the key |
| `GatewayUnavailable` | Stripe's or the network's | no | the same request again, later |
| `OutcomeUnknown` | Stripe's or the network's | **perhaps** | the same request under the same key, never another |
| `AwaitsApproval` | the account's rules | **perhaps, later** | nothing is sent any more; it is heard of |
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import attrs

from tillport.ports.errors import TillportError
from tillport.ports.money import Money


@attrs.frozen
class ChargeOrder:
    """What a caller wants charged: a one-time card token (never card data) and an amount."""

    token: str = attrs.field(repr=False)
    money: Money
    description: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict)


class PaymentStatus(StrEnum):
    """What Stripe did. `REQUIRES_ACTION` means that the cardholder must still confirm (3-D Secure)."""

    SUCCEEDED = "succeeded"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"


@attrs.frozen(kw_only=True)
class Payment:
    """Stripe's answer to a charge.

    `body` is the JSON object that the caller is answered with: the charge once there is one, else the payment
    intent. It may hold a `client_secret`, which belongs to the one who charged and to nobody else.
    """

    status: PaymentStatus
    payment_intent_id: str
    charge_id: str | None
    body: bytes = attrs.field(repr=False)


class GatewayError(TillportError):
    """The gateway did not charge, or does not know whether it did."""


class CardDeclined(GatewayError):
    """The card's issuer or Stripe's fraud rules said no. Final for this token."""

    code = "card_declined"

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        decline_code: str | None = None,
        payment_intent_id: str | None = None,
        charge_id: str | None = None,
        remedy: str = "Ask for another card and send its new token.",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        """Stripe's error code: `card_declined`, `expired_card`, `incorrect_cvc`, … (docs.stripe.com/error-codes)."""
        self.decline_code = decline_code
        """The issuer's reason where it gave one: `insufficient_funds`, … (docs.stripe.com/declines/codes)."""
        self.payment_intent_id = payment_intent_id
        self.charge_id = charge_id


class InvalidRequest(GatewayError):
    """Stripe refused the request as such: an unknown or used token, an amount below its minimum, …"""

    code = "invalid_request"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        param: str | None = None,
        remedy: str = "",
        replayed: bool = False,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        """Stripe's error code where it gave one: `token_already_used`, `amount_too_small`, …"""
        self.param = param
        self.replayed = replayed
        """Whether Stripe repeated what it answered to the first request under the key (`Idempotent-Replayed`).

        Only then does a refusal say what became of an earlier try: one at the door says nothing of it.
        """


class GatewayMisconfigured(GatewayError):
    """Stripe refuses our key or what it may do. Nothing moved; only the operator can mend it."""

    code = "gateway_misconfigured"


class GatewayUnavailable(GatewayError):
    """Stripe was not reached or would not take the request now. This try moved nothing."""

    code = "gateway_unavailable"


class OutcomeUnknown(GatewayError):
    """The request left, no usable answer came back: the money may have moved."""

    code = "outcome_unknown"


class AwaitsApproval(OutcomeUnknown):
    """Stripe holds the charge until a person approves it, and then makes it by itself.

    Sent again it may be held once more, and made once more: it is left alone until it is heard of, or has lapsed.
    """


class PaymentGateway(Protocol):
    """Charge cards under an idempotency key. Implementations retry nothing by a new key, ever."""

    @property
    def livemode(self) -> bool:
        """Whether real money moves."""
        ...

    async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
        """Charge the order, exactly once per key for as long as Stripe remembers the key (24 hours).

        The key also goes into the payment's metadata, so that `find` can tell later what became of it.
        Raises every error of this module.
        """
        ...

    async def find(self, idempotency_key: str, *, tried_from: float, tried_until: float) -> Payment | None:
        """Tell what became of a charge that was tried between two moments (Unix seconds), without charging.

        A request may arrive long after it was sent. So an implementation waits for a while after `tried_until` before
        it takes a lack for proof, and a payment that is made in that while is found as one of before is.

        Returns the payment; raises `CardDeclined` if it was tried and declined; returns None only on proof
        that Stripe holds no payment under that key. Raises `GatewayUnavailable` or `OutcomeUnknown` when there
        is neither an answer nor such proof.
        """
        ...

    async def holds(self, payment_intent_id: str) -> bool:
        """Tell whether the account that this gateway charges for holds that payment.

        Another account does not, nor does the other mode (test, live) of the same one: what is absent there proves
        nothing. Raises `GatewayUnavailable` when there is no answer.
        """
        ...
