"""Charge once (promise 1): however often a request is sent, and whatever crashes, money moves once.

The attempt is in the ledger before Stripe hears of it, and Stripe hears of it under one idempotency key for ever: a
hash of who asks and of the caller's own `Idempotency-Key`, or else of the single-use token. So a request that comes
again finds its attempt and gets

- the outcome, if there is one, word for word;
- "in progress", while somebody is at work on it;
- another try under the same key, if the last one moved nothing or never ended. Stripe answers it with the first
  one's outcome if there was a first one. Once Stripe may have forgotten the key, nothing is ever sent again.
"""

import hashlib
from typing import Any

import attrs
import msgspec

from tillport.domain.amounts import Limits
from tillport.ports.access import Caller
from tillport.ports.clock import Clock
from tillport.ports.errors import TillportError
from tillport.ports.ledger import Attempt, AttemptState, ChargeLedger, LedgerUnavailable, Outcome
from tillport.ports.money import Money
from tillport.ports.payments import (
    AwaitsApproval,
    CardDeclined,
    ChargeOrder,
    GatewayError,
    GatewayMisconfigured,
    GatewayUnavailable,
    InvalidRequest,
    OutcomeUnknown,
    Payment,
    PaymentGateway,
    PaymentStatus,
)
from tillport.ports.policy import ChargePolicy

ATTEMPT_KEY_PREFIX = "tillport-"
"""How every key that Stripe hears from us begins: its events tell whose charge it was."""
KEY_HORIZON_SECONDS = 23 * 3600
"""Stripe keeps idempotency keys for at least 24 hours (docs.stripe.com/api/idempotent_requests); an hour is margin."""
APPROVAL_SECONDS = 30 * 86_400.0
"""How long a charge that Stripe holds for a person's approval may still be made. Stripe's examples lapse after a week
(docs.stripe.com/api/v2/core/approval-requests) and no longest time is published: we err towards doubt."""
DEFAULT_TRY_SECONDS = 90.0
"""How long one try may take before others may take it over. Longer than the gateway's own time limit."""
MAX_KEY_CHARACTERS = 255


