"""A payment gateway in memory: Stripe's manners without Stripe, and every way to fail on request.

What a token does is in its name, as with Stripe's test tokens: `tok_visa` and its kin are charged any number of
times; a token that starts with `tok_1` works once; one that ends in `chargeDeclinedInsufficientFunds` (and so on,
see `DECLINES`) is declined, in `threeDSecure2Required` needs its holder. Others do not exist.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs
import msgspec

from tillport.ports.clock import Clock
from tillport.ports.payments import (
    CardDeclined,
    ChargeOrder,
    GatewayMisconfigured,
    GatewayUnavailable,
    InvalidRequest,
    OutcomeUnknown,
    Payment,
    PaymentStatus,
)

KEY_MEMORY_SECONDS = 24 * 3600
"""How long a key is remembered, as at Stripe; after that it is a new one, and charges anew."""
DECLINES: Mapping[str, tuple[str, str | None]] = {
    "chargeDeclined": ("card_declined", "generic_decline"),
    "chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "chargeDeclinedLostCard": ("card_declined", "lost_card"),
    "chargeDeclinedStolenCard": ("card_declined", "stolen_card"),
    "chargeDeclinedVelocityLimitExceeded": ("card_declined", "card_velocity_exceeded"),
    "chargeDeclinedFraudulent": ("card_declined", "fraudulent"),
    "chargeDeclinedExpiredCard": ("expired_card", None),
    "chargeDeclinedIncorrectCvc": ("incorrect_cvc", None),
    "chargeDeclinedProcessingError": ("processing_error", None),
}
"""Error code and decline code by the end of a token's name (docs.stripe.com/testing)."""
REUSABLE = frozenset("visa visa_debit mastercard mastercard_debit amex discover diners jcb unionpay".split())
NEEDS_ACTION = ("threeDSecure2Required", "threeDSecureRequired")
_CLOCK_SKEW_SECONDS = 300


class GatewayFault(StrEnum):
    """What goes wrong with a call."""

    UNAVAILABLE = "unavailable"
    """Turned away before any work."""
    MISCONFIGURED = "misconfigured"
    """The key is refused before any work."""
    LOST_ON_THE_WAY = "lost_on_the_way"
    """The request left and never arrived: nothing moves, and the caller can't know."""
    ANSWER_LOST = "answer_lost"
    """The work is done, and the answer never arrives."""


@attrs.frozen(kw_only=True)
class HeldPayment:
    """A payment as the gateway holds it: the truth, for whoever audits the rest."""

    key: str
    payment: Payment | None
    """None if the card was declined."""
    decline: tuple[str, str | None] | None
    amount_minor: int
    currency: str
    created: float
    payment_intent_id: str
    charge_id: str | None

    @property
    def moved(self) -> bool:
        """Whether money moved."""
        return self.payment is not None and self.payment.status is PaymentStatus.SUCCEEDED


@attrs.define(eq=False)
class MemoryGateway:
    """Charge no cards, convincingly. Implements `PaymentGateway`.

    `slow_seconds` is how long the clock must move before an answer comes; the work is done at once, so that who
    gives up meanwhile leaves a payment behind. `absence_seconds` is how long after the last try the lack of a payment
    proves anything.
    """

    clock: Clock
    livemode: bool = attrs.field(default=False, kw_only=True)
    slow_seconds: float = attrs.field(default=0.0, kw_only=True)
    absence_seconds: float = attrs.field(default=0.0, kw_only=True)
    calls: int = attrs.field(init=False, default=0)
    """How often `charge` was called."""
    _held: list[HeldPayment] = attrs.field(init=False, factory=list, repr=False)
    _remembered: dict[str, tuple[ChargeOrder, HeldPayment]] = attrs.field(
        init=False, factory=dict, repr=False
    )
    _used: set[str] = attrs.field(init=False, factory=set, repr=False)
    _in_flight: set[str] = attrs.field(init=False, factory=set, repr=False)
    _fault: GatewayFault | None = attrs.field(init=False, default=None)
    _strikes: int | None = attrs.field(init=False, default=None)

    def strike(self, fault: GatewayFault, *, times: int | None = None) -> None:
        """Let the next calls fail that way: so many, or all until `heal`."""
        self._fault, self._strikes = fault, times

    def heal(self) -> None:
        """Let calls succeed again."""
        self._fault = self._strikes = None

    @property
    def held(self) -> tuple[HeldPayment, ...]:
        """Every payment that was ever tried, oldest first, under whatever key."""
        return tuple(self._held)

    async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
        """See `PaymentGateway.charge`."""
        self.calls += 1
        fault = self._struck()
        if fault is GatewayFault.LOST_ON_THE_WAY:
            raise _unknown("The request was lost on its way.")
        _turn_away(fault)
        if idempotency_key in self._in_flight:
            raise _unknown("A request under this key is being worked on.")
        held = self._remember(idempotency_key, order) or self._try(order, idempotency_key)
        if self.slow_seconds:
            self._in_flight.add(idempotency_key)
            try:
                await self.clock.sleep_until(self.clock.now() + self.slow_seconds)
            finally:
                self._in_flight.discard(idempotency_key)
        if fault is GatewayFault.ANSWER_LOST:
            raise _unknown("The answer was lost.")
        return _answer(held)

    async def find(self, idempotency_key: str, *, tried_from: float, tried_until: float) -> Payment | None:
        """See `PaymentGateway.find`."""
        if self._struck() is not None:
            raise GatewayUnavailable("The gateway could not be asked.", remedy="Ask again later.")
        earliest = tried_from - _CLOCK_SKEW_SECONDS
        latest = tried_until + self.absence_seconds + _CLOCK_SKEW_SECONDS
        found = [
            held for held in self._held if held.key == idempotency_key and earliest <= held.created <= latest
        ]
        if found:
            return _answer(max(found, key=lambda held: held.moved))
        if self.clock.now() < tried_until + self.absence_seconds:
            raise _unknown("There is no such payment yet, and it is too early to be sure.")
        return None

    async def holds(self, payment_intent_id: str) -> bool:
        """See `PaymentGateway.holds`."""
        if self._struck() is not None:
            raise GatewayUnavailable("The gateway could not be asked.", remedy="Ask again later.")
        return any(held.payment_intent_id == payment_intent_id for held in self._held)

    def _struck(self) -> GatewayFault | None:
        fault = self._fault
        if self._strikes is not None:
            self._strikes -= 1
            if self._strikes <= 0:
                self.heal()
        return fault

    def _remember(self, key: str, order: ChargeOrder) -> HeldPayment | None:
        first, held = self._remembered.get(key, (None, None))
        if held is None or self.clock.now() >= held.created + KEY_MEMORY_SECONDS:
            return None
        if first != order:
            raise _unknown("This key was first used with other parameters.")
        return held

    def _try(self, order: ChargeOrder, key: str) -> HeldPayment:
        name = order.token.removeprefix("tok_")
        single_use = name.startswith("1")
        decline = next((facts for end, facts in DECLINES.items() if name.endswith(end)), None)
        needs_action = name.endswith(NEEDS_ACTION)
        if not (single_use or decline or needs_action or name in REUSABLE):
            raise InvalidRequest(
                "Stripe does not know this token.",
                reason="resource_missing",
                param="payment_method_data[card][token]",
                remedy="Send the token that Stripe gave your client.",
            )
        if order.token in self._used:
            raise InvalidRequest(
                "This token was used before, and may have paid.",
                reason="token_already_used",
                remedy="If another request of yours sent it, do not pay again before you know what became of that; else send a new token.",
            )
        if single_use:
            self._used.add(order.token)
        held = self._hold(order, key, decline=decline, needs_action=needs_action)
        self._held.append(held)
        self._remembered[key] = attrs.evolve(order, metadata=dict(order.metadata)), held
        return held

    def _hold(
        self, order: ChargeOrder, key: str, *, decline: tuple[str, str | None] | None, needs_action: bool
    ) -> HeldPayment:
        number = len(self._held) + 1
        intent_id, charge_id = f"pi_3memory{number}", None if needs_action else f"ch_3memory{number}"
        facts: dict[str, Any] = {
            "amount": order.money.amount_minor,
            "created": int(self.clock.now()),
            "currency": order.money.currency,
            "description": order.description,
            "livemode": self.livemode,
            "metadata": {**order.metadata, "tillport_attempt": key},
        }
        payment = None
        if needs_action:
            secret = f"{intent_id}_secret_memory"
            shown = {"id": intent_id, "object": "payment_intent", "status": "requires_action", **facts}
            body = msgspec.json.encode({**shown, "client_secret": secret, "latest_charge": None})
            payment = Payment(
                status=PaymentStatus.REQUIRES_ACTION, payment_intent_id=intent_id, charge_id=None, body=body
            )
        elif decline is None:
            shown = {"id": charge_id, "object": "charge", "status": "succeeded", **facts}
            body = msgspec.json.encode(
                {**shown, "paid": True, "captured": True, "refunded": False, "payment_intent": intent_id}
            )
            payment = Payment(
                status=PaymentStatus.SUCCEEDED, payment_intent_id=intent_id, charge_id=charge_id, body=body
            )
        return HeldPayment(
            key=key,
            payment=payment,
            decline=decline,
            amount_minor=order.money.amount_minor,
            currency=order.money.currency,
            created=self.clock.now(),
            payment_intent_id=intent_id,
            charge_id=charge_id,
        )


def _turn_away(fault: GatewayFault | None) -> None:
    if fault is GatewayFault.UNAVAILABLE:
        raise GatewayUnavailable(
            "The gateway takes no requests.", remedy="Send the same request again later."
        )
    if fault is GatewayFault.MISCONFIGURED:
        raise GatewayMisconfigured(
            "The gateway does not accept our key.", remedy="The operator checks the key."
        )


def _answer(held: HeldPayment) -> Payment:
    if held.payment is not None:
        return held.payment
    assert held.decline is not None, "a payment without an answer was declined"
    reason, decline_code = held.decline
    raise CardDeclined(
        "Your card was declined.",
        reason=reason,
        decline_code=decline_code,
        payment_intent_id=held.payment_intent_id,
        charge_id=held.charge_id,
    )


def _unknown(message: str) -> OutcomeUnknown:
    return OutcomeUnknown(message, remedy="Send the same request again, under the same key, never another.")