class InvalidOrder(TillportError):
    """The caller's order can't be charged as it is written."""

    code = "invalid_order"

    def __init__(self, message: str, *, param: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.param = param


class ChargeRefused(TillportError):
    """The shop's own policy does not want this charge. Nothing was sent to Stripe."""

    code = "charge_refused"


class KeyReused(TillportError):
    """The caller used an idempotency key, or a token, for two different requests."""

    code = "idempotency_key_reused"


class ChargeInProgress(TillportError):
    """The same request is being worked on right now."""

    code = "charge_in_progress"

    def __init__(self, message: str, *, retry_after_seconds: int, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class Failure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why an attempt did not charge: what `Outcome.body` holds when there is no Stripe object to show."""

    code: str
    message: str
    remedy: str = ""
    reason: str | None = None
    decline_code: str | None = None
    param: str | None = None


@attrs.frozen(kw_only=True)
class ChargeAnswer:
    """What the caller is told about an attempt.

    `attempt_key` names the attempt and asks for its status later. `replayed` says that the outcome was known before
    this request came.
    """

    attempt_key: str
    outcome: Outcome
    replayed: bool

    @property
    def state(self) -> AttemptState:
        """What became of the attempt."""
        return self.outcome.state

    @property
    def charged(self) -> bool:
        """Whether Stripe took the order: the body is then Stripe's object."""
        return self.state in _PAYMENT_STATES.values()

    @property
    def failure(self) -> Failure | None:
        """The facts of the failure, None where Stripe took the order."""
        return None if self.charged else msgspec.json.decode(self.outcome.body, type=Failure)


_PAYMENT_STATES = {
    PaymentStatus.SUCCEEDED: AttemptState.SUCCEEDED,
    PaymentStatus.REQUIRES_ACTION: AttemptState.REQUIRES_ACTION,
    PaymentStatus.PROCESSING: AttemptState.PROCESSING,
}
_ERROR_STATES: dict[type[GatewayError], AttemptState] = {
    CardDeclined: AttemptState.DECLINED,
    InvalidRequest: AttemptState.REFUSED,
    GatewayMisconfigured: AttemptState.NOT_SENT,
    GatewayUnavailable: AttemptState.NOT_SENT,
    OutcomeUnknown: AttemptState.UNKNOWN,
    AwaitsApproval: AttemptState.UNKNOWN,
}
_AWAITS_APPROVAL = "approval_required"
UNKNOWN_REMEDY = (
    "The card may have been charged. Do not pay again with another token or key: send this very request again, "
    "or ask for its status."
)

CORRECTED_REMEDY = (
    "What is corrected is another request: send it under a new idempotency key, or with a new token."
)


@attrs.frozen(kw_only=True)
class Charging:
    """The ports and settings that charging needs."""

    gateway: PaymentGateway
    ledger: ChargeLedger
    policy: ChargePolicy
    clock: Clock
    limits: Limits = attrs.field(factory=Limits)
    try_seconds: float = DEFAULT_TRY_SECONDS


async def charge(
    order: ChargeOrder, using: Charging, *, caller: Caller, nonce: str, idempotency_key: str | None = None
) -> ChargeAnswer:
    """Charge an order once and return what became of it, whether this request or an earlier one did it.

    `nonce` is fresh randomness, used as the key of orders that may be repeated at will: those with one of Stripe's
    named test tokens (`tok_visa`) and no `idempotency_key`.

    Raises `InvalidOrder`, `InvalidAmount`, `ChargeRefused`, `KeyReused`, `ChargeInProgress`, and
    `LedgerUnavailable`. A decline is an answer, not an error.
    """
    _check(order, idempotency_key)
    key = attempt_key(order.token, caller=caller, nonce=nonce, idempotency_key=idempotency_key)
    fingerprint = fingerprint_of(order)
    attempt = await using.ledger.find(key)
    if attempt is None:
        # Not before: limits that changed must not hide an outcome, as the policy does not.
        using.limits.check(order.money)
        refusal = await using.policy.decide(order, caller)
        if refusal is not None:
            raise ChargeRefused(refusal.message, remedy=refusal.remedy)
        now = using.clock.now()
        opened = await using.ledger.open(
            Attempt(
                key=key,
                fingerprint=fingerprint,
                caller_id=caller.id,
                order=order,
                started_at=now,
                tried_at=now,
                busy_until=now + using.try_seconds,
            )
        )
        if opened.new:
            return await try_once(opened.attempt, using)
        attempt = opened.attempt
    if attempt.fingerprint != fingerprint:
        raise KeyReused(
            "This idempotency key or token was used for another request.",
            remedy="Send the first request again as it was, or use a new key and a new token.",
        )
    return await _again(attempt, using)


async def charge_status(key: str, ledger: ChargeLedger, *, caller: Caller) -> ChargeAnswer | None:
    """Return what is known of an attempt, to the caller that made it; None to anyone else. Raises `LedgerUnavailable`."""
    attempt = await ledger.find(key)
    if attempt is None or attempt.caller_id != caller.id:
        return None
    return _answer(attempt, replayed=True)


async def try_once(attempt: Attempt, using: Charging) -> ChargeAnswer:
    """Ask Stripe, under the attempt's key, and write down what it says. The attempt must be ours (busy)."""
    try:
        if using.clock.now() > attempt.busy_until:
            # As on a machine that slept. Perhaps it is somebody else's by now, and who looks at Stripe for what was sent looks
            # for no more than `try_seconds`. If it is nobody's, it is free again at once.
            raise GatewayUnavailable(
                "Nothing was sent: the service was held up.", remedy="Send this very request again."
            )
        payment = await using.gateway.charge(attempt.order, idempotency_key=attempt.key)
    except GatewayError as error:
        outcome = outcome_of_error(error, attempt)
    else:
        outcome = outcome_of_payment(payment)
    try:
        attempt = await using.ledger.settle(attempt.key, outcome, tries=attempt.tries)
    except LedgerUnavailable:
        # Stripe's word is true although we could not write it down: the attempt stays open, and whoever takes it
        # over gets the same word again under the same key. But for a refusal: what Stripe refuses before it begins it
        # does not remember, and may take the next time.
        if not outcome.state.final or outcome.state is AttemptState.REFUSED:
            outcome = _unknown(attempt.outcome, "The ledger could not be written.")
        attempt = attrs.evolve(attempt, outcome=outcome)
    return _answer(attempt, replayed=False)


def attempt_key(token: str, *, caller: Caller, nonce: str, idempotency_key: str | None) -> str:
    """Return the key under which Stripe hears of an order: the same for the same request, for ever.

    >>> from tillport.ports.access import Caller, CallerKind
    >>> shop = Caller("shop", CallerKind.APP)
    >>> attempt_key("tok_1A", caller=shop, nonce="x", idempotency_key=None) == attempt_key(
    ...     "tok_1A", caller=shop, nonce="y", idempotency_key=None
    ... )
    True
    """
    if idempotency_key is not None:
        parts = ["key", caller.id, idempotency_key]
    elif single_use(token):
        parts = ["token", caller.id, token]
    else:
        parts = ["nonce", caller.id, nonce]
    return ATTEMPT_KEY_PREFIX + _digest(parts)


def single_use(token: str) -> bool:
    """Tell whether a token works once. Stripe's named test tokens (`tok_visa`) are reusable; real ones are `tok_1…`.

    >>> single_use("tok_1PqX2LKZ6o"), single_use("tok_visa")
    (True, False)
    """
    return token.startswith("tok_1")


def fingerprint_of(order: ChargeOrder) -> str:
    """Return a digest of everything that must be the same in a repeated request."""
    return _digest(
        [
            order.token,
            order.money.amount_minor,
            order.money.currency,
            order.description,
            sorted(order.metadata.items()),
        ]
    )


def outcome_of_payment(payment: Payment) -> Outcome:
    """Return the outcome that Stripe's answer makes."""
    return Outcome(
        state=_PAYMENT_STATES[payment.status],
        body=payment.body,
        payment_intent_id=payment.payment_intent_id,
        charge_id=payment.charge_id,
    )


def outcome_of_error(error: GatewayError, attempt: Attempt) -> Outcome:
    """Return the outcome that the gateway's error makes of this attempt."""
    state = _ERROR_STATES[type(error)]
    if attempt.state is AttemptState.UNKNOWN and isinstance(error, InvalidRequest) and not error.replayed:
        # Perhaps our own lost try used the token; or Stripe was asked with another account's key, which knows neither.
        # No proof that nothing moved.
        return _unknown(
            attempt.outcome,
            f"An earlier try may have charged the card, and the last one was refused: {error.message}",
        )
    if attempt.state is AttemptState.UNKNOWN and state is AttemptState.NOT_SENT:
        # The ledger takes no "not sent" over an "unknown": it would keep the attempt for one that somebody is at work on.
        return _unknown(
            attempt.outcome,
            f"An earlier try may have charged the card, and the last one was turned away ({error.code}).",
        )
    if state is AttemptState.UNKNOWN:
        reason = _AWAITS_APPROVAL if isinstance(error, AwaitsApproval) else None
        return _unknown(attempt.outcome, error.message, reason=reason)
    remedy = error.remedy
    if state is AttemptState.REFUSED and getattr(error, "reason", None) != "token_already_used":
        remedy = f"{remedy} {CORRECTED_REMEDY}".strip()
    failure = Failure(
        code=error.code,
        message=error.message,
        remedy=remedy,
        reason=getattr(error, "reason", None),
        decline_code=getattr(error, "decline_code", None),
        param=getattr(error, "param", None),
    )
    return Outcome(
        state=state,
        body=msgspec.json.encode(failure),
        payment_intent_id=getattr(error, "payment_intent_id", None),
        charge_id=getattr(error, "charge_id", None),
    )


def awaits_approval(attempt: Attempt) -> bool:
    """Tell whether Stripe holds this attempt until a person approves it: sent again, it would be held twice."""
    failure = _failure(attempt.outcome.body) if attempt.state is AttemptState.UNKNOWN else None
    return failure is not None and failure.reason == _AWAITS_APPROVAL


def _unknown(before: Outcome, message: str, *, reason: str | None = None) -> Outcome:
    failure = Failure(code=OutcomeUnknown.code, message=message, remedy=UNKNOWN_REMEDY, reason=reason)
    return attrs.evolve(before, state=AttemptState.UNKNOWN, body=msgspec.json.encode(failure))


async def _again(attempt: Attempt, using: Charging) -> ChargeAnswer:
    if attempt.state.final or awaits_approval(attempt):
        return _answer(attempt, replayed=True)
    now = using.clock.now()
    if now - attempt.started_at > KEY_HORIZON_SECONDS:
        if attempt.state is AttemptState.NOT_SENT:
            raise KeyReused(
                "This request is more than a day old and was never charged.",
                remedy="Start again with a new key and a new token.",
            )
        return _answer(attempt, replayed=True)
    taken = None
    if attempt.busy_until <= now:
        taken = await using.ledger.take_over(
            attempt.key, seen_tries=attempt.tries, now=now, busy_until=now + using.try_seconds
        )
    if taken is None:
        raise ChargeInProgress(
            "This very charge is being worked on.",
            retry_after_seconds=max(1, min(5, int(attempt.busy_until - now))),
            remedy="Send the same request again in a moment, with the same key and token.",
        )
    return await try_once(taken, using)


def _answer(attempt: Attempt, *, replayed: bool) -> ChargeAnswer:
    return ChargeAnswer(attempt_key=attempt.key, outcome=as_told(attempt.outcome), replayed=replayed)


_NOT_CHARGED = {
    AttemptState.DECLINED: CardDeclined.code,
    AttemptState.REFUSED: InvalidRequest.code,
    AttemptState.NOT_CHARGED: "not_charged",
}
"""What a failure is called that was erased (`LedgerHousekeeping.erase_payment` leaves its state and ids)."""


def as_told(outcome: Outcome) -> Outcome:
    """Return an outcome as callers are told of it: one that is not known yet says so, and a failure always has words.

    What the ledger holds of an interrupted try may be empty, or the words of an earlier one that was not sent. What it
    held of a failure may have been erased.
    """
    if outcome.state is AttemptState.STARTED:
        return _unknown(outcome, "The charge was begun and its outcome is not known yet.")
    if outcome.state is AttemptState.UNKNOWN and not _says_unknown(outcome.body):
        return _unknown(outcome, "The charge was interrupted and its outcome is not known yet.")
    if outcome.state in _NOT_CHARGED and _code(outcome.body) is None:
        failure = Failure(
            code=_NOT_CHARGED[outcome.state],
            message="The card was not charged. The reason was erased.",
            remedy="Start again with a new key and a new token.",
        )
        return attrs.evolve(outcome, body=msgspec.json.encode(failure))
    return outcome


def _says_unknown(body: bytes) -> bool:
    return _code(body) == OutcomeUnknown.code


def _code(body: bytes) -> str | None:
    """Return the code of the failure that an outcome's body holds, None if it holds none."""
    failure = _failure(body)
    return None if failure is None else failure.code


def _failure(body: bytes) -> Failure | None:
    try:
        return msgspec.json.decode(body, type=Failure)
    except msgspec.MsgspecError:
        return None


def _check(order: ChargeOrder, idempotency_key: str | None) -> None:
    """Refuse what could be written down and never be read or sent again. Raises `InvalidOrder`."""
    token = order.token
    if not isinstance(order.money, Money):
        raise InvalidOrder("The amount is no Money.", param="money", remedy="Hand in Money(1250, 'usd').")
    if not (order.description is None or _is_text(order.description)):
        raise InvalidOrder(
            "The description is no text.", param="description", remedy="Hand in text, or None."
        )
    if not all(map(_is_text, (*order.metadata, *order.metadata.values()))):
        raise InvalidOrder(
            "Metadata keys and values are text.", param="metadata", remedy='Write numbers as text: "7".'
        )
    if not isinstance(token, str):
        raise InvalidOrder(
            "The token is no text.", param="token", remedy="Send the tok_… that Stripe gave your client."
        )
    if (
        not token.startswith("tok_")
        or not token[4:].replace("_", "").isalnum()
        or not token.isascii()
        or len(token) > 255
    ):
        raise InvalidOrder(
            "The token is missing or is no card token.",
            param="token",
            remedy="Send the tok_… that Stripe gave your client, never card data.",
        )
    if idempotency_key is not None and not (
        0 < len(idempotency_key) <= MAX_KEY_CHARACTERS
        and idempotency_key.isascii()
        and idempotency_key.isprintable()
    ):
        raise InvalidOrder(
            f"The idempotency key must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters.",
            param="idempotency_key",
            remedy="A UUID is a good key.",
        )


def _is_text(value: object) -> bool:
    """Tell whether it can be sent: half a surrogate pair has no bytes."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
